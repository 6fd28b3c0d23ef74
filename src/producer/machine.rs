//! The machine: its contract, and what it owns, by rooms.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use smallvec::SmallVec;

use crate::batch::{Class, Compression, Compressor, Pool};
use crate::config::Config;
use crate::connection::{Connection, Entry};
use crate::error::{ConnectionError, ErrorCode};
use crate::ids::ConnId;
use crate::memory;
use crate::metrics::{Distributions, Stats};
use crate::planted::planted;
use crate::producer::alarms::Alarms;
use crate::producer::backoff::Backoff;
use crate::producer::control::brokers::Brokers;
use crate::producer::control::producer_id::ProducerIdRequest;
use crate::producer::control::refresh::Refresh;
use crate::producer::control::requests::Question;
use crate::producer::control::servers::{self, Servers};
use crate::producer::delivery::idempotence::Standing;
use crate::producer::lifecycle::{Flushes, Phase};
use crate::producer::list::List;
use crate::producer::outbox::Outbox;
use crate::producer::random::Random;
use crate::producer::records::batches::{Batches, Stage};
use crate::producer::records::jobs::Jobs;
use crate::producer::records::partitioner::{Partitioner, RoundRobinPartitioner};
use crate::producer::records::partitions::Partitions;
use crate::producer::records::topics::{Sizes, Topics};
use crate::producer::sessions::mechanism::Mechanism;
#[cfg(feature = "scram")]
use crate::producer::sessions::scram::Scram;
use crate::producer::sessions::tokens::Tokens;
use crate::producer::timers::Timers;
use crate::time::{Instant, UnixTime};

/// A Kafka producer without sockets, clock, threads or randomness of its own.
///
/// It is told what happens ([`handle_input`](Self::handle_input), [`send`](Self::send) and the other commands), and says
/// what to do ([`poll_output`](Self::poll_output), [`transmit`](Self::transmit)). The crate documentation shows the loop.
///
/// # The contract
///
/// 1. After anything that takes `&mut self`, drain `poll_output` until [`Output::Wait`], when convenient. Not draining
///    delays, it never breaks. Any number of sends and inputs may come in between. One party drains; others that only
///    send ask [`take_wake`](Self::take_wake) under the same lock, and wake it if true.
/// 2. `now` need not be exact and may repeat; an earlier one counts as the last one. Hand in all bytes that can be read
///    before [`Input::Timeout`]: nothing expires except there.
/// 3. [`Output::Transmit`] is an edge. After it, call `transmit` until it is empty or the socket blocks; when blocked,
///    call again once it is writable, without a new edge. An empty `transmit` arms the edge again. One writer a
///    connection; `transmit` shows the same bytes until they are consumed or [`written`](Self::written).
/// 4. Input for a connection that is gone is ignored. Connection ids are never used again.
/// 5. Every record accepted is named by exactly one [`Delivery`], also after [`abort`](Self::abort); after
///    [`Event::Closed`] none is open. With idempotence, the deliveries of a partition come in the order of its sends.
/// 6. Work a call is O(1), plus the size of its input, plus what it takes off lists that earlier calls filled.
/// 7. The same inputs with the same seed give the same outputs.
/// 8. No input can make it panic, loop, or hold memory beyond `buffer.memory` plus a bounded amount a connection, a topic
///    asked for, and a partition of those.
///
/// [`Output::Wait`]: crate::Output::Wait
/// [`Output::Transmit`]: crate::Output::Transmit
/// [`Input::Timeout`]: crate::Input::Timeout
/// [`Event::Closed`]: crate::Event::Closed
/// [`Delivery`]: crate::Delivery
pub struct Producer {
    pub(super) config: Config,
    /// The last time that was told.
    pub(super) now: Instant,
    /// The last time at which `Input::Timeout` came: lingering batches that were due by then are due, and open ones that
    /// should be delivered by then have expired.
    pub(super) timeout_at: Instant,
    /// A moment on the monotonic clock, and the time of day at it.
    pub(super) wall: Option<(Instant, UnixTime)>,
    pub(super) random: Random,
    pub(super) life: Life,
    pub(super) records: Records,
    pub(super) identity: ProducerIdentity,
    /// Between attempts to deliver a batch.
    pub(super) retry_backoff: Backoff,
    pub(super) control: Control,
    pub(super) sessions: Sessions,
    pub(super) timers: Timers,
    pub(super) outbox: Outbox,
    /// What the last drain said to wait for.
    pub(super) last_wait: Option<Instant>,
    /// The draining party was woken and has not come to `Wait` yet.
    pub(super) awake: bool,
    /// Nothing has come since somebody last looked whether it has to be woken, but records for batches that were open and are not due.
    pub(super) nothing_new: bool,
    pub(super) stats: Stats,
    /// Made when somebody wants to measure.
    pub(super) distributions: Option<Box<Distributions>>,
    /// What the log says to be wrong.
    pub(super) alarms: Alarms,
    /// Somebody wants to be told of what the machine goes through by itself.
    pub(super) observed: bool,
    /// When a record was last delivered.
    pub(super) delivered_at: Option<Instant>,
}

/// How far the producer is, and who wants to be told.
pub(super) struct Life {
    pub(super) phase: Phase,
    pub(super) flushes: Flushes,
    /// Batches with smaller serials fail with this code: there is no producer id for them.
    pub(super) refused_below: (u64, ErrorCode),
}

/// What the records are in.
pub(super) struct Records {
    pub(super) topics: Topics,
    pub(super) partitions: Partitions,
    pub(super) batches: Batches,
    /// `buffer.memory`.
    pub(super) pool: Pool,
    /// The application's, or round robin; `None`: Java's rules.
    pub(super) partitioner: Option<Box<dyn Partitioner>>,
    /// How long after its first record a batch may take more, in nanoseconds.
    pub(super) growth: u64,
    /// The largest record that can be taken, in bytes.
    pub(super) largest_record: usize,
    /// Lingering batches with smaller serials are due: a flush, a close, or someone waits for memory.
    pub(super) due_below: u64,
    /// Batches with smaller serials are covered by a flush, and take no more records: those would be waited for, too.
    pub(super) flushed_below: u64,
    /// How many brokers that were left alone (`partitioner.availability.timeout.ms`) took something again.
    pub(super) recovered_brokers: u64,
    /// No connection holds back what is due, so that it grows, for longer than until then.
    pub(super) held_until: Instant,
    /// Someone waits for that many bytes of memory.
    pub(super) starved: Option<usize>,
    /// Jobs of compression that are out.
    pub(super) jobs: Jobs,
    /// Partitions whose next batch waits for a job.
    pub(super) without_job: List,
    /// For what is compressed here.
    pub(super) compressor: Compressor,
}

/// So many producer ids are remembered.
const MOST_GIVEN: usize = 16;

/// The first wait after a refusal where there is none between connections.
const REFUSAL_BACKOFF: Duration = Duration::from_secs(1);

/// Under which producer id batches leave.
pub(super) struct ProducerIdentity {
    pub(super) standing: Standing,
    /// The producer ids that were given, up to [`MOST_GIVEN`]: the last of them is the newest.
    given: SmallVec<[i64; 2]>,
    /// Partitions that can send as soon as there is a producer id.
    pub(super) without_identity: List,
}

impl ProducerIdentity {
    /// Whether this producer id was not given before: brokers give each once, and its epochs may be used up.
    pub(super) fn is_new(&self, producer_id: i64) -> bool {
        !self.given.contains(&producer_id) || planted("identity-loop")
    }

    /// This producer id was given.
    pub(super) fn note_given(&mut self, producer_id: i64) {
        if self.given.len() == MOST_GIVEN {
            self.given.remove(0);
        }
        self.given.push(producer_id);
    }
}

/// What is asked of any server.
pub(super) struct Control {
    pub(super) servers: Servers,
    pub(super) brokers: Brokers,
    pub(super) producer_id: ProducerIdRequest,
    /// The last error that was answered in place of a producer id, if none has come since.
    pub(super) producer_id_error: Option<ErrorCode>,
    pub(super) listing: Question,
    pub(super) ping: Question,
    /// When a server was last connected to for being asked.
    pub(super) connected_at: Option<Instant>,
    /// Not before this time is there any use in looking for a server to ask, unless something happens; `None`: not before that.
    pub(super) looks_again: Option<Instant>,
    /// Counts how often the cluster had to be found anew. Leader epochs of an earlier one are not compared.
    pub(super) era: u32,
}

/// Connections, and who the producer is on them.
pub(super) struct Sessions {
    pub(super) connections: BTreeMap<ConnId, Box<Connection>>,
    pub(super) next_conn: u32,
    /// Spare tables for the entries of requests.
    pub(super) spare_entries: Vec<Vec<Entry>>,
    /// A SASL mechanism of the application's.
    pub(super) mechanism: Mechanism,
    /// Authentication is done by jobs, also if compression is not.
    pub(super) sasl_by_jobs: bool,
    pub(super) tokens: Tokens,
    #[cfg(feature = "scram")]
    pub(super) scram: Scram,
    /// There was no memory for an answer of so many bytes, and none that was waited for has come since.
    pub(super) no_memory: Option<usize>,
    /// Why no server lets this client in.
    pub(super) denied: Option<ConnectionError>,
    pub(super) reconnect_backoff: Backoff,
    /// After a server did not let this client in.
    pub(super) refusal_backoff: Backoff,
    /// How long a connection may take until it is ready.
    pub(super) setup_backoff: Backoff,
}

impl fmt::Debug for Producer {
    /// How much there is of everything, but nothing of records and credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("phase", &self.life.phase)
            .field("buffered", &self.records.pool.used())
            .field("connections", &self.sessions.connections.len())
            .field("in_flight", &self.in_flight())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer that has done nothing yet. It connects when a topic is first asked for.
    ///
    /// `now` is the present on the caller's monotonic clock; `unix_time` the time of day at that moment, for the stamps of
    /// records that bring none (without it they get −1, "no timestamp", until
    /// [`Input::WallClock`](crate::Input::WallClock)). `seed` drives all choices (partitions, jitter):
    /// fresh from the system's randomness in production, a constant in tests.
    pub fn new(now: Instant, unix_time: Option<UnixTime>, config: Config, seed: [u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let start = random.below(config.bootstrap_servers.len() as u32);
        let retry_backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max);
        let batch_limit = (config.max_request_size / 2).max(config.batch_size).min(config.max_request_size);
        let pool = Pool::new(config.buffer_memory);
        let first_chunk = Class::FIRST.min(Class::holding(config.batch_size));
        let largest_record = pool.largest().min(config.max_request_size);
        let batch_limit = batch_limit.min(config.batch_size_max.max(config.batch_size));
        let jobs = config.jobs.unwrap_or(0);
        let sizes = Sizes {
            due: config.batch_size,
            limit: batch_limit,
            raw_limit: config.max_request_size,
            compressed: config.compression != Compression::None,
        };
        // Without memory for what comes now it refuses whatever it is asked for.
        let born = config.bootstrap_servers.iter().map(|(host, _)| servers::MEMORY + 2 * host.len()).sum();
        let no_memory = (!memory::has_beside(0, born)).then_some(born);
        let servers = if no_memory.is_none() { &config.bootstrap_servers[..] } else { &[] };
        let round_robin = || Box::new(RoundRobinPartitioner::default()) as Box<dyn Partitioner>;
        Self {
            now,
            timeout_at: Instant::ZERO,
            wall: unix_time.map(|time| (now, time)),
            random,
            life: Life { phase: Phase::Running, flushes: Flushes::default(), refused_below: (0, ErrorCode::new(0)) },
            records: Records {
                topics: Topics::new(
                    sizes,
                    config.metadata_max_idle,
                    config.max_block,
                    Refresh::new(config.metadata_max_age, retry_backoff),
                ),
                partitions: Partitions::new(first_chunk),
                batches: Batches::new(Stage::first(config.compression, jobs)),
                pool,
                partitioner: config.round_robin.then(round_robin),
                growth: (Instant::ZERO + growth_time(&config)).as_nanos(),
                largest_record,
                due_below: 0,
                flushed_below: 0,
                recovered_brokers: 0,
                held_until: Instant::ZERO,
                starved: None,
                jobs: Jobs::new(jobs),
                without_job: List::EMPTY,
                compressor: Compressor::default(),
            },
            identity: ProducerIdentity {
                standing: if config.idempotence { Standing::Needed } else { Standing::Off },
                given: SmallVec::new(),
                without_identity: List::EMPTY,
            },
            retry_backoff,
            control: Control {
                servers: Servers::new(servers, start),
                brokers: Brokers::default(),
                producer_id: ProducerIdRequest::default(),
                producer_id_error: None,
                listing: Question::default(),
                ping: Question::default(),
                connected_at: None,
                looks_again: Some(Instant::ZERO),
                era: 0,
            },
            sessions: Sessions {
                connections: BTreeMap::new(),
                next_conn: 0,
                spare_entries: Vec::new(),
                mechanism: Mechanism::default(),
                sasl_by_jobs: false,
                tokens: Tokens::default(),
                #[cfg(feature = "scram")]
                scram: Scram::new(seed),
                no_memory,
                denied: None,
                reconnect_backoff: Backoff::new(config.reconnect_backoff, config.reconnect_backoff_max),
                refusal_backoff: refusal_backoff(&config),
                setup_backoff: Backoff::new(config.connection_setup_timeout, config.connection_setup_timeout_max),
            },
            timers: Timers::default(),
            outbox: Outbox::default(),
            last_wait: None,
            awake: false,
            nothing_new: false,
            stats: Stats::default(),
            distributions: None,
            alarms: Alarms::default(),
            observed: false,
            delivered_at: None,
            config,
        }
    }
}

/// After a refusal: the longest wait for a connection, and up to ten of them. Who wants no wait between connections does not want to
/// be refused a thousand times a second.
fn refusal_backoff(config: &Config) -> Backoff {
    let first = Some(config.reconnect_backoff_max).filter(|max| !max.is_zero() || planted("refused-at-once"));
    let first = first.unwrap_or(REFUSAL_BACKOFF);
    Backoff::new(first, first * 10)
}

/// How long after its first record a batch may take more, at most: so that growth never makes a late record expire before
/// nine tenths of its own `delivery.timeout.ms` (where `linger.ms` leaves that much).
fn growth_time(config: &Config) -> Duration {
    let tenth = config.delivery_timeout / 10;
    (config.linger + tenth.min(Duration::from_secs(1))).min(config.linger.max(tenth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_grows_for_a_second_but_no_longer_than_a_tenth_of_what_it_has_in_all() {
        let cases = [("5", "120000", 1005), ("0", "2500", 250), ("200", "3000", 300), ("700", "5000", 700)];
        for (linger, timeout, millis) in cases {
            let options = [("linger.ms", linger), ("delivery.timeout.ms", timeout), ("request.timeout.ms", "1000")];
            let config = Config::from_properties([("bootstrap.servers", "a:1")].into_iter().chain(options));
            let config = config.expect("valid options");
            assert_eq!(growth_time(&config), Duration::from_millis(millis), "{linger} {timeout}");
        }
    }
}
