// The machine in its module: calls, and how what it says is read. capi/include/milena.h has what each call means.
import { readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { ConfigError, KafkaError } from './errors.js';

export const OK = 0;
export const NOT_READY = -1;
export const BUFFER_FULL = -2;

/** Names of what `send` may refuse, by the negative result. */
export const REFUSALS = [
  'OK',
  'TOPIC_UNKNOWN',
  'BUFFER_FULL',
  'RECORD_TOO_LARGE',
  'UNKNOWN_PARTITION',
  'INVALID_TIMESTAMP',
  'TOPIC_REFUSED',
  'ACCESS_DENIED',
  'CLOSED',
  'FATAL',
  'CONFIG',
  'INVALID_HANDLE',
  'NULL',
  'INVALID_ARGUMENT',
  'BUSY',
  'TOO_MANY',
  'NO_MEMORY',
  'BUG',
];

export const KIND = {
  WAIT: 0,
  CONNECT: 1,
  DISCONNECT: 2,
  TRANSMIT: 3,
  TOKEN: 4,
  DELIVERED: 5,
  NOT_DELIVERED: 6,
  FLUSHED: 7,
  TOPIC_READY: 8,
  TOPIC_FAILED: 9,
  WRITABLE: 10,
  DENIED: 11,
  FATAL: 12,
  CONNECTION_FAILED: 13,
  THROTTLED: 14,
  CLOSED: 15,
  OTHER: 16,
};

export const CAUSE = { CLOSED: 0, RESOLVE: 1, CONNECT: 2, TLS: 3, IO: 4, LOCAL: 5 };

const VERSION = 1;
const FOREVER = 0xffff_ffff_ffff_ffffn;

// Places in a block of the module's memory that is ours.
const OUTPUT = 0; // milena_output
const TAKEN = 128; // milena_taken, or whatever a call writes a number to
const PIECES = 160; // milena_bytes
const ROOM_OF_PIECES = 64;
const RUNS = PIECES + 8 * ROOM_OF_PIECES; // milena_run
const ROOM_OF_RUNS = 512;
const BLOCK = RUNS + 24 * ROOM_OF_RUNS;

/** A write to a socket holds so many bytes at most. */
const MOST_TO_WRITE = 131_072;

let compiled;

/** Nanoseconds on a clock that never goes back. */
export const now = process.hrtime.bigint;

export class Machine {
  #calls;
  #memory;
  #handle = 0;
  #block;
  #area = 0;
  #areaSize = 0;
  #view;
  #bytes;
  #spare = null;
  #last = null;

  /** A machine with these options, an object. Each has memory of its own, which goes when nothing refers to it. */
  constructor(options) {
    compiled ??= new WebAssembly.Module(readFileSync(new URL('milena.wasm', import.meta.url)));
    this.#calls = new WebAssembly.Instance(compiled).exports;
    this.#memory = this.#calls.memory;
    if (this.#calls.milena_version() !== VERSION) throw new KafkaError('BUG', 'milena.wasm is of another version');
    this.#block = this.#alloc(BLOCK);
    const text = Buffer.from(properties(options));
    const at = this.#put(text, randomBytes(32));
    const handle = this.#block + TAKEN;
    const words = this.#block + RUNS;
    const seed = at + text.length;
    const result = this.#calls.milena_new(at, text.length, now(), BigInt(Date.now()), seed, handle, words, 4096);
    this.#refresh();
    if (result !== OK) {
      const end = this.#bytes.indexOf(0, words);
      throw new ConfigError('INVALID_CONFIG', this.#bytes.toString('utf8', words, end));
    }
    this.#handle = this.#view.getUint32(handle, true);
    this.#bytes.fill(0, this.#area, this.#area + this.#areaSize); // passwords
  }

  /** Bytes of the module's memory. */
  get memory() {
    return this.#memory.buffer.byteLength;
  }

  /** The module's memory moves when it grows. */
  #refresh() {
    const buffer = this.#memory.buffer;
    if (this.#view?.buffer !== buffer) {
      this.#view = new DataView(buffer);
      this.#bytes = Buffer.from(buffer);
    }
  }

  #alloc(size) {
    const at = this.#calls.milena_alloc(size);
    this.#refresh();
    if (at === 0) throw new KafkaError('NO_MEMORY', 'no memory in the module');
    return at;
  }

  /** Copies these, one behind the other, to where the module can read them. Returns where. */
  #put(first, second, start = 0, end = second?.length ?? 0) {
    const size = first.length + end - start;
    if (size > this.#areaSize) {
      if (this.#area !== 0) this.#calls.milena_dealloc(this.#area, this.#areaSize);
      this.#areaSize = 0;
      this.#area = this.#alloc(Math.max(size, 66_000));
      this.#areaSize = Math.max(size, 66_000);
    }
    this.#bytes.set(first, this.#area);
    if (end > start) second.copy(this.#bytes, this.#area + first.length, start, end);
    return this.#area;
  }

  /** A call that must be done: anything else is a fault of this host. */
  #must(result) {
    this.#refresh();
    if (result !== OK) throw new KafkaError('BUG', `the machine refuses a call: ${REFUSALS[-result]}`);
  }

  /** Sends packed records of a topic. Returns the result; `taken` and `run` tell the rest. */
  sendMany(topic, records, start, end) {
    const at = this.#put(topic, records, start, end);
    const block = this.#block;
    const result = this.#calls.milena_send_many(
      this.#handle,
      now(),
      at,
      topic.length,
      at + topic.length,
      end - start,
      block + RUNS,
      ROOM_OF_RUNS,
      block + TAKEN,
    );
    this.#refresh();
    return result;
  }

  get takenTimestamp() {
    return Number(this.#view.getBigInt64(this.#block + TAKEN, true));
  }

  get takenBytes() {
    return this.#view.getUint32(this.#block + TAKEN + 8, true);
  }

  get takenRuns() {
    return this.#view.getUint32(this.#block + TAKEN + 16, true);
  }

  runBatch(number) {
    return this.#view.getBigUint64(this.#block + RUNS + 24 * number, true);
  }

  runIndex(number) {
    return this.#view.getUint32(this.#block + RUNS + 24 * number + 8, true);
  }

  runCount(number) {
    return this.#view.getUint32(this.#block + RUNS + 24 * number + 12, true);
  }

  runPartition(number) {
    return this.#view.getInt32(this.#block + RUNS + 24 * number + 20, true);
  }

  /** Why the last record was refused. */
  lastError() {
    const words = this.#block + RUNS;
    this.#must(this.#calls.milena_last_error(this.#handle, words, 4096, 0));
    return this.#bytes.toString('utf8', words, this.#bytes.indexOf(0, words));
  }

  /** What is in the way of records that wait for this topic, or for memory; `null` if that is not known. */
  why(topic) {
    const words = this.#block + RUNS;
    const at = topic === undefined ? 0 : this.#put(topic);
    this.#must(this.#calls.milena_why(this.#handle, now(), at, topic?.length ?? 0, words, 4096, 0));
    return this.#bytes.toString('utf8', words, this.#bytes.indexOf(0, words)) || null;
  }

  takeWake() {
    this.#must(this.#calls.milena_take_wake(this.#handle, this.#block + TAKEN));
    return this.#view.getUint32(this.#block + TAKEN, true) === 1;
  }

  partitionCount(topic) {
    const at = this.#put(topic);
    this.#must(this.#calls.milena_partition_count(this.#handle, at, topic.length, this.#block + TAKEN));
    return this.#view.getUint32(this.#block + TAKEN, true);
  }

  topicName(topic) {
    this.#must(this.#calls.milena_topic_name(this.#handle, topic, this.#block + TAKEN));
    return this.#text(TAKEN);
  }

  /** The flush's number. */
  flush() {
    this.#must(this.#calls.milena_flush(this.#handle, now(), this.#block + TAKEN));
    return this.#view.getBigUint64(this.#block + TAKEN, true);
  }

  close() {
    this.#must(this.#calls.milena_close(this.#handle, now()));
  }

  abort() {
    this.#must(this.#calls.milena_abort(this.#handle, now()));
  }

  connected(conn) {
    this.#must(this.#calls.milena_connected(this.#handle, now(), conn));
  }

  disconnected(conn, cause, words) {
    const text = Buffer.from(words);
    this.#must(this.#calls.milena_disconnected(this.#handle, now(), conn, cause, this.#put(text), text.length));
  }

  received(conn, bytes) {
    for (let start = 0; start < bytes.length; start += 65_536) {
      const part = bytes.subarray(start, start + 65_536);
      this.#must(this.#calls.milena_received(this.#handle, now(), conn, this.#put(part), part.length));
    }
  }

  timeout() {
    this.#must(this.#calls.milena_timeout(this.#handle, now()));
  }

  timeOfDay() {
    this.#must(this.#calls.milena_time_of_day(this.#handle, now(), BigInt(Date.now())));
  }

  token(token, lifetimeMs) {
    const text = Buffer.from(token);
    // 500 years in nanoseconds are too many for the machine's numbers.
    const lifetime = lifetimeMs < 1e13 ? BigInt(Math.round(lifetimeMs)) * 1_000_000n : FOREVER;
    this.#must(this.#calls.milena_token(this.#handle, now(), this.#put(text), text.length, lifetime));
    this.#bytes.fill(0, this.#area, this.#area + text.length);
  }

  noToken(words) {
    const text = Buffer.from(words);
    this.#must(this.#calls.milena_no_token(this.#handle, now(), this.#put(text), text.length));
  }

  /** The next thing to do or to know: its kind. What follows here reads the rest of it. */
  poll() {
    this.#must(this.#calls.milena_poll(this.#handle, this.#block + OUTPUT));
    return this.#view.getUint32(this.#block + OUTPUT + 80, true);
  }

  /** Milliseconds from now, `Infinity` for never. */
  get waitMs() {
    const time = this.#view.getBigUint64(this.#block + OUTPUT, true);
    return time === FOREVER ? Infinity : Math.max(0, Number(time - now()) / 1e6);
  }

  get time() {
    return this.#view.getBigUint64(this.#block + OUTPUT, true);
  }

  get batch() {
    return this.#view.getBigUint64(this.#block + OUTPUT + 8, true);
  }

  get offset() {
    return Number(this.#view.getBigInt64(this.#block + OUTPUT + 16, true));
  }

  get logAppendTime() {
    return Number(this.#view.getBigInt64(this.#block + OUTPUT + 24, true));
  }

  get count() {
    return Number(this.#view.getBigUint64(this.#block + OUTPUT + 32, true));
  }

  get id() {
    return this.#view.getBigUint64(this.#block + OUTPUT + 40, true);
  }

  get host() {
    return this.#text(OUTPUT + 56);
  }

  get text() {
    return this.#text(OUTPUT + 64);
  }

  get name() {
    return this.#text(OUTPUT + 72);
  }

  get conn() {
    return this.#view.getUint32(this.#block + OUTPUT + 84, true);
  }

  get attempt() {
    return this.#view.getUint32(this.#block + OUTPUT + 88, true);
  }

  get topic() {
    return this.#view.getUint32(this.#block + OUTPUT + 92, true);
  }

  get index() {
    return this.#view.getUint32(this.#block + OUTPUT + 100, true);
  }

  get port() {
    return this.#view.getUint32(this.#block + OUTPUT + 104, true);
  }

  get code() {
    return this.#view.getInt32(this.#block + OUTPUT + 108, true);
  }

  get possiblyWritten() {
    return this.#view.getUint32(this.#block + OUTPUT + 116, true) === 1;
  }

  get retriable() {
    return this.#view.getUint32(this.#block + OUTPUT + 120, true) === 1;
  }

  /** A copy of what is to be written to a connection now, which counts as written; `null` if there is nothing. */
  transmit(conn) {
    const [pieces, count] = [this.#block + PIECES, this.#block + TAKEN];
    this.#must(this.#calls.milena_transmit(this.#handle, now(), conn, pieces, ROOM_OF_PIECES, count));
    const filled = this.#view.getUint32(count, true);
    let size = 0;
    for (let piece = 0; piece < filled; piece++) size += this.#view.getUint32(pieces + 8 * piece + 4, true);
    if (size === 0) return null;
    size = Math.min(size, MOST_TO_WRITE);
    const out = this.#fresh();
    for (let piece = 0, at = 0; at < size; piece++) {
      const start = this.#view.getUint32(pieces + 8 * piece, true);
      const end = start + this.#view.getUint32(pieces + 8 * piece + 4, true);
      at += this.#bytes.copy(out, at, start, end);
    }
    this.#must(this.#calls.milena_written(this.#handle, now(), conn, size));
    return size === out.length ? out : out.subarray(0, size);
  }

  #fresh() {
    const out = this.#spare ?? Buffer.allocUnsafeSlow(MOST_TO_WRITE);
    this.#spare = null;
    this.#last = out;
    return out;
  }

  /** Nobody looks at what `transmit` returned any more. */
  recycle() {
    this.#spare = this.#last;
  }

  #text(place) {
    const start = this.#view.getUint32(this.#block + place, true);
    return this.#bytes.toString('utf8', start, start + this.#view.getUint32(this.#block + place + 4, true));
  }
}

/** Options as the text of a properties file. */
function properties(options) {
  const escape = (text) => text.replace(/[\\\n\r\t\f :=#!]/g, (char) => ESCAPES[char] ?? `\\${char}`);
  return Object.entries(options)
    .map(([name, value]) => `${escape(name)}=${escape(String(value))}\n`)
    .join('');
}

const ESCAPES = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\f': '\\f' };
