// Records of one topic on their way into the machine, packed as `milena_send_many` wants them.

const CHUNK = 65_536;
const FIRST_CHUNK = 2_048;
const HEAD = 28;
/** Chunks that are kept for the next records, of all lanes. */
const MOST_SPARE = 4;
const spare = [];

class Chunk {
  constructor(size) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
    this.clear();
  }

  clear() {
    this.start = 0;
    this.end = 0;
    /** The first record that is left, and how many came. */
    this.first = 0;
    this.came = 0;
    /** For each record: `resolve`, `reject`. */
    this.open = [];
    /** Timestamps of the records that brought one. */
    this.stamps = null;
    /** When records were given in: number of the first one and time, for each time. */
    this.times = [];
    this.time = 0;
  }

  add(size, resolve, reject, timestamp, at) {
    if (timestamp !== undefined) (this.stamps ??= new Map()).set(this.came, timestamp);
    const { times } = this;
    if (times.length === 0 || times[times.length - 1] !== at) times.push(this.came, at);
    this.open.push(resolve, reject);
    this.came += 1;
    this.end += size;
  }

  /** When the first record that is left was given in. */
  get since() {
    while (this.time + 2 < this.times.length && this.times[this.time + 2] <= this.first) this.time += 2;
    return this.times[this.time + 1];
  }
}

export class Lane {
  /** `held` counts the bytes of all lanes. `partition` is of a lane for records whose partition there is not (yet). */
  constructor(topic, held, partition) {
    this.held = held;
    this.next = FIRST_CHUNK;
    this.topic = topic;
    this.partition = partition;
    this.name = Buffer.from(topic);
    this.chunks = [];
    this.head = null;
    this.tail = null;
    /** How many records came, and how many went. */
    this.came = 0;
    this.went = 0;
    /** Whether the machine said that the topic is not known. */
    this.unknown = false;
  }

  get isEmpty() {
    return this.came === this.went;
  }

  /** Whether so many bytes more would need another chunk. */
  lacks(bytes) {
    return this.tail !== null && this.tail.end + bytes > this.tail.bytes.length;
  }

  /** Packs a record that takes so many bytes at most. Nothing is kept of it by reference. Throws a TypeError if it is none. */
  pack(record, most, resolve, reject, at) {
    const { key, value, headers, timestamp, partition } = record;
    if (partition !== undefined && (!Number.isInteger(partition) || partition < 0 || partition > 0x7fff_ffff)) {
      throw new TypeError('partition has to be an integer from 0');
    }
    if (timestamp !== undefined && (!Number.isSafeInteger(timestamp) || timestamp < 0)) {
      throw new TypeError('timestamp has to be milliseconds since 1970');
    }
    const chunk = this.#room(most);
    const { bytes, view } = chunk;
    const start = chunk.end;
    view.setInt32(start + 4, partition ?? -1, true);
    if (timestamp === undefined) {
      view.setInt32(start + 8, -1, true);
      view.setInt32(start + 12, -1, true);
    } else {
      view.setBigInt64(start + 8, BigInt(timestamp), true);
    }
    let end = start + HEAD;
    const keyLength = put(bytes, end, key);
    view.setInt32(start + 16, keyLength, true);
    if (keyLength > 0) end += keyLength;
    const valueLength = put(bytes, end, value);
    view.setInt32(start + 20, valueLength, true);
    if (valueLength > 0) end += valueLength;
    let count = 0;
    if (headers !== undefined && headers !== null) {
      for (const [name, content] of entries(headers)) {
        const nameLength = put(bytes, end + 8, name);
        view.setInt32(end, nameLength, true);
        const contentLength = put(bytes, end + 8 + nameLength, content);
        view.setInt32(end + 4, contentLength, true);
        end += 8 + nameLength + Math.max(contentLength, 0);
        count += 1;
      }
    }
    view.setUint32(start + 24, count, true);
    view.setUint32(start, end - start, true);
    chunk.add(end - start, resolve, reject, timestamp, at);
    this.came += 1;
  }

  /** Takes over a packed record with who waits for it, the first one of another lane. */
  takeFirstOf(other) {
    const { head } = other;
    const from = head.start;
    const length = head.view.getUint32(from, true);
    const chunk = this.#room(length);
    head.bytes.copy(chunk.bytes, chunk.end, from, from + length);
    const [resolve, reject] = head.open.slice(2 * head.first);
    chunk.add(length, resolve, reject, head.stamps?.get(head.first), head.since);
    this.came += 1;
    other.skip();
  }

  /** The partition that the first record asks for. */
  get firstPartition() {
    return this.head.view.getInt32(this.head.start + 4, true);
  }

  get firstReject() {
    return this.head.open[2 * this.head.first + 1];
  }

  /** When the first record was given in. */
  get since() {
    return this.head.since;
  }

  /** The first record is done with. */
  skip() {
    this.gone(this.head.view.getUint32(this.head.start, true), 1);
  }

  /** So many bytes and records went. */
  gone(bytes, records) {
    const chunk = this.head;
    chunk.start += bytes;
    chunk.first += records;
    this.went += records;
    if (chunk.start < chunk.end) return;
    chunk.clear();
    this.chunks.shift();
    this.held.bytes -= chunk.bytes.length;
    if (chunk.bytes.length === CHUNK && spare.length < MOST_SPARE) spare.push(chunk);
    this.head = this.chunks.length > 0 ? this.chunks[0] : null;
    if (this.head === null) this.tail = null;
  }

  #room(bytes) {
    if (this.tail !== null && this.tail.end + bytes <= this.tail.bytes.length) return this.tail;
    // Topics that are seldom used need no large chunks.
    if (this.tail !== null || bytes > this.next) this.next = CHUNK;
    const size = Math.max(this.next, bytes);
    this.tail = (size === CHUNK && spare.pop()) || new Chunk(size);
    this.held.bytes += size;
    this.chunks.push(this.tail);
    this.head = this.chunks[0];
    return this.tail;
  }
}

/** Bytes that a record takes at most. Throws a TypeError if it is none. */
export function size({ key, value, headers }) {
  let bytes = HEAD + most(key) + most(value);
  if (headers !== undefined && headers !== null) {
    for (const [name, content] of entries(headers)) {
      if (typeof name !== 'string') throw new TypeError('the name of a header has to be a string');
      bytes += 8 + most(name) + most(content);
    }
  }
  return bytes;
}

/** A Map, an array of pairs, or an object. */
function entries(headers) {
  if (Array.isArray(headers) || headers instanceof Map) return headers;
  if (typeof headers === 'object') return Object.entries(headers);
  throw new TypeError('headers have to be an object, a Map, or an array of pairs');
}

function most(content) {
  if (content === null || content === undefined) return 0;
  if (typeof content === 'string') return 3 * content.length;
  if (content instanceof Uint8Array) return content.length;
  throw new TypeError('a key, a value, or the value of a header has to be a string, a Uint8Array or null');
}

/** Writes a string or bytes. Returns how many bytes, -1 for null. */
function put(bytes, at, content) {
  if (content === null || content === undefined) return -1;
  if (typeof content === 'string') return content.length === 0 ? 0 : bytes.write(content, at);
  bytes.set(content, at);
  return content.length;
}
