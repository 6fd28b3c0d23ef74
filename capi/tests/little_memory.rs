//! Programs with next to no memory: whatever there is, `milena_new` gives a producer or says that memory lacks, and so does the first
//! record. A failed allocation where nothing can be refused ends the process, and so this test.

#![allow(unsafe_code, reason = "a global allocator, and functions of C")]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{null, null_mut};

use milena_capi::milena_result::{MILENA_CONFIG, MILENA_NO_MEMORY, MILENA_NOT_READY, MILENA_OK};
use milena_capi::{
    milena_bytes, milena_free, milena_handle, milena_last_error, milena_new, milena_record, milena_result, milena_send,
};

/// What this thread may still take, in bytes.
struct Limited;

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

// SAFETY: hands everything to the system's, or gives nothing.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match LEFT.get().checked_sub(layout.size()) {
            Some(left) => {
                LEFT.set(left);
                // SAFETY: the caller's promises are passed on.
                unsafe { System.alloc(layout) }
            }
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        LEFT.set(LEFT.get().saturating_add(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(data, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Limited = Limited;

const SMALL: &str =
    "buffer.memory=8192\nbatch.size=512\nbatch.size.max=512\nmax.request.size=2048\nbootstrap.servers=h:9092\n";
const DEFAULTS: &str = "bootstrap.servers=h:9092\n";

/// What becomes of a producer and of its first record, with the words for the last error.
fn begin(options: &str, memory: usize) -> (milena_result, Option<milena_result>, String) {
    let (mut handle, mut words): (milena_handle, _) = (0, [0u8; 200]);
    let (text, seed) = (options.as_ptr().cast(), [7u8; 32]);
    let topic = milena_bytes { data: "t".as_ptr().cast(), len: 1 };
    let value = milena_bytes { data: "v".as_ptr().cast(), len: 1 };
    let key = milena_bytes { data: null(), len: 0 };
    let record = milena_record { topic, key, value, headers: null(), header_count: 0, timestamp: -1, partition: -1 };
    LEFT.set(memory);
    // SAFETY: all that is pointed to is there.
    let (made, sent) = unsafe {
        let room = words.as_mut_ptr().cast();
        let made = milena_new(text, options.len(), 0, -1, seed.as_ptr(), &mut handle, room, words.len());
        let sent = (made == MILENA_OK).then(|| milena_send(handle, 0, &record, null_mut()));
        if sent.is_some() {
            milena_last_error(handle, room, words.len(), null_mut());
            milena_free(handle);
        }
        (made, sent)
    };
    LEFT.set(usize::MAX);
    let end = words.iter().position(|byte| *byte == 0).expect("a NUL");
    (made, sent, String::from_utf8(words[..end].to_vec()).expect("a text"))
}

#[test]
fn with_next_to_no_memory_it_is_refused_in_words() {
    for options in [SMALL, DEFAULTS] {
        let (mut unmade, mut refused, mut works) = (0, 0, 0);
        for memory in (0..40 << 10).step_by(16) {
            let (made, sent, words) = begin(options, memory);
            match (made, sent) {
                (MILENA_NO_MEMORY, None) => unmade += 1,
                (MILENA_OK, Some(MILENA_NO_MEMORY)) => refused += 1,
                (MILENA_OK, Some(MILENA_NOT_READY)) => works += 1,
                _ => panic!("{memory} bytes: {made:?}, {sent:?}: {words}"),
            }
            if works == 0 {
                assert!(words.contains("memory") && words.contains("give it a larger heap"), "{memory}: {words}");
            }
            assert!(works == 0 || sent == Some(MILENA_NOT_READY), "{memory} bytes: {words}");
        }
        assert!(unmade > 0 && refused > 0 && works > 0, "{unmade}, {refused}, {works}");
    }
}

#[test]
fn other_errors_are_what_they_were() {
    let (made, _, words) = begin("bootstrap.servers=h:9092\nnonsense.option=1\n", usize::MAX);
    assert!(made == MILENA_CONFIG && words.contains("nonsense.option"), "{made:?}: {words}");
}
