//! The adapter on embassy-net: two stacks with a wire between them, on the other a cluster in memory.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a program with std")]

mod net;

use std::cell::Cell;
use std::rc::Rc;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_net::tcp::client::{TcpClient, TcpClientState};
use futures_util::poll;
use milena_embedded::milena::cluster::{Cluster, SaslSettings, Settings};
use milena_embedded::milena::{
    Config, ConfigBuilder, ConnectionError, DeliveryErrorKind, Record, Sasl, SecurityProtocol, SendError, UnixTime,
};
use milena_embedded::{Ack, Error, NalConnector, NoDns, Producer};
use net::{Made, World, now, seconds, sleep, world};

fn number(n: usize) -> String {
    format!("{n:05}")
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(number).collect()
}

/// Takes so many numbered records, of partitions in turn.
async fn enqueue(producer: &Producer, numbers: core::ops::Range<usize>, partitions: usize) -> Vec<Ack> {
    let mut acks = Vec::new();
    for n in numbers {
        let value = number(n);
        let record = Record::new("t").value(&value).partition((n % partitions) as i32);
        acks.push(producer.enqueue(&record).await.expect("it is taken"));
    }
    acks
}

async fn all_delivered(acks: Vec<Ack>) {
    for ack in acks {
        ack.await.expect("it is delivered");
    }
}

#[test]
fn a_thousand_records_arrive_in_order_and_connections_end_in_good_order() {
    world(Made { partitions: 3, ..Made::default() }, |world| async move {
        let (producer, runner) = world.new_producer(world.config());
        let sockets = world.sockets::<2>(1024);
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        world.spawn(async move {
            runner.run(sockets).await;
            end.set(true);
        });
        let acks = enqueue(&producer, 0..1000, 3).await;
        assert_eq!(producer.flush().await, Ok(0));
        for (n, ack) in acks.into_iter().enumerate() {
            let delivered = ack.outcome().expect("the flush is over").expect("it is delivered");
            assert_eq!((delivered.partition, delivered.offset), ((n % 3) as i32, Some((n / 3) as i64)));
            assert_eq!(delivered.timestamp, -1, "nobody told the time");
        }
        assert_eq!(world.values(), numbers(1000));
        assert_eq!(producer.buffered(), 0);
        assert_eq!(producer.close(seconds(5)).await, Ok(0));
        world.until("the runner ended", || ended.get()).await;
        world.until("connections ended", || world.open.get() == 0).await;
        assert_eq!(*world.ended.borrow(), ["closed by the device"; 2]);
        assert_eq!(producer.enqueue(&Record::new("t")).await.err(), Some(Error::Send(SendError::Closed)));
    });
}

#[test]
fn one_socket_serves_three_brokers_one_after_the_other() {
    world(Made { nodes: 3, partitions: 6, ..Made::default() }, |world| async move {
        let producer = world.start::<1>(world.config());
        all_delivered(enqueue(&producer, 0..60, 6).await).await;
        assert_eq!(world.values(), numbers(60));
        assert_eq!(producer.stats().records_failed, 0);
        // Metadata, and each broker; none was counted as a failure.
        assert_eq!(producer.stats().connection_failures, 0);
        assert!(producer.stats().connections >= 4);
    });
}

#[test]
fn brokers_that_are_always_busy_take_turns_with_too_few_sockets() {
    world(Made { nodes: 3, partitions: 3, ..Made::default() }, |world| async move {
        let producer = world.start::<2>(world.config().option("socket.connection.setup.timeout.ms", "20000"));
        let ends = now() + seconds(5);
        let counts: [Rc<Cell<u32>>; 3] = Default::default();
        let latest: [Rc<Cell<u64>>; 3] = Default::default();
        for partition in 0..3 {
            let (producer, count, latest) =
                (producer.clone(), Rc::clone(&counts[partition]), Rc::clone(&latest[partition]));
            world.spawn(async move {
                while now() < ends {
                    let began = now();
                    let acks =
                        [0; 5].map(|_| producer.try_enqueue(&Record::new("t").value("v").partition(partition as i32)));
                    for ack in acks.into_iter().flatten() {
                        ack.await.expect("it is delivered");
                        count.set(count.get() + 1);
                    }
                    latest.set(latest.get().max(now().saturating_since(began).as_millis() as u64));
                    sleep(1).await;
                }
            });
        }
        sleep(5000).await;
        assert_eq!(producer.close(seconds(20)).await, Ok(0));
        let counts = counts.map(|count| count.get());
        assert!(counts.iter().all(|count| *count >= 50), "{counts:?}");
        assert_eq!(producer.stats().connection_failures, 0);
        assert_eq!(producer.stats().records_failed, 0);
    });
}

#[test]
fn a_broker_that_goes_down_and_comes_back_has_everything_once() {
    world(Made::default(), |world| async move {
        let producer = world.start::<2>(world.config());
        all_delivered(enqueue(&producer, 0..100, 1).await).await;
        let acks = enqueue(&producer, 100..130, 1).await;
        world.cluster.borrow_mut().stop();
        world.until("connections broke", || world.open.get() == 0).await;
        let more = enqueue(&producer, 130..160, 1).await;
        sleep(300).await;
        assert!(more.iter().all(|ack| ack.outcome().is_none()));
        world.cluster.borrow_mut().start_again();
        all_delivered(acks).await;
        all_delivered(more).await;
        assert_eq!(world.values(), numbers(160));
        assert!(producer.stats().connection_failures > 0);
    });
}

#[test]
fn a_wire_that_is_cut_costs_time_and_no_record() {
    world(Made::default(), |world| async move {
        let config =
            world.config().option("request.timeout.ms", "500").option("socket.connection.setup.timeout.ms", "500");
        let producer = world.start::<2>(config);
        all_delivered(enqueue(&producer, 0..10, 1).await).await;
        world.wire.cut(true);
        let acks = enqueue(&producer, 10..40, 1).await;
        sleep(1500).await;
        assert!(acks.iter().all(|ack| ack.outcome().is_none()));
        world.wire.cut(false);
        all_delivered(acks).await;
        assert_eq!(world.values(), numbers(40));
    });
}

#[test]
fn sockets_that_connect_and_never_answer_are_given_up() {
    world(Made::default(), |world| async move {
        world.mute.set(true);
        let config = world.config().option("max.block.ms", "700").option("socket.connection.setup.timeout.ms", "300");
        let producer = world.start::<1>(config);
        let began = now();
        let error = producer.enqueue(&Record::new("t").value("v")).await.expect_err("nobody answers");
        let Error::NoMetadata { after, code: None, trouble: Some(trouble) } = &error else { panic!("{error:?}") };
        assert!(now().saturating_since(began) >= *after);
        assert_eq!(after.as_millis(), 700);
        assert_eq!((&*trouble.host, trouble.port, &trouble.error), ("10.0.0.2", 9092, &ConnectionError::SetupTimeout));
        assert!(error.to_string().contains("10.0.0.2:9092: not usable"), "{error}");
        world.mute.set(false);
        producer.send(&Record::new("t").value("v")).await.expect("they answer now");
    });
}

#[test]
fn full_memory_is_waited_for_and_then_an_error() {
    world(Made::default(), |world| async move {
        let config = world.config().option("max.block.ms", "1500").buffer_memory(4096);
        let producer = world.start::<2>(config);
        producer.send(&Record::new("t").value("v")).await.expect("it is delivered");
        world.mute.set(true);
        let value = [b'v'; 500];
        let (mut acks, began) = (Vec::new(), now());
        let error = loop {
            match producer.enqueue(&Record::new("t").value(&value)).await {
                Ok(ack) => acks.push(ack),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::BufferFull { after, .. } if after.as_millis() == 1500), "{error:?}");
        assert!(now().saturating_since(began).as_millis() >= 1500);
        assert!((3..8).contains(&acks.len()), "{}", acks.len());
        assert!(matches!(producer.try_enqueue(&Record::new("t").value(&value)), Err(SendError::BufferFull { .. })));
        // Who waits in time gets it.
        let began = now();
        let resume = async {
            sleep(50).await;
            world.mute.set(false);
        };
        let (sent, ()) = join(producer.send(&Record::new("t").value(&value)), resume).await;
        sent.expect("it is delivered");
        assert!(now().saturating_since(began).as_millis() < 1500, "it was woken, and did not look again by itself");
        let taken = acks.len();
        all_delivered(acks).await;
        assert_eq!(world.values().len(), taken + 2);
        assert_eq!(producer.buffered(), 0);
    });
}

#[test]
fn sends_that_are_dropped_hold_up_nobody_and_keep_no_memory() {
    world(Made::default(), |world| async move {
        let producer = world.start::<2>(world.config().buffer_memory(4096));
        producer.send(&Record::new("t").value("v")).await.expect("it is delivered");
        world.mute.set(true);
        let value = [b'v'; 500];
        let record = Record::new("t").value(&value);
        let taken = core::iter::from_fn(|| producer.try_enqueue(&record).ok()).count(); // and dropped
        assert!(taken >= 3);
        // Three wait. The first is never polled again, the second is dropped.
        let mut first = Box::pin(producer.send(&record));
        let mut second = Box::pin(producer.send(&record));
        let third = Rc::new(Cell::new(false));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        let (is_sent, clone) = (Rc::clone(&third), producer.clone());
        world.spawn(async move {
            clone.send(&Record::new("t").value(&[b'v'; 500])).await.expect("it is delivered");
            is_sent.set(true);
        });
        sleep(20).await;
        drop(second);
        assert!(!third.get());
        world.mute.set(false);
        world.until("the third was delivered", || third.get()).await;
        drop(first);
        assert_eq!(producer.flush().await, Ok(0));
        assert_eq!(producer.buffered(), 0);
        assert_eq!(world.values().len(), taken + 2, "neither of those that were dropped");
        // One that was taken before it was dropped is sent nevertheless.
        world.mute.set(true);
        assert!(poll!(Box::pin(producer.send(&record))).is_pending());
        world.mute.set(false);
        assert_eq!(producer.flush().await, Ok(0));
        assert_eq!(world.values().len(), taken + 3);
    });
}

#[test]
fn a_send_that_waits_for_metadata_may_be_dropped() {
    world(Made::default(), |world| async move {
        world.mute.set(true);
        let producer = world.start::<1>(world.config());
        for _ in 0..50 {
            let record = Record::new("t").value("never");
            assert!(poll!(Box::pin(producer.send(&record))).is_pending());
        }
        world.mute.set(false);
        producer.send(&Record::new("t").value("once")).await.expect("it is delivered");
        assert_eq!(world.values(), ["once"]);
    });
}

#[test]
fn both_sides_write_at_the_same_time_over_tiny_buffers() {
    world(Made { buffer: 64, ..Made::default() }, |world| async move {
        // The node reads on only when its answers were taken, and they are more than the buffers hold.
        let (producer, runner) = world.new_producer(world.config().option("client.id", "d").buffer_memory(32 << 10));
        let sockets = world.sockets::<2>(64);
        world.spawn(async move { runner.run(sockets).await });
        let value = [b'v'; 900];
        let mut acks = Vec::new();
        for _ in 0..60 {
            acks.push(producer.enqueue(&Record::new("t").value(&value)).await.expect("it is taken"));
        }
        all_delivered(acks).await;
        assert_eq!(world.values().len(), 60);
        assert_eq!(producer.stats().connection_failures, 0);
    });
}

#[test]
fn a_close_whose_time_is_over_fails_what_is_left() {
    world(Made::default(), |world| async move {
        let producer = world.start::<2>(world.config());
        producer.send(&Record::new("t").value("v")).await.expect("it is delivered");
        world.mute.set(true);
        let acks = enqueue(&producer, 0..7, 1).await;
        let error = producer.close(core::time::Duration::from_millis(300)).await.expect_err("nobody answers");
        assert!(matches!(error, Error::Unfinished { failed: 7, .. }), "{error:?}");
        for ack in acks {
            let error = ack.await.expect_err("it was aborted");
            assert!(
                matches!(error, Error::NotDelivered(ref error) if error.kind == DeliveryErrorKind::Aborted),
                "{error:?}"
            );
        }
        world.mute.set(false);
        world.until("connections ended", || world.open.get() == 0).await;
    });
}

#[test]
fn without_its_runner_nobody_waits() {
    world(Made::default(), |world| async move {
        let (producer, runner) = world.new_producer(world.config());
        let sockets = world.sockets::<2>(1024);
        let mut running = Box::pin(runner.run(sockets));
        let Either::Second(Ok(_)) = select(&mut running, producer.send(&Record::new("t").value("v"))).await else {
            panic!("it is delivered")
        };
        world.mute.set(true);
        let acks = enqueue(&producer, 0..3, 1).await;
        let _ = select(&mut running, sleep(100)).await;
        let mut flushing = Box::pin(producer.flush());
        assert!(poll!(&mut flushing).is_pending());
        let stuck = async {
            let value = [b'v'; 900];
            loop {
                if let Err(error) = producer.enqueue(&Record::new("t").value(&value)).await {
                    return error;
                }
            }
        };
        let gone = async {
            sleep(50).await;
            drop(running);
        };
        let (error, ()) = join(stuck, gone).await;
        assert_eq!(error, Error::Gone);
        for ack in acks {
            let Err(Error::NotDelivered(error)) = ack.await else { panic!("nobody delivers it") };
            assert!(error.possibly_written, "{error:?}");
        }
        flushing.await.ok();
        assert_eq!(producer.close(seconds(1)).await, Err(Error::Gone));
    });
}

#[test]
fn a_runner_that_is_not_polled_is_given_up() {
    world(Made::default(), |world| async move {
        let (producer, runner) = world.new_producer(world.config().option("max.block.ms", "200"));
        let error = producer.enqueue(&Record::new("t").value("v")).await.expect_err("nobody connects");
        assert!(matches!(error, Error::NoMetadata { .. }), "{error:?}");
        assert_eq!(producer.close(core::time::Duration::from_millis(100)).await, Err(Error::Gone));
        drop(runner);
    });
}

#[test]
fn what_was_taken_is_delivered_after_the_last_handle_is_gone() {
    world(Made::default(), |world| async move {
        let (producer, runner) =
            world.new_producer(world.config().option("linger.ms", "60000").option("delivery.timeout.ms", "120000"));
        let sockets = world.sockets::<2>(1024);
        let run = runner.run(sockets);
        let send = async {
            drop(enqueue(&producer, 0..20, 1).await);
            drop(producer);
        };
        join(run, send).await; // the runner ends
        assert_eq!(world.values(), numbers(20));
    });
}

#[test]
fn records_are_stamped_once_the_time_is_told() {
    world(Made::default(), |world| async move {
        let producer = world.start::<2>(world.config());
        let before = producer.send(&Record::new("t").value("v")).await.expect("it is delivered");
        assert_eq!(before.timestamp, -1);
        producer.set_time(UnixTime::from_millis(1_700_000_000_000));
        let after = producer.send(&Record::new("t").value("v")).await.expect("it is delivered");
        assert!((1_700_000_000_000..1_700_000_060_000).contains(&after.timestamp), "{after:?}");
        let own = producer.send(&Record::new("t").value("v").timestamp(5)).await.expect("it is delivered");
        assert_eq!(own.timestamp, 5);
    });
}

#[test]
fn who_is_not_let_in_is_told_and_may_come_with_other_words() {
    world(Made::default(), |world| async move {
        let sasl = SaslSettings::default().user("alice", "right");
        let mut cluster = Cluster::new(Settings::default().sasl(sasl));
        cluster.set_address(1, "10.0.0.2", 9092);
        cluster.create_topic("t", 1);
        *world.cluster.borrow_mut() = cluster;
        let config =
            world.config().security_protocol(SecurityProtocol::SaslPlaintext).sasl(Sasl::plain("alice", "wrong"));
        let producer = world.start::<2>(config);
        let error = producer.send(&Record::new("t").value("v")).await.expect_err("the password is wrong");
        assert!(matches!(error, Error::Send(SendError::AccessDenied(ConnectionError::Authentication(_)))), "{error:?}");
        producer.set_sasl(Sasl::plain("alice", "right"));
        let sent = async {
            loop {
                match producer.send(&Record::new("t").value("v")).await {
                    Err(Error::Send(SendError::AccessDenied(_))) => sleep(20).await,
                    sent => return sent,
                }
            }
        };
        sent.await.expect("it is delivered");
    });
}

#[test]
fn nothing_is_said_in_the_clear_where_tls_is_wanted() {
    world(Made::default(), |world| async move {
        let config = world.config().security_protocol(SecurityProtocol::SaslSsl).sasl(Sasl::plain("alice", "secret"));
        let producer = world.start::<2>(config);
        let error = producer.send(&Record::new("t").value("v")).await.expect_err("there is no TLS");
        assert!(matches!(error, Error::Send(SendError::AccessDenied(ConnectionError::Tls(_)))), "{error:?}");
        assert_eq!(world.most.get(), 0, "nobody was connected to");
    });
}

#[test]
fn a_name_without_a_resolver_is_an_error_that_says_so() {
    world(Made::default(), |world| async move {
        let (producer, runner) =
            world.new_producer(Config::builder("broker.example:9092").option("max.block.ms", "300"));
        let client = TcpClient::<2>::new(world.device, Box::leak(Box::new(TcpClientState::new())));
        let client = Box::leak(Box::new(client));
        world.spawn(async move { runner.run([NalConnector::new(client, NoDns)]).await });
        let error = producer.send(&Record::new("t")).await.expect_err("it has no address");
        assert!(error.to_string().contains("broker.example:9092: the name does not resolve"), "{error}");
    });
}

/// With a client of embedded-nal-async: as many connectors as it has sockets.
fn nal<const N: usize>(world: &World, config: ConfigBuilder) -> Producer {
    let state: &'static TcpClientState<N, 256, 256> = Box::leak(Box::new(TcpClientState::new()));
    let client: &'static _ = Box::leak(Box::new(TcpClient::new(world.device, state)));
    let (producer, runner) = world.new_producer(config);
    let connectors = core::array::from_fn::<_, N, _>(|_| NalConnector::new(client, NoDns));
    world.spawn(async move { runner.run(connectors).await });
    producer
}

#[test]
fn any_client_of_embedded_nal_async_will_do() {
    world(Made { nodes: 3, partitions: 3, buffer: 256 }, |world| async move {
        let producer = nal::<2>(&world, world.config());
        all_delivered(enqueue(&producer, 0..300, 3).await).await;
        assert_eq!(world.values(), numbers(300));
        world.cluster.borrow_mut().stop();
        let acks = enqueue(&producer, 300..330, 3).await;
        sleep(300).await;
        world.cluster.borrow_mut().start_again();
        all_delivered(acks).await;
        assert_eq!(world.values(), numbers(330));
        assert_eq!(producer.close(seconds(5)).await, Ok(0));
    });
}
