//! The application's own code for SASL: mechanisms and token providers that take their time, hang, panic or answer oddly; and
//! credentials that are replaced while the producer runs.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]
#![allow(clippy::unwrap_used, reason = "tests look at what they are about")]

mod hosts;
mod proxy;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use hosts::{ADAPTERS, Adapter, PATIENCE, Producer, Progress, Tasks, each_adapter, guarded, now};
use milena::cluster::TestCluster;
use milena::{
    Config, Delivered, Error, Interceptor, Partitioner, Record, SaslExchange, SaslMechanism, Setup, Token,
    TokenProvider, TopicView,
};
use proxy::{Link, Proxy, Room};

/// Those who count the process's threads take it alone, the others together.
static THREADS: RwLock<()> = RwLock::new(());

/// How many threads the process has.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("Linux").count()
}

/// A closed door. Whoever waits at it says if nobody opened it in time: then something waited for the one who waits.
#[derive(Clone, Debug, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>, Arc<AtomicUsize>, Arc<AtomicBool>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits till it is opened.
    fn wait(&self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        let closed = self.0.0.lock().unwrap();
        let (_closed, waited) = self.0.1.wait_timeout_while(closed, Duration::from_secs(40), |open| !*open).unwrap();
        self.2.fetch_or(waited.timed_out(), Ordering::SeqCst);
    }

    fn waiting(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }

    fn was_forced(&self) -> bool {
        self.2.load(Ordering::SeqCst)
    }
}

/// Where a mechanism is in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    First,
    Respond,
}

const STAGES: [Stage; 3] = [Stage::Begin, Stage::First, Stage::Respond];

/// What a mechanism does beside its work.
#[derive(Clone, Debug)]
enum Habit {
    None,
    /// Waits at a door, on connections to this port.
    Waits(u16, Door),
    /// Panics so many times.
    Panics(Arc<AtomicUsize>),
}

/// PLAIN by another hand, and under another name, which the proxy translates: the cluster knows it as PLAIN.
#[derive(Clone, Debug)]
struct Mine {
    password: &'static str,
    stage: Stage,
    habit: Habit,
    port: u16,
}

impl Mine {
    fn new(password: &'static str) -> Self {
        Self { password, stage: Stage::Begin, habit: Habit::None, port: 0 }
    }

    fn with(self, stage: Stage, habit: Habit) -> Self {
        Self { stage, habit, ..self }
    }

    fn at(&self, stage: Stage) {
        if stage != self.stage {
            return;
        }
        match &self.habit {
            Habit::Waits(port, door) if *port == self.port => door.wait(),
            Habit::Panics(times) => {
                let left = times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1));
                assert!(left.is_err(), "a clumsy mechanism");
            }
            Habit::Waits(..) | Habit::None => {}
        }
    }
}

impl SaslMechanism for Mine {
    fn begin(&mut self, host: &str, port: u16) -> Result<Box<dyn SaslExchange>, String> {
        assert_eq!(host, "127.0.0.1");
        let exchange = Self { port, ..self.clone() };
        exchange.at(Stage::Begin);
        Ok(Box::new(exchange))
    }
}

impl SaslExchange for Mine {
    fn first(&mut self) -> Result<Vec<u8>, String> {
        self.at(Stage::First);
        Ok(format!("\0alice\0{}", self.password).into_bytes())
    }

    fn respond(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.at(Stage::Respond);
        Ok(None)
    }
}

/// A cluster that lets in alice, and the way to it on which the name of the mechanism above is translated.
fn cluster(nodes: i32) -> (TestCluster, Proxy) {
    let cluster = TestCluster::builder().nodes(nodes).user("alice", "secret").start().unwrap();
    let proxy =
        Proxy::new(&cluster, Room::default(), None, |_| Link { renames: Some(("XTEST", "PLAIN")), ..Link::FREE });
    (cluster, proxy)
}

/// The options for the mechanism above, others before and after them.
fn options(proxy: &Proxy, more: &[(&str, &str)]) -> Config {
    let bootstrap = proxy.bootstrap();
    let options = [
        ("bootstrap.servers", &*bootstrap),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "XTEST"),
        ("linger.ms", "0"),
    ];
    let mut options = options.map(|(name, value)| (name.to_string(), value.to_string())).to_vec();
    for (name, value) in more {
        options.retain(|(other, _)| other != name);
        options.push((name.to_string(), value.to_string()));
    }
    Config::from_properties(options).expect("valid options")
}

/// Sends until a record arrives, for a minute at most. What the sends before it said.
async fn sends_again(producer: &Producer, tasks: &Tasks) -> Vec<Error> {
    let (began, mut errors) = (now(), Vec::new());
    loop {
        match producer.send(&Record::new("t").value("v")).await {
            Ok(_) => return errors,
            Err(error) => {
                assert!(now() - began < Duration::from_secs(60), "never well again: {errors:?}");
                errors.push(error);
                tasks.sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Runs something on a thread, which has to be over in a time that is long, but shorter than any door stays closed.
async fn meanwhile<T: Send + 'static>(tasks: &Tasks, what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(run()));
    let began = now();
    loop {
        match hear.try_recv() {
            Ok(result) => return result,
            Err(mpsc::TryRecvError::Empty) => {
                assert!(now() - began < Duration::from_secs(20), "{what}: does not return");
                tasks.sleep(Duration::from_millis(5)).await;
            }
            Err(mpsc::TryRecvError::Disconnected) => panic!("{what}: panicked"),
        }
    }
}

async fn until(tasks: &Tasks, what: &str, mut holds: impl FnMut() -> bool) {
    let began = now();
    while !holds() {
        assert!(now() - began < Duration::from_secs(60), "{what}: not after a minute");
        tasks.sleep(Duration::from_millis(5)).await;
    }
}

/// The ports at which the proxy stands for the leaders of a topic's partitions.
fn leaders(cluster: &TestCluster, topic: &str) -> Vec<u16> {
    cluster.with(|cluster, _| {
        let leader = |partition| cluster.leader(topic, partition).and_then(|node| cluster.address(node));
        (0..cluster.partitions(topic)).map(|partition| leader(partition).unwrap().1).collect()
    })
}

/// A mechanism may ask somebody far away. Meanwhile sends are taken, and other brokers get theirs.
#[test]
fn a_mechanism_that_takes_its_time_holds_up_nobody() {
    for stage in STAGES {
        each_adapter(move |adapter, progress| {
            let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
            let (cluster, proxy) = cluster(3);
            cluster.with(|cluster, _| cluster.create_topic("t", 3));
            let leaders = leaders(&cluster, "t");
            // Metadata come from the first leader alone, to whom nothing waits.
            let first = format!("127.0.0.1:{}", leaders[0]);
            let patient = [("bootstrap.servers", &*first), ("socket.connection.setup.timeout.ms", "90000")];
            let door = Door::default();
            let mechanism = Mine::new("secret").with(stage, Habit::Waits(leaders[2], door.clone()));
            let setup = Setup::new(options(&proxy, &patient)).sasl_mechanism(mechanism);
            adapter.run(setup, async |producer: Producer, tasks: Tasks| {
                progress.at(format!("{stage:?}"));
                producer.send(&Record::new("t").value("v").partition(0)).await.unwrap();
                let waits = producer.enqueue(&Record::new("t").value("v").partition(2)).await.unwrap();
                until(&tasks, "the mechanism is asked", || door.waiting() > 0).await;
                for n in 0..10 {
                    let other = producer.clone();
                    // One exchange is begun at a time; so then only those go on who are let in already.
                    let others = if stage == Stage::Begin { 1 } else { 2 };
                    let record = Record::new("t").value("v").partition(n % others);
                    let ack = meanwhile(&tasks, "try_enqueue", move || other.try_enqueue(&record)).await;
                    let other = producer.clone();
                    meanwhile(&tasks, "stats", move || other.stats()).await;
                    ack.unwrap().outcome().await.unwrap();
                }
                assert!(!waits.is_done());
                door.open();
                waits.outcome().await.unwrap();
                producer.close(Duration::from_secs(60)).await.unwrap();
                assert!(!door.was_forced(), "{stage:?}: all waited for the mechanism");
            });
        });
    }
}

/// The words of a send's failure with this mechanism.
async fn refusal(producer: &Producer) -> String {
    producer.send(&Record::new("t").value("v")).await.unwrap_err().to_string()
}

#[test]
fn a_mechanism_that_panics_is_named_and_asked_again() {
    for stage in STAGES {
        each_adapter(move |adapter, progress| {
            let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
            let (_cluster, proxy) = cluster(1);
            let setup = |times| {
                let habit = Habit::Panics(Arc::new(AtomicUsize::new(times)));
                let more = [("reconnect.backoff.max.ms", "100"), ("max.block.ms", "5000")];
                Setup::new(options(&proxy, &more)).sasl_mechanism(Mine::new("secret").with(stage, habit))
            };
            adapter.run(setup(usize::MAX), async |producer: Producer, _: Tasks| {
                progress.at(format!("{stage:?}, always"));
                let words = refusal(&producer).await;
                assert!(words.contains("SaslMechanism") && words.contains("panick"), "{stage:?}: {words}");
                producer.close(Duration::from_secs(30)).await.unwrap();
            });
            adapter.run(setup(1), async |producer: Producer, tasks: Tasks| {
                progress.at(format!("{stage:?}, once"));
                for error in sends_again(&producer, &tasks).await {
                    assert!(error.to_string().contains("panick"), "{stage:?}: {error}");
                }
                producer.close(Duration::from_secs(30)).await.unwrap();
            });
        });
    }
}

/// A mechanism that never answers: the words say so, no thread is left behind at each attempt, and another mechanism heals it.
#[test]
fn a_mechanism_that_hangs_is_named_and_costs_a_bounded_number_of_threads() {
    let _alone = THREADS.write().unwrap_or_else(PoisonError::into_inner);
    for stage in STAGES {
        for adapter in [Adapter::Threads, Adapter::TokioOne, Adapter::Smol] {
            let progress = Progress::default();
            let told = progress.clone();
            let run = move || {
                let (cluster, proxy) = cluster(1);
                cluster.with(|cluster, _| cluster.create_topic("t", 1));
                let door = Door::default();
                let port = leaders(&cluster, "t")[0];
                let more = [
                    ("socket.connection.setup.timeout.ms", "100"),
                    ("socket.connection.setup.timeout.max.ms", "100"),
                    ("reconnect.backoff.max.ms", "50"),
                    ("max.block.ms", "700"),
                ];
                let mechanism = Mine::new("secret").with(stage, Habit::Waits(port, door.clone()));
                let setup = Setup::new(options(&proxy, &more)).sasl_mechanism(mechanism);
                adapter.run(setup, async |producer: Producer, tasks: Tasks| {
                    progress.at("sending in vain");
                    let words = refusal(&producer).await;
                    assert!(words.contains("SaslMechanism") && words.contains("answer"), "{stage:?}: {words}");
                    let before = threads();
                    let _ = refusal(&producer).await; // attempts go on meanwhile
                    tasks.sleep(Duration::from_millis(300)).await;
                    let grown = threads().saturating_sub(before);
                    // Four exchanges may be out, and one more job comes and goes.
                    assert!(grown <= 6, "{stage:?}: {grown} threads more, {} calls", door.waiting());
                    let (other, more) = (producer.clone(), more.map(|(name, value)| (name, value)));
                    let setup = Setup::new(options(&proxy, &more)).sasl_mechanism(Mine::new("secret"));
                    progress.at("taking another mechanism");
                    meanwhile(&tasks, "renew_security", move || other.renew_security(setup)).await.unwrap();
                    sends_again(&producer, &tasks).await;
                    producer.close(Duration::from_secs(30)).await.unwrap();
                    assert!(!door.was_forced());
                    door.open();
                });
            };
            guarded(PATIENCE, move || format!("{stage:?}, {adapter:?}: {}", told.state()), run);
        }
    }
}

/// Gives tokens as the test says. Counts calls, and notes when they were.
#[derive(Clone, Debug)]
struct Provider {
    habit: Tokens,
    calls: Arc<Mutex<Vec<Instant>>>,
}

#[derive(Clone, Debug)]
enum Tokens {
    /// Good for so long.
    Good(Option<Duration>),
    /// Each good for a fifth of what the one before was: an old one that somebody keeps.
    Ageing(Duration),
    /// One, then a failure, then others.
    FailsOnce(Duration),
    Hangs(Door),
    /// Panics so many times.
    Panics(usize),
}

impl Provider {
    fn new(habit: Tokens) -> Self {
        Self { habit, calls: Arc::default() }
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

/// A token for alice, as the cluster takes it.
fn token(lifetime: Option<Duration>) -> Token {
    // {"alg":"none"}.{"sub":"alice"}.
    Token::new("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", lifetime)
}

impl TokenProvider for Provider {
    fn token(&mut self) -> Result<Token, String> {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(now());
            calls.len()
        };
        match &mut self.habit {
            Tokens::Good(lifetime) => Ok(token(*lifetime)),
            Tokens::Ageing(left) => {
                let this = *left;
                *left = this / 5;
                Ok(token(Some(this)))
            }
            Tokens::FailsOnce(_) if call == 2 => Err("the identity provider is away".into()),
            Tokens::FailsOnce(lifetime) => Ok(token(Some(*lifetime))),
            Tokens::Hangs(door) => {
                door.wait();
                Err("too late".into())
            }
            Tokens::Panics(times) => {
                let left = times.checked_sub(1);
                *times = left.unwrap_or(0);
                assert!(left.is_none(), "a clumsy provider");
                Ok(token(None))
            }
        }
    }
}

const BEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";

/// A producer's setup for OAUTHBEARER with this provider.
fn bearer(proxy: &Proxy, provider: &Provider, more: &[(&str, &str)]) -> Setup {
    let options =
        options(proxy, &[[("sasl.mechanism", "OAUTHBEARER"), ("sasl.jaas.config", BEARER)].as_slice(), more].concat());
    Setup::new(options).token_provider(provider.clone())
}

#[test]
fn a_token_provider_that_hangs_is_named_costs_one_thread_and_can_be_replaced() {
    let _alone = THREADS.write().unwrap_or_else(PoisonError::into_inner);
    for adapter in ADAPTERS {
        let progress = Progress::default();
        let told = progress.clone();
        let run = move || {
            let (_cluster, proxy) = cluster(1);
            let door = Door::default();
            let more = [
                ("socket.connection.setup.timeout.ms", "100"),
                ("socket.connection.setup.timeout.max.ms", "100"),
                ("reconnect.backoff.max.ms", "50"),
                ("max.block.ms", "700"),
            ];
            let hangs = Provider::new(Tokens::Hangs(door.clone()));
            adapter.run(bearer(&proxy, &hangs, &more), async |producer: Producer, tasks: Tasks| {
                progress.at("sending in vain");
                let words = refusal(&producer).await;
                assert!(words.contains("TokenProvider") && words.contains("answer"), "{words}");
                let before = threads();
                let _ = refusal(&producer).await; // attempts go on meanwhile
                tasks.sleep(Duration::from_millis(300)).await;
                let grown = threads().saturating_sub(before);
                assert!(grown <= 2, "{grown} threads more");
                assert_eq!(hangs.calls(), 1, "one call at a time");
                progress.at("taking another provider");
                let well = Provider::new(Tokens::Good(None));
                let (other, setup) = (producer.clone(), bearer(&proxy, &well, &more));
                meanwhile(&tasks, "renew_security", move || other.renew_security(setup)).await.unwrap();
                sends_again(&producer, &tasks).await;
                assert!(well.calls() >= 1);
                assert!(!door.was_forced());
                // What the first one says now is of no interest any more.
                door.open();
                tasks.sleep(Duration::from_millis(100)).await;
                producer.send(&Record::new("t").value("v")).await.unwrap();
                producer.close(Duration::from_secs(30)).await.unwrap();
            });
        };
        guarded(PATIENCE, move || format!("{adapter:?}: {}", told.state()), run);
    }
}

/// With a provider that hangs as well, everything else goes on: what is authenticated stays so.
#[test]
fn a_token_provider_that_hangs_at_a_refresh_disturbs_nobody() {
    #[derive(Debug)]
    struct ThenHangs(Door, bool);
    impl TokenProvider for ThenHangs {
        fn token(&mut self) -> Result<Token, String> {
            if std::mem::replace(&mut self.1, true) {
                self.0.wait();
            }
            Ok(token(Some(Duration::from_secs(2))))
        }
    }
    each_adapter(|adapter, progress| {
        let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        let (_cluster, proxy) = cluster(1);
        let door = Door::default();
        let plain = options(&proxy, &[("sasl.mechanism", "OAUTHBEARER"), ("sasl.jaas.config", BEARER)]);
        let setup = Setup::new(plain).token_provider(ThenHangs(door.clone(), false));
        adapter.run(setup, async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.send(&Record::new("t").value("v")).await.unwrap();
            until(&tasks, "the token is refreshed", || door.waiting() > 0).await;
            for _ in 0..20 {
                producer.send(&Record::new("t").value("v")).await.unwrap();
                tasks.sleep(Duration::from_millis(5)).await;
            }
            door.open();
            producer.close(Duration::from_secs(30)).await.unwrap();
            assert!(!door.was_forced());
        });
    });
}

#[test]
fn a_token_provider_that_panics_is_named_and_asked_again() {
    each_adapter(|adapter, progress| {
        let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        let (_cluster, proxy) = cluster(1);
        let more = [("reconnect.backoff.max.ms", "100"), ("max.block.ms", "5000")];
        let always = Provider::new(Tokens::Panics(usize::MAX));
        adapter.run(bearer(&proxy, &always, &more), async |producer: Producer, _: Tasks| {
            progress.at("always");
            let words = refusal(&producer).await;
            assert!(words.contains("TokenProvider") && words.contains("panick"), "{words}");
            producer.close(Duration::from_secs(30)).await.unwrap();
        });
        let once = Provider::new(Tokens::Panics(1));
        adapter.run(bearer(&proxy, &once, &more), async |producer: Producer, tasks: Tasks| {
            progress.at("once");
            for error in sends_again(&producer, &tasks).await {
                assert!(error.to_string().contains("panick"), "{error}");
            }
            producer.close(Duration::from_secs(30)).await.unwrap();
        });
    });
}

/// Tokens that are over when they come, or soon after, make no storm.
#[test]
fn old_tokens_are_not_asked_for_all_the_time() {
    let habits = [
        Tokens::Good(Some(Duration::ZERO)),
        Tokens::Good(Some(Duration::from_nanos(1))),
        Tokens::Good(Some(Duration::from_millis(3))),
        Tokens::Ageing(Duration::from_millis(500)),
    ];
    for habit in habits {
        each_adapter(move |adapter, progress| {
            let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
            let (_cluster, proxy) = cluster(3);
            let provider = Provider::new(habit.clone());
            let more = [("max.block.ms", "500"), ("reconnect.backoff.max.ms", "100")];
            adapter.run(bearer(&proxy, &provider, &more), async |producer: Producer, tasks: Tasks| {
                let began = now();
                while now() - began < Duration::from_secs(3) {
                    // Let in or not: that is the brokers' business.
                    let _ = producer.send(&Record::new("t").value("v")).await;
                    tasks.sleep(Duration::from_millis(20)).await;
                }
                let (calls, passed) = (provider.calls(), now() - began);
                progress.at(format!("{calls} calls"));
                // Several a second are a floor, thousands are none.
                let most = 10 + 4 * usize::try_from(passed.as_secs()).unwrap();
                assert!((1..=most).contains(&calls), "{:?}: {calls} calls in {passed:?}", provider.habit);
                let _ = producer.close(Duration::from_secs(1)).await;
            });
        });
    }
}

/// A refresh that fails is tried again while the old token is still good.
#[test]
fn a_failed_refresh_is_tried_again_before_the_token_is_over() {
    const LIFE: Duration = Duration::from_secs(20);
    each_adapter(|adapter, progress| {
        let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        let (_cluster, proxy) = cluster(1);
        let provider = Provider::new(Tokens::FailsOnce(LIFE));
        adapter.run(bearer(&proxy, &provider, &[]), async |producer: Producer, tasks: Tasks| {
            progress.watch(&producer);
            producer.send(&Record::new("t").value("v")).await.unwrap();
            until(&tasks, "the provider is asked for a third time", || provider.calls() >= 3 || now() > end(&provider))
                .await;
            let calls = provider.calls.lock().unwrap().clone();
            let when: Vec<_> = calls.iter().map(|call| *call - calls[0]).collect();
            assert!(when.len() >= 3, "asked at {when:?} of {LIFE:?}");
            assert!(when[2] < LIFE, "asked at {when:?} of {LIFE:?}");
            producer.send(&Record::new("t").value("v")).await.unwrap();
            producer.close(Duration::from_secs(30)).await.unwrap();
        });
    });
    fn end(provider: &Provider) -> Instant {
        provider.calls.lock().unwrap()[0] + LIFE
    }
}

/// Looks at nothing.
#[derive(Debug)]
struct Idle;

impl Interceptor for Idle {
    fn on_acknowledgement(&self, _: &Result<Delivered, Error>) {}
}

impl Partitioner for Idle {
    fn partition(&mut self, _: &Record<'_>, _: &TopicView<'_>) -> milena::Choice<'_> {
        milena::Choice::Usual
    }
}

const PLAIN: &str =
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
const WRONG: &str =
    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"wrong\";";
const SCRAM: &str =
    "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"secret\";";

/// Nothing of a running producer changes but its credentials and certificates: whoever asks for more is told, and nothing is
/// changed.
#[test]
fn renewing_refuses_everything_but_credentials() {
    let protocols = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
    for adapter in ADAPTERS {
        let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        for from in protocols {
            let mut builder = TestCluster::builder();
            if from.contains("SSL") {
                builder = builder.tls();
            }
            if from.contains("SASL") {
                builder = builder.user("alice", "secret");
            }
            let cluster = builder.start().unwrap();
            let setup = |to: &str| {
                let mut properties = cluster.properties();
                properties.retain(|(name, _)| name != "security.protocol" && !name.starts_with("sasl."));
                let mut more = vec![("security.protocol", to)];
                if to.contains("SASL") {
                    more.extend([("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", PLAIN)]);
                }
                let more = more.into_iter().map(|(name, value)| (name.to_string(), value.to_string()));
                Setup::new(Config::from_properties(properties.into_iter().chain(more)).unwrap())
            };
            adapter.run(
                Setup::new(Config::from_properties(cluster.properties()).unwrap()),
                async |producer: Producer, _| {
                    producer.send(&Record::new("t").value("v")).await.unwrap();
                    for to in protocols {
                        let renewed = producer.renew_security(setup(to));
                        assert_eq!(renewed.is_ok(), from == to, "{adapter:?}, from {from} to {to}: {renewed:?}");
                        if let Err(error) = renewed {
                            assert!(error.to_string().contains("security.protocol"), "{error}");
                        }
                    }
                    let renewed = producer.renew_security(setup(from).interceptor(Arc::new(Idle)));
                    assert!(renewed.is_err(), "{adapter:?}: an interceptor is no credential");
                    let renewed = producer.renew_security(setup(from).partitioner(Idle));
                    assert!(renewed.is_err(), "{adapter:?}: a partitioner is no credential");
                    producer.send(&Record::new("t").value("v")).await.unwrap();
                    producer.close(Duration::from_secs(30)).await.unwrap();
                },
            );
        }
    }
}

/// So long that nothing would be sent within the test if the backoff after a refusal were not forgotten.
const LONG_BACKOFF: [(&str, &str); 3] =
    [("reconnect.backoff.ms", "60000"), ("reconnect.backoff.max.ms", "60000"), ("max.block.ms", "20000")];

/// After the first refusal, `renew` gives the right credentials, and the very next send goes through.
fn heals_at_once(
    wrong: impl Fn(&Proxy) -> Setup + Send + Sync + 'static,
    right: impl Fn(&Proxy) -> Setup + Send + Sync + 'static,
) {
    each_adapter(move |adapter, progress| {
        let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        let (_cluster, proxy) = cluster(1);
        adapter.run(wrong(&proxy), async |producer: Producer, tasks: Tasks| {
            for n in 0..6 {
                progress.at(format!("send {n} in vain"));
                let words = refusal(&producer).await;
                assert!(words.contains("authentication") || words.contains("lets this client in"), "{words}");
                tasks.sleep(Duration::from_millis(20)).await;
            }
            progress.at("renewed");
            producer.renew_security(right(&proxy)).unwrap();
            producer.send(&Record::new("t").value("v")).await.expect("the next send goes through");
            producer.close(Duration::from_secs(30)).await.unwrap();
        });
    });
}

fn with_jaas(proxy: &Proxy, mechanism: &str, jaas: &str) -> Setup {
    let more = [[("sasl.mechanism", mechanism), ("sasl.jaas.config", jaas)].as_slice(), &LONG_BACKOFF].concat();
    Setup::new(options(proxy, &more))
}

#[test]
fn the_right_password_heals_at_once() {
    heals_at_once(|proxy| with_jaas(proxy, "PLAIN", WRONG), |proxy| with_jaas(proxy, "PLAIN", PLAIN));
}

#[test]
fn another_built_in_mechanism_heals_at_once() {
    heals_at_once(|proxy| with_jaas(proxy, "PLAIN", WRONG), |proxy| with_jaas(proxy, "SCRAM-SHA-256", SCRAM));
}

#[test]
fn another_mechanism_of_ones_own_heals_at_once() {
    let with = |proxy: &Proxy, password| Setup::new(options(proxy, &LONG_BACKOFF)).sasl_mechanism(Mine::new(password));
    heals_at_once(move |proxy| with(proxy, "wrong"), move |proxy| with(proxy, "secret"));
}

#[test]
fn another_token_provider_heals_at_once() {
    #[derive(Debug)]
    struct Stranger;
    impl TokenProvider for Stranger {
        fn token(&mut self) -> Result<Token, String> {
            // {"alg":"none"}.{"sub":"mallory"}.
            Ok(Token::new("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWxsb3J5In0.", None))
        }
    }
    let more = [("sasl.mechanism", "OAUTHBEARER"), ("sasl.jaas.config", BEARER)];
    let config = move |proxy: &Proxy| options(proxy, &[more.as_slice(), &LONG_BACKOFF].concat());
    heals_at_once(
        move |proxy| Setup::new(config(proxy)).token_provider(Stranger),
        move |proxy| Setup::new(config(proxy)).token_provider(Provider::new(Tokens::Good(None))),
    );
}

/// A producer with a mechanism of its own that is well already takes another one for its next connections.
#[test]
fn another_mechanism_is_used_for_later_connections() {
    for adapter in [Adapter::Threads, Adapter::TokioOne] {
        let _together = THREADS.read().unwrap_or_else(PoisonError::into_inner);
        let (cluster, proxy) = cluster(1);
        let setup = |door: &Door, port| {
            let mechanism = Mine::new("secret").with(Stage::First, Habit::Waits(port, door.clone()));
            Setup::new(options(&proxy, &[])).sasl_mechanism(mechanism)
        };
        cluster.with(|cluster, _| cluster.create_topic("t", 1));
        let port = leaders(&cluster, "t")[0];
        let (first, second) = (Door::default(), Door::default());
        first.open();
        second.open();
        adapter.run(setup(&first, port), async |producer: Producer, tasks: Tasks| {
            producer.send(&Record::new("t").value("v")).await.unwrap();
            let asked = first.waiting();
            assert!(asked > 0);
            producer.renew_security(setup(&second, port)).unwrap();
            cluster.with(|cluster, _| cluster.crash(1));
            cluster.with(|cluster, _| cluster.restart(1, false));
            producer.send(&Record::new("t").value("v")).await.unwrap();
            until(&tasks, "the second is asked", || second.waiting() > 0).await;
            assert_eq!(first.waiting(), asked, "{adapter:?}");
        });
    }
}
