//! Snappy in the framing of snappy-java («xerial»), which is the one that Kafka reads: a header, then blocks, each after
//! its length.

use alloc::vec::Vec;

use snap::raw::{Decoder, Encoder, max_compress_len};

/// `82 SNAPPY 00`, version 1, compatible with 1.
const HEADER: [u8; 16] = *b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
/// Bytes of a block before compression.
const BLOCK: usize = 32 << 10;

pub(super) struct State(Encoder);

impl Default for State {
    fn default() -> Self {
        Self(Encoder::new())
    }
}

impl State {
    pub(super) fn compress(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        let most = |block: &[u8]| 4 + max_compress_len(block.len());
        let mut out = alloc::vec![0; HEADER.len() + raw.chunks(BLOCK).map(most).sum::<usize>()];
        out[..HEADER.len()].copy_from_slice(&HEADER);
        let mut at = HEADER.len();
        for block in raw.chunks(BLOCK) {
            let length = self.0.compress(block, &mut out[at + 4..]).ok()?;
            out[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
            at += 4 + length;
        }
        out.truncate(at);
        Some(out)
    }
}

pub(super) fn decompress(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.strip_prefix(&HEADER)?;
    let mut raw = alloc::vec![0; length];
    let mut done = 0;
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let (block, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        done += Decoder::new().decompress(block, raw.get_mut(done..)?).ok()?;
        bytes = rest;
    }
    (bytes.is_empty() && done == length).then_some(raw)
}
