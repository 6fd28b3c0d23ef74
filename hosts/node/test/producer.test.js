// Tests of the package as it is installed: hosts/run packs it, installs it, and copies these next to it.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ConfigError, DeliveryError, KafkaError, Producer, SendError } from 'milena';
import { Cluster } from './cluster.js';

const run = promisify(execFile);
const home = import.meta.dirname ?? new URL('.', import.meta.url).pathname;

/** A cluster and a producer to it, which are ended with the test. */
async function open(t, { server = [], options = {}, settings } = {}) {
  const cluster = await Cluster.start(...server);
  t.after(() => cluster.end());
  const producer = new Producer({ ...cluster.options, ...options }, settings);
  t.after(() => producer.close({ timeout: 0 }));
  return { cluster, producer };
}

async function program(text, ...args) {
  return run(process.execPath, ['--input-type=module', '-e', text, ...args], { cwd: home, timeout: 20_000 });
}

test('the module imports nothing', () => {
  const path = createRequire(import.meta.url)
    .resolve('milena')
    .replace('milena.js', 'milena.wasm');
  assert.deepEqual(WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(path))), []);
});

test('10,000 records stand in order, at the offsets that were told', async (t) => {
  const { cluster, producer } = await open(t);
  await cluster.tell('create', 'numbers', 2);
  const told = [];
  for (let i = 0; i < 10_000; i++) told.push(producer.send({ topic: 'numbers', partition: i % 2, value: String(i) }));
  const results = await Promise.all(told);
  const stored = await cluster.records('numbers');
  assert.equal(stored.length, 10_000);
  results.forEach(({ topic, partition, offset }, i) => {
    assert.deepEqual([topic, partition, offset], ['numbers', i % 2, Math.floor(i / 2)]);
    assert.equal(String(stored[partition * 5_000 + offset].value), String(i));
  });
});

test('keys, values, headers and timestamps arrive as they were given', async (t) => {
  const { cluster, producer } = await open(t, { server: ['partitions=1'] });
  const before = Date.now();
  const bytes = new Uint8Array([0, 255, 10]);
  const given = [
    { key: 'ключ', value: 'näh 🙂', headers: { a: 'ü', b: null }, timestamp: 1_700_000_000_000 },
    { key: null, value: null },
    {
      key: '',
      value: '',
      headers: [
        ['a', ''],
        ['a', bytes],
      ],
    },
    { key: bytes, value: bytes, headers: new Map([['m', bytes]]), timestamp: 0 },
    { value: bytes.subarray(1, 2), headers: Array.from({ length: 40 }, (_, i) => [`h${i}`, String(i)]) },
    { value: 'x'.repeat(200_000) },
  ];
  const results = await Promise.all(given.map((record) => producer.send({ topic: 't', ...record })));
  const stored = await cluster.records('t');
  const seen = stored.map(({ key, value, headers, timestamp }) => ({ key, value, headers, timestamp }));
  const buffer = (content) => (content === null || content === undefined ? null : Buffer.from(content));
  given.forEach(({ key, value, headers = {}, timestamp }, i) => {
    const pairs = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
    assert.deepEqual(seen[i].key, buffer(key));
    assert.deepEqual(seen[i].value, buffer(value));
    assert.deepEqual(
      seen[i].headers,
      pairs.map(([name, content]) => [name, buffer(content)]),
    );
    assert.equal(results[i].timestamp, seen[i].timestamp);
    if (timestamp !== undefined) assert.equal(seen[i].timestamp, timestamp);
    else assert.ok(seen[i].timestamp >= before && seen[i].timestamp <= Date.now(), 'the time of the send');
  });
});

test('records that alternate between partitions are told their own offsets and timestamps', async (t) => {
  const { cluster, producer } = await open(t, { server: ['partitions=5'], options: { 'linger.ms': 20 } });
  const told = [];
  for (let i = 0; i < 3_000; i++) {
    told.push(
      producer.send({ topic: 't', partition: i % 5, value: String(i), timestamp: i % 7 === 0 ? i : undefined }),
    );
    if (i % 100 === 0) await sleep(1);
  }
  await producer.flush();
  const stored = new Map();
  for (const record of await cluster.records('t')) stored.set(`${record.partition}/${record.offset}`, record);
  assert.equal(stored.size, 3_000);
  (await Promise.all(told)).forEach(({ partition, offset, timestamp }, i) => {
    const record = stored.get(`${partition}/${offset}`);
    assert.deepEqual([partition, String(record.value), record.timestamp], [i % 5, String(i), timestamp]);
    if (i % 7 === 0) assert.equal(timestamp, i);
  });
});

test('large values arrive whole, however little the sockets take at a time', async (t) => {
  const options = { 'max.request.size': 1_000_000, 'batch.size': 1_000_000, 'linger.ms': 20, retries: 0 };
  const { cluster, producer } = await open(t, { server: ['nodes=3', 'partitions=3'], options });
  const send = (value, i) => producer.send({ topic: 't', partition: i % 3, value });
  await Promise.all(['', '', ''].map(send)); // it is connected
  const values = Array.from({ length: 90 }, () => randomBytes(300_000));
  cluster.child.kill('SIGSTOP');
  const told = Promise.all(values.map(send));
  await sleep(300);
  cluster.child.kill('SIGCONT');
  const stored = new Map(
    (await told, await cluster.records('t')).map(({ partition, offset, value }) => [`${partition}/${offset}`, value]),
  );
  (await told).forEach(({ partition, offset }, i) => assert.ok(stored.get(`${partition}/${offset}`).equals(values[i])));
});

test('a program that was busy takes no answer for missing that is there', async (t) => {
  const said = [];
  const options = { 'request.timeout.ms': 1_500, 'linger.ms': 0 };
  const { producer } = await open(t, { options, settings: { log: (text) => said.push(text) } });
  await producer.send({ topic: 't', value: '' });
  for (let i = 0; i < 2; i++) {
    const told = producer.send({ topic: 't', value: '' });
    await new Promise((resolve) => setImmediate(resolve)); // it is written
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);
    await told;
  }
  assert.deepEqual(said, []);
});

test('equal keys go to one partition, the one that Java chooses', async (t) => {
  const { producer } = await open(t, { server: ['partitions=8'] });
  const of = async (key) => (await producer.send({ topic: 't', key, value: 'v' })).partition;
  // murmur2 as Java's DefaultPartitioner: Utils.toPositive(Utils.murmur2(key)) % 8
  assert.deepEqual(
    [await of('21'), await of('foobar'), await of('a-little-bit-long-string')],
    [-973932308, -790332482, -985981536].map((hash) => (hash & 0x7fffffff) % 8),
  );
});

test('a server that restarts in the middle loses and doubles nothing', async (t) => {
  const { cluster, producer } = await open(t, {
    server: ['nodes=2'],
    options: { 'linger.ms': 1, 'reconnect.backoff.ms': 20 },
  });
  await cluster.tell('create', 't', 1);
  const told = [];
  for (let i = 0; i < 2_000; i++) {
    told.push(producer.send({ topic: 't', value: String(i) }));
    if (i % 10 === 0) await sleep(1);
    if (i === 700) await cluster.tell('stop');
    if (i === 1_200) await cluster.tell('start');
  }
  const results = await Promise.all(told);
  assert.deepEqual(
    results.map(({ offset }) => offset),
    results.map((_, i) => i),
  );
  assert.deepEqual(
    (await cluster.records('t')).map(({ value }) => Number(value)),
    results.map((_, i) => i),
  );
});

test('wrong options are told in words, all of them', () => {
  const wrong = { 'bootstrap.servers': 'h:1', 'linger.ms': 'soon', 'no.such': 1, acks: 7 };
  assert.throws(
    () => new Producer(wrong),
    (error) => {
      assert.ok(error instanceof ConfigError && error instanceof KafkaError && error instanceof Error);
      for (const part of ['linger.ms', 'acks']) assert.ok(error.message.includes(part), error.message);
      return true;
    },
  );
  assert.throws(() => new Producer({}), /bootstrap\.servers/);
  const text = {
    'bootstrap.servers': 'h:1',
    'security.protocol': 'SSL',
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.certificates': 'none',
  };
  assert.throws(
    () => new Producer(text),
    (error) => error instanceof ConfigError && /ssl\./.test(error.message),
  );
  const keys = {
    'bootstrap.servers': 'h:1',
    'security.protocol': 'SSL',
    'ssl.truststore.location': '/none',
    'ssl.truststore.type': 'PEM',
  };
  assert.throws(
    () => new Producer(keys),
    (error) => error instanceof ConfigError && /ssl\.truststore\.location/.test(error.message),
  );
});

test('what is no record is a TypeError, and the next is sent', async (t) => {
  const { cluster, producer } = await open(t);
  const wrong = [
    { topic: 't', value: 7 },
    { topic: 't', key: {} },
    { value: 'v' },
    { topic: 't', partition: -1 },
    { topic: 't', partition: 1.5 },
    { topic: 't', timestamp: -5 },
    { topic: 't', headers: { h: 3 } },
    { topic: 't', headers: [[1, 'v']] },
    { topic: 't', headers: 'h' },
  ];
  for (const record of wrong) await assert.rejects(producer.send(record), TypeError, JSON.stringify(record));
  await assert.rejects(producer.send(null), TypeError);
  assert.equal((await producer.send({ topic: 't', value: 'v' })).offset, 0);
  assert.equal((await cluster.records('t')).length, 1);
});

test('refusals have a name and a code, and hold up nobody else', async (t) => {
  const { cluster, producer } = await open(t, {
    options: { 'max.block.ms': 1_500, 'delivery.timeout.ms': 2_000, 'request.timeout.ms': 1_500, 'linger.ms': 0 },
  });
  await cluster.tell('create', 'one', 1);
  await cluster.tell('create', 'forbidden', 1);
  await cluster.tell('refuse', 'forbidden');
  const rejected = async (record, type) => {
    const error = await producer.send(record).then(assert.fail, (error) => error);
    assert.ok(error instanceof type, String(error));
    return error;
  };
  assert.equal((await rejected({ topic: 'a/b', value: '' }, SendError)).name, 'TOPIC_REFUSED');
  const forbidden = await rejected({ topic: 'forbidden', value: '' }, SendError);
  assert.deepEqual([forbidden.name, forbidden.code], ['TOPIC_AUTHORIZATION_FAILED', 29]);
  assert.match(forbidden.message, /^topic forbidden: .*this user needs Write/);
  assert.equal((await rejected({ topic: 'one', value: 'x'.repeat(2_000_000) }, SendError)).name, 'RECORD_TOO_LARGE');
  const apart = producer.send({ topic: 'one', partition: 5, value: '' });
  apart.catch(() => {});
  assert.equal((await producer.send({ topic: 'one', value: 'passes by' })).offset, 0);
  const message = /^topic one: .*: it has 1 partitions/;
  await assert.rejects(apart, { name: 'TOPIC_UNKNOWN', retriable: true, message });
  await cluster.tell('fail', 87, 1); // INVALID_RECORD
  const refused = await rejected({ topic: 'one', value: '' }, DeliveryError);
  assert.deepEqual(
    [refused.name, refused.code, refused.retriable, refused.possiblyWritten],
    ['INVALID_RECORD', 87, false, false],
  );
  await cluster.tell('stop');
  const late = await rejected({ topic: 'one', value: '' }, DeliveryError);
  assert.deepEqual([late.name, late.retriable], ['DELIVERY_TIMEOUT', true]);
});

test('a partition that comes later gets what waited for it', async (t) => {
  const { cluster, producer } = await open(t, { options: { 'metadata.max.age.ms': 100 } });
  await cluster.tell('create', 't', 1);
  const first = producer.send({ topic: 't', partition: 1, value: '0' });
  const second = producer.send({ topic: 't', partition: 1, value: '1' });
  const flushed = producer.flush();
  await producer.send({ topic: 't', partition: 0, value: '' });
  await cluster.tell('grow', 't', 2);
  await flushed;
  assert.deepEqual([(await first).offset, (await second).offset], [0, 1]);
});

test('nobody is there: send waits max.block.ms', async () => {
  const closed = await new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
  const said = [];
  const options = { 'bootstrap.servers': `127.0.0.1:${closed}`, 'max.block.ms': 200 };
  const producer = new Producer(options, { log: (text) => said.push(text) });
  // The second one comes after a pause that is longer than that.
  for (const pause of [0, 500]) {
    await sleep(pause);
    const start = performance.now();
    const expected = { name: 'TOPIC_UNKNOWN', retriable: true, possiblyWritten: false };
    const why = await producer.send({ topic: 't', value: 'v' }).then(assert.fail, (error) => {
      assert.deepEqual([error.name, error.retriable, error.possiblyWritten], Object.values(expected));
      return error.message;
    });
    assert.match(why, new RegExp(`^topic t: .*max.block.ms: 127.0.0.1:${closed}: can't connect: ECONNREFUSED`));
    assert.ok(performance.now() - start > 190, `${pause}: ${performance.now() - start}`);
  }
  await producer.close();
  assert.ok(
    said.some((text) => text.includes('ECONNREFUSED')),
    String(said),
  );
});

test('full memory: send waits, and writable says so', async (t) => {
  const { cluster, producer } = await open(t, { options: { 'buffer.memory': 65_536, 'batch.size': 4_096 } });
  const told = [];
  const value = Buffer.alloc(1_000);
  let waits = 0;
  await producer.send({ topic: 'u', value }); // what follows waits for memory, not for a topic
  await cluster.tell('create', 't', 1);
  for (let i = 0; i < 2_000; i++) {
    if (!producer.writable) {
      await producer.drain();
      waits += 1;
      assert.ok(producer.status.open < 200, 'no more than fits, and one push');
    }
    told.push(producer.send({ topic: 't', partition: 0, value }));
  }
  const results = await Promise.all(told);
  assert.ok(waits > 5, `${waits}`);
  assert.deepEqual(
    results.map(({ offset }) => offset),
    results.map((_, i) => i),
  );
  // All at once, without a look at `writable`: they wait in line.
  const more = await Promise.all(
    Array.from({ length: 1_000 }, () => producer.send({ topic: 't', partition: 0, value })),
  );
  assert.deepEqual(
    more.map(({ offset }) => offset),
    more.map((_, i) => 2_000 + i),
  );
  assert.ok(producer.writable);
  assert.equal((await cluster.records('t')).length, 3_000);
});

test('full memory for longer than max.block.ms is an error', async (t) => {
  const options = { 'buffer.memory': 65_536, 'max.block.ms': 1_500 };
  const { cluster, producer } = await open(t, { options });
  await producer.send({ topic: 't', value: '' });
  await cluster.tell('stop');
  const value = Buffer.alloc(1_000);
  const told = Array.from({ length: 200 }, () => producer.send({ topic: 't', value }));
  const first = await Promise.race(told.map((it) => it.catch((error) => error)));
  assert.deepEqual([first.name, first.retriable, first.possiblyWritten], ['BUFFER_FULL', true, false]);
  assert.match(first.message, /^topic t: .*: 127.0.0.1:\d+: /);
  await cluster.tell('start');
  const outcomes = await Promise.allSettled(told);
  const taken = outcomes.filter(({ status }) => status === 'fulfilled').length;
  assert.ok(taken > 20 && taken < 70, `${taken}`);
});

test('flush does not linger, close delivers what is open, and then nothing is taken', async (t) => {
  const { cluster, producer } = await open(t, { options: { 'linger.ms': 60_000, 'delivery.timeout.ms': 120_000 } });
  const flushed = producer.send({ topic: 't', value: '0' });
  await producer.flush();
  assert.equal((await flushed).offset, 0);
  await producer.flush();
  const told = Array.from({ length: 100 }, (_, i) => producer.send({ topic: 'u', partition: 0, value: String(i) }));
  const closed = producer.close();
  await assert.rejects(producer.send({ topic: 't', value: 'late' }), { name: 'CLOSED' });
  await closed;
  assert.deepEqual(
    (await Promise.all(told)).map(({ offset }) => offset),
    told.map((_, i) => i),
  );
  assert.equal((await cluster.records('u')).length, 100);
  await producer.close();
  await producer.flush();
  assert.deepEqual(producer.status, { open: 0, connections: 0, wasmBytes: 0 });
});

test('close with a timeout fails what is open', async (t) => {
  const { cluster, producer } = await open(t);
  await producer.send({ topic: 't', value: '' });
  await cluster.tell('stop');
  const open1 = producer.send({ topic: 't', value: '' });
  const open2 = producer.send({ topic: 'unknown', value: '' });
  const outcomes = Promise.allSettled([open1, open2]);
  const start = performance.now();
  await producer.close({ timeout: 200 });
  assert.ok(performance.now() - start < 10_000);
  assert.deepEqual(
    (await outcomes).map(({ reason }) => reason?.name),
    ['ABORTED', 'ABORTED'],
  );
});

test('a flush that waits for a topic ends with the producer', async (t) => {
  const silent = net.createServer((socket) => socket.on('error', () => {}).resume());
  await new Promise((resolve) => silent.listen(0, '127.0.0.1', resolve));
  t.after(() => silent.close());
  const producer = new Producer({ 'bootstrap.servers': `127.0.0.1:${silent.address().port}` });
  const ends = [];
  producer.send({ topic: 't', value: '' }).catch(({ name }) => ends.push(name));
  producer.flush().then(() => ends.push('flushed'));
  await producer.close({ timeout: 100 });
  await sleep(0);
  assert.deepEqual(ends, ['ABORTED', 'flushed']);
});

for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512']) {
  for (const encrypted of [false, true]) {
    test(`${mechanism}${encrypted ? ' over TLS' : ''}`, async (t) => {
      const cluster = await Cluster.start('user=alice:se"cret=', ...(encrypted ? ['tls'] : []));
      t.after(() => cluster.end());
      const module = mechanism === 'PLAIN' ? 'plain.PlainLoginModule' : 'scram.ScramLoginModule';
      const jaas = (password) =>
        `org.apache.kafka.common.security.${module} required username="alice" password="${password}";`;
      const options = { ...cluster.options, 'sasl.mechanism': mechanism, 'sasl.jaas.config': jaas('se\\"cret=') };
      const producer = new Producer(options);
      assert.equal((await producer.send({ topic: 't', value: 'v' })).offset, 0);
      await producer.close();
      const stranger = new Producer({ ...options, 'sasl.jaas.config': jaas('guessed') });
      await assert.rejects(stranger.send({ topic: 't', value: 'v' }), (error) => {
        assert.equal(error.name, 'ACCESS_DENIED');
        assert.ok(!error.message.includes('guessed'));
        return true;
      });
      await stranger.close();
    });
  }
}

test('what the application throws in `log` does not stop the producer', async (t) => {
  const cluster = await Cluster.start();
  t.after(() => cluster.end());
  await cluster.tell('stop');
  const text = `import { Producer } from 'milena';
    process.once('uncaughtException', () => {
      console.log('thrown');
      process.on('uncaughtException', () => {});
    });
    const producer = new Producer(JSON.parse(process.argv[1]), { log: () => { throw new Error(); } });
    console.log((await producer.send({ topic: 't', value: 'v' })).offset);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', text, JSON.stringify(cluster.options)], {
    cwd: home,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'thrown') await cluster.tell('start');
    lines.push(line);
  }
  assert.deepEqual(lines, ['thrown', '0']);
});

test('a second close may be in more of a hurry', async (t) => {
  const { cluster, producer } = await open(t);
  await producer.send({ topic: 't', value: '' });
  await cluster.tell('stop');
  const outcome = producer.send({ topic: 't', value: '' }).catch(({ name }) => name);
  const closed = producer.close();
  await producer.close({ timeout: 100 });
  await closed;
  assert.equal(await outcome, 'ABORTED');
});

test('TLS: who is not trusted gets nothing', async (t) => {
  const cluster = await Cluster.start('tls');
  t.after(() => cluster.end());
  const trusting = new Producer(cluster.options);
  assert.equal((await trusting.send({ topic: 't', value: 'v' })).offset, 0);
  await trusting.close();
  const { 'bootstrap.servers': servers } = cluster.options;
  const other = new Producer({ 'bootstrap.servers': servers, 'security.protocol': 'SSL' });
  await assert.rejects(other.send({ topic: 't', value: 'v' }), { name: 'ACCESS_DENIED' });
  await other.close();
  assert.equal((await cluster.records('t')).length, 1);
});

test('TLS: a broker that goes away in the handshake is tried again', async (t) => {
  const cluster = await Cluster.start('tls');
  t.after(() => cluster.end());
  const [host, port] = cluster.options['bootstrap.servers'].split(':');
  let resets = 0;
  const between = net.createServer((socket) => {
    socket.on('error', () => {});
    if (resets < 2) {
      resets += 1;
      socket.once('data', () => socket.resetAndDestroy());
      return;
    }
    const broker = net.connect(port, host).on('error', () => socket.destroy());
    socket.pipe(broker).pipe(socket);
  });
  await new Promise((resolve) => between.listen(0, '127.0.0.1', resolve));
  t.after(() => between.close());
  const producer = new Producer({
    ...cluster.options,
    'bootstrap.servers': `127.0.0.1:${between.address().port}`,
  });
  assert.equal((await producer.send({ topic: 't', value: 'v' })).offset, 0);
  assert.equal(resets, 2);
  await producer.close();
});

test("OAUTHBEARER: tokens are the application's", async (t) => {
  const cluster = await Cluster.start('user=alice:secret');
  t.after(() => cluster.end());
  const part = (it) => Buffer.from(JSON.stringify(it)).toString('base64url');
  const seconds = Math.floor(Date.now() / 1000);
  const value = `${part({ alg: 'none' })}.${part({ sub: 'alice', iat: seconds, exp: seconds + 600 })}.`;
  const { 'bootstrap.servers': servers } = cluster.options;
  const options = {
    'bootstrap.servers': servers,
    'security.protocol': 'SASL_PLAINTEXT',
    'sasl.mechanism': 'OAUTHBEARER',
  };
  const producer = new Producer(options, { token: async () => ({ value, lifetimeMs: 600_000 }) });
  assert.equal((await producer.send({ topic: 't', value: 'v' })).offset, 0);
  await producer.close();
  // What is no token is the application's error, and not the end.
  const wrong = [NaN, -1, '9'].map((lifetimeMs) => ({ value, lifetimeMs }));
  for (const none of [undefined, {}, ...wrong]) {
    const without = new Producer(options, { token: async () => none });
    await assert.rejects(without.send({ topic: 't', value: 'v' }), { name: 'ACCESS_DENIED', message: /lifetimeMs/ });
    await without.close();
  }
  const forEver = new Producer(options, { token: async () => ({ value, lifetimeMs: Infinity }) });
  assert.equal((await forEver.send({ topic: 't', value: 'v' })).topic, 't');
  await forEver.close();
});

for (const codec of ['gzip', 'lz4']) {
  test(`compression by ${codec}`, async (t) => {
    const { cluster, producer } = await open(t, { options: { 'compression.type': codec } });
    const values = Array.from({ length: 500 }, (_, i) => `the same words again and again, number ${i}`);
    await Promise.all(values.map((value) => producer.send({ topic: 't', partition: 0, value })));
    assert.deepEqual(
      (await cluster.records('t')).map(({ value }) => String(value)),
      values,
    );
  });
}

test('acks=0: nothing is lost at close', async (t) => {
  const { cluster, producer } = await open(t, { options: { acks: 0, 'enable.idempotence': false } });
  const told = await Promise.all(
    Array.from({ length: 1_000 }, () => producer.send({ topic: 't', partition: 0, value: 'v' })),
  );
  assert.ok(told.every(({ offset }) => offset === -1));
  await producer.close();
  let stored = 0;
  for (let i = 0; i < 100 && stored < 1_000; i++) {
    await sleep(50);
    stored = (await cluster.records('t')).length;
  }
  assert.equal(stored, 1_000);
});

test('an idle producer does not keep the process, one with an open record does', async (t) => {
  const cluster = await Cluster.start('tls');
  t.after(() => cluster.end());
  const text = `import { Producer } from 'milena';
    const producer = new Producer(JSON.parse(process.argv[1]));
    await producer.send({ topic: 't', value: 'waited for' });
    producer.send({ topic: 't', value: 'not waited for' }).then(() => console.log('both'));`;
  const { stdout } = await program(text, JSON.stringify({ ...cluster.options, 'linger.ms': 300 }));
  assert.equal(stdout, 'both\n');
  assert.equal((await cluster.records('t')).length, 2);
});

test('memory is bounded: records and connections leave nothing behind', async (t) => {
  const { cluster, producer } = await open(t, {
    options: { 'buffer.memory': 2_000_000, 'reconnect.backoff.ms': 10, 'reconnect.backoff.max.ms': 20 },
  });
  const value = Buffer.alloc(100);
  const round = async () => {
    for (let i = 0; i < 20; i++) {
      await Promise.all(Array.from({ length: 1_000 }, () => producer.send({ topic: 't', value })));
    }
    for (let i = 0; i < 10; i++) {
      await cluster.tell('stop');
      const told = producer.send({ topic: 't', value });
      await sleep(30);
      await cluster.tell('start');
      await told;
    }
    return producer.status.wasmBytes;
  };
  const first = await round();
  for (let i = 0; i < 3; i++) await round();
  const { wasmBytes, open: left, connections } = producer.status;
  assert.ok(wasmBytes < first + 1_000_000 && wasmBytes < 12_000_000, `${first} bytes, later ${wasmBytes}`);
  assert.equal(left, 0);
  assert.ok(connections <= 2, `${connections}`);
});

test('the program', async (t) => {
  const cluster = await Cluster.start('partitions=1');
  t.after(() => cluster.end());
  const path = createRequire(import.meta.url)
    .resolve('milena')
    .replace('milena.js', 'produce.js');
  const { stdout } = await run(process.execPath, [
    path,
    cluster.options['bootstrap.servers'],
    'numbers',
    '3000',
    '10000',
  ]);
  assert.equal(stdout, '3000 records: 3000 delivered, 0 failed\n');
  const stored = await cluster.records('numbers');
  assert.deepEqual(
    stored.map(({ value }) => String(value)),
    stored.map((_, i) => String(i).padStart(8, '0')),
  );
  assert.equal(stored.length, 3_000);
});

test('every listing of the README runs', async (t) => {
  const cluster = await Cluster.start();
  t.after(() => cluster.end());
  const page = readFileSync(new URL('README.md', import.meta.url), 'utf8');
  const listings = [...page.matchAll(/```js\n(.*?)```/gs)].map(([, text]) => text);
  assert.ok(listings.length >= 3);
  const seen = [];
  for (const listing of listings) {
    const { stdout } = await program(listing.replaceAll('localhost:9092', cluster.options['bootstrap.servers']));
    seen.push(stdout);
  }
  assert.match(seen[0], /topic: 'orders'.*offset: 0/s);
  assert.match(seen[1], /, 0 failed/);
  assert.match(seen[2], /true .*linger\.ms.*TOPIC_REFUSED 0 false false/s);
});
