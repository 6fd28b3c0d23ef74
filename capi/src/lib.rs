//! The producer of the crate `milena` for C, and for whatever can call C: a state machine without sockets, clock, threads or
//! callbacks. `include/milena.h` is made of this crate; docs/embedded.md has a whole program, docs/hosts.md says how to write a host.
//!
//! Rules that hold for every function:
//!
//! - A producer is a number, its handle. A handle of no producer, or of one that was freed, is `MILENA_INVALID_HANDLE`, always:
//!   numbers are not used again before a producer's slot has been used 4,194,303 times.
//! - Calls on one producer must not overlap: one that comes while another is at work is refused with `MILENA_BUSY`. Different producers
//!   may be used by different threads.
//! - Times are nanoseconds on a clock of the caller's that never goes back, from any start; a smaller time than before counts as the one
//!   before. Times of day are milliseconds since the Unix epoch.
//! - Texts are UTF-8, with a length, without a NUL at the end. What a function hands out lives until the next call on that producer.
//! - A null pointer with a length other than 0, and a null pointer where something is to be written, are `MILENA_NULL`. What a pointer
//!   points to can't be checked: it has to be there for its length.
//! - A result below 0 is an error, and nothing was changed (but for `milena_send_many`, which may have taken records before the one
//!   that it refuses). Every function may say MILENA_INVALID_HANDLE, MILENA_BUSY, MILENA_NULL, MILENA_INVALID_ARGUMENT, MILENA_NO_MEMORY
//!   and MILENA_BUG; `milena_last_error` has the words for what was refused of a record or a topic. A record or a secret is in no text.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(all(feature = "bare", not(feature = "std")))]
mod bare;
mod calls;
mod health;
mod many;
mod table;
mod types;
mod words;

pub use calls::*;
pub use health::*;
pub use many::*;
pub use types::*;
