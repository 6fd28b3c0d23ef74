//! What no one can unpack, and what everyone can.

use alloc::vec::Vec;

use arbitrary::Unstructured;

use super::{stretched, up_to};
use crate::batch::codec::decompress;
use crate::batch::{Compression, Compressor};
use crate::cluster::codec::unpack_within;

/// More than any of these inputs may become.
const PLENTY: usize = 8 << 20;

/// Bytes as a frame of each codec, and data there and back: no panic, no more bytes than are allowed, the same from all readers.
pub fn codecs(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let codec = match up_to(&mut input, 3) {
        0 => Compression::Gzip { level: [-1, 1, 6, 9][up_to(&mut input, 3)] },
        1 => Compression::Snappy,
        2 => Compression::Lz4,
        _ => Compression::Zstd { level: [-5, 1, 3, 19][up_to(&mut input, 3)] },
    };
    let limit = up_to(&mut input, 100_000);
    match up_to(&mut input, 2) {
        0 => foreign(codec, input.take_rest(), limit),
        1 => {
            let raw = stretched(&mut input, 200_000);
            there_and_back(codec, &raw, 1 + up_to(&mut input, 40_000));
        }
        _ => {
            // A whole frame, spoiled in places.
            let raw = stretched(&mut input, 200_000);
            let Some(mut packed) = pack(codec, &raw, usize::MAX) else { return };
            for _ in 0..up_to(&mut input, 5) {
                let place = up_to(&mut input, packed.len() - 1);
                packed[place] ^= up_to(&mut input, 255) as u8;
            }
            packed.truncate(packed.len() - up_to(&mut input, packed.len().min(20)));
            foreign(codec, &packed, limit);
            foreign(codec, &packed, raw.len());
        }
    }
}

fn pack(codec: Compression, raw: &[u8], pieces: usize) -> Option<Vec<u8>> {
    Compressor::default().compress(codec, raw.chunks(pieces.min(raw.len().max(1))))
}

/// Whatever is in it.
fn foreign(codec: Compression, packed: &[u8], limit: usize) {
    let all = unpack_within(codec.id(), packed, PLENTY);
    let some = unpack_within(codec.id(), packed, limit);
    if let Some(some) = &some {
        assert!(some.len() <= limit, "{codec:?}: {} bytes of {limit}", some.len());
    }
    if all.as_ref().is_some_and(|all| all.len() <= limit) || some.is_some() {
        assert!(all == some, "{codec:?}: a limit that is kept makes no difference");
    }
    // The producer's own reader takes less, but nothing else.
    if let Some(own) = decompress(codec, packed, limit) {
        assert_eq!(own.len(), limit);
        assert!(
            some.is_some_and(|some| some == own),
            "{codec:?}: read by the producer's codec, and otherwise by the cluster's"
        );
    }
}

fn there_and_back(codec: Compression, raw: &[u8], pieces: usize) {
    let whole = pack(codec, raw, usize::MAX);
    assert!(whole == pack(codec, raw, pieces), "{codec:?}: pieces make no difference");
    let Some(packed) = whole else { return };
    assert!(packed.len() < raw.len(), "{codec:?}: what does not shrink is sent as it is");
    assert!(
        decompress(codec, &packed, raw.len()).is_some_and(|back| back == raw),
        "{codec:?}: by the producer's codec"
    );
    assert!(
        unpack_within(codec.id(), &packed, raw.len()).is_some_and(|back| back == raw),
        "{codec:?}: by the cluster's"
    );
    assert_eq!(unpack_within(codec.id(), &packed, raw.len() - 1), None, "{codec:?}: more than is allowed");
}
