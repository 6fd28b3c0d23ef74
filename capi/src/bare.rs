//! For programs without the standard library, written in C: memory and the end of the world are theirs.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_void};
use core::fmt::Write;

unsafe extern "C" {
    /// Memory of `size` bytes, aligned to `align` (a power of two, 16 at most); null if there is none. The program's own.
    fn milena_host_alloc(size: usize, align: usize) -> *mut c_void;
    /// Gives back what `milena_host_alloc` gave. The program's own.
    fn milena_host_free(data: *mut c_void, size: usize, align: usize);
    /// Something is wrong beyond repair, such as memory that is used up where nothing can be refused: says why. Must not return; a device
    /// is reset. The program's own.
    fn milena_host_panic(text: *const c_char, len: usize) -> !;
    /// Interrupts off; returns whether they were on. The program's own; on one core and without interrupts that use a producer both may do
    /// nothing.
    fn milena_host_lock() -> u8;
    /// Back to what `milena_host_lock` returned. The program's own.
    fn milena_host_unlock(before: u8);
}

struct Host;

unsafe impl GlobalAlloc for Host {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { milena_host_alloc(layout.size(), layout.align()).cast() }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        unsafe { milena_host_free(data.cast(), layout.size(), layout.align()) }
    }
}

#[global_allocator]
static HOST: Host = Host;

critical_section::set_impl!(Host);

unsafe impl critical_section::Impl for Host {
    unsafe fn acquire() -> u8 {
        unsafe { milena_host_lock() }
    }

    unsafe fn release(before: u8) {
        unsafe { milena_host_unlock(before) }
    }
}

/// A line of text of fixed size.
struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut line = Line { bytes: [0; 160], len: 0 };
    let _ = write!(line, "{info}");
    unsafe { milena_host_panic(line.bytes.as_ptr().cast(), line.len) }
}
