//! Compression of a batch's records, one file a codec. With the same features the same records give the same bytes on every
//! target, whoever compresses them.

#[cfg(any(feature = "gzip", feature = "gzip-core"))]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use alloc::vec::Vec;

/// `compression.type`, with its level (KIP-390).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// DEFLATE in a gzip frame (feature `gzip`, or `gzip-core` without `std`; pure Rust).
    Gzip {
        /// 1 (fast) to 9 (small); −1 for 6.
        level: i32,
    },
    /// Snappy in Java's framing (feature `snappy`, pure Rust).
    Snappy,
    /// LZ4 frames (feature `lz4`, pure Rust). There is one compressor, Java's «fast» one; levels make no difference.
    Lz4,
    /// Zstandard (feature `zstd`, the C library).
    Zstd {
        /// −131,072 (fast) to 22 (small); Kafka's default is 3.
        level: i32,
    },
}

impl Compression {
    /// gzip at its default level.
    pub const GZIP: Self = Self::Gzip { level: -1 };
    /// zstd at its default level.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The codec's name, as in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip { .. } => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd { .. } => "zstd",
        }
    }

    /// The codec's number in a batch's attributes.
    pub(crate) const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip { .. } => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd { .. } => 4,
        }
    }

    /// Whether the feature that it needs was compiled in.
    pub(crate) const fn is_built_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip { .. } => cfg!(any(feature = "gzip", feature = "gzip-core")),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd { .. } => cfg!(feature = "zstd"),
        }
    }
}

/// The codecs' working memory, kept from one batch to the next: hundreds of kilobytes to megabytes, whichever codec and
/// level are used. A thread that runs jobs has one.
#[derive(Default)]
pub struct Compressor {
    raw: Vec<u8>,
    #[cfg(any(feature = "gzip", feature = "gzip-core"))]
    gzip: gzip::State,
    #[cfg(feature = "snappy")]
    snappy: snappy::State,
    #[cfg(feature = "zstd")]
    zstd: zstd::State,
}

impl core::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// Bytes of memory that compressing so many takes, about: a copy of them, the codec's tables, and what comes out.
    pub(crate) fn needs(with: Compression, raw: usize) -> usize {
        let tables = match with {
            Compression::None => 0,
            Compression::Lz4 => 20 << 10,
            Compression::Snappy => 72 << 10,
            Compression::Gzip { .. } => 400 << 10,
            Compression::Zstd { .. } => 0, // the C library says so itself
        };
        tables + 3 * raw + 64
    }

    /// The compressed form of the concatenated `chunks`; `None` if it is not smaller, or the codec fails or is not built
    /// in.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the codecs that are not built in")]
    pub(crate) fn compress<'a>(
        &mut self,
        with: Compression,
        mut chunks: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Vec<u8>> {
        // Codecs look back over what they have seen, so they get it in one piece.
        let mut kept = core::mem::take(&mut self.raw);
        kept.clear();
        let (first, second) = (chunks.next().unwrap_or_default(), chunks.next());
        let raw = match second {
            None => first,
            Some(second) => {
                [first, second].into_iter().chain(chunks).for_each(|chunk| kept.extend_from_slice(chunk));
                &kept[..]
            }
        };
        let compressed: Option<Vec<u8>> = match with {
            #[cfg(any(feature = "gzip", feature = "gzip-core"))]
            Compression::Gzip { level } => self.gzip.compress(level, raw),
            #[cfg(feature = "snappy")]
            Compression::Snappy => self.snappy.compress(raw),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Some(lz4::compress(raw)),
            #[cfg(feature = "zstd")]
            Compression::Zstd { level } => self.zstd.compress(level, raw),
            _ => None,
        };
        let compressed = compressed.filter(|compressed| compressed.len() < raw.len());
        self.raw = kept;
        compressed
    }
}

/// What [`Compressor::compress`] made of `length` bytes, undone; `None` if it is no such thing.
#[allow(clippy::wildcard_enum_match_arm, reason = "the codecs that are not built in")]
pub(crate) fn decompress(with: Compression, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let raw: Option<Vec<u8>> = match with {
        Compression::None => Some(bytes.to_vec()),
        #[cfg(any(feature = "gzip", feature = "gzip-core"))]
        Compression::Gzip { .. } => gzip::decompress(bytes, length),
        #[cfg(feature = "snappy")]
        Compression::Snappy => snappy::decompress(bytes, length),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => lz4::decompress(bytes, length),
        #[cfg(feature = "zstd")]
        Compression::Zstd { .. } => zstd::decompress(bytes, length),
        #[cfg(not(all(
            any(feature = "gzip", feature = "gzip-core"),
            feature = "snappy",
            feature = "lz4",
            feature = "zstd"
        )))]
        _ => None,
    };
    raw.filter(|raw| raw.len() == length)
}

/// How well a topic's records compress: compressed size to raw size, as Java estimates it (KIP-126). It gets worse at once
/// and better slowly.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Ratio(f32);

impl core::fmt::Debug for Ratio {
    /// In percent: to write a fraction takes some 15 KiB of code.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}%", (self.0 * 100.0) as u32)
    }
}

impl Ratio {
    /// Nothing is known.
    pub(crate) const ONE: Self = Self(1.0);
    const WORSE: f32 = 0.05;
    const BETTER: f32 = 0.005;
    /// Estimates are taken to be too low by that much.
    const MARGIN: f32 = 1.05;

    /// A batch was compressed.
    pub(crate) fn observe(&mut self, compressed: usize, raw: usize) {
        let seen = compressed as f32 / raw.max(1) as f32;
        self.0 = if seen > self.0 { (self.0 + Self::WORSE).max(seen) } else { (self.0 - Self::BETTER).max(seen) };
    }

    /// A batch was larger than was thought.
    pub(crate) fn reset(&mut self) {
        self.0 = self.0.max(1.0);
    }

    /// How many raw bytes are expected to become `compressed`.
    pub(crate) fn raw(self, compressed: usize) -> usize {
        (compressed as f32 / (self.0 * Self::MARGIN)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_gets_worse_at_once_and_better_slowly() {
        let mut ratio = Ratio::ONE;
        ratio.observe(10, 100);
        assert!((ratio.0 - 0.995).abs() < 1e-6);
        for _ in 0..1000 {
            ratio.observe(10, 100);
        }
        assert!((ratio.0 - 0.1).abs() < 1e-6);
        ratio.observe(11, 100);
        assert!((ratio.0 - 0.15).abs() < 1e-6);
        ratio.observe(90, 100);
        assert!((ratio.0 - 0.9).abs() < 1e-6);
        ratio.reset();
        assert!((ratio.0 - 1.0).abs() < 1e-6, "a batch was larger than was thought");
        ratio.observe(120, 100);
        ratio.reset();
        assert!((ratio.0 - 1.2).abs() < 1e-6, "it is worse than that");
    }

    /// Every codec that is built in, with levels.
    fn codecs() -> Vec<Compression> {
        let levels = [-1, 1, 3, 9].map(|level| Compression::Gzip { level });
        let zstd = [-5, 1, 3, 19].map(|level| Compression::Zstd { level });
        let all = levels.into_iter().chain([Compression::Snappy, Compression::Lz4]).chain(zstd);
        all.filter(|codec| codec.is_built_in()).collect()
    }

    /// Bytes that compress well, or not at all.
    fn sample(length: usize, random: bool) -> Vec<u8> {
        let mut state = 0x9e37_79b9u32;
        let noise = |n: usize| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            if random { state as u8 } else { (n % 37) as u8 + u8::from(state % 64 == 0) }
        };
        (0..length).map(noise).collect()
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let mut compressor = Compressor::default();
        for codec in codecs() {
            for length in [1, 60, 4095, 32_768, 65_536, 65_537, 300_000, 1 << 20] {
                for random in [false, true] {
                    let raw = sample(length, random);
                    let whole = compressor.compress(codec, core::iter::once(&raw[..]));
                    let pieces = compressor.compress(codec, raw.chunks(1000));
                    assert!(whole == pieces, "{codec:?}: chunks make no difference");
                    let Some(whole) = whole else {
                        assert!(random || length <= 60, "{codec:?} {length}");
                        continue;
                    };
                    assert!(decompress(codec, &whole, length).unwrap() == raw, "{codec:?} {length}");
                    assert!(whole.len() < length && !random, "{codec:?} {length}");
                }
            }
        }
    }

    /// From noise to what compresses well, a byte at a time: at one of them both are as large.
    #[test]
    fn what_does_not_get_smaller_is_not_compressed() {
        let mut compressor = Compressor::default();
        for codec in codecs() {
            let bytes = [sample(300, true), alloc::vec![0; 200]].concat();
            let mut done = 0;
            for length in 301..=500 {
                if let Some(compressed) = compressor.compress(codec, core::iter::once(&bytes[..length])) {
                    assert!(compressed.len() < length, "{codec:?}");
                    done += 1;
                }
            }
            assert!((1..200).contains(&done), "{codec:?}: {done}");
        }
    }

    #[test]
    fn what_is_broken_is_no_panic() {
        let mut compressor = Compressor::default();
        for codec in codecs() {
            let raw = sample(100_000, false);
            let good = compressor.compress(codec, core::iter::once(&raw[..])).unwrap();
            for cut in (0..good.len()).step_by(97) {
                assert_eq!(decompress(codec, &good[..cut], raw.len()), None, "{codec:?} cut at {cut}");
                let mut bad = good.clone();
                bad[cut] ^= 0x55;
                let _ = decompress(codec, &bad, raw.len());
            }
            assert_eq!(decompress(codec, &good, raw.len() - 1), None, "{codec:?}: longer than said");
        }
    }

    /// What the libraries' tables are of: 4,096 or 8,192 positions (lz4), up to 16,384 of two bytes and a buffer (snappy), a window with
    /// its chains (gzip). Where memory is small it is looked for before a batch is compressed.
    #[test]
    fn what_is_needed_is_the_batch_its_copy_what_comes_out_and_tables() {
        let tables = |codec, raw| Compressor::needs(codec, raw) - Compressor::needs(Compression::None, raw);
        for raw in [0, 1000, 1 << 20] {
            let plain = Compressor::needs(Compression::None, raw);
            assert!((3 * raw..=3 * raw + 1024).contains(&plain), "{plain} for {raw}");
            assert!((16 << 10..64 << 10).contains(&tables(Compression::Lz4, raw)));
            assert!((32 << 10..128 << 10).contains(&tables(Compression::Snappy, raw)));
            assert!((260 << 10..600 << 10).contains(&tables(Compression::GZIP, raw)));
        }
    }
}
