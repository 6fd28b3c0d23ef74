//! gzip (RFC 1952): a header as Java writes it, DEFLATE, a checksum.

use alloc::vec::Vec;

use zlib_rs::crc32::crc32;
use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status, compress_bound};

/// Method deflate, no flags, no time, no hints, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const WINDOW_BITS: u8 = 15;

#[derive(Default)]
pub(super) struct State(Option<(i32, Deflate)>);

impl State {
    pub(super) fn compress(&mut self, level: i32, raw: &[u8]) -> Option<Vec<u8>> {
        if self.0.as_ref().is_none_or(|(had, _)| *had != level) {
            self.0 = Some((level, Deflate::new(level, false, WINDOW_BITS)));
        }
        let (_, deflate) = self.0.as_mut()?;
        deflate.reset();
        // With less room than the bound, this library may panic.
        let mut out = alloc::vec![0; HEADER.len() + compress_bound(raw.len())];
        out[..HEADER.len()].copy_from_slice(&HEADER);
        let status = deflate.compress(raw, &mut out[HEADER.len()..], DeflateFlush::Finish).ok()?;
        if status != Status::StreamEnd {
            return None;
        }
        out.truncate(HEADER.len() + deflate.total_out() as usize);
        out.extend_from_slice(&crc32(0, raw).to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        Some(out)
    }
}

pub(super) fn decompress(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    // This crate's frames, and Java's, have no optional fields.
    let bytes = bytes.strip_prefix(&HEADER[..4])?.get(HEADER.len() - 4..)?;
    let mut inflate = Inflate::new(false, WINDOW_BITS);
    let mut raw = alloc::vec![0; length];
    let status = inflate.decompress(bytes, &mut raw, InflateFlush::Finish).ok()?;
    let trailer = bytes.get(inflate.total_in() as usize..)?;
    let expected = [crc32(0, &raw).to_le_bytes(), (length as u32).to_le_bytes()].concat();
    (status == Status::StreamEnd && inflate.total_out() as usize == length && trailer == expected).then_some(raw)
}
