//! The machine against a scripted cluster: servers that answer what the test says, in virtual time.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests look at what they are about")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod asked;
mod bounds;
mod control;
mod health;
mod leaving;
mod line;
mod logged;
mod measures;
mod pace;
mod pace_eyes;
mod renewal;
mod requests;
mod rules;
mod script;
mod seldom;
mod shared;
mod short_way;
mod truth;
mod window;

mod eyes;
mod few_sockets;
mod hostile_peer;
mod identity;
mod probe;
mod usual;
