//! What happens to the nodes, and to what is between them and the clients.

use std::time::{Duration, Instant};

use super::now;
use super::streams::CLIENT;
use crate::broker::Kafka;
use crate::proxy::{Link, Pace, Proxy};

pub type Fault = fn(&mut Scene<'_>);

/// All of them, by name.
pub const FAULTS: &[(&str, Fault)] = &[
    ("leader killed", leader_killed),
    ("leader stopped in peace", leader_stopped),
    ("leader stands still", leader_stands_still),
    ("all nodes killed", all_killed),
    ("controller killed", controller_killed),
    ("disk full", disk_full),
    ("leaders moved", leaders_moved),
    ("connections reset", connections_reset),
    ("answers late", answers_late),
    ("bytes in pieces", bytes_in_pieces),
    ("answers swallowed", answers_swallowed),
    ("all bytes swallowed", all_swallowed),
    ("rate limited", rate_limited),
    ("topic created anew", topic_created_anew),
    ("partitions added", partitions_added),
    ("client quota", client_quota),
    ("rights taken and given", rights_taken),
];

/// What faults are made of.
pub struct Scene<'a> {
    pub kafka: &'a mut Kafka,
    proxies: &'a [(usize, Proxy)],
    pub dice: Dice,
    /// How many partitions the topic has that gets more.
    pub grown: u32,
    /// When all nodes surely knew the topic that was created last.
    pub anew: Option<Instant>,
}

/// Small random numbers.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// All numbers below this, in some order.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            all.swap(last, self.below(last as u64 + 1) as usize);
        }
        all
    }
}

impl<'a> Scene<'a> {
    pub fn new(kafka: &'a mut Kafka, proxies: &'a [(usize, Proxy)], dice: Dice) -> Self {
        Self { kafka, proxies, dice, grown: 2, anew: None }
    }

    pub fn sleep_ms(&mut self, least: u64, most: u64) {
        let span = least + self.dice.below(most - least + 1);
        std::thread::sleep(Duration::from_millis(span));
    }

    /// Nothing is between clients and nodes any more.
    pub fn calm(&self) {
        for (_, proxy) in self.proxies {
            proxy.treat_all(None);
        }
    }

    fn treat(&self, node: Option<usize>, link: Link) {
        for (_, proxy) in self.proxies.iter().filter(|(of, _)| node.is_none_or(|node| node == *of)) {
            proxy.treat_all(Some(link));
        }
    }

    /// Connections of which bytes are missing can't go on.
    fn reset(&self) {
        for (_, proxy) in self.proxies {
            proxy.reset_all();
        }
    }

    fn some_leader(&mut self) -> usize {
        let partition = self.dice.below(3) as u32;
        self.kafka.leader("steady", partition)
    }
}

fn leader_killed(scene: &mut Scene<'_>) {
    let node = scene.some_leader();
    scene.kafka.kill(node);
    scene.sleep_ms(1000, 6000);
    scene.kafka.restart(node);
}

fn leader_stopped(scene: &mut Scene<'_>) {
    let node = scene.some_leader();
    scene.kafka.stop(node);
    scene.sleep_ms(0, 2000);
    scene.kafka.restart(node);
}

/// For longer than `request.timeout.ms`, and than the controller waits.
fn leader_stands_still(scene: &mut Scene<'_>) {
    let node = scene.some_leader();
    scene.kafka.signal(node, "-STOP");
    scene.sleep_ms(6000, 9000);
    scene.kafka.signal(node, "-CONT");
}

fn all_killed(scene: &mut Scene<'_>) {
    for node in 0..3 {
        scene.kafka.kill(node);
    }
    scene.sleep_ms(0, 2000);
    scene.kafka.restart_all();
}

fn controller_killed(scene: &mut Scene<'_>) {
    let node = scene.kafka.controller();
    scene.kafka.kill(node);
    scene.sleep_ms(1000, 5000);
    scene.kafka.restart(node);
}

/// A node can't write on, in the middle of a batch, and ends.
fn disk_full(scene: &mut Scene<'_>) {
    let partition = scene.dice.below(3) as u32;
    let node = scene.kafka.leader("steady", partition);
    let size = |path: std::path::PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    let largest = scene.kafka.segments("steady", partition).into_iter().map(size).max().unwrap_or(0);
    let more = scene.dice.below(20_000);
    scene.kafka.limit_files(node, largest + more);
    for _ in 0..300 {
        if scene.kafka.has_ended(node) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(scene.kafka.has_ended(node), "a node with a full disk goes on");
    scene.kafka.kill(node);
    scene.kafka.restart(node);
}

fn leaders_moved(scene: &mut Scene<'_>) {
    for partition in 0..3 {
        let leader = scene.kafka.leader("steady", partition);
        let node = (leader + 1 + scene.dice.below(2) as usize) % 3;
        scene.kafka.move_leader("steady", partition, node);
    }
}

fn connections_reset(scene: &mut Scene<'_>) {
    for _ in 0..8 {
        scene.reset();
        scene.sleep_ms(50, 800);
    }
}

/// Later than `request.timeout.ms` allows, or not.
fn answers_late(scene: &mut Scene<'_>) {
    let pause = Duration::from_millis(if scene.dice.below(2) == 0 { 400 } else { 3500 });
    scene.treat(None, Link { down: Pace::new(65_536, 1, pause), ..Link::FREE });
    scene.sleep_ms(5000, 7000);
    scene.calm();
}

fn bytes_in_pieces(scene: &mut Scene<'_>) {
    let pace = Pace::new(1 + scene.dice.below(11) as usize, 64, Duration::from_millis(1));
    scene.treat(None, Link { up: pace, down: pace, ..Link::FREE });
    scene.sleep_ms(4000, 5000);
    scene.calm();
}

/// Everything arrives, and nobody is told.
fn answers_swallowed(scene: &mut Scene<'_>) {
    let node = scene.some_leader();
    scene.treat(Some(node), Link { down: Pace::SWALLOWED, ..Link::FREE });
    scene.sleep_ms(500, 5000);
    scene.reset();
    scene.calm();
}

fn all_swallowed(scene: &mut Scene<'_>) {
    scene.treat(None, Link { up: Pace::SWALLOWED, down: Pace::SWALLOWED, ..Link::FREE });
    scene.sleep_ms(500, 6000);
    scene.reset();
    scene.calm();
}

/// Some 3 KB/s each connection.
fn rate_limited(scene: &mut Scene<'_>) {
    scene.treat(None, Link { up: Pace::new(300, 1, Duration::from_millis(100)), ..Link::FREE });
    scene.sleep_ms(4000, 6000);
    scene.calm();
}

fn topic_created_anew(scene: &mut Scene<'_>) {
    scene.kafka.delete_topic("anew");
    scene.sleep_ms(0, 1500);
    scene.kafka.create_topic("anew", 2, &[]);
    // Where a node lags, the old topic takes records a little longer.
    std::thread::sleep(Duration::from_secs(2));
    scene.anew = Some(now());
}

fn partitions_added(scene: &mut Scene<'_>) {
    // Not without end: each is a folder more on each node.
    if scene.grown < 12 {
        scene.grown += 1;
    }
    scene.kafka.add_partitions("grown", scene.grown);
}

fn client_quota(scene: &mut Scene<'_>) {
    scene.kafka.limit_rate(CLIENT, Some(3000.0));
    scene.sleep_ms(4000, 6000);
    scene.kafka.limit_rate(CLIENT, None);
}

fn rights_taken(scene: &mut Scene<'_>) {
    for allowed in [false, true] {
        scene.kafka.set_allowed("alice", "rights", allowed);
        scene.sleep_ms(1000, 3000);
    }
}
