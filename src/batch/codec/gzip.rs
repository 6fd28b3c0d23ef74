//! gzip (RFC 1952): a header as Java writes it, DEFLATE, a checksum. DEFLATE is zlib-rs, or, without the standard library,
//! miniz_oxide.

#[cfg_attr(feature = "gzip", path = "gzip/zlib.rs")]
#[cfg_attr(not(feature = "gzip"), path = "gzip/miniz.rs")]
mod deflate;
// A build with both has the first alone, and tests both.
#[cfg(all(test, feature = "gzip", feature = "gzip-core"))]
#[path = "gzip/miniz.rs"]
mod miniz;

use alloc::vec::Vec;

use deflate::{Deflater, bound, crc32, inflate};

/// Method deflate, no flags, no time, no hints, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

#[derive(Default)]
pub(super) struct State(Option<(i32, Deflater)>);

impl State {
    pub(super) fn compress(&mut self, level: i32, raw: &[u8]) -> Option<Vec<u8>> {
        if self.0.as_ref().is_none_or(|(had, _)| *had != level) {
            self.0 = Some((level, Deflater::new(level)));
        }
        let (_, deflater) = self.0.as_mut()?;
        let mut out = alloc::vec![0; HEADER.len() + bound(raw.len())];
        out[..HEADER.len()].copy_from_slice(&HEADER);
        let length = deflater.compress(raw, &mut out[HEADER.len()..])?;
        out.truncate(HEADER.len() + length);
        out.extend_from_slice(&crc32(raw).to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        Some(out)
    }
}

pub(super) fn decompress(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    // This crate's frames, and Java's, have no optional fields.
    let bytes = bytes.strip_prefix(&HEADER[..4])?.get(HEADER.len() - 4..)?;
    let mut raw = alloc::vec![0; length];
    let used = inflate(bytes, &mut raw)?;
    let expected = [crc32(&raw).to_le_bytes(), (length as u32).to_le_bytes()].concat();
    (bytes[used..] == expected).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> [Vec<u8>; 4] {
        let mut noise = 1u32;
        let noisy = core::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        });
        let even = b"the same again and again, ".repeat(5000);
        [Vec::new(), b"x".to_vec(), noisy.take(70_000).collect(), even]
    }

    fn levels() -> impl Iterator<Item = i32> {
        (1..=9).chain([-1])
    }

    #[test]
    fn every_level_comes_back_and_nothing_else_is_taken() {
        let mut state = State::default();
        let inputs = inputs();
        for raw in inputs.iter().map(Vec::as_slice) {
            for level in levels() {
                let packed = state.compress(level, raw).expect("there is room for any input");
                assert_eq!(decompress(&packed, raw.len()).as_deref(), Some(raw), "level {level}");
                assert_eq!(decompress(&packed, raw.len() + 1), None);
                assert_eq!(decompress(&packed[..packed.len() - 1], raw.len()), None);
                let mut broken = packed.clone();
                *broken.last_mut().expect("it has a trailer") ^= 1;
                assert_eq!(decompress(&broken, raw.len()), None);
            }
        }
        let even = &inputs[3];
        assert!(state.compress(9, even).expect("there is room").len() < even.len() / 50);
        assert_eq!(decompress(b"\x1f\x8b\x08\x00", 1), None);
    }

    #[cfg(all(feature = "gzip", feature = "gzip-core"))]
    #[test]
    fn each_library_reads_what_the_other_has_written() {
        for raw in inputs() {
            assert_eq!(miniz::crc32(&raw), crc32(&raw));
            for level in levels() {
                let (mut by_zlib, mut by_miniz) =
                    (alloc::vec![0; bound(raw.len())], alloc::vec![0; miniz::bound(raw.len())]);
                let length = Deflater::new(level).compress(&raw, &mut by_zlib).expect("there is room for any input");
                let mut read = alloc::vec![0; raw.len()];
                assert_eq!(miniz::inflate(&by_zlib[..length], &mut read), Some(length), "level {level}");
                assert_eq!(read, raw);
                let mut deflater = miniz::Deflater::new(level);
                for again in 0..2 {
                    let length = deflater.compress(&raw, &mut by_miniz).expect("there is room for any input");
                    read.fill(0);
                    assert_eq!(inflate(&by_miniz[..length], &mut read), Some(length), "level {level}, {again}");
                    assert_eq!(read, raw);
                    assert_eq!(miniz::inflate(&by_miniz[..length - 1], &mut read), None);
                    assert_eq!(miniz::inflate(&by_miniz[..length], &mut alloc::vec![0; raw.len() + 1]), None);
                }
            }
        }
    }
}
