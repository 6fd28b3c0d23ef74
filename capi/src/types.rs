//! What crosses the border: plain numbers and pointers.

use core::ffi::c_void;

/// A producer: a number that is never 0.
pub type milena_handle = u32;

/// What a function says. Below 0: nothing was done.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum milena_result {
    /// It is done.
    MILENA_OK = 0,
    /// `milena_send`: the topic's partitions are not known yet. They are asked for: again after `MILENA_TOPIC_READY`.
    MILENA_NOT_READY = -1,
    /// `milena_send`: `buffer.memory` is used up: again after `MILENA_WRITABLE`.
    MILENA_BUFFER_FULL = -2,
    /// `milena_send`: the record is larger than `max.request.size` or `buffer.memory` allows, for ever.
    MILENA_TOO_LARGE = -3,
    /// `milena_send`: there is no such partition.
    MILENA_UNKNOWN_PARTITION = -4,
    /// `milena_send`: the record's own timestamp is negative.
    MILENA_INVALID_TIMESTAMP = -5,
    /// The cluster refuses the topic, or no broker would take its name. A later send asks anew.
    MILENA_TOPIC_REFUSED = -6,
    /// No server lets this client in (authentication, TLS). It is tried on, slowly.
    MILENA_ACCESS_DENIED = -7,
    /// The producer is closing or closed.
    MILENA_IS_CLOSED = -8,
    /// The producer can never deliver again.
    MILENA_FAILED = -9,
    /// `milena_new`: the options are wrong.
    MILENA_CONFIG = -10,
    /// There is no producer of this handle (any more).
    MILENA_INVALID_HANDLE = -11,
    /// A null pointer where something has to be.
    MILENA_NULL = -12,
    /// An argument that has no meaning: a text that is not UTF-8, a length above the half of all memory, an unknown number.
    MILENA_INVALID_ARGUMENT = -13,
    /// Another call on the same producer is at work.
    MILENA_BUSY = -14,
    /// There are as many producers as there can be (1,023).
    MILENA_TOO_MANY = -15,
    /// No memory for it.
    MILENA_NO_MEMORY = -16,
    /// A fault of this library. The producer is gone.
    MILENA_BUG = -17,
    /// `milena_is_healthy`: it is not.
    MILENA_UNHEALTHY = -18,
}

/// Bytes of somebody else's. A null pointer with length 0 is "null" where Kafka knows null (key, value, a header's value); an
/// empty one has any other pointer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct milena_bytes {
    /// Where they are.
    pub data: *const c_void,
    /// How many.
    pub len: usize,
}

/// A header of a record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct milena_header {
    /// Its name, a text.
    pub name: milena_bytes,
    /// Its value; may be null.
    pub value: milena_bytes,
}

/// A record to be sent. It is copied: nothing of it is kept by reference.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct milena_record {
    /// The topic's name, a text.
    pub topic: milena_bytes,
    /// The key; may be null. Without a partition it decides which.
    pub key: milena_bytes,
    /// The value; null is a tombstone.
    pub value: milena_bytes,
    /// The headers; null if there are none.
    pub headers: *const milena_header,
    /// How many headers.
    pub header_count: usize,
    /// When it was made, in milliseconds since the Unix epoch; -1 for the time of the send.
    pub timestamp: i64,
    /// The partition; -1 lets the key, or the producer, decide.
    pub partition: i32,
}

/// What became of a record that was taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct milena_sent {
    /// The batch that it is in: see `milena_output.batch`.
    pub batch: u64,
    /// Its timestamp, in milliseconds since the Unix epoch; -1 if nobody told the time of day.
    pub timestamp: i64,
    /// Its place in the batch, from 0.
    pub index: u32,
    /// The topic's number: see `milena_topic_name`.
    pub topic: u32,
    /// The partition.
    pub partition: i32,
}

/// Records that were taken by one call and follow each other in a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct milena_run {
    /// The batch that they are in: see `milena_output.batch`.
    pub batch: u64,
    /// The first one's place in the batch, from 0.
    pub index: u32,
    /// How many.
    pub count: u32,
    /// The topic's number: see `milena_topic_name`.
    pub topic: u32,
    /// The partition.
    pub partition: i32,
}

/// How much `milena_send_many` took.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct milena_taken {
    /// The timestamp of the records that brought none, in milliseconds since the Unix epoch; -1 if there was no such record, or if nobody
    /// told the time of day.
    pub timestamp: i64,
    /// Bytes of packed records.
    pub bytes: usize,
    /// Records.
    pub records: usize,
    /// Runs that were filled in.
    pub runs: usize,
}

/// What the host has to do or may want to know: see `milena_output.kind`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum milena_kind {
    /// Nothing until `time`, or for ever if that is `UINT64_MAX`, unless there is input, a call made `milena_take_wake` say 1, or more is
    /// sent. Always the last of a drain. When that time comes: `milena_timeout`.
    MILENA_WAIT = 0,
    /// Open a TCP stream to `host` and `port`, call it `conn`, and say `milena_connected` or `milena_disconnected`. If the name has several
    /// addresses, `attempt` says which to try first.
    /// TLS is the host's: with `security.protocol` SSL or SASL_SSL a host that has none must not connect,
    /// for passwords would leave in the clear.
    MILENA_CONNECT = 1,
    /// Close the stream `conn`, whatever its state; nothing has to be said.
    MILENA_DISCONNECT = 2,
    /// There is something to write to `conn`: `milena_transmit` until there is no more or the stream takes no more.
    MILENA_TRANSMIT = 3,
    /// Get a token for OAUTHBEARER until `time`, and say `milena_token`.
    MILENA_TOKEN = 4,
    /// Records stand in the log: `count` of `batch` from place `index` on, at `offset` and behind (-1 where no broker told).
    MILENA_DELIVERED = 5,
    /// Records were not delivered: `count` of `batch` from place `index` on; `text` says why, `name` and `code` are Kafka's, and
    /// `possibly_written` says whether they may stand in the log nevertheless.
    MILENA_NOT_DELIVERED = 6,
    /// Everything that was sent before the flush `id` has been named by one of the two above; `count` of it have failed.
    MILENA_FLUSHED = 7,
    /// What is known of `topic` allows to send to it.
    MILENA_TOPIC_READY = 8,
    /// The cluster refuses `topic`: `code`, `name`, `text`.
    MILENA_TOPIC_FAILED = 9,
    /// There is room again: `bytes` of `buffer.memory` are free.
    MILENA_WRITABLE = 10,
    /// No server lets this client in: `text`. It is tried on, slowly.
    MILENA_DENIED = 11,
    /// The producer can never deliver again: `text`. What is open fails.
    MILENA_FATAL = 12,
    /// A connection could not be made or broke, for logs: `conn`, `host`, `port`, `text`. The producer goes on by itself.
    MILENA_CONNECTION_FAILED = 13,
    /// A broker asked for a pause of `time` nanoseconds, which is kept.
    MILENA_THROTTLED = 14,
    /// `milena_close` or `milena_abort` is complete.
    MILENA_CLOSED = 15,
    /// Something that this version has no number for: for logs, in `text` (empty in builds without the standard library).
    MILENA_OTHER = 16,
}

/// One thing to do or to know. Which fields have a meaning depends on `kind`; the others are 0, -1 (`offset`, `log_append_time`,
/// `partition`) or empty.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct milena_output {
    /// Nanoseconds on the caller's clock, or a span of nanoseconds.
    pub time: u64,
    /// The batch. No two batches whose records are open have the same number.
    pub batch: u64,
    /// The offset of the first record; the others follow one by one.
    pub offset: i64,
    /// The broker's timestamp of the batch, in milliseconds since the Unix epoch, where the topic asks for that; else -1.
    pub log_append_time: i64,
    /// How many records, or failures.
    pub count: u64,
    /// The flush.
    pub id: u64,
    /// Free bytes.
    pub bytes: u64,
    /// A host name or an address.
    pub host: milena_bytes,
    /// What is to be said to people.
    pub text: milena_bytes,
    /// The name of `code`, or a word such as `DELIVERY_TIMEOUT`.
    pub name: milena_bytes,
    /// What it is: a `milena_kind`.
    pub kind: u32,
    /// The connection.
    pub conn: u32,
    /// How many attempts at this server failed before.
    pub attempt: u32,
    /// The topic's number.
    pub topic: u32,
    /// The partition.
    pub partition: i32,
    /// The first record's place in its batch.
    pub index: u32,
    /// A TCP port.
    pub port: u32,
    /// Kafka's error code; 0 if it was none of Kafka's.
    pub code: i32,
    /// How often the batch was sent.
    pub attempts: u32,
    /// 1 if the records may stand in the log although they have failed.
    pub possibly_written: u32,
    /// 1 if the records failed because time or attempts ran out: sent again, they may get through.
    pub retriable: u32,
}

/// Why a stream ended or could not be opened.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum milena_cause {
    /// The other side closed it.
    MILENA_CAUSE_CLOSED = 0,
    /// The name could not be resolved.
    MILENA_CAUSE_RESOLVE = 1,
    /// It could not be opened.
    MILENA_CAUSE_CONNECT = 2,
    /// The TLS handshake failed.
    MILENA_CAUSE_TLS = 3,
    /// Reading or writing failed.
    MILENA_CAUSE_IO = 4,
    /// The host closed it.
    MILENA_CAUSE_LOCAL = 5,
}

/// What a producer did so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct milena_status {
    /// Records that were taken.
    pub records_accepted: u64,
    /// Records that stand in the log.
    pub records_delivered: u64,
    /// Records that failed.
    pub records_failed: u64,
    /// Batches sent, each attempt counted.
    pub batches_sent: u64,
    /// Batches put back to be sent again.
    pub retries: u64,
    /// Connections that could not be made or broke.
    pub connection_failures: u64,
    /// Bytes of `buffer.memory` in use.
    pub buffered: u64,
    /// Produce requests that wait for an answer.
    pub in_flight: u32,
    /// 1 once the producer is closed.
    pub closed: u32,
}

/// How a producer is, as far as it knows without asking anybody. Spans are nanoseconds, MILENA_FOREVER where there is nothing to tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct milena_health {
    /// How long the oldest record has waited that was taken, and whose outcome is not known; MILENA_FOREVER if there is none.
    pub oldest_record: u64,
    /// How long ago a record was last delivered; MILENA_FOREVER if none was.
    pub last_delivery: u64,
    /// Records that were taken, and whose outcome is not known.
    pub open_records: u64,
    /// Bytes of `buffer.memory` in use.
    pub buffered: u64,
    /// `buffer.memory` itself.
    pub buffer_memory: u64,
    /// The producer id; -1 before there is one, and without idempotence.
    pub producer_id: i64,
    /// The epoch of the producer id; -1 where there is none.
    pub producer_epoch: i32,
    /// Produce requests that wait for an answer.
    pub in_flight: u32,
    /// 1 if no server lets this client in (authentication, TLS).
    pub denied: u32,
    /// 1 if the producer can never deliver again.
    pub failed: u32,
    /// 1 if it takes no records any more: it is closing, or closed.
    pub closing: u32,
}

/// Whether a server is connected.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum milena_server_state {
    /// It is not, for it is not needed now.
    MILENA_SERVER_IDLE = 0,
    /// It is being connected to, or asked for its versions, or convinced of who this client is.
    MILENA_SERVER_CONNECTING = 1,
    /// Requests can be sent to it.
    MILENA_SERVER_UP = 2,
    /// Its last connection could not be made, or broke; it is tried again.
    MILENA_SERVER_DOWN = 3,
}

/// How it stands with a server. Spans are nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct milena_server {
    /// How long it has been in this state; of one that is down: since it last answered, or was first tried. 0 for one that is idle.
    pub lasts: u64,
    /// How long the last answer took; MILENA_FOREVER if there was none.
    pub last_round_trip: u64,
    /// How long the oldest request that waits for an answer has waited; MILENA_FOREVER if none does.
    pub silent_for: u64,
    /// What is left of a pause that it asked for; 0 if there is none.
    pub throttled_for: u64,
    /// A host name or an address.
    pub host: milena_bytes,
    /// What happened to the last connection of one that is down, for people.
    pub text: milena_bytes,
    /// Its node id; -1 for an address of `bootstrap.servers` that is no broker as far as is known.
    pub node: i32,
    /// A TCP port.
    pub port: u32,
    /// What it is: a `milena_server_state`.
    pub state: u32,
    /// Requests of all kinds that wait for an answer.
    pub in_flight: u32,
}

// Hosts of WebAssembly read these by their places, which therefore may not change without a new `MILENA_VERSION`.
#[cfg(target_family = "wasm")]
mod places {
    use super::*;
    use core::mem::offset_of;

    macro_rules! at {
        ($type:ty { $($field:ident $place:literal),* } $size:literal) => {
            $(const _: () = assert!(offset_of!($type, $field) == $place);)*
            const _: () = assert!(size_of::<$type>() == $size);
        };
    }

    at!(milena_bytes { data 0, len 4 } 8);
    at!(milena_run { batch 0, index 8, count 12, topic 16, partition 20 } 24);
    at!(milena_taken { timestamp 0, bytes 8, records 12, runs 16 } 24);
    at!(milena_output {
        time 0, batch 8, offset 16, log_append_time 24, count 32, id 40, bytes 48, host 56, text 64, name 72, kind 80, conn 84,
        attempt 88, topic 92, partition 96, index 100, port 104, code 108, attempts 112, possibly_written 116, retriable 120
    } 128);
    at!(milena_status {
        records_accepted 0, records_delivered 8, records_failed 16, batches_sent 24, retries 32, connection_failures 40, buffered 48,
        in_flight 56, closed 60
    } 64);
    at!(milena_health {
        oldest_record 0, last_delivery 8, open_records 16, buffered 24, buffer_memory 32, producer_id 40, producer_epoch 48,
        in_flight 52, denied 56, failed 60, closing 64
    } 72);
    at!(milena_server {
        lasts 0, last_round_trip 8, silent_for 16, throttled_for 24, host 32, text 40, node 48, port 52, state 56, in_flight 60
    } 64);
}
