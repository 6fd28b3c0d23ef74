//! Repeats the session on a Cortex-M3, and says it by semihosting.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hio};
use linked_list_allocator::Heap;

static SESSION: &[u8] = include_bytes!(env!("MILENA_SESSION"));

const SIZE: usize = 3 << 20;

/// One core, and no interrupts.
struct Memory(core::cell::UnsafeCell<Heap>);

unsafe impl Sync for Memory {}

unsafe impl core::alloc::GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: core::alloc::Layout) -> *mut u8 {
        let heap = unsafe { &mut *self.0.get() };
        heap.allocate_first_fit(layout).map_or(core::ptr::null_mut(), core::ptr::NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: core::alloc::Layout) {
        let heap = unsafe { &mut *self.0.get() };
        unsafe { heap.deallocate(core::ptr::NonNull::new_unchecked(data), layout) };
    }
}

#[global_allocator]
static MEMORY: Memory = Memory(core::cell::UnsafeCell::new(Heap::empty()));

#[entry]
fn main() -> ! {
    static mut ROOM: [MaybeUninit<u8>; SIZE] = [MaybeUninit::uninit(); SIZE];
    let room: &'static mut [MaybeUninit<u8>; SIZE] = ROOM;
    unsafe { (*MEMORY.0.get()).init(room.as_mut_ptr().cast(), SIZE) };
    let Ok(mut out) = hio::hstdout() else { fail() };
    let steps = milena_trace::repeat(SESSION, &mut |line| {
        // In one piece: each is a stop of the emulator.
        let line = alloc::format!("{line}\n");
        if out.write_all(line.as_bytes()).is_err() {
            fail();
        }
    });
    let line = alloc::format!("{steps} steps\n");
    if out.write_all(line.as_bytes()).is_err() {
        fail();
    }
    debug::exit(debug::EXIT_SUCCESS);
    fail()
}

extern crate alloc;

fn fail() -> ! {
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cortex_m_semihosting::hprintln!("{}", info);
    fail()
}
