//! The functions.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};
use core::fmt::{self, Display, Write};
use core::time::Duration;

use milena::{
    Cause, Config, ConfigError, ConnId, DeliveryErrorKind, ErrorCode, Event, Header, Input, Instant, Output, Part,
    Producer, PropertiesError, Record, SendError, Token, TopicIndex, UnixTime, parse_properties,
};

use crate::table::{self, Entry};
use crate::types::*;
use crate::words::{copy, place, refusal, slice, text};
use milena_kind::*;
use milena_result::*;

/// The version of what milena.h says: it grows when a function or a field changes its meaning or goes away.
pub const MILENA_VERSION: u32 = 1;

/// No time, no limit, nothing.
pub const MILENA_FOREVER: u64 = u64::MAX;

/// Records that hold this many headers at most need no memory but that of the record.
pub(crate) const FEW: usize = 8;

/// `MILENA_VERSION` of the library, which must be that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn milena_version() -> u32 {
    MILENA_VERSION
}

/// A producer that has done nothing yet, with `options` in the syntax of a properties file ("bootstrap.servers=host:9092\n...", names
/// and defaults as in docs/configuration.md). `time_of_day` is the present in milliseconds since the Unix epoch, -1 if it is not
/// known (`milena_time_of_day` tells it later). `seed` are 32 random bytes, fresh for each producer: equal seeds make equal choices. If
/// `error` is not null, it gets the words for an error, cut to `error_room` and with a NUL. What may follow: any call with the handle.
/// Errors: MILENA_CONFIG, MILENA_NULL, MILENA_INVALID_ARGUMENT, MILENA_TOO_MANY, MILENA_NO_MEMORY.
///
/// # Safety
/// All pointers have to be as the rules at the head say; `seed` names 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_new(
    options: *const c_char,
    options_len: usize,
    now: u64,
    time_of_day: i64,
    seed: *const u8,
    handle: *mut milena_handle,
    error: *mut c_char,
    error_room: usize,
) -> milena_result {
    let made: Option<Result<(), Unmade>> = table::guard(|| {
        let to = unsafe { place(handle) }.map_err(|it| Unmade::Argument(it, "handle is null"))?;
        to.write(0);
        let seed = unsafe { slice(seed, 32) }.map_err(|it| Unmade::Argument(it, "the seed is null"))?;
        let seed = seed.ok_or(Unmade::Argument(MILENA_NULL, "the seed is null"))?;
        let seed = seed.try_into().map_err(|_| Unmade::Argument(MILENA_BUG, ""))?;
        let options = unsafe { text(options, options_len) };
        let options = options.map_err(|it| Unmade::Argument(it, "the options are null or no UTF-8"))?;
        let config = configure(options)?;
        let (room, words) = table::room().ok_or(Unmade::Argument(MILENA_NO_MEMORY, NO_MEMORY))?;
        let unix = (time_of_day >= 0).then(|| UnixTime::from_millis(time_of_day));
        let producer = Producer::new(Instant::from_nanos(now), unix, config, seed);
        let handle = table::insert(room, Entry::new(producer, words)).map_err(|it| match it {
            MILENA_TOO_MANY => Unmade::Argument(it, "there are too many producers"),
            it => Unmade::Argument(it, NO_MEMORY),
        })?;
        to.write(handle);
        Ok(())
    });
    match made {
        Some(Ok(())) => MILENA_OK,
        Some(Err(why)) => {
            unsafe { copy(&why, error, error_room) };
            why.result()
        }
        None => MILENA_BUG,
    }
}

const NO_MEMORY: &str = "no memory for a producer; give it a larger heap";

/// Why there is no producer. It takes no memory to say so, for there may be none.
enum Unmade {
    Argument(milena_result, &'static str),
    Properties(PropertiesError),
    Config(ConfigError),
    Part(&'static str),
}

impl Unmade {
    fn result(&self) -> milena_result {
        match self {
            Self::Argument(result, _) => *result,
            Self::Properties(error) if error.lacks_memory() => MILENA_NO_MEMORY,
            Self::Config(ConfigError::NoMemory { .. }) => MILENA_NO_MEMORY,
            Self::Properties(_) | Self::Config(_) | Self::Part(_) => MILENA_CONFIG,
        }
    }
}

impl Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(_, words) => f.write_str(words),
            Self::Properties(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
            Self::Part(option) => write!(f, "{option} asks for code of the application, which can't be given here"),
        }
    }
}

fn configure(text: &str) -> Result<Config, Unmade> {
    let pairs = parse_properties(text).map_err(Unmade::Properties)?;
    let config = Config::from_properties(pairs).map_err(Unmade::Config)?;
    // Tokens come by MILENA_TOKEN, and TLS is the host's: it opens the streams.
    let missing = |(part, _): &(Part, &str)| !matches!(part, Part::TokenProvider | Part::TlsConfig);
    match config.parts().into_iter().find(missing) {
        Some((_, option)) => Err(Unmade::Part(option)),
        None => Ok(config),
    }
}

/// Ends a producer, whatever it has open: to deliver that first, `milena_close` and wait for `MILENA_CLOSED`. The handle is invalid from then
/// on, and so is what it has handed out. Errors: MILENA_INVALID_HANDLE, MILENA_BUSY.
#[unsafe(no_mangle)]
pub extern "C" fn milena_free(handle: milena_handle) -> milena_result {
    table::remove(handle)
}

/// Takes a record: copies it into a batch. Never waits. `sent` (may be null) says where it will be: the outcome comes as
/// MILENA_DELIVERED or MILENA_NOT_DELIVERED with the same `batch`, and an `index` and `count` that hold the record's. What may follow: if
/// `milena_take_wake` says 1, `milena_poll`.
/// Errors: MILENA_NOT_READY, MILENA_BUFFER_FULL, MILENA_TOO_LARGE, MILENA_UNKNOWN_PARTITION, MILENA_INVALID_TIMESTAMP,
/// MILENA_TOPIC_REFUSED, MILENA_ACCESS_DENIED, MILENA_IS_CLOSED, MILENA_FAILED, and those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_send(
    handle: milena_handle,
    now: u64,
    record: *const milena_record,
    sent: *mut milena_sent,
) -> milena_result {
    table::call(handle, |entry| {
        let record = unsafe { slice(record, 1) }?.and_then(<[_]>::first).ok_or(MILENA_NULL)?;
        let to = if sent.is_null() { None } else { Some(unsafe { place(sent) }?) };
        let headers = unsafe { slice(record.headers, record.header_count) }?.unwrap_or_default();
        let none = Header::null("");
        let (mut few, mut many) = ([none; FEW], Vec::new());
        let room = match few.get_mut(..headers.len()) {
            Some(room) => room,
            None => {
                many.try_reserve_exact(headers.len()).map_err(|_| MILENA_NO_MEMORY)?;
                many.resize(headers.len(), none);
                &mut many[..]
            }
        };
        for (to, header) in room.iter_mut().zip(headers) {
            let name = unsafe { header.name.text() }?;
            *to = match unsafe { header.value.get() }? {
                Some(value) => Header::new(name, value),
                None => Header::null(name),
            };
        }
        let mut it = Record::new(unsafe { record.topic.text() }?);
        it.key = unsafe { record.key.get() }?;
        it.value = unsafe { record.value.get() }?;
        it.headers = room;
        it.timestamp = (record.timestamp != -1).then_some(record.timestamp);
        it.partition = (record.partition != -1).then_some(record.partition);
        match entry.producer.send(Instant::from_nanos(now), &it) {
            Ok(sent) => {
                if let Some(to) = to {
                    to.write(milena_sent {
                        batch: batch(sent.id.batch),
                        timestamp: sent.timestamp,
                        index: sent.id.index,
                        topic: sent.topic.get() as u32,
                        partition: sent.partition,
                    });
                }
                Ok(())
            }
            Err(error) => Err(refused(entry, &error)),
        }
    })
}

pub(crate) fn batch(id: milena::BatchId) -> u64 {
    u64::from(id.generation()) << 32 | id.slot() as u64
}

pub(crate) fn refused(entry: &mut Entry, error: &SendError) -> milena_result {
    say(&mut entry.error, error);
    refusal(error)
}

/// Puts words in place of others, as far as there is memory for them.
pub(crate) fn say(to: &mut String, words: &dyn Display) {
    struct Careful<'a>(&'a mut String);
    impl Write for Careful<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
            self.0.push_str(text);
            Ok(())
        }
    }
    to.clear();
    let _ = write!(Careful(to), "{words}");
}

/// Asks for a topic, so that a first record finds it known. MILENA_TOPIC_READY or MILENA_TOPIC_FAILED follows with the number that
/// `topic` (may be null) gets. Errors: MILENA_TOPIC_REFUSED (a name that no broker takes), MILENA_ACCESS_DENIED, MILENA_IS_CLOSED,
/// MILENA_FAILED, and those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_want_topic(
    handle: milena_handle,
    now: u64,
    name: *const c_char,
    name_len: usize,
    topic: *mut u32,
) -> milena_result {
    table::call(handle, |entry| {
        let name = unsafe { text(name, name_len) }?;
        let index = entry.producer.want_topic(Instant::from_nanos(now), name);
        let index = index.map_err(|error| refused(entry, &error))?;
        if !topic.is_null() {
            unsafe { place(topic) }?.write(index.get() as u32);
        }
        Ok(())
    })
}

/// The name of a topic, by its number; empty if there is none. It lives until the next call on this producer. Errors: those of every
/// function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_topic_name(
    handle: milena_handle,
    topic: u32,
    name: *mut milena_bytes,
) -> milena_result {
    table::call(handle, |entry| {
        let to = unsafe { place(name) }?;
        to.write(milena_bytes::of(entry.producer.topic_name(TopicIndex::new(topic)).as_bytes()));
        Ok(())
    })
}

/// How many partitions a topic has; 0 if that is not known. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_partition_count(
    handle: milena_handle,
    name: *const c_char,
    name_len: usize,
    count: *mut u32,
) -> milena_result {
    table::call(handle, |entry| {
        let to = unsafe { place(count) }?;
        let partitions = entry.producer.partitions(unsafe { text(name, name_len) }?);
        to.write(partitions.map_or(0, |partitions| partitions.len() as u32));
        Ok(())
    })
}

/// Makes all that was sent leave without waiting for more. MILENA_FLUSHED follows with the `id` (may be null; the
/// first is 0) when each record has its outcome. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_flush(handle: milena_handle, now: u64, id: *mut u64) -> milena_result {
    table::call(handle, |entry| {
        let to = if id.is_null() { None } else { Some(unsafe { place(id) }?) };
        let id = entry.producer.flush(Instant::from_nanos(now));
        if let Some(to) = to {
            to.write(id.get());
        }
        Ok(())
    })
}

/// Takes no more records and delivers what is open; MILENA_CLOSED follows. Said again it does nothing. Errors: those of every
/// function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_close(handle: milena_handle, now: u64) -> milena_result {
    table::call(handle, |entry| {
        entry.producer.close(Instant::from_nanos(now));
        Ok(())
    })
}

/// Takes no more records and fails what is open; MILENA_CLOSED follows. Errors: those of every function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_abort(handle: milena_handle, now: u64) -> milena_result {
    table::call(handle, |entry| {
        entry.producer.abort(Instant::from_nanos(now));
        Ok(())
    })
}

/// The stream that MILENA_CONNECT asked for stands (and TLS, if the options ask for it). What may follow: `milena_poll`. One that is not
/// known (any more) is ignored. Errors: those of every function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_connected(handle: milena_handle, now: u64, conn: u32) -> milena_result {
    input(handle, now, Input::Connected(ConnId::new(conn)))
}

/// The stream is gone, or could not be opened: a `milena_cause`, and the system's words for it (may be empty). What may follow:
/// `milena_poll`. Errors: MILENA_INVALID_ARGUMENT for a cause that there is not, and those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_disconnected(
    handle: milena_handle,
    now: u64,
    conn: u32,
    cause: u32,
    words: *const c_char,
    words_len: usize,
) -> milena_result {
    let words = match unsafe { text(words, words_len) } {
        Ok(words) => words,
        Err(error) => return error,
    };
    let cause = match cause {
        0 => Cause::Closed,
        1 => Cause::Resolve(words),
        2 => Cause::Connect(words),
        3 => Cause::Tls(words),
        4 => Cause::Io(words),
        5 => Cause::Local,
        _ => return MILENA_INVALID_ARGUMENT,
    };
    input(handle, now, Input::Disconnected(ConnId::new(conn), cause))
}

/// Bytes that were read from a stream, cut anywhere. What may follow: `milena_poll`. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_received(
    handle: milena_handle,
    now: u64,
    conn: u32,
    data: *const c_void,
    len: usize,
) -> milena_result {
    match unsafe { slice(data.cast(), len) } {
        Ok(bytes) => input(handle, now, Input::Data(ConnId::new(conn), bytes.unwrap_or_default())),
        Err(error) => error,
    }
}

/// The time of the last MILENA_WAIT has come; hand in what can be read first. Harmless when early. What may follow: `milena_poll`.
/// Errors: those of every function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_timeout(handle: milena_handle, now: u64) -> milena_result {
    input(handle, now, Input::Timeout)
}

/// The time of day at this moment, in milliseconds since the Unix epoch: for a device that learns it late, or again. Records that are
/// sent from now on are stamped by it. Errors: those of every function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_time_of_day(handle: milena_handle, now: u64, millis: i64) -> milena_result {
    input(handle, now, Input::WallClock(UnixTime::from_millis(millis)))
}

/// A token for OAUTHBEARER, the answer to MILENA_TOKEN; `lifetime` in nanoseconds, MILENA_FOREVER if it is not known. Errors: those of
/// every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_token(
    handle: milena_handle,
    now: u64,
    token: *const c_char,
    token_len: usize,
    lifetime: u64,
) -> milena_result {
    match unsafe { text(token, token_len) } {
        Ok(token) => {
            let lifetime = (lifetime != MILENA_FOREVER).then(|| Duration::from_nanos(lifetime));
            input(handle, now, Input::Token(Ok(Token::new(token, lifetime))))
        }
        Err(error) => error,
    }
}

/// There is no token, and why: the other answer to MILENA_TOKEN. It will be asked for again. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_no_token(
    handle: milena_handle,
    now: u64,
    words: *const c_char,
    words_len: usize,
) -> milena_result {
    match unsafe { text(words, words_len) } {
        Ok(words) => input(handle, now, Input::Token(Err(words))),
        Err(error) => error,
    }
}

fn input(handle: milena_handle, now: u64, what: Input<'_>) -> milena_result {
    table::call(handle, |entry| {
        entry.producer.handle_input(Instant::from_nanos(now), what);
        Ok(())
    })
}

/// 1 in `wake` if a drain by `milena_poll` would now say something other than the last MILENA_WAIT. To be looked at after `milena_send`,
/// `milena_want_topic`, `milena_flush`, `milena_close`, `milena_abort`; after input, drain anyway. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_take_wake(handle: milena_handle, wake: *mut u32) -> milena_result {
    table::call(handle, |entry| {
        unsafe { place(wake) }?.write(u32::from(entry.producer.take_wake()));
        Ok(())
    })
}

/// The next thing to do or to know. To be called until it says MILENA_WAIT. Its pointers live until the next call on this producer.
/// Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_poll(handle: milena_handle, output: *mut milena_output) -> milena_result {
    table::call(handle, |entry| {
        let to = unsafe { place(output) }?;
        entry.text.clear();
        entry.host.clear();
        let next = entry.producer.poll_output();
        to.write(told(entry, next));
        Ok(())
    })
}

/// An output of this kind, with nothing in it.
fn nothing(kind: milena_kind) -> milena_output {
    milena_output {
        time: 0,
        batch: 0,
        offset: -1,
        log_append_time: -1,
        count: 0,
        id: 0,
        bytes: 0,
        host: milena_bytes::NONE,
        text: milena_bytes::NONE,
        name: milena_bytes::NONE,
        kind: kind as u32,
        conn: 0,
        attempt: 0,
        topic: 0,
        partition: -1,
        index: 0,
        port: 0,
        code: 0,
        attempts: 0,
        possibly_written: 0,
        retriable: 0,
    }
}

fn told(entry: &mut Entry, next: Output) -> milena_output {
    match next {
        Output::Wait(until) => {
            milena_output { time: until.map_or(MILENA_FOREVER, Instant::as_nanos), ..nothing(MILENA_WAIT) }
        }
        Output::Connect { conn, host, port, attempt } => {
            entry.host = host;
            milena_output {
                conn: conn.get(),
                host: milena_bytes::of(entry.host.as_bytes()),
                port: u32::from(port),
                attempt,
                ..nothing(MILENA_CONNECT)
            }
        }
        Output::Disconnect(conn) => milena_output { conn: conn.get(), ..nothing(MILENA_DISCONNECT) },
        Output::Transmit(conn) => milena_output { conn: conn.get(), ..nothing(MILENA_TRANSMIT) },
        Output::Token { until } => milena_output { time: until.as_nanos(), ..nothing(MILENA_TOKEN) },
        Output::Job(job) => {
            // None was asked for.
            let now = Instant::ZERO;
            entry.producer.handle_input(now, Input::Done(job.give_up()));
            nothing(MILENA_OTHER)
        }
        Output::Event(event) => event_told(entry, event),
    }
}

fn event_told(entry: &mut Entry, event: Event) -> milena_output {
    match event {
        Event::Delivered(delivery) => {
            let of = |kind| milena_output {
                batch: batch(delivery.batch),
                index: delivery.records.start,
                count: u64::from(delivery.records.end - delivery.records.start),
                topic: delivery.topic.get() as u32,
                partition: delivery.partition,
                ..nothing(kind)
            };
            match &delivery.outcome {
                Ok(written) => milena_output {
                    offset: written.base_offset.unwrap_or(-1),
                    log_append_time: written.log_append_time.unwrap_or(-1),
                    ..of(MILENA_DELIVERED)
                },
                Err(error) => {
                    say(&mut entry.text, error);
                    let code = match &error.kind {
                        DeliveryErrorKind::Refused(code) => code.code(),
                        DeliveryErrorKind::RetriesExhausted(code) | DeliveryErrorKind::TimedOut(code) => {
                            code.map_or(0, ErrorCode::code)
                        }
                        DeliveryErrorKind::Fatal(fatal) => fatal.code.code(),
                        _ => 0,
                    };
                    let retriable =
                        matches!(error.kind, DeliveryErrorKind::RetriesExhausted(_) | DeliveryErrorKind::TimedOut(_));
                    milena_output {
                        text: milena_bytes::of(entry.text.as_bytes()),
                        name: milena_bytes::of(error.name().as_bytes()),
                        code: i32::from(code),
                        attempts: error.attempts,
                        possibly_written: u32::from(error.possibly_written),
                        retriable: u32::from(retriable),
                        ..of(MILENA_NOT_DELIVERED)
                    }
                }
            }
        }
        Event::Flushed { id, failed } => milena_output { id: id.get(), count: failed, ..nothing(MILENA_FLUSHED) },
        Event::TopicReady { topic } => milena_output { topic: topic.get() as u32, ..nothing(MILENA_TOPIC_READY) },
        Event::TopicFailed { topic, error } => milena_output {
            topic: topic.get() as u32,
            code: i32::from(error.code()),
            name: milena_bytes::of(error.name().as_bytes()),
            ..with_text(entry, &SendError::TopicFailed(error), MILENA_TOPIC_FAILED)
        },
        Event::Writable { bytes } => milena_output { bytes: bytes as u64, ..nothing(MILENA_WRITABLE) },
        Event::AccessDenied(error) => with_text(entry, &error, MILENA_DENIED),
        Event::Fatal(error) => with_text(entry, &error, MILENA_FATAL),
        Event::ConnectionFailed { conn, host, port, error } => {
            entry.host = host;
            milena_output {
                conn: conn.get(),
                port: u32::from(port),
                host: milena_bytes::of(entry.host.as_bytes()),
                ..with_text(entry, &error, MILENA_CONNECTION_FAILED)
            }
        }
        Event::Throttled { pause, .. } => milena_output {
            time: u64::try_from(pause.as_nanos()).unwrap_or(MILENA_FOREVER),
            ..nothing(MILENA_THROTTLED)
        },
        Event::Closed => nothing(MILENA_CLOSED),
        // Without `std`, on machines with little flash, it has no words: those would take 7 KiB.
        _ if !cfg!(feature = "std") => nothing(MILENA_OTHER),
        other => with_text(entry, &format_args!("{other:?}"), MILENA_OTHER),
    }
}

fn with_text(entry: &mut Entry, words: &dyn Display, kind: milena_kind) -> milena_output {
    say(&mut entry.text, words);
    milena_output { text: milena_bytes::of(entry.text.as_bytes()), ..nothing(kind) }
}

/// What to write to a stream now, in order: fills up to `room` pieces and says in `count` how many; 0 if there is nothing. They live
/// until the next call on this producer: write as much of them as the stream takes, and say `milena_written`. Errors: those of every
/// function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_transmit(
    handle: milena_handle,
    now: u64,
    conn: u32,
    pieces: *mut milena_bytes,
    room: usize,
    count: *mut usize,
) -> milena_result {
    table::call(handle, |entry| {
        let count = unsafe { place(count) }?;
        count.write(0);
        unsafe { slice(pieces, room) }?;
        let transmit = entry.producer.transmit(Instant::from_nanos(now), ConnId::new(conn));
        let mut filled = 0;
        for segment in transmit.segments().take(room) {
            unsafe { pieces.add(filled).write(milena_bytes::of(segment)) };
            filled += 1;
        }
        count.write(filled);
        Ok(())
    })
}

/// So many bytes of what `milena_transmit` showed were written. What may follow: `milena_transmit`, until it shows nothing or the stream
/// takes no more; then `milena_poll`. Errors: those of every function.
#[unsafe(no_mangle)]
pub extern "C" fn milena_written(handle: milena_handle, now: u64, conn: u32, bytes: usize) -> milena_result {
    table::call(handle, |entry| {
        entry.producer.written(Instant::from_nanos(now), ConnId::new(conn), bytes);
        Ok(())
    })
}

/// Counters. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_get_status(handle: milena_handle, status: *mut milena_status) -> milena_result {
    table::call(handle, |entry| {
        let producer = &entry.producer;
        let stats = producer.stats();
        unsafe { place(status) }?.write(milena_status {
            records_accepted: stats.records_accepted,
            records_delivered: stats.records_delivered,
            records_failed: stats.records_failed,
            batches_sent: stats.batches_sent,
            retries: stats.retries,
            connection_failures: stats.connection_failures,
            buffered: producer.buffered() as u64,
            in_flight: producer.in_flight() as u32,
            closed: u32::from(producer.is_closed()),
        });
        Ok(())
    })
}

/// The words for the last call of `milena_send`, `milena_send_many` or `milena_want_topic` on this producer that was refused, cut to `room`
/// and with a NUL; `len` (may be null) gets their whole length. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_last_error(
    handle: milena_handle,
    words: *mut c_char,
    room: usize,
    len: *mut usize,
) -> milena_result {
    table::call(handle, |entry| {
        if words.is_null() && room > 0 {
            return Err(MILENA_NULL);
        }
        unsafe { copy(&entry.error.as_str(), words, room) };
        if !len.is_null() {
            unsafe { place(len) }?.write(entry.error.len());
        }
        Ok(())
    })
}

/// What stands in the way of a record that has waited too long, in words; empty if that is not known. After MILENA_NOT_READY with its
/// topic: what the cluster says of that, or why it can't be asked. After MILENA_BUFFER_FULL without a topic (null): what keeps the oldest
/// record. The words are cut to `room` and with a NUL; `len` (may be null) gets their whole length. What may follow: if
/// `milena_take_wake` says 1, `milena_poll`. Errors: those of every function.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_why(
    handle: milena_handle,
    now: u64,
    topic: *const c_char,
    topic_len: usize,
    words: *mut c_char,
    room: usize,
    len: *mut usize,
) -> milena_result {
    table::call(handle, |entry| {
        if words.is_null() && room > 0 {
            return Err(MILENA_NULL);
        }
        let no_topic = topic.is_null() && topic_len == 0;
        let name = if no_topic { None } else { Some(unsafe { text(topic, topic_len) }?) };
        let (producer, now) = (&mut entry.producer, Instant::from_nanos(now));
        entry.text.clear();
        match name.map(|name| (producer.partitions(name), name)) {
            Some((Some(partitions), _)) => {
                let count = partitions.len();
                let words = format_args!("it has {count} partitions, and none of the number that the record names");
                say(&mut entry.text, &words);
            }
            // It is asked for anyway, by the record that waits.
            Some((None, name)) => match producer.want_topic(now, name).map(|topic| producer.topic_error(topic)) {
                Ok(Some(code)) => say(&mut entry.text, &format_args!("the cluster says {code}")),
                Ok(None) => say_why(entry, now),
                Err(error) => say(&mut entry.text, &error),
            },
            None => say_why(entry, now),
        }
        unsafe { copy(&entry.text.as_str(), words, room) };
        if !len.is_null() {
            unsafe { place(len) }?.write(entry.text.len());
        }
        Ok(())
    })
}

fn say_why(entry: &mut Entry, now: Instant) {
    if let Some(why) = entry.producer.why(now) {
        say(&mut entry.text, &why);
    }
}

/// Kafka's name for an error code, such as NOT_LEADER_OR_FOLLOWER; it lives for ever. Errors: MILENA_NULL.
///
/// # Safety
/// As the rules at the head say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_error_name(code: i32, name: *mut milena_bytes) -> milena_result {
    match unsafe { place(name) } {
        Ok(to) => {
            let code = i16::try_from(code).unwrap_or(-1);
            to.write(milena_bytes::of(ErrorCode::new(code).name().as_bytes()));
            MILENA_OK
        }
        Err(error) => error,
    }
}

/// Memory of the module's own, for hosts of WebAssembly: null if there is none. `milena_dealloc` gives it back.
#[cfg(target_family = "wasm")]
#[unsafe(no_mangle)]
pub extern "C" fn milena_alloc(size: usize) -> *mut c_void {
    match core::alloc::Layout::from_size_align(size.max(1), 8) {
        Ok(layout) => unsafe { alloc::alloc::alloc(layout).cast() },
        Err(_) => core::ptr::null_mut(),
    }
}

/// Gives back what `milena_alloc` gave for this size.
///
/// # Safety
/// It has to be of `milena_alloc`, of this size, and not given back before.
#[cfg(target_family = "wasm")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn milena_dealloc(data: *mut c_void, size: usize) {
    if let (false, Ok(layout)) = (data.is_null(), core::alloc::Layout::from_size_align(size.max(1), 8)) {
        unsafe { alloc::alloc::dealloc(data.cast(), layout) };
    }
}
