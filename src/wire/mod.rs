//! Messages into bytes, bytes into messages: what a producer sends and receives, and nothing else.
//!
//! Only requests are encoded and only responses decoded. Where Java's reader is lenient, this one chooses:
//!
//! | input | here | Java |
//! | --- | --- | --- |
//! | bytes after the last field | accepted | accepted |
//! | unknown tagged fields | skipped | skipped |
//! | a known tag whose size does not fit its content | refused | accepted |
//! | tags not in ascending order, or twice | accepted, the last counts | accepted |
//! | a count larger than the bytes that are left | refused before anything is allocated | refused |
//! | null where the schema allows none | refused | refused |
//! | strings that are not UTF-8 | refused | replaced |
//! | booleans other than 0 and 1 | accepted as true | accepted |
//! | overlong varints | accepted up to five bytes | accepted up to five bytes |

pub(crate) mod api_versions;
#[cfg(test)]
mod golden;
mod header;
pub(crate) mod init_producer_id;
pub(crate) mod metadata;
mod primitives;
pub(crate) mod produce;
pub(crate) mod sasl;
mod versions;

pub(crate) use header::{correlation, frame, response_header};
#[cfg(feature = "fuzzing")]
pub(crate) use primitives::Malformed;
pub(crate) use versions::Api;

/// A topic's id; all zero where it is unknown.
pub(crate) type Uuid = [u8; 16];
