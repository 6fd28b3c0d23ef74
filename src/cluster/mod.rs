//! A Kafka cluster in memory.
