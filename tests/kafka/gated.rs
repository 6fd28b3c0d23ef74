//! Nodes behind gates: answers that are held back and lost, nodes that no longer hear of anything, and what else a cluster
//! does to a producer that goes on sending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use milena::threads::{Ack, Producer};
use milena::{Config, DeliveryErrorKind, Error, Record};

use crate::broker::{Jars, Kafka, Layout, Listener};
use crate::check::{Acknowledged, nothing_lost_doubled_or_reordered};
use crate::dump;
use crate::scenarios::Scenario;

/// Those about a node that ends and starts again while it is the only one.
pub const ONE_NODE: &[(&str, Scenario)] = &[
    ("only_replica_killed", |kafka| only_replica(kafka, "killed", Kafka::kill, None)),
    ("only_replica_stopped", |kafka| only_replica(kafka, "stopped", Kafka::stop, None)),
    ("only_replica_old_records", |kafka| only_replica(kafka, "old-records", Kafka::kill, Some(TWO_DAYS))),
];

/// The age of records after which a node that starts does not know who sent them.
const TWO_DAYS: Duration = Duration::from_secs(48 * 3600);

/// Those about nodes that differ in what they know or allow.
pub const THREE_NODES: &[(&str, Scenario)] = &[
    ("old_metadata", old_metadata),
    ("created_anew", created_anew),
    ("no_producer_id_at_one", no_producer_id_at_one),
    ("rights_taken_and_given", rights_taken_and_given),
    ("idle_with_a_record", idle_with_a_record),
];

/// The nodes, with a listener for the user `alice`, who may do nothing at first.
pub fn start(jars: &Jars, nodes: usize) -> Kafka {
    let listeners: &[Listener] =
        if nodes == 1 { &[] } else { &[Listener { name: "USERS", protocol: "SASL_PLAINTEXT" }] };
    let layout = Layout { nodes, listeners, gates: true, rights: nodes > 1, ..Layout::default() };
    Kafka::lay_out(jars, layout, |_| {
        let known = "auto.create.topics.enable=false\n";
        if listeners.is_empty() {
            return known.into();
        }
        format!(
            "{known}sasl.enabled.mechanisms=PLAIN\nlistener.name.users.plain.sasl.jaas.config=\
             org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";\n"
        )
    })
}

fn producer(servers: &str, more: &[(&str, &str)]) -> Result<Producer, String> {
    let options = [("bootstrap.servers", servers)].into_iter().chain(more.iter().copied());
    let config = Config::from_properties(options).map_err(|error| error.to_string())?;
    Producer::new(config).map_err(|error| error.to_string())
}

/// A record, when it was taken, and what became of it and when.
struct Sent {
    value: String,
    partition: i32,
    taken: Instant,
    outcome: Result<milena::Delivered, Error>,
    heard: Instant,
}

/// Sends so many records a second to the partitions in turn until it is over, and sees each outcome when it comes. All have this
/// timestamp, or that of the present.
fn stream(
    producer: &Producer,
    topic: &str,
    partitions: u32,
    rate: u32,
    timestamp: Option<i64>,
    over: &AtomicBool,
) -> Result<Vec<Sent>, String> {
    let (acks, open) = std::sync::mpsc::channel::<(String, i32, Instant, Ack)>();
    let heard = std::thread::spawn(move || {
        let see = |(value, partition, taken, ack): (String, i32, Instant, Ack)| {
            let outcome = ack.wait();
            Sent { value, partition, taken, outcome, heard: now() }
        };
        open.into_iter().map(see).collect::<Vec<Sent>>()
    });
    let start = now();
    let mut n = 0_u32;
    while !over.load(Ordering::SeqCst) {
        while f64::from(n) < since(start) * f64::from(rate) {
            let (partition, value) = ((n % partitions) as i32, format!("{n:0>20}"));
            let taken = now();
            let record = Record::new(topic).value(&value).partition(partition);
            let ack = producer.enqueue(&match timestamp {
                None => record,
                Some(time) => record.timestamp(time),
            });
            let ack = ack.map_err(|error| format!("{value} was not taken: {error}"))?;
            let _ = acks.send((value, partition, taken, ack));
            n += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(acks);
    heard.join().map_err(|_| "who waits for outcomes panicked".into())
}

/// A stream while something happens.
fn while_streaming<T>(
    producer: &Producer,
    topic: &str,
    partitions: u32,
    rate: u32,
    timestamp: Option<i64>,
    what: impl FnOnce() -> T,
) -> Result<(Vec<Sent>, T), String> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| stream(producer, topic, partitions, rate, timestamp, &over));
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        over.store(true, Ordering::SeqCst);
        let sent = stream.join().map_err(|_| "the stream panicked".to_string())??;
        Ok((sent, happened.map_err(|_| "the cluster does not do what it is told".to_string())?))
    })
}

/// What was acknowledged; an error if anything failed.
fn all_acknowledged(sent: Vec<Sent>) -> Result<Vec<Acknowledged>, String> {
    let count = sent.len();
    let failed: Vec<&Sent> = sent.iter().filter(|sent| sent.outcome.is_err()).collect();
    if let Some(Sent { value, outcome: Err(error), .. }) = failed.first() {
        return Err(format!("{} of {count} failed, the first is {value}: {error:?}", failed.len()));
    }
    Ok(sent.into_iter().filter_map(acknowledged).collect())
}

fn acknowledged(sent: Sent) -> Option<Acknowledged> {
    let offset = sent.outcome.ok()?.offset;
    Some(Acknowledged { partition: sent.partition, offset, value: sent.value })
}

/// The longest that a record was on its way, of those that were taken in a span of time; in seconds.
fn slowest(sent: &[Sent], from: Instant, to: Instant) -> f64 {
    let within = sent.iter().filter(|sent| (from..to).contains(&sent.taken));
    within.map(|sent| (sent.heard - sent.taken).as_secs_f64()).fold(0.0, f64::max)
}

/// The only replica ends with five batches unanswered, which are in its log, and starts again: it knows the last of them and
/// denies the others. All are delivered, and nearly at once. (Where records are old, it knows no producer, unless the topic has its own
/// time.)
fn only_replica(
    kafka: &mut Kafka,
    how: &str,
    end: fn(&mut Kafka, usize),
    age: Option<Duration>,
) -> Result<String, String> {
    let times = std::env::var("MILENA_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(2);
    let mut rows = Vec::new();
    let mut failed = 0;
    for time in 1..=times {
        let row = only_replica_once(kafka, &format!("only-replica-{how}-{time}"), end, age);
        println!("  {time}: {}", row.as_ref().unwrap_or_else(|words| words));
        failed += usize::from(row.is_err());
        rows.push(row.unwrap_or_else(|words| words));
    }
    if failed > 0 { Err(format!("{failed} of {times} times: {}", rows.join("; "))) } else { Ok(rows.join("; ")) }
}

fn only_replica_once(
    kafka: &mut Kafka,
    topic: &str,
    end: fn(&mut Kafka, usize),
    age: Option<Duration>,
) -> Result<String, String> {
    kafka.create_topic(topic, 1, age.map_or(&[], |_| &["message.timestamp.type=LogAppendTime"]));
    let timestamp = age.map(timestamp_before);
    let producer = producer(&kafka.gated(), &[])?;
    producer.partitions_for(topic).map_err(|error| error.to_string())?;
    let lost_before = kafka.gate(0).lost_answers();
    let (sent, up) = while_streaming(&producer, topic, 1, 4000, timestamp, || {
        std::thread::sleep(Duration::from_secs(1));
        // Longer than the node's end takes on any machine.
        kafka.gate(0).hold_answers(Duration::from_secs(20));
        std::thread::sleep(Duration::from_secs(1));
        for _ in 0..5000 {
            if kafka.gate(0).held_answers() == 5 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        end(kafka, 0);
        kafka.gate(0).hold_answers(Duration::ZERO);
        kafka.restart_quickly(0);
        let up = now();
        std::thread::sleep(Duration::from_secs(3));
        up
    })?;
    let lost = kafka.gate(0).lost_answers() - lost_before;
    let first = sent.iter().map(|sent| sent.heard).filter(|heard| *heard > up).min();
    let silence = first.map_or(f64::INFINITY, |first| (first - up).as_secs_f64());
    let seen = format!("silence {silence:.2} s, {lost} answers lost");
    let sent = all_acknowledged(sent).map_err(|words| format!("{seen}; {words}"))?;
    let words =
        nothing_lost_doubled_or_reordered(kafka, topic, 1, &sent).map_err(|words| format!("{seen}; {words}"))?;
    let fine = silence < 1.5 && lost > 1;
    if fine { Ok(format!("{seen}; {words}")) } else { Err(format!("{seen}; {words}")) }
}

/// A node is cut off from the controllers and takes itself for the leader that it no longer is. The others go on, and so do
/// records, although the only server that the producer was told of knows nothing of that.
fn old_metadata(kafka: &mut Kafka) -> Result<String, String> {
    const PARTITIONS: u32 = 3;
    let topic = "old-metadata";
    kafka.create_topic(topic, PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        kafka.move_leader(topic, partition, partition as usize);
    }
    let first = kafka.gated_of(0);
    let producer = producer(&first, &[("request.timeout.ms", "3000"), ("linger.ms", "2")])?;
    let (sent, (cut, healed, seen)) = while_streaming(&producer, topic, PARTITIONS, 500, None, || {
        std::thread::sleep(Duration::from_secs(1));
        let cut = now();
        kafka.controllers(0).close();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(200));
            if (0..PARTITIONS).all(|partition| kafka.leader(topic, partition) != 0) {
                break;
            }
        }
        for partition in 0..PARTITIONS {
            let next = if kafka.leader(topic, partition) == 1 { 2 } else { 1 };
            kafka.move_leader(topic, partition, next);
        }
        std::thread::sleep(Duration::from_secs(8));
        let seen = (0..PARTITIONS).map(|partition| kafka.leader_as_seen_by(0, topic, partition));
        let seen: Vec<_> = seen.collect();
        let healed = now();
        kafka.controllers(0).open();
        std::thread::sleep(Duration::from_secs(6));
        (cut, healed, seen)
    })?;
    if seen != [Some(0), Some(1), Some(2)] {
        return Err(format!("the node knows new leaders: {seen:?}"));
    }
    let slow = slowest(&sent, cut, healed);
    let sent = all_acknowledged(sent)?;
    let words = nothing_lost_doubled_or_reordered(kafka, topic, PARTITIONS, &sent)?;
    // 4 s until the node is taken for dead, 3 s until it is not waited for any longer, and both once more in the worst case.
    let span = (healed - cut).as_secs_f64();
    if slow > 14.0 {
        return Err(format!("{words}; a record took {slow:.1} s of the {span:.1} s"));
    }
    Ok(format!("{words}; {span:.1} s cut off, the slowest record took {slow:.1} s"))
}

/// A topic is deleted and created five times under load: it goes on each time, in order, and what was sent after the last time
/// is there.
fn created_anew(kafka: &mut Kafka) -> Result<String, String> {
    const PARTITIONS: u32 = 2;
    let topic = "created-anew";
    kafka.create_topic(topic, PARTITIONS, &[]);
    // An old broker leaves a request unanswered that waits for the replicas of a topic that is deleted.
    let producer = producer(&kafka.gated(), &[("linger.ms", "2"), ("request.timeout.ms", "4000")])?;
    let (sent, times) = while_streaming(&producer, topic, PARTITIONS, 1000, None, || {
        let mut times = Vec::new();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(1500));
            kafka.delete_topic(topic);
            kafka.create_topic(topic, PARTITIONS, &[]);
            times.push(now());
        }
        std::thread::sleep(Duration::from_secs(3));
        times
    })?;
    let failed: Vec<&Sent> = sent.iter().filter(|sent| sent.outcome.is_err()).collect();
    if let Some(Sent { value, outcome: Err(error), .. }) = failed.first() {
        return Err(format!("{} of {} failed, the first is {value}: {error:?}", failed.len(), sent.len()));
    }
    let last = *times.last().ok_or("it was never created anew")?;
    let slow = times.iter().map(|time| slowest(&sent, *time, *time + Duration::from_secs(1))).fold(0.0, f64::max);
    let mut stored = 0;
    for partition in 0..PARTITIONS {
        let log: Vec<String> =
            dump::records(kafka, topic, partition).into_iter().filter_map(|record| record.value).collect();
        if let Some(pair) = log.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("{topic}-{partition}: {} before {}", pair[0], pair[1]));
        }
        let mut late = sent.iter().filter(|sent| sent.taken > last && sent.partition == partition as i32);
        if let Some(lost) = late.find(|sent| log.binary_search(&sent.value).is_err()) {
            return Err(format!("{topic}-{partition}: {} was acknowledged and is not there", lost.value));
        }
        stored += log.len();
    }
    if slow > 8.0 {
        return Err(format!("a record took {slow:.1} s"));
    }
    Ok(format!("{} records, {stored} in the last topic, the slowest took {slow:.1} s", sent.len()))
}

/// The only server that the producer was told of gives no producer ids, for one reason or another: another one does.
fn no_producer_id_at_one(kafka: &mut Kafka) -> Result<String, String> {
    let topic = "no-producer-id";
    kafka.create_topic(topic, 3, &[]);
    let mut rows = Vec::new();
    // The coordinator loads, is not available, is another; the broker is not the controller; the request timed out.
    for code in [14, 15, 16, 41, 7] {
        let gate = kafka.gate(0);
        let before = gate.refused_producer_ids();
        gate.refuse_producer_ids(code);
        let start = now();
        let producer =
            producer(&kafka.gated_of(0), &[("request.timeout.ms", "5000"), ("delivery.timeout.ms", "15000")])?;
        let sent: Result<Vec<_>, _> =
            (0..3).map(|partition| producer.send(&Record::new(topic).value("v").partition(partition))).collect();
        gate.refuse_producer_ids(0);
        let seconds = since(start);
        sent.map_err(|error| format!("code {code}: {error}"))?;
        let refused = gate.refused_producer_ids() - before;
        rows.push(format!("{code}: {seconds:.1} s, {refused} times"));
        if refused == 0 || refused > 20 || seconds > 4.0 {
            return Err(rows.join("; "));
        }
    }
    Ok(rows.join("; "))
}

/// A user may write, may not, and may again: what is sent meanwhile fails and says why, and what is said to have failed is
/// nowhere.
fn rights_taken_and_given(kafka: &mut Kafka) -> Result<String, String> {
    const PARTITIONS: u32 = 3;
    let topic = "rights";
    kafka.create_topic(topic, PARTITIONS, &[]);
    if kafka.version() < (2, 8) {
        kafka.allow_idempotence("alice");
    }
    kafka.set_allowed("alice", topic, true);
    let jaas =
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"secret\";";
    let options = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", jaas),
        ("linger.ms", "2"),
    ];
    let producer = producer(&kafka.address_of("USERS"), &options)?;
    let first = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        producer.partitions_for(topic).ok()
    });
    first.ok_or("alice may never write")?;
    let start = now();
    let (mut taken, mut sent, mut changes) = (0_u32, Vec::new(), Vec::new());
    let mut refused = 0;
    let times = [(2.0, false), (4.0, true), (6.0, false), (8.0, true)];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<(), String> {
        let (kafka, over) = (&*kafka, &over);
        let operator = scope.spawn(move || {
            let mut changes = Vec::new();
            for (at, allowed) in times {
                std::thread::sleep(Duration::from_secs_f64((at - since(start)).max(0.0)));
                kafka.set_allowed("alice", topic, allowed);
                changes.push((now(), allowed));
            }
            std::thread::sleep(Duration::from_secs(4));
            over.store(true, Ordering::SeqCst);
            changes
        });
        while !over.load(Ordering::SeqCst) {
            let (partition, value) = ((taken % PARTITIONS) as i32, format!("{taken:0>20}"));
            taken += 1;
            let at = now();
            match producer.enqueue(&Record::new(topic).value(&value).partition(partition)) {
                Ok(ack) => sent.push((value, partition, at, ack)),
                Err(error) if error.to_string().contains("TOPIC_AUTHORIZATION_FAILED") => refused += 1,
                Err(error) => return Err(format!("{value} was not taken: {error}")),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        changes = operator.join().map_err(|_| "nobody changes rights".to_string())?;
        Ok(())
    })?;
    let mut good = Vec::new();
    let mut failed = 0;
    for (value, partition, at, ack) in sent {
        match ack.wait() {
            Ok(delivered) => good.push((at, Acknowledged { partition, offset: delivered.offset, value })),
            Err(Error::NotDelivered(error)) => {
                let says = matches!(&error.kind, DeliveryErrorKind::Refused(code) if code.name() == "TOPIC_AUTHORIZATION_FAILED");
                if !says || error.possibly_written {
                    return Err(format!("{value}: {error:?}"));
                }
                failed += 1;
            }
            Err(error) => return Err(format!("{value}: {error:?}")),
        }
    }
    if failed + refused == 0 {
        return Err("nothing was refused".into());
    }
    let given = changes.iter().filter(|(_, allowed)| *allowed).map(|(at, _)| *at);
    let next = |at: Instant| good.iter().map(|(taken, _)| *taken).find(|taken| *taken > at);
    let waits: Vec<f64> = given.map(|at| next(at).map_or(f64::INFINITY, |taken| (taken - at).as_secs_f64())).collect();
    let good: Vec<Acknowledged> = good.into_iter().map(|(_, record)| record).collect();
    let words = nothing_lost_doubled_or_reordered(kafka, topic, PARTITIONS, &good)?;
    if waits.iter().any(|wait| *wait > 2.0) {
        return Err(format!("{words}; records went again after {waits:.1?} s"));
    }
    Ok(format!("{words}; {failed} failed, {refused} not taken; records went again after {waits:.1?} s"))
}

/// A record waits for its leader for longer than its topic may be idle; and a topic that was idle for so long has another
/// leader when the next record comes.
fn idle_with_a_record(kafka: &mut Kafka) -> Result<String, String> {
    let (waiting, idle) = ("idle-waiting", "idle-moved");
    kafka.create_topic_with(waiting, 1, 1, &["min.insync.replicas=1"]);
    kafka.create_topic(idle, 1, &[]);
    let home = kafka.leader(waiting, 0);
    let other = (home + 1) % 3;
    kafka.move_leader(idle, 0, home);
    let options = [("metadata.max.idle.ms", "5000"), ("request.timeout.ms", "2000")];
    let producer = producer(&kafka.gated_of(other), &options)?;
    let send = |topic: &str| producer.enqueue(&Record::new(topic).value("v")).map_err(|error| error.to_string());
    for topic in [waiting, idle] {
        send(topic)?.wait().map_err(|error| error.to_string())?;
    }
    kafka.kill(home);
    let open = send(waiting)?;
    std::thread::sleep(Duration::from_secs(12));
    let start = now();
    send(idle)?.wait_timeout(Duration::from_secs(10)).map_err(|error| format!("after it was idle: {error}"))?;
    let moved = since(start);
    if open.is_done() {
        return Err(format!("it did not wait: {:?}", open.wait()));
    }
    kafka.restart(home);
    let start = now();
    let delivered = open.wait_timeout(Duration::from_secs(30)).map_err(|error| format!("{waiting}: {error}"))?;
    let back = since(start);
    let stored = (dump::count(kafka, waiting, 0), dump::count(kafka, idle, 0));
    if stored != (2, 2) || delivered.offset != Some(1) || moved > 3.0 || back > 3.0 {
        return Err(format!("{stored:?} stored, {delivered:?}, after {moved:.1} s and {back:.1} s"));
    }
    Ok(format!("{moved:.1} s with another leader, {back:.1} s after the leader was back"))
}

#[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
fn now() -> Instant {
    Instant::now()
}

/// In milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "real brokers live in real time")]
fn timestamp_before(age: Duration) -> i64 {
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    today.saturating_sub(age).as_millis() as i64
}

fn since(start: Instant) -> f64 {
    (now() - start).as_secs_f64()
}
