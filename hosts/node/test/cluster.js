// The cluster in memory that the tests produce to: hosts/server.rs, built by hosts/run.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export class Cluster {
  static async start(...words) {
    const it = new Cluster();
    it.child = spawn(process.env.MILENA_SERVER, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    it.lines = createInterface({ input: it.child.stdout })[Symbol.asyncIterator]();
    it.options = await it.#answer();
    return it;
  }

  async #answer() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the cluster is gone');
    return JSON.parse(value);
  }

  async tell(...words) {
    this.child.stdin.write(`${words.join(' ')}\n`);
    return this.#answer();
  }

  /** What a topic holds, with keys, values and values of headers as Buffers. */
  async records(topic) {
    const bytes = (text) => (text === null ? null : Buffer.from(text, 'base64'));
    const records = await this.tell('records', topic);
    return records.map(({ key, value, headers, ...rest }) => ({
      key: bytes(key),
      value: bytes(value),
      headers: headers.map(([name, content]) => [name, bytes(content)]),
      ...rest,
    }));
  }

  end() {
    this.child.stdin.end();
  }
}
