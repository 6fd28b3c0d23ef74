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
        let mut out = Vec::with_capacity(HEADER.len() + raw.len() / 2);
        out.extend_from_slice(&HEADER);
        for block in raw.chunks(BLOCK) {
            let at = out.len();
            out.resize(at + 4 + max_compress_len(block.len()), 0);
            let length = self.0.compress(block, &mut out[at + 4..]).ok()?;
            out[at..at + 4].copy_from_slice(&(length as u32).to_be_bytes());
            out.truncate(at + 4 + length);
        }
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
