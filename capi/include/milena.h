/* The Kafka producer milena for C. Made of capi/src by `MILENA_BLESS=1 cargo test -p milena-capi --test header`. */

/*
 * Rules that hold for every function:
 *
 * - A producer is a number, its handle. A handle of no producer, or of one that was freed, is `MILENA_INVALID_HANDLE`, always:
 *   numbers are not used again before a producer's slot has been used 4,194,303 times.
 * - Calls on one producer must not overlap: one that comes while another is at work is refused with `MILENA_BUSY`. Different producers
 *   may be used by different threads.
 * - Times are nanoseconds on a clock of the caller's that never goes back, from any start; a smaller time than before counts as the one
 *   before. Times of day are milliseconds since the Unix epoch.
 * - Texts are UTF-8, with a length, without a NUL at the end. What a function hands out lives until the next call on that producer.
 * - A null pointer with a length other than 0, and a null pointer where something is to be written, are `MILENA_NULL`. What a pointer
 *   points to can't be checked: it has to be there for its length.
 * - A result below 0 is an error, and nothing was changed (but for `milena_send_many`, which may have taken records before the one
 *   that it refuses). Every function may say MILENA_INVALID_HANDLE, MILENA_BUSY, MILENA_NULL, MILENA_INVALID_ARGUMENT, MILENA_NO_MEMORY
 *   and MILENA_BUG; `milena_last_error` has the words for what was refused of a record or a topic. A record or a secret is in no text.
 */

#ifndef MILENA_H
#define MILENA_H

#include <stddef.h>
#include <stdint.h>


/**
 * The version of what milena.h says: it grows when a function or a field changes its meaning or goes away.
 */
#define MILENA_VERSION 1

/**
 * No time, no limit, nothing.
 */
#define MILENA_FOREVER UINT64_MAX

/**
 * What a function says. Below 0: nothing was done.
 */
enum milena_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It is done.
   */
  MILENA_OK = 0,
  /**
   * `milena_send`: the topic's partitions are not known yet. They are asked for: again after `MILENA_TOPIC_READY`.
   */
  MILENA_NOT_READY = -1,
  /**
   * `milena_send`: `buffer.memory` is used up: again after `MILENA_WRITABLE`.
   */
  MILENA_BUFFER_FULL = -2,
  /**
   * `milena_send`: the record is larger than `max.request.size` or `buffer.memory` allows, for ever.
   */
  MILENA_TOO_LARGE = -3,
  /**
   * `milena_send`: there is no such partition.
   */
  MILENA_UNKNOWN_PARTITION = -4,
  /**
   * `milena_send`: the record's own timestamp is negative.
   */
  MILENA_INVALID_TIMESTAMP = -5,
  /**
   * The cluster refuses the topic, or no broker would take its name. A later send asks anew.
   */
  MILENA_TOPIC_REFUSED = -6,
  /**
   * No server lets this client in (authentication, TLS). It is tried on, slowly.
   */
  MILENA_ACCESS_DENIED = -7,
  /**
   * The producer is closing or closed.
   */
  MILENA_IS_CLOSED = -8,
  /**
   * The producer can never deliver again.
   */
  MILENA_FAILED = -9,
  /**
   * `milena_new`: the options are wrong.
   */
  MILENA_CONFIG = -10,
  /**
   * There is no producer of this handle (any more).
   */
  MILENA_INVALID_HANDLE = -11,
  /**
   * A null pointer where something has to be.
   */
  MILENA_NULL = -12,
  /**
   * An argument that has no meaning: a text that is not UTF-8, a length above the half of all memory, an unknown number.
   */
  MILENA_INVALID_ARGUMENT = -13,
  /**
   * Another call on the same producer is at work.
   */
  MILENA_BUSY = -14,
  /**
   * There are as many producers as there can be (1,023).
   */
  MILENA_TOO_MANY = -15,
  /**
   * No memory for it.
   */
  MILENA_NO_MEMORY = -16,
  /**
   * A fault of this library. The producer is gone.
   */
  MILENA_BUG = -17,
  /**
   * `milena_is_healthy`: it is not.
   */
  MILENA_UNHEALTHY = -18,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum milena_result milena_result;
#else
typedef int32_t milena_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What the host has to do or may want to know: see `milena_output.kind`.
 */
enum milena_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing until `time`, or for ever if that is `UINT64_MAX`, unless there is input, a call made `milena_take_wake` say 1, or more is
   * sent. Always the last of a drain. When that time comes: `milena_timeout`.
   */
  MILENA_WAIT = 0,
  /**
   * Open a TCP stream to `host` and `port`, call it `conn`, and say `milena_connected` or `milena_disconnected`. If the name has several
   * addresses, `attempt` says which to try first.
   * TLS is the host's: with `security.protocol` SSL or SASL_SSL a host that has none must not connect,
   * for passwords would leave in the clear.
   */
  MILENA_CONNECT = 1,
  /**
   * Close the stream `conn`, whatever its state; nothing has to be said.
   */
  MILENA_DISCONNECT = 2,
  /**
   * There is something to write to `conn`: `milena_transmit` until there is no more or the stream takes no more.
   */
  MILENA_TRANSMIT = 3,
  /**
   * Get a token for OAUTHBEARER until `time`, and say `milena_token`.
   */
  MILENA_TOKEN = 4,
  /**
   * Records stand in the log: `count` of `batch` from place `index` on, at `offset` and behind (-1 where no broker told).
   */
  MILENA_DELIVERED = 5,
  /**
   * Records were not delivered: `count` of `batch` from place `index` on; `text` says why, `name` and `code` are Kafka's, and
   * `possibly_written` says whether they may stand in the log nevertheless.
   */
  MILENA_NOT_DELIVERED = 6,
  /**
   * Everything that was sent before the flush `id` has been named by one of the two above; `count` of it have failed.
   */
  MILENA_FLUSHED = 7,
  /**
   * What is known of `topic` allows to send to it.
   */
  MILENA_TOPIC_READY = 8,
  /**
   * The cluster refuses `topic`: `code`, `name`, `text`.
   */
  MILENA_TOPIC_FAILED = 9,
  /**
   * There is room again: `bytes` of `buffer.memory` are free.
   */
  MILENA_WRITABLE = 10,
  /**
   * No server lets this client in: `text`. It is tried on, slowly.
   */
  MILENA_DENIED = 11,
  /**
   * The producer can never deliver again: `text`. What is open fails.
   */
  MILENA_FATAL = 12,
  /**
   * A connection could not be made or broke, for logs: `conn`, `host`, `port`, `text`. The producer goes on by itself.
   */
  MILENA_CONNECTION_FAILED = 13,
  /**
   * A broker asked for a pause of `time` nanoseconds, which is kept.
   */
  MILENA_THROTTLED = 14,
  /**
   * `milena_close` or `milena_abort` is complete.
   */
  MILENA_CLOSED = 15,
  /**
   * Something that this version has no number for: for logs, in `text` (empty in builds without the standard library).
   */
  MILENA_OTHER = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum milena_kind milena_kind;
#else
typedef uint32_t milena_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a stream ended or could not be opened.
 */
enum milena_cause
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The other side closed it.
   */
  MILENA_CAUSE_CLOSED = 0,
  /**
   * The name could not be resolved.
   */
  MILENA_CAUSE_RESOLVE = 1,
  /**
   * It could not be opened.
   */
  MILENA_CAUSE_CONNECT = 2,
  /**
   * The TLS handshake failed.
   */
  MILENA_CAUSE_TLS = 3,
  /**
   * Reading or writing failed.
   */
  MILENA_CAUSE_IO = 4,
  /**
   * The host closed it.
   */
  MILENA_CAUSE_LOCAL = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum milena_cause milena_cause;
#else
typedef uint32_t milena_cause;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether a server is connected.
 */
enum milena_server_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It is not, for it is not needed now.
   */
  MILENA_SERVER_IDLE = 0,
  /**
   * It is being connected to, or asked for its versions, or convinced of who this client is.
   */
  MILENA_SERVER_CONNECTING = 1,
  /**
   * Requests can be sent to it.
   */
  MILENA_SERVER_UP = 2,
  /**
   * Its last connection could not be made, or broke; it is tried again.
   */
  MILENA_SERVER_DOWN = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum milena_server_state milena_server_state;
#else
typedef uint32_t milena_server_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A producer: a number that is never 0.
 */
typedef uint32_t milena_handle;

/**
 * Bytes of somebody else's. A null pointer with length 0 is "null" where Kafka knows null (key, value, a header's value); an
 * empty one has any other pointer.
 */
typedef struct {
  /**
   * Where they are.
   */
  const void *data;
  /**
   * How many.
   */
  size_t len;
} milena_bytes;

/**
 * A header of a record.
 */
typedef struct {
  /**
   * Its name, a text.
   */
  milena_bytes name;
  /**
   * Its value; may be null.
   */
  milena_bytes value;
} milena_header;

/**
 * A record to be sent. It is copied: nothing of it is kept by reference.
 */
typedef struct {
  /**
   * The topic's name, a text.
   */
  milena_bytes topic;
  /**
   * The key; may be null. Without a partition it decides which.
   */
  milena_bytes key;
  /**
   * The value; null is a tombstone.
   */
  milena_bytes value;
  /**
   * The headers; null if there are none.
   */
  const milena_header *headers;
  /**
   * How many headers.
   */
  size_t header_count;
  /**
   * When it was made, in milliseconds since the Unix epoch; -1 for the time of the send.
   */
  int64_t timestamp;
  /**
   * The partition; -1 lets the key, or the producer, decide.
   */
  int32_t partition;
} milena_record;

/**
 * What became of a record that was taken.
 */
typedef struct {
  /**
   * The batch that it is in: see `milena_output.batch`.
   */
  uint64_t batch;
  /**
   * Its timestamp, in milliseconds since the Unix epoch; -1 if nobody told the time of day.
   */
  int64_t timestamp;
  /**
   * Its place in the batch, from 0.
   */
  uint32_t index;
  /**
   * The topic's number: see `milena_topic_name`.
   */
  uint32_t topic;
  /**
   * The partition.
   */
  int32_t partition;
} milena_sent;

/**
 * One thing to do or to know. Which fields have a meaning depends on `kind`; the others are 0, -1 (`offset`, `log_append_time`,
 * `partition`) or empty.
 */
typedef struct {
  /**
   * Nanoseconds on the caller's clock, or a span of nanoseconds.
   */
  uint64_t time;
  /**
   * The batch. No two batches whose records are open have the same number.
   */
  uint64_t batch;
  /**
   * The offset of the first record; the others follow one by one.
   */
  int64_t offset;
  /**
   * The broker's timestamp of the batch, in milliseconds since the Unix epoch, where the topic asks for that; else -1.
   */
  int64_t log_append_time;
  /**
   * How many records, or failures.
   */
  uint64_t count;
  /**
   * The flush.
   */
  uint64_t id;
  /**
   * Free bytes.
   */
  uint64_t bytes;
  /**
   * A host name or an address.
   */
  milena_bytes host;
  /**
   * What is to be said to people.
   */
  milena_bytes text;
  /**
   * The name of `code`, or a word such as `DELIVERY_TIMEOUT`.
   */
  milena_bytes name;
  /**
   * What it is: a `milena_kind`.
   */
  uint32_t kind;
  /**
   * The connection.
   */
  uint32_t conn;
  /**
   * How many attempts at this server failed before.
   */
  uint32_t attempt;
  /**
   * The topic's number.
   */
  uint32_t topic;
  /**
   * The partition.
   */
  int32_t partition;
  /**
   * The first record's place in its batch.
   */
  uint32_t index;
  /**
   * A TCP port.
   */
  uint32_t port;
  /**
   * Kafka's error code; 0 if it was none of Kafka's.
   */
  int32_t code;
  /**
   * How often the batch was sent.
   */
  uint32_t attempts;
  /**
   * 1 if the records may stand in the log although they have failed.
   */
  uint32_t possibly_written;
  /**
   * 1 if the records failed because time or attempts ran out: sent again, they may get through.
   */
  uint32_t retriable;
} milena_output;

/**
 * What a producer did so far.
 */
typedef struct {
  /**
   * Records that were taken.
   */
  uint64_t records_accepted;
  /**
   * Records that stand in the log.
   */
  uint64_t records_delivered;
  /**
   * Records that failed.
   */
  uint64_t records_failed;
  /**
   * Batches sent, each attempt counted.
   */
  uint64_t batches_sent;
  /**
   * Batches put back to be sent again.
   */
  uint64_t retries;
  /**
   * Connections that could not be made or broke.
   */
  uint64_t connection_failures;
  /**
   * Bytes of `buffer.memory` in use.
   */
  uint64_t buffered;
  /**
   * Produce requests that wait for an answer.
   */
  uint32_t in_flight;
  /**
   * 1 once the producer is closed.
   */
  uint32_t closed;
} milena_status;

/**
 * How a producer is, as far as it knows without asking anybody. Spans are nanoseconds, MILENA_FOREVER where there is nothing to tell.
 */
typedef struct {
  /**
   * How long the oldest record has waited that was taken, and whose outcome is not known; MILENA_FOREVER if there is none.
   */
  uint64_t oldest_record;
  /**
   * How long ago a record was last delivered; MILENA_FOREVER if none was.
   */
  uint64_t last_delivery;
  /**
   * Records that were taken, and whose outcome is not known.
   */
  uint64_t open_records;
  /**
   * Bytes of `buffer.memory` in use.
   */
  uint64_t buffered;
  /**
   * `buffer.memory` itself.
   */
  uint64_t buffer_memory;
  /**
   * The producer id; -1 before there is one, and without idempotence.
   */
  int64_t producer_id;
  /**
   * The epoch of the producer id; -1 where there is none.
   */
  int32_t producer_epoch;
  /**
   * Produce requests that wait for an answer.
   */
  uint32_t in_flight;
  /**
   * 1 if no server lets this client in (authentication, TLS).
   */
  uint32_t denied;
  /**
   * 1 if the producer can never deliver again.
   */
  uint32_t failed;
  /**
   * 1 if it takes no records any more: it is closing, or closed.
   */
  uint32_t closing;
} milena_health;

/**
 * How it stands with a server. Spans are nanoseconds.
 */
typedef struct {
  /**
   * How long it has been in this state; of one that is down: since it last answered, or was first tried. 0 for one that is idle.
   */
  uint64_t lasts;
  /**
   * How long the last answer took; MILENA_FOREVER if there was none.
   */
  uint64_t last_round_trip;
  /**
   * How long the oldest request that waits for an answer has waited; MILENA_FOREVER if none does.
   */
  uint64_t silent_for;
  /**
   * What is left of a pause that it asked for; 0 if there is none.
   */
  uint64_t throttled_for;
  /**
   * A host name or an address.
   */
  milena_bytes host;
  /**
   * What happened to the last connection of one that is down, for people.
   */
  milena_bytes text;
  /**
   * Its node id; -1 for an address of `bootstrap.servers` that is no broker as far as is known.
   */
  int32_t node;
  /**
   * A TCP port.
   */
  uint32_t port;
  /**
   * What it is: a `milena_server_state`.
   */
  uint32_t state;
  /**
   * Requests of all kinds that wait for an answer.
   */
  uint32_t in_flight;
} milena_server;

/**
 * Records that were taken by one call and follow each other in a batch.
 */
typedef struct {
  /**
   * The batch that they are in: see `milena_output.batch`.
   */
  uint64_t batch;
  /**
   * The first one's place in the batch, from 0.
   */
  uint32_t index;
  /**
   * How many.
   */
  uint32_t count;
  /**
   * The topic's number: see `milena_topic_name`.
   */
  uint32_t topic;
  /**
   * The partition.
   */
  int32_t partition;
} milena_run;

/**
 * How much `milena_send_many` took.
 */
typedef struct {
  /**
   * The timestamp of the records that brought none, in milliseconds since the Unix epoch; -1 if there was no such record, or if nobody
   * told the time of day.
   */
  int64_t timestamp;
  /**
   * Bytes of packed records.
   */
  size_t bytes;
  /**
   * Records.
   */
  size_t records;
  /**
   * Runs that were filled in.
   */
  size_t runs;
} milena_taken;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * `MILENA_VERSION` of the library, which must be that of the header.
 */
uint32_t milena_version(void);

/**
 * A producer that has done nothing yet, with `options` in the syntax of a properties file ("bootstrap.servers=host:9092\n...", names
 * and defaults as in docs/configuration.md). `time_of_day` is the present in milliseconds since the Unix epoch, -1 if it is not
 * known (`milena_time_of_day` tells it later). `seed` are 32 random bytes, fresh for each producer: equal seeds make equal choices. If
 * `error` is not null, it gets the words for an error, cut to `error_room` and with a NUL. What may follow: any call with the handle.
 * Errors: MILENA_CONFIG, MILENA_NULL, MILENA_INVALID_ARGUMENT, MILENA_TOO_MANY, MILENA_NO_MEMORY.
 *
 * # Safety
 * All pointers have to be as the rules at the head say; `seed` names 32 bytes.
 */
milena_result milena_new(const char *options,
                         size_t options_len,
                         uint64_t now,
                         int64_t time_of_day,
                         const uint8_t *seed,
                         milena_handle *handle,
                         char *error,
                         size_t error_room);

/**
 * Ends a producer, whatever it has open: to deliver that first, `milena_close` and wait for `MILENA_CLOSED`. The handle is invalid from then
 * on, and so is what it has handed out. Errors: MILENA_INVALID_HANDLE, MILENA_BUSY.
 */
milena_result milena_free(milena_handle handle);

/**
 * Takes a record: copies it into a batch. Never waits. `sent` (may be null) says where it will be: the outcome comes as
 * MILENA_DELIVERED or MILENA_NOT_DELIVERED with the same `batch`, and an `index` and `count` that hold the record's. What may follow: if
 * `milena_take_wake` says 1, `milena_poll`.
 * Errors: MILENA_NOT_READY, MILENA_BUFFER_FULL, MILENA_TOO_LARGE, MILENA_UNKNOWN_PARTITION, MILENA_INVALID_TIMESTAMP,
 * MILENA_TOPIC_REFUSED, MILENA_ACCESS_DENIED, MILENA_IS_CLOSED, MILENA_FAILED, and those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_send(milena_handle handle,
                          uint64_t now,
                          const milena_record *record,
                          milena_sent *sent);

/**
 * Asks for a topic, so that a first record finds it known. MILENA_TOPIC_READY or MILENA_TOPIC_FAILED follows with the number that
 * `topic` (may be null) gets. Errors: MILENA_TOPIC_REFUSED (a name that no broker takes), MILENA_ACCESS_DENIED, MILENA_IS_CLOSED,
 * MILENA_FAILED, and those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_want_topic(milena_handle handle,
                                uint64_t now,
                                const char *name,
                                size_t name_len,
                                uint32_t *topic);

/**
 * The name of a topic, by its number; empty if there is none. It lives until the next call on this producer. Errors: those of every
 * function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_topic_name(milena_handle handle,
                                uint32_t topic,
                                milena_bytes *name);

/**
 * How many partitions a topic has; 0 if that is not known. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_partition_count(milena_handle handle,
                                     const char *name,
                                     size_t name_len,
                                     uint32_t *count);

/**
 * Makes all that was sent leave without waiting for more. MILENA_FLUSHED follows with the `id` (may be null; the
 * first is 0) when each record has its outcome. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_flush(milena_handle handle,
                           uint64_t now,
                           uint64_t *id);

/**
 * Takes no more records and delivers what is open; MILENA_CLOSED follows. Said again it does nothing. Errors: those of every
 * function.
 */
milena_result milena_close(milena_handle handle,
                           uint64_t now);

/**
 * Takes no more records and fails what is open; MILENA_CLOSED follows. Errors: those of every function.
 */
milena_result milena_abort(milena_handle handle, uint64_t now);

/**
 * The stream that MILENA_CONNECT asked for stands (and TLS, if the options ask for it). What may follow: `milena_poll`. One that is not
 * known (any more) is ignored. Errors: those of every function.
 */
milena_result milena_connected(milena_handle handle,
                               uint64_t now,
                               uint32_t conn);

/**
 * The stream is gone, or could not be opened: a `milena_cause`, and the system's words for it (may be empty). What may follow:
 * `milena_poll`. Errors: MILENA_INVALID_ARGUMENT for a cause that there is not, and those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_disconnected(milena_handle handle,
                                  uint64_t now,
                                  uint32_t conn,
                                  uint32_t cause,
                                  const char *words,
                                  size_t words_len);

/**
 * Bytes that were read from a stream, cut anywhere. What may follow: `milena_poll`. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_received(milena_handle handle,
                              uint64_t now,
                              uint32_t conn,
                              const void *data,
                              size_t len);

/**
 * The time of the last MILENA_WAIT has come; hand in what can be read first. Harmless when early. What may follow: `milena_poll`.
 * Errors: those of every function.
 */
milena_result milena_timeout(milena_handle handle,
                             uint64_t now);

/**
 * The time of day at this moment, in milliseconds since the Unix epoch: for a device that learns it late, or again. Records that are
 * sent from now on are stamped by it. Errors: those of every function.
 */
milena_result milena_time_of_day(milena_handle handle,
                                 uint64_t now,
                                 int64_t millis);

/**
 * A token for OAUTHBEARER, the answer to MILENA_TOKEN; `lifetime` in nanoseconds, MILENA_FOREVER if it is not known. Errors: those of
 * every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_token(milena_handle handle,
                           uint64_t now,
                           const char *token,
                           size_t token_len,
                           uint64_t lifetime);

/**
 * There is no token, and why: the other answer to MILENA_TOKEN. It will be asked for again. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_no_token(milena_handle handle,
                              uint64_t now,
                              const char *words,
                              size_t words_len);

/**
 * 1 in `wake` if a drain by `milena_poll` would now say something other than the last MILENA_WAIT. To be looked at after `milena_send`,
 * `milena_want_topic`, `milena_flush`, `milena_close`, `milena_abort`; after input, drain anyway. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_take_wake(milena_handle handle,
                               uint32_t *wake);

/**
 * The next thing to do or to know. To be called until it says MILENA_WAIT. Its pointers live until the next call on this producer.
 * Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_poll(milena_handle handle,
                          milena_output *output);

/**
 * What to write to a stream now, in order: fills up to `room` pieces and says in `count` how many; 0 if there is nothing. They live
 * until the next call on this producer: write as much of them as the stream takes, and say `milena_written`. Errors: those of every
 * function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_transmit(milena_handle handle,
                              uint64_t now,
                              uint32_t conn,
                              milena_bytes *pieces,
                              size_t room,
                              size_t *count);

/**
 * So many bytes of what `milena_transmit` showed were written. What may follow: `milena_transmit`, until it shows nothing or the stream
 * takes no more; then `milena_poll`. Errors: those of every function.
 */
milena_result milena_written(milena_handle handle,
                             uint64_t now,
                             uint32_t conn,
                             size_t bytes);

/**
 * Counters. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_get_status(milena_handle handle, milena_status *status);

/**
 * The words for the last call of `milena_send`, `milena_send_many` or `milena_want_topic` on this producer that was refused, cut to `room`
 * and with a NUL; `len` (may be null) gets their whole length. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_last_error(milena_handle handle,
                                char *words,
                                size_t room,
                                size_t *len);

/**
 * What stands in the way of a record that has waited too long, in words; empty if that is not known. After MILENA_NOT_READY with its
 * topic: what the cluster says of that, or why it can't be asked. After MILENA_BUFFER_FULL without a topic (null): what keeps the oldest
 * record. The words are cut to `room` and with a NUL; `len` (may be null) gets their whole length. What may follow: if
 * `milena_take_wake` says 1, `milena_poll`. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_why(milena_handle handle,
                         uint64_t now,
                         const char *topic,
                         size_t topic_len,
                         char *words,
                         size_t room,
                         size_t *len);

/**
 * Kafka's name for an error code, such as NOT_LEADER_OR_FOLLOWER; it lives for ever. Errors: MILENA_NULL.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_error_name(int32_t code, milena_bytes *name);

#if defined(__wasm__)
/**
 * Memory of the module's own, for hosts of WebAssembly: null if there is none. `milena_dealloc` gives it back.
 */
void *milena_alloc(size_t size);
#endif

#if defined(__wasm__)
/**
 * Gives back what `milena_alloc` gave for this size.
 *
 * # Safety
 * It has to be of `milena_alloc`, of this size, and not given back before.
 */
void milena_dealloc(void *data, size_t size);
#endif

/**
 * Whether records get through, as far as is known: MILENA_OK or MILENA_UNHEALTHY. It is unhealthy while the oldest record has waited for
 * more than `max_age` nanoseconds, while no server lets this client in, while all brokers are down (before one is known: all addresses
 * of `bootstrap.servers`), after MILENA_FATAL, and once it closes. `max_age` has to be longer than `linger.ms` and a usual round trip. A
 * producer that sends nothing learns nothing of a cluster that went away. Errors: MILENA_UNHEALTHY, and those of every function.
 */
milena_result milena_is_healthy(milena_handle handle,
                                uint64_t now,
                                uint64_t max_age);

/**
 * How the producer is. `milena_why` has the words for what keeps its oldest record. Errors: those of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_get_health(milena_handle handle,
                                uint64_t now,
                                milena_health *health);

/**
 * How it stands with one server, `index` from 0: the brokers of the newest metadata by node id; before there are any, and where one can't be
 * reached, also the addresses of `bootstrap.servers`. Ask for one after the other until there is none, without other calls
 * in between. Its pointers live until the next call on this producer. Errors: MILENA_INVALID_ARGUMENT (there are not so many), and those
 * of every function.
 *
 * # Safety
 * As the rules at the head say.
 */
milena_result milena_get_server(milena_handle handle,
                                uint64_t now,
                                uint32_t index,
                                milena_server *server);

/**
 * Takes records of one topic that stand one behind the other in `records`, in order, until all are taken, one is refused, or another run
 * would not fit. Never waits. How each is packed (numbers are little-endian and need not be aligned; -1 as a length is null):
 *
 * ```text
 * 0   u32  bytes of the whole record, this number included; more than what follows takes is allowed, and ignored
 * 4   i32  partition; -1 lets the key, or the producer, decide
 * 8   i64  timestamp in milliseconds since the Unix epoch; -1 for the time of the send
 * 16  i32  length of the key
 * 20  i32  length of the value
 * 24  u32  how many headers
 * 28  the key, the value, and for each header: i32 length of its name, i32 length of its value, the name (a text), the value
 * ```
 *
 * `taken` says how many were taken, and where they will be by `runs` (`room` of them): a run is records that follow each other in the call
 * and in a batch. Their outcomes come as those of `milena_send`. MILENA_OK with fewer `bytes` taken than `len` means that the runs were
 * full: again with what is left. An error is that of the first record that was not taken; those before it were. What may follow: if
 * `milena_take_wake` says 1, `milena_poll`.
 * Errors: those of `milena_send`, and MILENA_INVALID_ARGUMENT for a record that is not packed so.
 *
 * # Safety
 * As the rules at the head say; `runs` has room for `room` of them.
 */
milena_result milena_send_many(milena_handle handle,
                               uint64_t now,
                               const char *topic,
                               size_t topic_len,
                               const void *records,
                               size_t len,
                               milena_run *runs,
                               size_t room,
                               milena_taken *taken);

/**
 * Memory of `size` bytes, aligned to `align` (a power of two, 16 at most); null if there is none. The program's own.
 */
extern void *milena_host_alloc(size_t size,
                               size_t align);

/**
 * Gives back what `milena_host_alloc` gave. The program's own.
 */
extern void milena_host_free(void *data, size_t size, size_t align);

/**
 * Something is wrong beyond repair, such as memory that is used up where nothing can be refused: says why. Must not return; a device
 * is reset. The program's own.
 */
extern void milena_host_panic(const char *text,
                              size_t len);

/**
 * Interrupts off; returns whether they were on. The program's own; on one core and without interrupts that use a producer both may do
 * nothing.
 */
extern uint8_t milena_host_lock(void);

/**
 * Back to what `milena_host_lock` returned. The program's own.
 */
extern void milena_host_unlock(uint8_t before);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MILENA_H */
