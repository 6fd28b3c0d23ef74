//! Unpacks records of other clients, by the libraries themselves: whatever a client may write is read, and nothing of the
//! producer's own framing is used.

use alloc::vec::Vec;

/// What a batch may hold when it is unpacked; a request cannot be larger either.
const LARGEST: usize = 104_857_600;

/// Whether the codec of this number in a batch's attributes can be unpacked.
pub(super) fn is_built_in(codec: i16) -> bool {
    match codec {
        0 | 1 => true,
        2 => cfg!(feature = "snappy"),
        3 => cfg!(feature = "lz4"),
        4 => cfg!(feature = "zstd"),
        _ => false,
    }
}

/// The records of a batch as they were before compression.
pub(super) fn unpack(codec: i16, packed: &[u8]) -> Option<Vec<u8>> {
    match codec {
        1 => gzip(packed),
        #[cfg(feature = "snappy")]
        2 => snappy(packed),
        #[cfg(feature = "lz4")]
        3 => read_all(lz4_flex::frame::FrameDecoder::new(packed)),
        #[cfg(feature = "zstd")]
        4 => read_all(::zstd::Decoder::new(packed).ok()?),
        _ => None,
    }
}

/// One or more members, whatever is in their headers.
fn gzip(mut packed: &[u8]) -> Option<Vec<u8>> {
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
                if written >= LARGEST {
                    return None;
                }
                raw.resize((2 * written).clamp(4096, LARGEST), 0);
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
        packed = packed.get(inflate.total_in() as usize..)?;
        if packed.is_empty() {
            return Some(raw);
        }
    }
}

/// One raw block, as librdkafka writes it, or blocks in the frame of snappy-java.
#[cfg(feature = "snappy")]
fn snappy(packed: &[u8]) -> Option<Vec<u8>> {
    const MAGIC: &[u8] = b"\x82SNAPPY\0";
    /// The magic number, and two versions.
    const HEADER: usize = 16;
    if !packed.starts_with(MAGIC) {
        return block(packed);
    }
    let mut rest = packed.get(HEADER..)?;
    let mut raw = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (packed, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        raw.extend_from_slice(&block(packed)?);
        rest = behind;
    }
    return Some(raw);

    fn block(packed: &[u8]) -> Option<Vec<u8>> {
        let length = snap::raw::decompress_len(packed).ok().filter(|length| *length <= LARGEST)?;
        let mut raw = alloc::vec![0; length];
        let written = snap::raw::Decoder::new().decompress(packed, &mut raw).ok()?;
        (written == length).then_some(raw)
    }
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn read_all(from: impl std::io::Read) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut raw = Vec::new();
    from.take(LARGEST as u64 + 1).read_to_end(&mut raw).ok()?;
    (raw.len() <= LARGEST).then_some(raw)
}
