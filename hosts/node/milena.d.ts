/** Options under the names of the Java client: docs/configuration.md has every one. */
export type Options = { 'bootstrap.servers': string } & {
  [name: string]: string | number | boolean | null | undefined;
};

export interface Settings {
  /** Options for node's `tls.connect`, before those made of `ssl.*`. */
  tls?: import('node:tls').ConnectionOptions;
  /** Tokens for OAUTHBEARER. */
  token?: () => Promise<{ value: string; lifetimeMs?: number }>;
  /** Gets a line about what the producer went through: connections that failed, pauses that brokers asked for. */
  log?: (text: string) => void;
}

export type Content = string | Uint8Array | null | undefined;

export interface OutgoingRecord {
  topic: string;
  /** Without a partition it decides which. */
  key?: Content;
  /** Null is a tombstone. */
  value?: Content;
  headers?: { [name: string]: Content } | Map<string, Content> | [string, Content][] | null;
  partition?: number;
  /** Milliseconds since 1970; without one, the time of the send. */
  timestamp?: number;
}

export interface Delivered {
  topic: string;
  partition: number;
  /** -1 where no broker told it (`acks=0`). */
  offset: number;
  /** Milliseconds since 1970: the record's, or the broker's where the topic has log append time. */
  timestamp: number;
}

export class KafkaError extends Error {
  /** Kafka's name for it, or a word in its style such as `DELIVERY_TIMEOUT`. */
  name: string;
  /** Kafka's number, 0 if it is none of Kafka's. */
  code: number;
  /** Whether it may get through if it is sent again, because only time, attempts or room ran out. */
  retriable: boolean;
  /** Whether the record may be in the log nevertheless. */
  possiblyWritten: boolean;
}

/** The options are wrong. */
export class ConfigError extends KafkaError {}
/** A record was not taken: it is in no log. */
export class SendError extends KafkaError {}
/** A record was taken and not delivered. */
export class DeliveryError extends KafkaError {}

export class Producer {
  /** Throws a ConfigError that says all that is wrong with the options. Connects when there is something to send. */
  constructor(options: Options, settings?: Settings);
  /** Copies the record, and is fulfilled when it is in the log. Rejects with SendError, DeliveryError, or TypeError. */
  send(record: OutgoingRecord): Promise<Delivered>;
  /** False while `buffer.memory` is used up: what is sent nevertheless waits, for `max.block.ms` at most, in memory of its own. */
  readonly writable: boolean;
  /** Fulfilled when `writable` is true, and not before the sockets had their turn. */
  drain(): Promise<void>;
  /** Sends without lingering. Fulfilled when each record that was given in before has its outcome. */
  flush(): Promise<void>;
  /** Takes no more, delivers what was given in, ends all connections. What is open after `timeout` ms fails. */
  close(settings?: { timeout?: number }): Promise<void>;
  /** Records without outcome, connections, bytes of the module's memory. */
  readonly status: { open: number; connections: number; wasmBytes: number };
  [Symbol.asyncDispose](): Promise<void>;
}
