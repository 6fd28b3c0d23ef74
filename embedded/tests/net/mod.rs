//! Two stacks of embassy-net with a wire between them: the device's, and one on which a cluster in memory listens.

#![allow(dead_code, unreachable_pub, reason = "a kit: tests use parts of it")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config as NetConfig, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_time::Timer;
use embedded_io_async::Write;
use futures_executor::{LocalPool, LocalSpawner};
use futures_util::task::LocalSpawnExt;
use milena_embedded::milena::cluster::{Cluster, Settings};
use milena_embedded::milena::{Config, ConfigBuilder, Instant};
use milena_embedded::{Clock, EmbassySocket, EmbassyTime, Producer, Runner};

/// A test is over after that long.
const LONGEST: u64 = 60;

/// One direction of the wire.
#[derive(Default)]
struct Lane {
    packets: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

/// What lies on the wire, and whether it is cut.
#[derive(Clone, Default)]
pub struct Wire {
    lanes: [Rc<RefCell<Lane>>; 2],
    cut: Rc<Cell<bool>>,
}

impl Wire {
    /// Nothing passes any more, or again.
    pub fn cut(&self, cut: bool) {
        self.cut.set(cut);
    }
}

/// One end of it.
struct Plug {
    wire: Wire,
    end: usize,
}

struct Received(Vec<u8>);

struct Sending {
    wire: Wire,
    end: usize,
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self.0)
    }
}

impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        if !self.wire.cut.get() {
            let mut lane = self.wire.lanes[self.end].borrow_mut();
            lane.packets.push_back(packet);
            let reader = lane.reader.take();
            drop(lane);
            reader.into_iter().for_each(Waker::wake);
        }
        result
    }
}

impl Plug {
    fn sending(&self) -> Sending {
        Sending { wire: self.wire.clone(), end: self.end }
    }
}

impl Driver for Plug {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending;

    fn receive(&mut self, context: &mut Context<'_>) -> Option<(Received, Sending)> {
        let mut lane = self.wire.lanes[1 - self.end].borrow_mut();
        lane.reader = Some(context.waker().clone());
        let packet = lane.packets.pop_front()?;
        drop(lane);
        Some((Received(packet), self.sending()))
    }

    fn transmit(&mut self, _context: &mut Context<'_>) -> Option<Sending> {
        Some(self.sending())
    }

    fn link_state(&mut self, _context: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1500;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ip
    }
}

fn stack(wire: &Wire, end: usize, spawner: &LocalSpawner) -> Stack<'static> {
    let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, end as u8 + 1), 24);
    let config = NetConfig::ipv4_static(StaticConfigV4 { address, gateway: None, dns_servers: Default::default() });
    let resources = Box::leak(Box::new(StackResources::<48>::new()));
    let (stack, mut runner) = embassy_net::new(Plug { wire: wire.clone(), end }, config, resources, 1 + end as u64);
    spawner.spawn_local(async move { runner.run().await }).expect("the pool runs");
    stack
}

/// The cluster's side, and what a test may do to it.
#[derive(Clone)]
pub struct World {
    pub cluster: Rc<RefCell<Cluster>>,
    pub wire: Wire,
    pub device: Stack<'static>,
    spawner: LocalSpawner,
    /// Connections that stand.
    pub open: Rc<Cell<usize>>,
    /// The most that stood at a time.
    pub most: Rc<Cell<usize>>,
    /// Nothing is answered, nor read.
    pub mute: Rc<Cell<bool>>,
    /// How connections ended.
    pub ended: Rc<RefCell<Vec<&'static str>>>,
}

/// How a test's world is made.
pub struct Made {
    pub nodes: i32,
    pub partitions: i32,
    /// Of the server's sockets.
    pub buffer: usize,
}

impl Default for Made {
    fn default() -> Self {
        Self { nodes: 1, partitions: 1, buffer: 4096 }
    }
}

/// Runs a test in its world; topic `t` is there.
pub fn world<F: Future<Output = ()> + 'static>(made: Made, test: impl FnOnce(World) -> F) {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let wire = Wire::default();
    let (device, server) = (stack(&wire, 0, &spawner), stack(&wire, 1, &spawner));
    let mut cluster = Cluster::new(Settings::default().nodes(made.nodes));
    for node in cluster.nodes() {
        cluster.set_address(node, "10.0.0.2", port(node));
    }
    cluster.create_topic("t", made.partitions);
    let world = World {
        cluster: Rc::new(RefCell::new(cluster)),
        wire,
        device,
        spawner: spawner.clone(),
        open: Rc::default(),
        most: Rc::default(),
        mute: Rc::default(),
        ended: Rc::default(),
    };
    for node in 1..=made.nodes {
        for _ in 0..(40 / made.nodes).min(10) {
            let listener = listen(world.clone(), server, node, made.buffer);
            spawner.spawn_local(listener).expect("the pool runs");
        }
    }
    // A task of its own: what the pool itself runs is polled whenever anything happens, and would never miss a wake-up.
    let (test, done) = (test(world), Rc::new(Cell::new(false)));
    let is_done = Rc::clone(&done);
    let test = async move {
        test.await;
        is_done.set(true);
    };
    spawner.spawn_local(test).expect("the pool runs");
    pool.run_until(async {
        let done = poll_fn(|_| if done.get() { Poll::Ready(()) } else { Poll::Pending });
        match select(done, Timer::after_secs(LONGEST)).await {
            Either::First(()) => {}
            Either::Second(()) => panic!("no end after {LONGEST} s"),
        }
    });
}

fn port(node: i32) -> u16 {
    9091 + node as u16
}

pub fn now() -> Instant {
    EmbassyTime.now()
}

pub async fn sleep(millis: u64) {
    Timer::after_millis(millis).await;
}

/// One socket of a node: takes one connection after the other, while the node is up.
async fn listen(world: World, stack: Stack<'static>, node: i32, size: usize) {
    let (mut receive, mut transmit) = (vec![0; size], vec![0; size]);
    let mut socket = TcpSocket::new(stack, &mut receive, &mut transmit);
    loop {
        if world.cluster.borrow().is_down(node) {
            sleep(5).await;
            continue;
        }
        let down = async {
            while !world.cluster.borrow().is_down(node) {
                sleep(5).await;
            }
        };
        if let Either::First(Ok(())) = select(socket.accept(port(node)), down).await {
            world.open.set(world.open.get() + 1);
            world.most.set(world.most.get().max(world.open.get()));
            let end = serve(&world, &mut socket, node).await;
            world.ended.borrow_mut().push(end);
            world.open.set(world.open.get() - 1);
        }
        socket.abort();
        let _ = select(socket.flush(), Timer::after_millis(50)).await;
    }
}

/// Reads only what it can answer: as long as an answer is not taken, nothing is read.
async fn serve(world: &World, socket: &mut TcpSocket<'_>, node: i32) -> &'static str {
    let Some(peer) = world.cluster.borrow_mut().connect(node) else { return "down" };
    let mut buffer = [0; 2048];
    loop {
        if world.mute.get() {
            sleep(5).await;
            continue;
        }
        match select(socket.read(&mut buffer), Timer::after_millis(2)).await {
            Either::First(Ok(0)) => {
                world.cluster.borrow_mut().disconnect(peer);
                socket.close();
                let _ = select(socket.flush(), Timer::after_millis(500)).await;
                return "closed by the device";
            }
            Either::First(Ok(n)) => {
                while world.mute.get() {
                    sleep(5).await;
                }
                world.cluster.borrow_mut().receive(now(), peer, &buffer[..n]);
            }
            Either::First(Err(_)) => {
                world.cluster.borrow_mut().disconnect(peer);
                return "reset";
            }
            Either::Second(()) => {}
        }
        world.cluster.borrow_mut().advance(now());
        let output = world.cluster.borrow_mut().take_output(peer);
        if socket.write_all(&output).await.is_err() {
            world.cluster.borrow_mut().disconnect(peer);
            return "reset while writing";
        }
        if world.cluster.borrow().is_closed(peer) {
            socket.close();
            let _ = select(socket.flush(), Timer::after_millis(500)).await;
            return "closed by the node";
        }
    }
}

impl World {
    /// A configuration for the cluster's nodes, for a small device.
    pub fn config(&self) -> ConfigBuilder {
        Config::builder("10.0.0.2:9092")
            .buffer_memory(16 << 10)
            .batch_size(1024)
            .batch_size_max(1024)
            .max_request_size(2048)
            .option("reconnect.backoff.ms", "20")
            .option("reconnect.backoff.max.ms", "100")
            .option("retry.backoff.ms", "20")
    }

    /// Sockets of the device.
    pub fn sockets<const N: usize>(&self, size: usize) -> [EmbassySocket<'static>; N] {
        let buffer = || Box::leak(vec![0; size].into_boxed_slice());
        core::array::from_fn(|_| EmbassySocket::new(self.device, buffer(), buffer()))
    }

    /// A producer whose runner is a task of its own, with so many sockets.
    pub fn start<const N: usize>(&self, config: ConfigBuilder) -> Producer {
        let (producer, runner) = self.new_producer(config);
        let sockets = self.sockets::<N>(1024);
        self.spawn(async move { runner.run(sockets).await });
        producer
    }

    pub fn new_producer(&self, config: ConfigBuilder) -> (Producer, Runner) {
        milena_embedded::new(EmbassyTime, None, config.build().expect("valid options"), [7; 32])
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.spawner.spawn_local(task).expect("the pool runs");
    }

    /// The values in all partitions of topic `t`, sorted.
    pub fn values(&self) -> Vec<String> {
        let cluster = self.cluster.borrow();
        let id = cluster.topic_id("t").expect("it is there");
        let logs = (0..cluster.partitions("t")).flat_map(|partition| cluster.whole_log(id, partition));
        let text = |value: Option<_>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
        let mut values: Vec<String> = logs.map(|record| text(record.value)).collect();
        values.sort();
        values
    }

    /// Waits until this is so.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..4000 {
            if is_so() {
                return;
            }
            sleep(5).await;
        }
        panic!("it never was so that {what}");
    }
}

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
