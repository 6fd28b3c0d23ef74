// A Kafka producer: the machine in WebAssembly; sockets, TLS, names, timers and promises by node.
import { lookup } from 'node:dns';
import net from 'node:net';
import tls from 'node:tls';
import { ConfigError, DeliveryError, KafkaError, SendError } from './errors.js';
import { Lane, size } from './lane.js';
import { BUFFER_FULL, CAUSE, KIND, Machine, NOT_READY, OK, REFUSALS } from './machine.js';
import { tlsOptions } from './security.js';

export { ConfigError, DeliveryError, KafkaError, SendError };

const LONGEST_TIMER = 0x7fff_ffff;
/** How often the machine is told the time of day, in milliseconds. */
const TIME_OF_DAY = 60_000;
/** Bytes that may wait to be taken by the machine before `writable` is false. */
const MOST_HELD = 1_048_576;
/** Lanes of topics that nobody uses are forgotten when there are so many. */
const MOST_IDLE = 1_000;
/** With acks=0 a connection is seen off for so many milliseconds: closed at once, it would lose what the broker has not read. */
const FAREWELL = 1_000;

// `new Promise(keep)` leaves its two functions here: no closure for each record.
let resolveKept, rejectKept;
const keep = (resolve, reject) => {
  resolveKept = resolve;
  rejectKept = reject;
};

/** Records of a batch that wait for their outcome, in parts. */
class Batch {
  constructor(topic, partition) {
    this.topic = topic;
    this.partition = partition;
    this.parts = [];
    this.left = 0;
  }

  /** Takes records of a chunk, from `first` on there and from `index` on here. */
  add(chunk, first, index, count, stamp) {
    const { open, stamps } = chunk;
    this.left += count;
    // A part does not keep a chunk's whole list that is much larger.
    if (16 * count >= open.length) {
      this.parts.push(new Part(open, 2 * first, index, count, stamp, stamps, first));
      return;
    }
    let part = this.parts.length > 0 ? this.parts[this.parts.length - 1] : null;
    const goesOn = part !== null && part.isOwn && part.index + part.count === index && part.stamp === stamp;
    if (!goesOn || stamps !== null || part.stamps !== null) {
      part = new Part([], 0, index, 0, stamp, stamps, first);
      part.isOwn = true;
      this.parts.push(part);
    }
    for (let at = 2 * first; at < 2 * (first + count); at++) part.open.push(open[at]);
    part.count += count;
  }
}

/** Records that follow each other in a list, from `place` on, and in a batch, from `index` on. */
class Part {
  constructor(open, place, index, count, stamp, stamps, first) {
    this.open = open;
    this.place = place;
    this.index = index;
    this.count = count;
    /** The timestamp of those that brought none, and those of the others, by their number in the chunk, which is `first` for the first. */
    this.stamp = stamp;
    this.stamps = stamps;
    this.first = first;
    /** Whether nobody else has the list. */
    this.isOwn = false;
  }
}

export class Producer {
  #machine;
  #settings;
  #tls;
  #noAcks;
  #maxBlock;
  /** Lanes by topic, and those apart by topic and partition. */
  #lanes = new Map();
  #apart = new Map();
  /** Lanes that hold records which the machine did not take yet, and may not soon. */
  #stuck = new Set();
  #fresh = new Set();
  #lane = null;
  #held = { bytes: 0 };
  #batches = new Map();
  #streams = new Map();
  /** Promises of `flush` and `close` that wait for records to be taken, and of those that the machine knows by number. */
  #marks = new Set();
  #flushes = new Map();
  #drains = [];
  #open = 0;
  #full = false;
  #pushing = false;
  #at = performance.now();
  #told = this.#at;
  #timer = null;
  #timerAt = Infinity;
  #blockTimer = null;
  #closing = null;
  #closed = null;
  #error = null;
  #push = () => {
    this.#pushing = false;
    if (this.#machine === null) return;
    this.#guard(() => this.#pushAll());
  };

  constructor(options, settings = {}) {
    const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
    const known = Object.fromEntries(given);
    this.#machine = new Machine(known);
    this.#settings = settings;
    this.#tls = tlsOptions(known, settings.tls);
    const acks = known.acks ?? 'all';
    this.#noAcks = String(acks) === '0';
    this.#maxBlock = Number(known['max.block.ms'] ?? 60_000);
  }

  /** Sends a record. */
  send(record) {
    const promise = new Promise(keep);
    const [resolve, reject] = [resolveKept, rejectKept];
    if (this.#closing !== null || this.#machine === null) {
      reject(this.#error ?? new SendError('CLOSED', 'the producer is closed'));
      return promise;
    }
    // The clock is looked at once for all that is sent together.
    if (!this.#pushing) this.#at = performance.now();
    try {
      let lane = this.#lane;
      if (lane === null || lane.topic !== record.topic) lane = this.#lane = this.#laneOf(record.topic);
      const most = size(record);
      if (lane.lacks(most) && !this.#full && !lane.unknown) {
        this.#guard(() => this.#pushLane(lane));
        if (this.#machine === null) throw this.#error;
      }
      lane.pack(record, most, resolve, reject, this.#at);
      this.#fresh.add(lane);
    } catch (error) {
      reject(error);
      return promise;
    }
    if (this.#open++ === 0) this.#hold(true);
    this.#soon();
    return promise;
  }

  /** Whether `send` takes more without waiting for memory. */
  get writable() {
    return !this.#full && this.#held.bytes < MOST_HELD;
  }

  /** Fulfilled as soon as `writable` is true. */
  drain() {
    if (!this.writable && this.#machine !== null) return new Promise((resolve) => this.#drains.push(resolve));
    // Not at once: whoever sends in a loop lets the sockets work, too.
    return new Promise((resolve) => setImmediate(resolve));
  }

  /** What the producer holds now. */
  get status() {
    return { open: this.#open, connections: this.#streams.size, wasmBytes: this.#machine?.memory ?? 0 };
  }

  /** Sends what was given in without lingering. Fulfilled when each of these records has its outcome. */
  flush() {
    if (this.#machine === null) return Promise.resolve();
    return new Promise((resolve) => {
      this.#guard(() => {
        this.#pushAll();
        if (this.#machine === null) return;
        this.#whenTaken(() => {
          this.#flushes.set(this.#machine.flush(), resolve);
          this.#hold(true);
        }, resolve);
        this.#drainMachine();
      });
      if (this.#machine === null) resolve();
    });
  }

  /** Takes no more, delivers what was given in (for `timeout` milliseconds at most; what is left then fails), and ends all. */
  close({ timeout = Infinity } = {}) {
    if (this.#closing === null) {
      this.#closing = this.#machine === null ? Promise.resolve() : new Promise((resolve) => (this.#closed = resolve));
      this.#hold(true);
      this.#guard(() => {
        this.#pushAll();
        this.#whenTaken(() => this.#machine.close());
        this.#drainMachine();
      });
    }
    if (timeout > LONGEST_TIMER || this.#machine === null) return this.#closing;
    const timer = setTimeout(() => this.#guard(() => this.#abort()), timeout);
    return this.#closing.finally(() => clearTimeout(timer));
  }

  [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    return this.close();
  }

  // From records to the machine.

  #laneOf(topic) {
    let lane = this.#lanes.get(topic);
    if (lane === undefined) {
      if (typeof topic !== 'string') throw new TypeError('topic has to be a string');
      if (this.#lanes.size >= MOST_IDLE) {
        for (const [name, idle] of this.#lanes) if (idle.isEmpty) this.#lanes.delete(name);
      }
      lane = new Lane(topic, this.#held);
      this.#lanes.set(topic, lane);
    }
    return lane;
  }

  /** All that is given in until the code that runs now is through, and the promises that it fulfils, goes by one call. */
  #soon() {
    if (this.#pushing) return;
    this.#pushing = true;
    process.nextTick(this.#push);
  }

  #pushAll() {
    this.#at = performance.now();
    if (this.#at - this.#told > TIME_OF_DAY) {
      this.#told = this.#at;
      this.#machine.timeOfDay();
    }
    for (const lane of this.#fresh) this.#pushLane(lane);
    this.#fresh.clear();
    this.#drainMachine();
  }

  /** Hands a lane's records to the machine, as many as it takes. */
  #pushLane(lane) {
    const machine = this.#machine;
    while (lane.head !== null && !this.#full && !lane.unknown) {
      const chunk = lane.head;
      const result = machine.sendMany(lane.name, chunk.bytes, chunk.start, chunk.end);
      this.#taken(lane, chunk);
      if (result === OK) continue;
      if (result === BUFFER_FULL) {
        this.#full = true;
      } else if (result === NOT_READY) {
        const count = lane.partition === undefined ? machine.partitionCount(lane.name) : 0;
        if (count > 0 && lane.firstPartition >= count) this.#setApart(lane);
        else lane.unknown = true;
      } else {
        const name = REFUSALS[-result];
        this.#refuse(lane, new SendError(name, machine.lastError(), { retriable: name === 'ACCESS_DENIED' }));
      }
    }
    if (lane.isEmpty) {
      this.#stuck.delete(lane);
      if (lane.partition !== undefined) this.#apart.delete(`${lane.partition}/${lane.topic}`);
    } else {
      this.#stuck.add(lane);
      this.#armBlockTimer();
    }
  }

  #taken(lane, chunk) {
    const machine = this.#machine;
    const bytes = machine.takenBytes;
    if (bytes === 0) return;
    const stamp = machine.takenTimestamp;
    const before = chunk.first;
    let { first } = chunk;
    for (let run = 0; run < machine.takenRuns; run++) {
      const id = machine.runBatch(run);
      let batch = this.#batches.get(id);
      if (batch === undefined) {
        batch = new Batch(lane.topic, machine.runPartition(run));
        this.#batches.set(id, batch);
      }
      const count = machine.runCount(run);
      batch.add(chunk, first, machine.runIndex(run), count, stamp);
      first += count;
    }
    lane.gone(bytes, first - before);
  }

  /** The first record asks for a partition that its topic has not, or not yet: the others need not wait for it. */
  #setApart(lane) {
    const partition = lane.firstPartition;
    const key = `${partition}/${lane.topic}`;
    let apart = this.#apart.get(key);
    if (apart === undefined) {
      apart = new Lane(lane.topic, this.#held, partition);
      apart.unknown = true;
      this.#apart.set(key, apart);
    }
    apart.takeFirstOf(lane);
    this.#stuck.add(apart);
    for (const mark of this.#marks) mark.lanes.set(apart, apart.came);
    this.#armBlockTimer();
  }

  #refuse(lane, error) {
    const reject = lane.firstReject;
    lane.skip();
    this.#settled(1);
    reject(error);
  }

  /** Tries again what the machine did not take. */
  #retry(also) {
    for (const lane of [...this.#stuck]) {
      if (also(lane)) lane.unknown = false;
      this.#pushLane(lane);
    }
  }

  /** Goes on when all that was given in is in the machine, or has failed; with `over` if the machine ends before. */
  #whenTaken(then, over) {
    const lanes = new Map();
    for (const lane of this.#stuck) lanes.set(lane, lane.came);
    this.#marks.add({ lanes, then, over });
    this.#checkMarks();
  }

  #checkMarks() {
    for (const mark of this.#marks) {
      for (const [lane, came] of mark.lanes) if (lane.went >= came) mark.lanes.delete(lane);
      if (mark.lanes.size > 0) continue;
      this.#marks.delete(mark);
      mark.then();
    }
  }

  #armBlockTimer() {
    if (this.#blockTimer !== null || this.#stuck.size === 0) return;
    let since = Infinity;
    for (const lane of this.#stuck) since = Math.min(since, lane.since);
    const wait = since + this.#maxBlock - performance.now();
    this.#blockTimer = setTimeout(
      () => {
        this.#blockTimer = null;
        if (this.#machine !== null) this.#guard(() => this.#expire());
      },
      Math.min(Math.max(wait, 0), LONGEST_TIMER),
    );
    if (this.#open === 0) this.#blockTimer.unref();
  }

  /** `max.block.ms` is over for some records. */
  #expire() {
    this.#at = performance.now();
    for (const lane of [...this.#stuck]) {
      let why; // looked up once for all that wait for the same
      while (lane.head !== null && this.#at - lane.since >= this.#maxBlock) {
        why ??= this.#why(lane);
        this.#refuse(lane, new SendError(lane.unknown ? 'TOPIC_UNKNOWN' : 'BUFFER_FULL', why, { retriable: true }));
      }
      if (!lane.isEmpty) continue;
      this.#stuck.delete(lane);
      lane.unknown = false;
      if (lane.partition !== undefined) this.#apart.delete(`${lane.partition}/${lane.topic}`);
    }
    this.#armBlockTimer();
    this.#drainMachine();
  }

  #why(lane) {
    const what = lane.unknown
      ? `topic ${lane.topic}: it, or its partition, was not known within max.block.ms`
      : `topic ${lane.topic}: buffer.memory had no room within max.block.ms`;
    const why = this.#machine.why(lane.unknown ? lane.name : undefined);
    return why === null ? what : `${what}: ${why}`;
  }

  // From the machine to the world.

  #drainMachine() {
    const machine = this.#machine;
    while (this.#machine !== null) {
      const kind = machine.poll();
      switch (kind) {
        case KIND.WAIT: {
          this.#arm(machine.waitMs);
          if (this.#drains.length > 0 && this.writable) for (const resolve of this.#drains.splice(0)) resolve();
          if (this.#marks.size === 0) return;
          const before = this.#marks.size;
          this.#checkMarks();
          if (this.#marks.size === before) return;
          break;
        }
        case KIND.CONNECT:
          this.#connect(machine.conn, machine.host, machine.port, machine.attempt);
          break;
        case KIND.DISCONNECT:
          this.#disconnect(machine.conn);
          break;
        case KIND.TRANSMIT:
          this.#transmit(this.#streams.get(machine.conn));
          break;
        case KIND.TOKEN:
          this.#token();
          break;
        case KIND.DELIVERED:
          this.#delivered(machine.batch, machine.index, machine.count, machine.offset, machine.logAppendTime);
          break;
        case KIND.NOT_DELIVERED: {
          const { name, text, code, retriable, possiblyWritten } = machine;
          const error = new DeliveryError(name, text, { code, retriable, possiblyWritten });
          this.#failed(machine.batch, machine.index, machine.count, error);
          break;
        }
        case KIND.FLUSHED: {
          const resolve = this.#flushes.get(machine.id);
          this.#flushes.delete(machine.id);
          resolve?.();
          if (this.#open === 0 && this.#flushes.size === 0) this.#hold(false);
          break;
        }
        case KIND.TOPIC_READY: {
          const name = machine.topicName(machine.topic);
          this.#retry((lane) => lane.topic === name);
          break;
        }
        case KIND.TOPIC_FAILED: {
          const { code, name, text } = machine;
          const topic = machine.topicName(machine.topic);
          for (const lane of [...this.#stuck]) {
            if (lane.topic !== topic) continue;
            while (lane.head !== null) {
              this.#refuse(lane, new SendError(name, `topic ${topic}: ${text}`, { code }));
            }
            lane.unknown = false;
            this.#pushLane(lane);
          }
          break;
        }
        case KIND.WRITABLE:
          this.#full = false;
          this.#retry(() => false);
          break;
        case KIND.DENIED:
        case KIND.FATAL:
          this.#say(machine.text);
          this.#full = false;
          this.#retry(() => true);
          break;
        case KIND.CONNECTION_FAILED:
          this.#say(`${machine.host}:${machine.port}: ${machine.text}`);
          break;
        case KIND.THROTTLED:
          this.#say(`a broker asks for a pause of ${machine.time / 1_000_000n} ms`);
          break;
        case KIND.CLOSED:
          this.#end(new SendError('CLOSED', 'the producer is closed'));
          return;
        default:
          this.#say(machine.text);
      }
    }
  }

  #delivered(id, index, count, offset, logAppendTime) {
    const batch = this.#batches.get(id);
    const { topic, partition } = batch;
    for (const { open, place, first, stamps, stamp, index: start, count: many } of batch.parts) {
      const [from, to] = [Math.max(index - start, 0), Math.min(index + count - start, many)];
      for (let i = from; i < to; i++) {
        const timestamp = logAppendTime < 0 ? (stamps?.get(first + i) ?? stamp) : logAppendTime;
        const at = place + 2 * i;
        open[at]({ topic, partition, offset: offset < 0 ? -1 : offset + start + i - index, timestamp });
        open[at] = open[at + 1] = undefined;
      }
    }
    this.#left(id, batch, count);
  }

  #failed(id, index, count, error) {
    const batch = this.#batches.get(id);
    for (const { open, place, index: start, count: many } of batch.parts) {
      const [from, to] = [Math.max(index - start, 0), Math.min(index + count - start, many)];
      for (let at = place + 2 * from; at < place + 2 * to; at += 2) {
        open[at + 1](error);
        open[at] = open[at + 1] = undefined;
      }
    }
    this.#left(id, batch, count);
  }

  #left(id, batch, count) {
    batch.left -= count;
    if (batch.left === 0) this.#batches.delete(id);
    this.#settled(count);
  }

  #settled(count) {
    this.#open -= count;
    if (this.#open === 0 && this.#flushes.size === 0) this.#hold(false);
  }

  #say(text) {
    const { log } = this.#settings;
    if (log !== undefined) process.nextTick(log, text); // what it throws is the application's own affair
  }

  /** While records are open the process goes on; a producer that has nothing to do does not keep it. */
  #hold(on) {
    on ||= this.#closing !== null;
    const change = on ? 'ref' : 'unref';
    this.#timer?.[change]();
    this.#blockTimer?.[change]();
    for (const stream of this.#streams.values()) stream.socket?.[change]();
  }

  #arm(wait) {
    const at = performance.now() + wait;
    // One that comes earlier is harmless, and need not be made anew.
    if (this.#timer !== null && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    if (wait === Infinity) return;
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        // What can be read goes before.
        const then = setImmediate(() => this.#input(() => this.#machine.timeout()));
        if (this.#open === 0 && this.#closing === null && this.#flushes.size === 0) then.unref();
      },
      Math.min(Math.ceil(wait), LONGEST_TIMER),
    );
    if (this.#open === 0 && this.#closing === null && this.#flushes.size === 0) this.#timer.unref();
  }

  /** Tells the machine something, and does what it wants. */
  #input(tell) {
    if (this.#machine === null) return;
    this.#guard(() => {
      tell();
      this.#drainMachine();
    });
  }

  #connect(conn, host, port, attempt) {
    const stream = { conn, socket: null, up: false };
    this.#streams.set(conn, stream);
    const found = (error, addresses) => {
      if (this.#streams.get(conn) !== stream) return;
      if (error || addresses.length === 0) return this.#lost(stream, CAUSE.RESOLVE, error?.code ?? 'no address');
      const { address } = addresses[attempt % addresses.length];
      this.#guard(() =>
        this.#opened(stream, net.connect({ host: address, port, noDelay: true, keepAlive: true }), host),
      );
    };
    try {
      lookup(host, { all: true }, found);
    } catch (error) {
      setImmediate(found, error); // a broker's name that is none
    }
  }

  #opened(stream, plain, host) {
    let cause = CAUSE.CONNECT;
    let socket = plain;
    if (this.#tls !== null) {
      plain.once('connect', () => (cause = CAUSE.TLS));
      socket = tls.connect({ ...this.#tls, socket: plain, host, servername: net.isIP(host) ? '' : host });
    }
    stream.socket = socket;
    if (this.#open === 0 && this.#closing === null) socket.unref();
    socket.once(this.#tls === null ? 'connect' : 'secureConnect', () => {
      cause = CAUSE.IO;
      stream.up = true;
      this.#input(() => {
        this.#machine.connected(stream.conn);
        this.#transmit(stream);
      });
    });
    socket.on('data', (bytes) => {
      if (this.#streams.get(stream.conn) === stream) this.#input(() => this.#machine.received(stream.conn, bytes));
    });
    socket.on('drain', () => this.#input(() => this.#transmit(stream)));
    socket.once('end', () => this.#lost(stream, cause === CAUSE.IO ? CAUSE.CLOSED : cause, 'closed by the other side'));
    socket.on('error', (error) => {
      // What the system says of the stream is not what TLS says: a broker that goes away in the handshake comes back.
      const broken = cause === CAUSE.TLS && error.syscall !== undefined;
      this.#lost(stream, broken ? CAUSE.IO : cause, error.code ?? error.message);
    });
    socket.once('close', () => this.#lost(stream, CAUSE.CLOSED, ''));
  }

  #lost(stream, cause, words) {
    if (this.#streams.get(stream.conn) !== stream) return;
    this.#streams.delete(stream.conn);
    stream.socket?.destroy();
    this.#input(() => this.#machine.disconnected(stream.conn, cause, words));
  }

  #disconnect(conn) {
    const socket = this.#streams.get(conn)?.socket;
    this.#streams.delete(conn);
    if (!socket) return;
    if (!this.#noAcks || socket.connecting) return socket.destroy();
    socket.end();
    socket.resume();
    socket.ref();
    setTimeout(() => socket.destroy(), FAREWELL).unref();
  }

  /** Writes what there is until the socket takes no more. */
  #transmit(stream) {
    if (!stream?.up || this.#streams.get(stream.conn) !== stream) return;
    const { socket } = stream;
    while (!socket.writableNeedDrain) {
      const bytes = this.#machine.transmit(stream.conn);
      if (bytes === null) return;
      socket.write(bytes);
      // The socket is through with it: it is taken for the next, too.
      if (socket.writableLength === 0) this.#machine.recycle();
    }
  }

  async #token() {
    try {
      if (this.#settings.token === undefined) throw new Error('OAUTHBEARER needs a function `token` in the settings');
      const { value, lifetimeMs = Infinity } = (await this.#settings.token()) ?? {};
      if (typeof value !== 'string' || typeof lifetimeMs !== 'number' || !(lifetimeMs >= 0))
        throw new TypeError('`token` has to give { value, lifetimeMs }: a string, and milliseconds from 0 or nothing');
      this.#input(() => this.#machine.token(value, lifetimeMs));
    } catch (error) {
      this.#input(() => this.#machine.noToken(String(error?.message ?? error)));
    }
  }

  /** The time for `close` is over. */
  #abort() {
    if (this.#machine === null) return;
    for (const lane of [...this.#stuck]) {
      while (lane.head !== null)
        this.#refuse(lane, new SendError('ABORTED', 'the producer was closed before there was room'));
    }
    this.#stuck.clear();
    this.#checkMarks(); // a flush or a close that waited for these records begins, and ends with the abort
    this.#machine.abort();
    this.#drainMachine();
  }

  /** Nothing but a fault of the machine or of this host throws in here; then it is over. */
  #guard(what) {
    try {
      what();
    } catch (error) {
      this.#end(new KafkaError('BUG', `a fault of milena: ${error?.stack ?? error}`));
    }
  }

  /** All is over; what is still open fails with this. */
  #end(error) {
    this.#machine = null;
    this.#error = error;
    clearTimeout(this.#timer);
    clearTimeout(this.#blockTimer);
    for (const conn of [...this.#streams.keys()]) this.#disconnect(conn);
    for (const lane of [...this.#lanes.values(), ...this.#apart.values()]) {
      while (lane.head !== null) {
        lane.firstReject(error);
        lane.skip();
      }
    }
    for (const { parts } of this.#batches.values()) {
      for (const { open, place, count } of parts)
        for (let at = place; at < place + 2 * count; at += 2) open[at + 1]?.(error);
    }
    const over = [...this.#marks].map((mark) => mark.over);
    for (const resolve of [...this.#flushes.values(), ...over, ...this.#drains]) resolve?.();
    this.#marks.clear();
    this.#batches.clear();
    this.#lanes.clear();
    this.#stuck.clear();
    this.#open = 0;
    this.#closing ??= Promise.resolve();
    this.#closed?.();
  }
}
