//! The heap, how much of it was used at most, and how much of the stack.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use linked_list_allocator::Heap as List;

const SIZE: usize = match option_env!("HEAP") {
    Some(text) => decimal(text.as_bytes()),
    None => 16 << 10,
};

const fn decimal(text: &[u8]) -> usize {
    let (mut value, mut at) = (0, 0);
    while at < text.len() {
        value = value * 10 + (text[at] - b'0') as usize;
        at += 1;
    }
    value
}

#[repr(align(8))]
struct Place(UnsafeCell<[u8; SIZE]>);

// One core, and no interrupt that allocates.
unsafe impl Sync for Place {}
unsafe impl Sync for Heap {}

static PLACE: Place = Place(UnsafeCell::new([0; SIZE]));

struct State {
    list: List,
    peak: usize,
    /// The last piece that was given, if nothing has been given or taken back since: it may have been asked for only to see whether it
    /// could be had, and then it does not count.
    last: Option<(*mut u8, usize)>,
}

pub struct Heap(UnsafeCell<State>);

#[global_allocator]
pub static HEAP: Heap = Heap(UnsafeCell::new(State { list: List::empty(), peak: 0, last: None }));

impl Heap {
    pub fn init(&self) {
        unsafe { (*self.0.get()).list.init(PLACE.0.get().cast(), SIZE) };
    }

    /// Bytes in use at most.
    pub fn peak(&self) -> usize {
        unsafe { (*self.0.get()).peak }
    }
}

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let state = unsafe { &mut *self.0.get() };
        if let Some((_, used)) = state.last.take() {
            state.peak = state.peak.max(used);
        }
        let Ok(got) = state.list.allocate_first_fit(layout) else { return core::ptr::null_mut() };
        state.last = Some((got.as_ptr(), state.list.used()));
        got.as_ptr()
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let state = unsafe { &mut *self.0.get() };
        match state.last.take() {
            Some((last, _)) if last == pointer => {}
            Some((_, used)) => state.peak = state.peak.max(used),
            None => {}
        }
        unsafe { state.list.deallocate(NonNull::new_unchecked(pointer), layout) };
    }
}

/// Bytes of the stack in use at most: it was painted before `main`.
pub fn stack_peak() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let (top, mut at) = (&raw const _stack_start, &raw const _stack_end);
    while at < top && unsafe { at.read_volatile() } == 0xcccc_cccc {
        at = at.wrapping_add(1);
    }
    top as usize - at as usize
}
