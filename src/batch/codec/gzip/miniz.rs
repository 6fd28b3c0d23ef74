//! DEFLATE by miniz_oxide, which needs no standard library.

use alloc::boxed::Box;

use miniz_oxide::DataFormat;
use miniz_oxide::deflate::core::{CompressorOxide, TDEFLFlush, TDEFLStatus, compress};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// What −1 means.
const USUAL_LEVEL: u8 = 6;

pub(super) struct Deflater(Box<CompressorOxide>);

impl Deflater {
    pub(super) fn new(level: i32) -> Self {
        let mut state = Box::<CompressorOxide>::default();
        state.set_format_and_level(DataFormat::Raw, u8::try_from(level).unwrap_or(USUAL_LEVEL));
        Self(state)
    }

    /// How many bytes were written.
    pub(super) fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.reset();
        let (status, _, written) = compress(&mut self.0, raw, out, TDEFLFlush::Finish);
        (status == TDEFLStatus::Done).then_some(written)
    }
}

/// How much room `compress` needs.
pub(super) fn bound(length: usize) -> usize {
    length + length / 8 + 256
}

/// How many bytes were read to fill `raw` exactly.
pub(super) fn inflate(bytes: &[u8], raw: &mut [u8]) -> Option<usize> {
    let mut state = Box::<DecompressorOxide>::default();
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, read, written) = decompress(&mut state, bytes, raw, 0, flags);
    (status == TINFLStatus::Done && written == raw.len()).then_some(read)
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
