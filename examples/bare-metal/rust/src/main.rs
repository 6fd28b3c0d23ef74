//! Firmware for a Cortex-M3 without an operating system: sends numbered readings to a topic, and says what became of them.
//!
//! Semihosting stands for what a board has: its arguments (`TOPIC COUNT SERVERS [RECORDS_PER_SECOND]`), a clock, a console, an exit.

#![no_std]
#![no_main]

extern crate alloc;

mod memory;
mod uart;

use alloc::string::{String, ToString};

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln, syscall};
use milena::{Cause, Config, ConnId, Event, Input, Instant, Output, Producer, Record, SendError, UnixTime};
use uart::{Frame, Uart};

/// How many streams may be open: one for control, one for each broker.
const STREAMS: usize = 4;

/// How often in a row a record may be refused for want of memory, with half a second each time.
const PATIENCE: u32 = 10;

macro_rules! say {
    ($($words:tt)*) => { hprintln!("{}", format_args!($($words)*)) };
}

struct Device {
    producer: Producer,
    uart: Uart,
    streams: [Option<(u32, ConnId)>; STREAMS],
    named: u32,
    delivered: u64,
    failed: u64,
}

#[entry]
fn main() -> ! {
    memory::HEAP.init();
    let arguments = arguments();
    let mut words = arguments.split(' ');
    let (topic, count, servers) = (words.next(), words.next(), words.next());
    let rate = words.next().and_then(|rate| rate.parse().ok()).unwrap_or(0);
    let (Some(topic), Some(count), Some(servers)) = (topic, count.and_then(|count| count.parse().ok()), servers) else {
        fail("arguments: TOPIC COUNT SERVERS [RECORDS_PER_SECOND]");
    };
    let config = Config::builder(servers)
        .buffer_memory(8 << 10)
        .batch_size(512)
        .batch_size_max(512)
        .max_request_size(2048)
        .request_timeout(core::time::Duration::from_secs(5))
        .build();
    let config = match config {
        Ok(config) => config,
        Err(error) => fail(&error.to_string()),
    };
    let start = now();
    // This device's clock begins in 1970. A seed has to be random: a board has a source of noise, here it is the time.
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&start.as_nanos().to_le_bytes());
    seed[8..12].copy_from_slice(&seconds().to_le_bytes());
    let producer = Producer::new(start, Some(UnixTime::from_millis(0)), config, seed);
    let mut device =
        Device { producer, uart: Uart::new(), streams: [None; STREAMS], named: 0, delivered: 0, failed: 0 };
    device.send_all(topic, count, rate);
    let took = (now().as_nanos() - start.as_nanos()) / 1_000_000;
    let Device { delivered, failed, .. } = device;
    say!("{count} records: {delivered} delivered, {failed} failed");
    let (heap, stack) = (memory::HEAP.peak(), memory::stack_peak());
    say!("heap {heap} stack {stack} ms {took}");
    debug::exit(if delivered == count { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    unreachable!("it has exited");
}

impl Device {
    /// The numbers from 0 on, in eight digits, to partition 0. A rate of 0 is as fast as can be.
    fn send_all(&mut self, topic: &str, count: u64, rate: u64) {
        let (mut sent, mut refused, mut again) = (0, 0, Instant::ZERO);
        let start = now();
        let due = |sent: u64| start + core::time::Duration::from_millis((sent * 1000).checked_div(rate).unwrap_or(0));
        while !self.producer.is_closed() {
            while sent < count && again <= now() && due(sent) <= now() {
                let mut text = [0; 8];
                decimal(sent, &mut text);
                match self.producer.send(now(), &Record::new(topic).value(&text).partition(0)) {
                    Ok(_) => {
                        (sent, refused) = (sent + 1, 0);
                        if sent == count / 2 {
                            // Somebody tells the time of day.
                            let time = UnixTime::from_millis(i64::from(seconds()) * 1000);
                            self.producer.handle_input(now(), Input::WallClock(time));
                        }
                        if sent == count {
                            self.producer.close(now());
                        }
                    }
                    Err(SendError::NotReady { .. } | SendError::BufferFull { .. }) => break,
                    Err(SendError::NoMemory { .. }) if refused < PATIENCE => {
                        refused += 1;
                        again = now() + core::time::Duration::from_millis(500);
                    }
                    Err(error) => fail(&error.to_string()),
                }
            }
            self.drain();
            self.receive();
            self.producer.handle_input(now(), Input::Timeout);
        }
    }

    fn drain(&mut self) {
        loop {
            match self.producer.poll_output() {
                Output::Connect { conn, host, port, .. } => {
                    let Some(free) = self.streams.iter_mut().find(|stream| stream.is_none()) else {
                        self.producer.handle_input(now(), Input::Disconnected(conn, Cause::Connect("too many")));
                        continue;
                    };
                    self.named += 1;
                    *free = Some((self.named, conn));
                    let mut digits = [0; 5];
                    decimal(u64::from(port), &mut digits);
                    self.uart.send(b'C', self.named, &[host.as_bytes(), b":", &digits]);
                }
                Output::Disconnect(conn) => {
                    if let Some(name) = self.end(|(_, of)| of == conn) {
                        self.uart.send(b'X', name.0, &[]);
                    }
                }
                Output::Transmit(conn) => self.transmit(conn),
                Output::Event(Event::Delivered(delivery)) => {
                    let count = delivery.records.len() as u64;
                    match delivery.outcome {
                        Ok(_) => self.delivered += count,
                        Err(error) => {
                            self.failed += count;
                            say!("{count} records failed: {error}");
                        }
                    }
                }
                Output::Event(Event::ConnectionFailed { host, port, error, .. }) => say!("{host}:{port}: {error}"),
                Output::Event(_) => {}
                Output::Job(job) => self.producer.handle_input(now(), Input::Done(job.give_up())),
                Output::Token { .. } => self.producer.handle_input(now(), Input::Token(Err("there are none"))),
                Output::Wait(_) => return,
            }
        }
    }

    fn transmit(&mut self, conn: ConnId) {
        let Some((name, _)) = self.streams.iter().flatten().find(|(_, of)| *of == conn).copied() else { return };
        loop {
            let transmit = self.producer.transmit(now(), conn);
            let Some(segment) = transmit.segments().next().cloned() else { return };
            drop(transmit);
            self.uart.send(b'D', name, &[&segment]);
            let written = segment.len();
            drop(segment); // so that its memory comes back at once
            self.producer.written(now(), conn, written);
        }
    }

    fn receive(&mut self) {
        while let Some(frame) = self.uart.receive() {
            let streams = &self.streams;
            let find = |name| streams.iter().flatten().find(|(of, _)| *of == name).map(|(_, conn)| *conn);
            match frame {
                Frame::Opened(name) => {
                    if let Some(conn) = find(name) {
                        self.producer.handle_input(now(), Input::Connected(conn));
                    }
                }
                Frame::Data(name, bytes) => {
                    if let Some(conn) = find(name) {
                        self.producer.handle_input(now(), Input::Data(conn, bytes));
                    }
                }
                Frame::Closed(name) => {
                    if let Some((_, conn)) = self.end(|(of, _)| of == name) {
                        self.producer.handle_input(now(), Input::Disconnected(conn, Cause::Closed));
                    }
                }
            }
        }
    }

    fn end(&mut self, which: impl Fn((u32, ConnId)) -> bool) -> Option<(u32, ConnId)> {
        self.streams.iter_mut().find(|stream| stream.is_some_and(&which)).and_then(Option::take)
    }
}

/// A number as text, with zeros before it.
fn decimal(mut value: u64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Since the start.
fn now() -> Instant {
    let mut ticks = [0u32; 2];
    unsafe { cortex_m_semihosting::syscall1(0x30, ticks.as_mut_ptr() as usize) }; // SYS_ELAPSED; QEMU's ticks are nanoseconds
    Instant::from_nanos(u64::from(ticks[1]) << 32 | u64::from(ticks[0]))
}

/// The time of day, in seconds since the Unix epoch.
fn seconds() -> u32 {
    unsafe { syscall!(TIME) as u32 }
}

/// What stands behind the program's name on its command line.
fn arguments() -> String {
    let mut line = [0u8; 256];
    let block = [line.as_mut_ptr() as usize, line.len()];
    if unsafe { cortex_m_semihosting::syscall1(0x15, block.as_ptr() as usize) } != 0 {
        fail("no arguments");
    }
    let end = line.iter().position(|byte| *byte == 0).unwrap_or(line.len());
    let text = core::str::from_utf8(&line[..end]).unwrap_or_default();
    text.split_once(' ').map_or("", |(_, rest)| rest).to_string()
}

fn fail(why: &str) -> ! {
    say!("{why}");
    debug::exit(debug::EXIT_FAILURE);
    unreachable!("it has exited");
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("{info}");
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}
