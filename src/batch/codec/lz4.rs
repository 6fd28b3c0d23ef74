//! LZ4 frames as Kafka writes them: independent blocks of 64 KiB, no checksums but the header's, no content size.

use alloc::vec::Vec;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// Magic number, flags, block size, and the checksum over the two.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
/// Bytes of a block before compression.
const BLOCK: usize = 64 << 10;
/// In a block's length: it is not compressed.
const AS_IS: u32 = 1 << 31;

pub(super) fn compress(raw: &[u8]) -> Vec<u8> {
    // All at once: to grow it block by block takes an allocation and a copy each time, and zeroes it each time.
    let most = |block: &[u8]| 4 + get_maximum_output_size(block.len());
    let mut out = alloc::vec![0; HEADER.len() + raw.chunks(BLOCK).map(most).sum::<usize>() + 4];
    out[..HEADER.len()].copy_from_slice(&HEADER);
    let mut at = HEADER.len();
    for block in raw.chunks(BLOCK) {
        let length = match compress_into(block, &mut out[at + 4..]) {
            Ok(length) if length < block.len() => length as u32,
            _ => {
                out[at + 4..at + 4 + block.len()].copy_from_slice(block);
                block.len() as u32 | AS_IS
            }
        };
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
        at += 4 + (length & !AS_IS) as usize;
    }
    out[at..at + 4].fill(0); // no more blocks
    out.truncate(at + 4);
    out
}

pub(super) fn decompress(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.strip_prefix(&HEADER)?;
    let mut raw = alloc::vec![0; length];
    let mut done = 0;
    loop {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            return (rest.is_empty() && done == length).then_some(raw);
        }
        let (block, rest) = rest.split_at_checked((size & !AS_IS) as usize)?;
        let place = raw.get_mut(done..)?;
        if size & AS_IS == 0 {
            done += decompress_into(block, place).ok()?;
        } else {
            place.get_mut(..block.len())?.copy_from_slice(block);
            done += block.len();
        }
        bytes = rest;
    }
}
