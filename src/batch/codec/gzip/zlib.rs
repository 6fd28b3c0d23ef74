//! DEFLATE by zlib-rs.

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

const WINDOW_BITS: u8 = 15;

pub(super) struct Deflater(Deflate);

impl Deflater {
    pub(super) fn new(level: i32) -> Self {
        Self(Deflate::new(level, false, WINDOW_BITS))
    }

    /// How many bytes were written.
    pub(super) fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.reset();
        let status = self.0.compress(raw, out, DeflateFlush::Finish).ok()?;
        (status == Status::StreamEnd).then(|| self.0.total_out() as usize)
    }
}

/// How much room `compress` needs: with less, this library may panic.
pub(super) fn bound(length: usize) -> usize {
    zlib_rs::compress_bound(length)
}

/// How many bytes were read to fill `raw` exactly.
pub(super) fn inflate(bytes: &[u8], raw: &mut [u8]) -> Option<usize> {
    let mut inflate = Inflate::new(false, WINDOW_BITS);
    let status = inflate.decompress(bytes, raw, InflateFlush::Finish).ok()?;
    let whole = status == Status::StreamEnd && inflate.total_out() as usize == raw.len();
    whole.then(|| inflate.total_in() as usize)
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    zlib_rs::crc32::crc32(0, bytes)
}
