//! Unpacks records of other clients, by the libraries themselves: whatever a client may write is read, and nothing of the
//! producer's own framing is used.

use alloc::vec::Vec;

#[cfg(feature = "snappy")]
use crate::planted::planted;

/// What a batch may hold when it is unpacked; a request cannot be larger either.
const LARGEST: usize = 104_857_600;

/// Whether the codec of this number in a batch's attributes can be unpacked.
pub(super) fn is_built_in(codec: i16) -> bool {
    let built_in = [true, true, cfg!(feature = "snappy"), cfg!(feature = "lz4"), cfg!(feature = "zstd")];
    usize::try_from(codec).ok().and_then(|codec| built_in.get(codec).copied()).unwrap_or(false)
}

/// The records of a batch as they were before compression.
pub(super) fn unpack(codec: i16, packed: &[u8]) -> Option<Vec<u8>> {
    unpack_within(codec, packed, LARGEST)
}

/// The same, if they are not more than `largest` bytes: no more than that is made room for, but a byte or a block.
pub(crate) fn unpack_within(codec: i16, packed: &[u8], largest: usize) -> Option<Vec<u8>> {
    match codec {
        1 => gzip(packed, largest),
        #[cfg(feature = "snappy")]
        2 => snappy(packed, largest),
        #[cfg(feature = "lz4")]
        3 => read_all(lz4_flex::frame::FrameDecoder::new(packed), largest),
        #[cfg(feature = "zstd")]
        4 => read_all(::zstd::Decoder::new(packed).ok()?, largest),
        _ => None,
    }
}

/// One or more members, whatever is in their headers.
fn gzip(mut packed: &[u8], largest: usize) -> Option<Vec<u8>> {
    use zlib_rs::{Inflate, InflateFlush, Status};
    /// A window of 32 KiB, after gzip's header.
    const WINDOW_BITS: u8 = 16 + 15;
    let mut raw = Vec::new();
    loop {
        let mut inflate = Inflate::new(true, WINDOW_BITS);
        let from = raw.len();
        loop {
            let (read, written) = (inflate.total_in() as usize, from + inflate.total_out() as usize);
            if written == raw.len() {
                if written > largest {
                    return None;
                }
                // A byte more than there may be: what follows it may be the end.
                raw.resize((2 * written).max(4096).min(largest + 1), 0);
            }
            let status = inflate.decompress(packed.get(read..)?, &mut raw[written..], InflateFlush::NoFlush).ok()?;
            let moved = (inflate.total_in() as usize, from + inflate.total_out() as usize) != (read, written);
            match status {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError if moved => {}
                Status::Ok | Status::BufError => return None,
            }
        }
        raw.truncate(from + inflate.total_out() as usize);
        if raw.len() > largest {
            return None;
        }
        packed = packed.get(inflate.total_in() as usize..)?;
        if packed.is_empty() {
            return Some(raw);
        }
    }
}

/// One raw block, as librdkafka writes it, or blocks in the frame of snappy-java.
#[cfg(feature = "snappy")]
fn snappy(packed: &[u8], largest: usize) -> Option<Vec<u8>> {
    const MAGIC: &[u8] = b"\x82SNAPPY\0";
    /// The magic number, and two versions.
    const HEADER: usize = 16;
    if !packed.starts_with(MAGIC) {
        return block(packed, largest);
    }
    let mut rest = packed.get(HEADER..)?;
    let mut raw = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (packed, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let left = if planted("blocks-are-counted-alone") { largest } else { largest - raw.len() };
        raw.extend_from_slice(&block(packed, left)?);
        rest = behind;
    }
    return Some(raw);

    fn block(packed: &[u8], largest: usize) -> Option<Vec<u8>> {
        let length = snap::raw::decompress_len(packed).ok().filter(|length| *length <= largest)?;
        let mut raw = alloc::vec![0; length];
        let written = snap::raw::Decoder::new().decompress(packed, &mut raw).ok()?;
        (written == length).then_some(raw)
    }
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn read_all(from: impl std::io::Read, largest: usize) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut raw = Vec::new();
    from.take(largest as u64 + 1).read_to_end(&mut raw).ok()?;
    (raw.len() <= largest).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gzip of so many times 258 zeros and one, as one block of fixed codes.
    fn zeros(times: usize) -> Vec<u8> {
        let mut bits = Vec::from([true, true, false]); // the last block, of fixed codes
        bits.extend([false, false, true, true, false, false, false, false]); // literal 0
        for _ in 0..times {
            bits.extend([true, true, false, false, false, true, false, true]); // a length of 258
            bits.extend([false; 5]); // from one byte before
        }
        bits.extend([false; 7]); // the end
        let bytes = bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit)));
        let raw = alloc::vec![0; 258 * times + 1];
        let mut out = Vec::from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        out.extend(bytes);
        out.extend_from_slice(&zlib_rs::crc32::crc32(0, &raw).to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        out
    }

    #[test]
    fn gzip_is_read_up_to_what_a_request_may_hold() {
        assert_eq!(unpack(1, &zeros(0)), Some(alloc::vec![0]));
        assert_eq!(unpack(1, &zeros(100_000)).map(|raw| raw.len()), Some(25_800_001));
        assert_eq!(unpack(1, &zeros(LARGEST / 258)).map(|raw| raw.len()), Some(LARGEST / 258 * 258 + 1));
        assert_eq!(unpack(1, &zeros(LARGEST / 258 + 1)), None);
        let two = [zeros(20), zeros(20)].concat();
        assert_eq!(unpack_within(1, &two, 2 * 5161).map(|raw| raw.len()), Some(2 * 5161), "as many as there may be");
        assert_eq!(unpack_within(1, &two, 2 * 5161 - 1), None, "all members together count");
    }

    #[test]
    fn gzip_may_have_a_name_and_several_members_and_nothing_may_be_missing() {
        let mut named = zeros(1);
        named[3] = 8; // a name follows
        named.splice(10..10, *b"name\0");
        let two = [zeros(2), named].concat();
        assert_eq!(unpack(1, &two).map(|raw| raw.len()), Some(517 + 259));
        for length in 0..two.len() {
            let whole = length == zeros(2).len();
            assert_eq!(unpack(1, &two[..length]).is_some(), whole, "{length} of {} bytes", two.len());
        }
        let mut wrong = zeros(2);
        let checksum = wrong.len() - 8;
        wrong[checksum] ^= 1;
        assert_eq!(unpack(1, &wrong), None);
    }

    #[cfg(feature = "snappy")]
    #[test]
    fn snappy_is_read_raw_and_in_javas_frame() {
        let packed = snap::raw::Encoder::new().compress_vec(b"aaaaaaaaaaaaaaaaaaaa").expect("room");
        assert_eq!(unpack(2, &packed).as_deref(), Some(&b"aaaaaaaaaaaaaaaaaaaa"[..]));
        let block = [&(packed.len() as u32).to_be_bytes()[..], &packed].concat();
        let framed = [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &block[..], &block].concat();
        assert_eq!(unpack(2, &framed).map(|raw| raw.len()), Some(40));
        assert_eq!(unpack(2, &framed[..framed.len() - 1]), None);
        assert_eq!(unpack_within(2, &framed, 39), None, "all blocks together count");
        assert_eq!(unpack_within(2, &framed, 40), unpack(2, &framed));
        assert_eq!(unpack(2, b"\xff\xff\xff\xff\x0fx"), None, "4 GB");
    }

    #[cfg(feature = "snappy")]
    #[test]
    fn snappy_in_javas_frame_is_read_up_to_what_a_request_may_hold() {
        const BLOCK: usize = 1 << 20;
        let packed = snap::raw::Encoder::new().compress_vec(&alloc::vec![0; BLOCK]).expect("room");
        let block = [&(packed.len() as u32).to_be_bytes()[..], &packed].concat();
        let framed = |blocks| [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &block.repeat(blocks)[..]].concat();
        assert_eq!(unpack(2, &framed(LARGEST / BLOCK)).map(|raw| raw.len()), Some(LARGEST / BLOCK * BLOCK));
        assert_eq!(unpack(2, &framed(LARGEST / BLOCK + 1)), None);
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn lz4_frames_are_read_and_broken_ones_not() {
        use std::io::Write;
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(&[7; 200_000]).expect("a vector takes all");
        let packed = encoder.finish().expect("a vector takes all");
        assert_eq!(unpack(3, &packed), Some(alloc::vec![7; 200_000]));
        assert_eq!(unpack(3, &packed[..packed.len() / 2]), None);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_is_read_up_to_what_a_request_may_hold() {
        let packed =
            |length: usize| ::zstd::encode_all(std::io::repeat(0).take(length as u64), 1).expect("it is packed");
        use std::io::Read;
        assert_eq!(unpack(4, &packed(LARGEST)).map(|raw| raw.len()), Some(LARGEST));
        assert_eq!(unpack(4, &packed(LARGEST + 1)), None);
        assert_eq!(unpack(4, b"no frame"), None);
    }

    #[test]
    fn codecs_that_are_not_there_are_known_as_such() {
        assert!(is_built_in(0) && is_built_in(1) && !is_built_in(5) && !is_built_in(7));
        assert_eq!(is_built_in(3), cfg!(feature = "lz4"));
        assert_eq!(unpack(5, b"x"), None);
    }
}
