//! Has its own panic handler and allocator. If anything in the graph needs std, there are two panic handlers, and that is
//! error E0152.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};

use milena::{Config, Input, Instant, Output, Producer, Record};

struct Nothing;

unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Nothing = Nothing;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Uses the whole loop, so that all of it is compiled.
pub fn drive(now: Instant, bytes: &[u8]) -> usize {
    let Ok(config) = Config::new("192.0.2.1:9092") else { return 0 };
    let mut producer = Producer::new(now, None, config, [1; 32]);
    let _ = producer.send(now, &Record::new("t").key(b"k").value(b"v"));
    let mut written = 0;
    loop {
        match producer.poll_output() {
            Output::Connect { conn, .. } => {
                producer.handle_input(now, Input::Connected(conn));
                producer.handle_input(now, Input::Data(conn, bytes));
            }
            Output::Transmit(conn) => written += bytes::Buf::remaining(&producer.transmit(now, conn)),
            Output::Disconnect(_) | Output::Event(_) => {}
            Output::Job(job) => producer.handle_input(now, Input::Done(job.give_up())),
            Output::Token { .. } => producer.handle_input(now, Input::Token(Err("none"))),
            Output::Wait(_) => return written,
        }
    }
}
