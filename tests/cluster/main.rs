//! The cluster in memory answers odd requests as Kafka does, keeps what it was sent, and hands it out.

#![cfg(feature = "cluster")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod admin;
mod bench;
mod commits;
mod fetch;
mod garbage;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod server;
