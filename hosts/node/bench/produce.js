// One measurement in a process of its own: produce.js CASE BOOTSTRAP COUNT. Prints a line of JSON.
const [name, servers, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const value = Buffer.alloc(100, 'x');
/** So many records are open at most. */
const WINDOW = 10_000;

/** Sends `count` records, each with its own acknowledgement. */
async function each(send, count) {
  let [open, wake, failed] = [0, null, 0];
  const told = () => {
    open -= 1;
    if (wake !== null && open <= WINDOW / 2) {
      wake();
      wake = null;
    }
  };
  const refused = () => {
    failed += 1;
    told();
  };
  for (let sent = 0; sent < count; sent++) {
    send(sent).then(told, refused);
    if (++open >= WINDOW) await new Promise((resolve) => (wake = resolve));
  }
  while (open > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  if (failed > 0) throw new Error(`${failed} records failed`);
}

/** Sends `count` records, 1,000 by each call, with one acknowledgement for all of them; ten calls are open at most. */
async function thousands(send, count) {
  const open = new Set();
  for (let sent = 0; sent < count; sent += 1_000) {
    const done = send(1_000).finally(() => open.delete(done));
    open.add(done);
    if (open.size >= 10) await Promise.race(open);
  }
  await Promise.all(open);
}

async function milena(options) {
  const { Producer } = await import('../milena.js');
  return new Producer({ 'bootstrap.servers': servers, ...options });
}

async function platformatic() {
  const { Producer } = await import('@platformatic/kafka');
  return new Producer({
    clientId: 'bench',
    bootstrapBrokers: servers.split(','),
    idempotent: true,
    autocreateTopics: true,
  });
}

async function kafkajs() {
  const { Kafka, Partitioners, logLevel } = await import('kafkajs');
  const kafka = new Kafka({ clientId: 'bench', brokers: servers.split(','), logLevel: logLevel.NOTHING });
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true });
  await producer.connect();
  return producer;
}

const cases = {
  async milena() {
    const producer = await milena();
    return { run: (count) => each(() => producer.send({ topic: 't', value }), count), close: () => producer.close() };
  },
  async 'milena, strings and keys'() {
    const producer = await milena();
    const text = 'x'.repeat(90);
    const send = (number) => producer.send({ topic: 't', key: `key${number % 1000}`, value: text });
    return { run: (count) => each(send, count), close: () => producer.close() };
  },
  async 'platformatic, a send each'() {
    const producer = await platformatic();
    return {
      run: (count) => each(() => producer.send({ messages: [{ topic: 't', value }] }), count),
      close: () => producer.close(),
    };
  },
  async 'platformatic, stream with a report each'() {
    const producer = await platformatic();
    const stream = producer.asStream({ batchSize: 1_000, batchTime: 5, reportMode: 'message', highWaterMark: WINDOW });
    const run = (count) => {
      const waiting = [];
      let at = 0;
      const told = () => waiting[at++](); // in order
      stream.on('delivery-report', told);
      const send = () => {
        stream.write({ topic: 't', value });
        return new Promise((resolve) => waiting.push(resolve));
      };
      return each(send, count).finally(() => stream.off('delivery-report', told));
    };
    return { run, close: () => stream.close().then(() => producer.close()) };
  },
  async 'platformatic, 1000 by a send'() {
    const producer = await platformatic();
    const send = (many) => producer.send({ messages: Array.from({ length: many }, () => ({ topic: 't', value })) });
    return { run: (count) => thousands(send, count), close: () => producer.close() };
  },
  async 'kafkajs, a send each'() {
    const producer = await kafkajs();
    const send = () => producer.send({ topic: 't', acks: -1, messages: [{ value }] });
    return { run: (count) => each(send, count), close: () => producer.disconnect() };
  },
  async 'kafkajs, 1000 by a send'() {
    const producer = await kafkajs();
    const send = (many) =>
      producer.send({ topic: 't', acks: -1, messages: Array.from({ length: many }, () => ({ value })) });
    return { run: (count) => thousands(send, count), close: () => producer.disconnect() };
  },
};

if (name === 'list') {
  console.log(Object.keys(cases).join('\n'));
} else {
  const { run, close } = await cases[name]();
  await run(Math.ceil(count / 10)); // the compiler is warm, and metadata known
  let rss = 0;
  const look = setInterval(() => (rss = Math.max(rss, process.memoryUsage.rss())), 50);
  const [start, before] = [performance.now(), process.cpuUsage()];
  await run(count);
  const [{ user, system }, seconds] = [process.cpuUsage(before), (performance.now() - start) / 1000];
  clearInterval(look);
  const million = 1_000_000 / count;
  console.log(
    JSON.stringify({ name, count, cpu: ((user + system) / 1e6) * million, perSecond: count / seconds, rss: rss / 1e6 }),
  );
  await close();
  process.exit(0);
}
