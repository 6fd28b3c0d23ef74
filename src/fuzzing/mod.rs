//! Bodies of the fuzz targets, one file each: a function that takes any bytes, and panics if something is wrong.
//!
//! `fuzz/` hands them to libFuzzer, which looks for bytes that get further; `tests/fuzzed.rs` runs them on what it found
//! (`fuzz/corpus`). Inputs are read by position, so that a byte changed here changes little elsewhere. What comes out is held
//! against somebody else's code where there is any: kafka-protocol, the codecs' libraries, rustls' server, or a model
//! written from the documentation.

mod batch;
mod codecs;
mod connection;
mod jaas;
mod properties;
mod responses;
mod scram;
mod world;

use alloc::vec::Vec;

use arbitrary::Unstructured;
use bytes::Bytes;

use crate::{ConnId, Instant, Producer};

pub use batch::batch;
pub use codecs::codecs;
pub use connection::connection;
pub use jaas::jaas;
pub use properties::properties;
pub use responses::responses;
pub use scram::scram;
pub use world::world;

/// Connections with TLS: see `tls.rs`, which is a room of the adapters.
pub fn tls(input: &[u8]) {
    crate::adapter::fuzzing::tls(input);
}

/// What a target is.
pub type Target = fn(&[u8]);

/// All of them, by their names.
pub const TARGETS: [(&str, Target); 9] = [
    ("batch", batch),
    ("codecs", codecs),
    ("connection", connection),
    ("jaas", jaas),
    ("properties", properties),
    ("responses", responses),
    ("scram", scram),
    ("tls", tls),
    ("world", world),
];

/// Outputs in one drain, and writes in a row, that nobody reaches who has an end.
pub(crate) const ENDLESS: usize = 10_000;

/// Writes all that a connection has to write, piece by piece.
fn transmit(producer: &mut Producer, now: Instant, conn: ConnId, mut write: impl FnMut(&Bytes)) {
    for _ in 0..ENDLESS {
        let segment = producer.transmit(now, conn).segments().next().cloned();
        let Some(segment) = segment else { return };
        write(&segment);
        let length = segment.len();
        drop(segment);
        producer.written(now, conn, length);
    }
    panic!("bytes without end");
}

/// A number from 0 to `most`; 0 where the input is at its end.
pub(crate) fn up_to(input: &mut Unstructured<'_>, most: usize) -> usize {
    input.int_in_range(0..=most).unwrap_or(0)
}

/// So many bytes of the input, or what is left of it.
pub(crate) fn bytes<'a>(input: &mut Unstructured<'a>, most: usize) -> &'a [u8] {
    let length = up_to(input, most).min(input.len());
    input.bytes(length).unwrap_or_default()
}

/// Bytes made of runs, repetitions and noise: short inputs get long, and compress well or not.
pub(crate) fn stretched(input: &mut Unstructured<'_>, most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..up_to(input, 7) {
        match up_to(input, 3) {
            0 => {
                let byte = up_to(input, 255) as u8;
                let length = up_to(input, 70_000);
                out.extend(core::iter::repeat_n(byte, length));
            }
            1 if !out.is_empty() => {
                let from = up_to(input, out.len() - 1);
                let length = up_to(input, 300);
                out.extend_from_within(from..(from + length).min(out.len()));
            }
            2 => {
                let mut state = up_to(input, 255) as u32 | 1;
                let noise = |_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                };
                out.extend((0..up_to(input, 9000)).map(noise));
            }
            _ => out.extend_from_slice(bytes(input, 60)),
        }
    }
    out.truncate(most);
    out
}
