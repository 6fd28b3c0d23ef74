//! Zstandard, by its C library.

use alloc::vec::Vec;

use ::zstd::bulk;

#[derive(Default)]
pub(super) struct State(Option<(i32, bulk::Compressor<'static>)>);

impl State {
    pub(super) fn compress(&mut self, level: i32, raw: &[u8]) -> Option<Vec<u8>> {
        if self.0.as_ref().is_none_or(|(had, _)| *had != level) {
            self.0 = Some((level, bulk::Compressor::new(level).ok()?));
        }
        self.0.as_mut()?.1.compress(raw).ok()
    }
}

pub(super) fn decompress(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    bulk::decompress(bytes, length).ok()
}
