#!/usr/bin/env node
// Sends numbers to partition 0 of a topic, in order.
import { Producer } from './milena.js';

const [servers, topic, count, rate = '0'] = process.argv.slice(2);
if (count === undefined) {
  console.error('usage: produce.js BOOTSTRAP TOPIC COUNT [RECORDS_PER_SECOND]');
  process.exit(2);
}
const producer = new Producer({ 'bootstrap.servers': servers, 'client.id': 'produce.js' }, { log: console.error });
let delivered = 0;
let failed = 0;
const start = performance.now();
for (let sent = 0; sent < Number(count); sent++) {
  const early = Number(rate) === 0 ? 0 : start + (sent * 1000) / Number(rate) - performance.now();
  if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
  if (!producer.writable || sent % 1000 === 999) await producer.drain();
  producer.send({ topic, partition: 0, value: String(sent).padStart(8, '0') }).then(
    () => (delivered += 1),
    (error) => {
      failed += 1;
      console.error(`${error.name}: ${error.message}`);
    },
  );
}
await producer.close();
console.log(`${count} records: ${delivered} delivered, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
