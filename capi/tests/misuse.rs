//! What C hosts get wrong is an error, and nothing else.

use core::ffi::c_char;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use milena_capi::milena_result::*;
use milena_capi::*;

/// One test uses up all handles, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const OPTIONS: &str = "bootstrap.servers=192.0.2.1:9092\n";

fn made() -> milena_handle {
    let mut handle = 0;
    let seed = [7; 32];
    let result =
        unsafe { milena_new(OPTIONS.as_ptr().cast(), OPTIONS.len(), 0, -1, seed.as_ptr(), &mut handle, null_mut(), 0) };
    assert_eq!(result, MILENA_OK);
    assert_ne!(handle, 0);
    handle
}

fn refused(options: &str) -> (milena_result, String) {
    let (mut handle, seed, mut words) = (77, [7; 32], [b'#'; 300]);
    let error = words.as_mut_ptr().cast();
    let result =
        unsafe { milena_new(options.as_ptr().cast(), options.len(), 0, -1, seed.as_ptr(), &mut handle, error, 300) };
    assert_eq!(handle, 0);
    let end = words.iter().position(|byte| *byte == 0).expect("a NUL");
    (result, String::from_utf8(words[..end].to_vec()).expect("a text"))
}

fn record(topic: &str) -> milena_record {
    let none = milena_bytes { data: null(), len: 0 };
    milena_record {
        topic: milena_bytes { data: topic.as_ptr().cast(), len: topic.len() },
        key: none,
        value: none,
        headers: null(),
        header_count: 0,
        timestamp: -1,
        partition: -1,
    }
}

fn polled(handle: milena_handle) -> (milena_result, u32) {
    let mut output = MaybeUninit::uninit();
    let result = unsafe { milena_poll(handle, output.as_mut_ptr()) };
    (result, if result == MILENA_OK { unsafe { output.assume_init() }.kind } else { u32::MAX })
}

#[test]
fn a_handle_of_nobody_is_an_error_everywhere() {
    let _turn = turn();
    let freed = made();
    assert_eq!(milena_free(freed), MILENA_OK);
    let other = made(); // it has the slot of the one before
    for handle in [0, freed, 1023, u32::MAX, other ^ (1 << 10)] {
        assert_eq!(milena_free(handle), MILENA_INVALID_HANDLE);
        assert_eq!(polled(handle).0, MILENA_INVALID_HANDLE);
        assert_eq!(milena_close(handle, 0), MILENA_INVALID_HANDLE);
        assert_eq!(milena_abort(handle, 0), MILENA_INVALID_HANDLE);
        assert_eq!(milena_connected(handle, 0, 1), MILENA_INVALID_HANDLE);
        assert_eq!(milena_timeout(handle, 0), MILENA_INVALID_HANDLE);
        assert_eq!(milena_time_of_day(handle, 0, 0), MILENA_INVALID_HANDLE);
        assert_eq!(milena_written(handle, 0, 1, 1), MILENA_INVALID_HANDLE);
        assert_eq!(milena_is_healthy(handle, 0, MILENA_FOREVER), MILENA_INVALID_HANDLE);
        let (mut number, mut size, mut id, mut bytes) = (0, 0, 0, milena_bytes { data: null(), len: 0 });
        unsafe {
            assert_eq!(milena_send(handle, 0, &record("t"), null_mut()), MILENA_INVALID_HANDLE);
            assert_eq!(milena_flush(handle, 0, &mut id), MILENA_INVALID_HANDLE);
            assert_eq!(milena_take_wake(handle, &mut number), MILENA_INVALID_HANDLE);
            assert_eq!(milena_transmit(handle, 0, 1, null_mut(), 0, &mut size), MILENA_INVALID_HANDLE);
            assert_eq!(milena_received(handle, 0, 1, null(), 0), MILENA_INVALID_HANDLE);
            assert_eq!(milena_disconnected(handle, 0, 1, 0, null(), 0), MILENA_INVALID_HANDLE);
            assert_eq!(milena_topic_name(handle, 0, &mut bytes), MILENA_INVALID_HANDLE);
            assert_eq!(milena_want_topic(handle, 0, "t".as_ptr().cast(), 1, null_mut()), MILENA_INVALID_HANDLE);
            assert_eq!(milena_partition_count(handle, "t".as_ptr().cast(), 1, &mut number), MILENA_INVALID_HANDLE);
            assert_eq!(milena_last_error(handle, null_mut(), 0, &mut size), MILENA_INVALID_HANDLE);
            assert_eq!(milena_why(handle, 0, null(), 0, null_mut(), 0, &mut size), MILENA_INVALID_HANDLE);
            assert_eq!(milena_token(handle, 0, null(), 0, 0), MILENA_INVALID_HANDLE);
            assert_eq!(milena_no_token(handle, 0, null(), 0), MILENA_INVALID_HANDLE);
            let mut status = milena_status::default();
            assert_eq!(milena_get_status(handle, &mut status), MILENA_INVALID_HANDLE);
            let (mut health, mut server) = (milena_health::default(), MaybeUninit::uninit());
            assert_eq!(milena_get_health(handle, 0, &mut health), MILENA_INVALID_HANDLE);
            assert_eq!(milena_get_server(handle, 0, 0, server.as_mut_ptr()), MILENA_INVALID_HANDLE);
        }
    }
    assert_eq!(milena_free(other), MILENA_OK);
}

#[test]
fn a_null_pointer_is_an_error_where_something_has_to_be() {
    let _turn = turn();
    let handle = made();
    let mut words = [0 as c_char; 8];
    let mut missing = record("t");
    missing.value = milena_bytes { data: null(), len: 3 };
    let mut headless = record("t");
    headless.header_count = 1;
    unsafe {
        assert_eq!(
            milena_new(OPTIONS.as_ptr().cast(), OPTIONS.len(), 0, -1, null(), &mut 0, null_mut(), 0),
            MILENA_NULL
        );
        assert_eq!(milena_new(null(), 3, 0, -1, [0; 32].as_ptr(), &mut 0, words.as_mut_ptr(), 8), MILENA_NULL);
        assert_eq!(words[7], 0);
        assert_eq!(milena_new(null(), 0, 0, -1, [0; 32].as_ptr(), null_mut(), null_mut(), 0), MILENA_NULL);
        assert_eq!(milena_send(handle, 0, null(), null_mut()), MILENA_NULL);
        assert_eq!(milena_send(handle, 0, &missing, null_mut()), MILENA_NULL);
        assert_eq!(milena_send(handle, 0, &headless, null_mut()), MILENA_NULL);
        assert_eq!(milena_poll(handle, null_mut()), MILENA_NULL);
        assert_eq!(milena_take_wake(handle, null_mut()), MILENA_NULL);
        assert_eq!(milena_get_health(handle, 0, null_mut()), MILENA_NULL);
        assert_eq!(milena_get_server(handle, 0, 0, null_mut()), MILENA_NULL);
        assert_eq!(milena_transmit(handle, 0, 1, null_mut(), 0, null_mut()), MILENA_NULL);
        assert_eq!(milena_transmit(handle, 0, 1, null_mut(), 1, &mut 0), MILENA_NULL);
        assert_eq!(milena_received(handle, 0, 1, null(), 1), MILENA_NULL);
        assert_eq!(milena_topic_name(handle, 0, null_mut()), MILENA_NULL);
        assert_eq!(milena_partition_count(handle, null(), 0, null_mut()), MILENA_NULL);
        assert_eq!(milena_get_status(handle, null_mut()), MILENA_NULL);
        assert_eq!(milena_last_error(handle, null_mut(), 1, null_mut()), MILENA_NULL);
        assert_eq!(milena_why(handle, 0, null(), 0, null_mut(), 1, null_mut()), MILENA_NULL);
        assert_eq!(milena_why(handle, 0, null(), 1, words.as_mut_ptr(), 8, null_mut()), MILENA_NULL);
        assert_eq!(milena_error_name(3, null_mut()), MILENA_NULL);
        assert_eq!(milena_disconnected(handle, 0, 1, 1, null(), 1), MILENA_NULL);
    }
    assert_eq!(milena_free(handle), MILENA_OK);
}

#[test]
fn what_has_no_meaning_is_an_error() {
    let _turn = turn();
    let handle = made();
    let no_text = [0xff_u8];
    let mut record = record("t");
    let there: *const u8 = &0;
    unsafe {
        record.value = milena_bytes { data: there.cast(), len: usize::MAX };
        assert_eq!(milena_send(handle, 0, &record, null_mut()), MILENA_INVALID_ARGUMENT);
        record.topic = milena_bytes { data: no_text.as_ptr().cast(), len: 1 };
        assert_eq!(milena_send(handle, 0, &record, null_mut()), MILENA_INVALID_ARGUMENT);
        assert_eq!(milena_want_topic(handle, 0, no_text.as_ptr().cast(), 1, null_mut()), MILENA_INVALID_ARGUMENT);
        assert_eq!(milena_disconnected(handle, 0, 1, 6, null(), 0), MILENA_INVALID_ARGUMENT);
        assert_eq!(milena_want_topic(handle, 0, "a/b".as_ptr().cast(), 3, null_mut()), MILENA_TOPIC_REFUSED);
        let (mut words, mut len) = ([1 as c_char; 12], 0);
        assert_eq!(milena_last_error(handle, words.as_mut_ptr(), 12, &mut len), MILENA_OK);
        assert_eq!(words[11], 0, "cut, with a NUL");
        assert!(len > 20);
        let mut name = milena_bytes { data: null(), len: 0 };
        assert_eq!(milena_error_name(100_000, &mut name), MILENA_OK);
        assert_eq!(milena_topic_name(handle, 999, &mut name), MILENA_OK);
        assert_eq!(name.len, 0);
    }
    // Of connections that are none.
    for conn in [0, 5, u32::MAX] {
        assert_eq!(milena_connected(handle, 0, conn), MILENA_OK);
        assert_eq!(milena_written(handle, 0, conn, usize::MAX), MILENA_OK);
        assert_eq!(unsafe { milena_received(handle, 0, conn, there.cast(), 1) }, MILENA_OK);
    }
    assert_eq!(milena_free(handle), MILENA_OK);
}

#[test]
fn wrong_options_are_told_in_words() {
    let _turn = turn();
    for (options, part) in [
        ("", "bootstrap.servers"),
        ("bootstrap.servers=h:1\nlinger.ms=soon\n", "linger.ms"),
        ("bootstrap.servers=h:1\npartitioner.class=com.example.Mine\n", "partitioner.class"),
        ("bootstrap.servers=h:1\ntransactional.id=t\n", "transactional.id"),
    ] {
        let (result, words) = refused(options);
        assert_eq!(result, MILENA_CONFIG, "{options}");
        assert!(words.contains(part), "{options}: {words}");
    }
}

#[test]
fn after_close_nothing_is_taken_and_after_closed_nothing_happens() {
    let _turn = turn();
    let handle = made();
    assert_eq!(milena_close(handle, 0), MILENA_OK);
    assert_eq!(milena_close(handle, 0), MILENA_OK);
    assert_eq!(unsafe { milena_send(handle, 0, &record("t"), null_mut()) }, MILENA_IS_CLOSED);
    let mut kinds = Vec::new();
    loop {
        match polled(handle) {
            (MILENA_OK, 0) => break,
            (MILENA_OK, kind) => kinds.push(kind),
            (error, _) => panic!("{error:?}"),
        }
    }
    assert_eq!(kinds, [milena_kind::MILENA_CLOSED as u32]);
    assert_eq!(polled(handle), (MILENA_OK, 0));
    assert_eq!(milena_timeout(handle, u64::MAX), MILENA_OK);
    assert_eq!(milena_timeout(handle, 0), MILENA_OK, "time that goes back stands still");
    assert_eq!(milena_free(handle), MILENA_OK);
}

#[test]
fn there_are_as_many_producers_as_there_are_numbers() {
    let _turn = turn();
    let mut handles = Vec::new();
    loop {
        let (mut handle, seed) = (0, [1; 32]);
        let result = unsafe {
            milena_new(OPTIONS.as_ptr().cast(), OPTIONS.len(), 0, -1, seed.as_ptr(), &mut handle, null_mut(), 0)
        };
        if result != MILENA_OK {
            assert_eq!(result, MILENA_TOO_MANY);
            break;
        }
        handles.push(handle);
    }
    assert!((1000..=1023).contains(&handles.len()), "{}", handles.len());
    handles.into_iter().for_each(|handle| assert_eq!(milena_free(handle), MILENA_OK));
    assert_eq!(milena_free(made()), MILENA_OK);
}

#[test]
fn calls_of_two_threads_on_one_producer_do_not_meet() {
    let _turn = turn();
    let handle = made();
    let calls = if cfg!(miri) { 100 } else { 20_000 }; // Miri takes a thousand times as long, and looks at each
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut seen = [0_u32; 2];
                for now in 0..calls {
                    let result = unsafe { milena_send(handle, now, &record("t"), null_mut()) };
                    match result {
                        MILENA_NOT_READY => seen[0] += 1,
                        MILENA_BUSY => seen[1] += 1,
                        _ => panic!("{result:?}"),
                    }
                    polled(handle);
                }
                seen
            })
        })
        .collect();
    let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert!(seen.iter().any(|seen| seen[0] > 0), "{seen:?}");
    assert_eq!(milena_free(handle), MILENA_OK);
}
