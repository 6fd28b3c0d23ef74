//! A list of inputs for the machine, and what it says to each: line by line, the same everywhere.

#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt::Arguments;

use milena::{Cause, Config, ConnId, Input, Instant, Output, Producer, Record, UnixTime};

/// What the producer is told. Connections are counted from 0 in the order in which it asked for them.
#[derive(Clone, Debug)]
pub enum Step {
    Send(i32, Vec<u8>),
    Connected(u32),
    Disconnected(u32),
    Data(u32, Vec<u8>),
    Timeout,
    Flush,
    Close,
}

/// The machine, and who hears what it says.
pub struct Machine<'a> {
    pub producer: Producer,
    conns: Vec<ConnId>,
    say: &'a mut dyn FnMut(Arguments<'_>),
}

/// What a step made the machine ask for, for who records.
#[derive(Debug)]
pub enum Asked {
    Connect(u32, u16),
    Disconnect(u32),
    Write(u32, Vec<u8>),
    Wait(Option<Instant>),
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl<'a> Machine<'a> {
    pub fn new(say: &'a mut dyn FnMut(Arguments<'_>)) -> Self {
        let config = Config::builder("node:9092")
            .option("buffer.memory", "1048576")
            .option("compression.type", "lz4")
            .option("compression.jobs", "0")
            .build()
            .expect("valid options");
        let day = Some(UnixTime::from_millis(1_700_000_000_000));
        Self { producer: Producer::new(Instant::ZERO, day, config, [7; 32]), conns: Vec::new(), say }
    }

    /// Tells the machine something, and says all that it says to it.
    pub fn step(&mut self, at: u64, step: &Step) -> Vec<Asked> {
        let now = Instant::from_nanos(at);
        match step {
            Step::Send(partition, value) => {
                let sent =
                    self.producer.send(now, &Record::new("t").key(&value[..1]).value(value).partition(*partition));
                (self.say)(format_args!("{at} send {sent:?}"));
            }
            Step::Connected(conn) => self.producer.handle_input(now, Input::Connected(self.conns[*conn as usize])),
            Step::Disconnected(conn) => {
                self.producer.handle_input(now, Input::Disconnected(self.conns[*conn as usize], Cause::Closed));
            }
            Step::Data(conn, bytes) => self.producer.handle_input(now, Input::Data(self.conns[*conn as usize], bytes)),
            Step::Timeout => self.producer.handle_input(now, Input::Timeout),
            Step::Flush => (self.say)(format_args!("{at} flush {:?}", self.producer.flush(now))),
            Step::Close => self.producer.close(now),
        }
        self.drain(at)
    }

    fn drain(&mut self, at: u64) -> Vec<Asked> {
        let mut asked = Vec::new();
        loop {
            let output = self.producer.poll_output();
            (self.say)(format_args!("{at} {output:?}"));
            match output {
                Output::Connect { conn, port, .. } => {
                    self.conns.push(conn);
                    asked.push(Asked::Connect(self.conns.len() as u32 - 1, port));
                }
                Output::Disconnect(conn) => asked.push(Asked::Disconnect(self.nth(conn))),
                Output::Transmit(conn) => {
                    let now = Instant::from_nanos(at);
                    loop {
                        let segment = self.producer.transmit(now, conn).segments().next().cloned();
                        let Some(segment) = segment else { break };
                        (self.say)(format_args!("{at} {conn:?} {} bytes {:016x}", segment.len(), hash(&segment)));
                        asked.push(Asked::Write(self.nth(conn), segment.to_vec()));
                        let len = segment.len();
                        drop(segment);
                        self.producer.written(now, conn, len);
                    }
                }
                Output::Wait(until) => {
                    asked.push(Asked::Wait(until));
                    return asked;
                }
                Output::Event(_) | Output::Job(_) | Output::Token { .. } => {}
            }
        }
    }

    fn nth(&self, conn: ConnId) -> u32 {
        self.conns.iter().position(|known| *known == conn).expect("it was asked for") as u32
    }
}

/// A step as bytes: its time, its kind, a number, and bytes with their length.
pub fn write(out: &mut Vec<u8>, at: u64, step: &Step) {
    let (kind, number, bytes): (u8, u32, &[u8]) = match step {
        Step::Send(partition, value) => (0, *partition as u32, value),
        Step::Connected(conn) => (1, *conn, &[]),
        Step::Disconnected(conn) => (2, *conn, &[]),
        Step::Data(conn, bytes) => (3, *conn, bytes),
        Step::Timeout => (4, 0, &[]),
        Step::Flush => (5, 0, &[]),
        Step::Close => (6, 0, &[]),
    };
    out.extend(at.to_le_bytes());
    out.push(kind);
    out.extend(number.to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out.extend(bytes);
}

/// Takes a session's steps, one after the other. How many there were.
pub fn repeat(session: &[u8], say: &mut dyn FnMut(Arguments<'_>)) -> usize {
    let mut machine = Machine::new(say);
    let (mut rest, mut steps) = (session, 0);
    while let Some((head, behind)) = rest.split_first_chunk::<17>() {
        let number = |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let at = u64::from(number(0)) | u64::from(number(4)) << 32;
        let (bytes, behind) = behind.split_at(number(13) as usize);
        let step = match head[8] {
            0 => Step::Send(number(9) as i32, bytes.to_vec()),
            1 => Step::Connected(number(9)),
            2 => Step::Disconnected(number(9)),
            3 => Step::Data(number(9), bytes.to_vec()),
            4 => Step::Timeout,
            5 => Step::Flush,
            _ => Step::Close,
        };
        machine.step(at, &step);
        rest = behind;
        steps += 1;
    }
    assert!(rest.is_empty(), "a session that is cut off");
    assert!(steps == 0 || machine.producer.is_closed(), "a session ends with a close");
    steps
}
