//! Servers that say anything: the machine never panics, never hangs, forgets no record, and goes on when they behave again.

#![cfg(feature = "cluster")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod desk;

use std::time::Duration;

use desk::Desk;
use milena::{Cause, ConnId, Input, Output, Record};

/// Small random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most)).map(|_| if self.below(3) == 0 { 0 } else { self.below(256) as u8 }).collect()
    }
}

#[test]
fn whatever_a_server_says_nothing_is_lost_and_nothing_panics() {
    for seed in 1..1500u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut desk =
            Desk::new(&[("linger.ms", "1"), ("request.timeout.ms", "1000"), ("delivery.timeout.ms", "60000")]);
        desk.send(&Record::new("t").value("first").partition(0)).expect("it is taken");
        let mut accepted = 1;
        for _ in 0..30 {
            let conns: Vec<ConnId> = desk.peers.keys().copied().collect();
            match (dice.below(6), conns.get(dice.below(1 + conns.len() as u64) as usize)) {
                (0, Some(conn)) => {
                    // Anything at all.
                    let bytes = dice.bytes(60);
                    desk.producer.handle_input(desk.now, Input::Data(*conn, &bytes));
                }
                (1, Some(conn)) => {
                    // A frame with a correlation id that may be awaited, and nonsense in it.
                    let body = dice.bytes(120);
                    let mut frame = (body.len() as i32 + 4).to_be_bytes().to_vec();
                    frame.extend_from_slice(&(dice.below(12) as i32).to_be_bytes());
                    frame.extend_from_slice(&body);
                    desk.producer.handle_input(desk.now, Input::Data(*conn, &frame));
                }
                (2, Some(conn)) => {
                    if let Some(peer) = desk.peers.remove(conn) {
                        desk.cluster.disconnect(peer);
                    }
                    desk.producer.handle_input(desk.now, Input::Disconnected(*conn, Cause::Closed));
                }
                _ => {
                    for _ in 0..dice.below(5) {
                        let record = Record::new("t").value("more").partition(dice.below(4) as i32);
                        if desk.producer.send(desk.now, &record).is_ok() {
                            accepted += 1;
                        }
                    }
                }
            }
            desk.run(Duration::from_millis(dice.below(200)));
        }
        desk.producer.close(desk.now);
        desk.run(Duration::from_secs(100));
        assert!(desk.producer.is_closed(), "seed {seed}");
        let named: usize = desk.deliveries().iter().map(|delivery| delivery.records.len()).sum();
        assert_eq!(named, accepted, "seed {seed}");
        assert_eq!(desk.producer.buffered(), 0, "seed {seed}");
        assert!(matches!(desk.producer.poll_output(), Output::Wait(None)), "seed {seed}");
    }
}
