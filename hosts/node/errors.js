/** What goes wrong. `name` is Kafka's name for it, or a word in its style; `code` is Kafka's number, 0 if it is none of Kafka's. */
export class KafkaError extends Error {
  constructor(name, message, more = {}) {
    super(message);
    this.name = name;
    this.code = more.code ?? 0;
    this.retriable = more.retriable ?? false;
    this.possiblyWritten = more.possiblyWritten ?? false;
  }
}

/** The options are wrong. */
export class ConfigError extends KafkaError {}

/** A record was not taken: it is in no log. */
export class SendError extends KafkaError {}

/** A record was taken and not delivered: `possiblyWritten` says whether it may be in the log nevertheless. */
export class DeliveryError extends KafkaError {}
