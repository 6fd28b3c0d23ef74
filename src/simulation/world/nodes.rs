//! What happens to connections, nodes, leaders and topics, on the dice, until it ends.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Who, World};
use crate::cluster::TopicSettings;
use crate::simulation::servers::{Mood, View};
use crate::{Cause, ConnId, Input, Instant, UnixTime};

impl World {
    /// Faults of the network and of nodes.
    pub(super) fn misbehave(&mut self) {
        let f = self.plan.faults.clone();
        let now = self.now;
        let conns: Vec<ConnId> =
            self.wires.iter().filter(|(_, w)| !w.client_gone && w.announced).map(|(c, _)| *c).collect();
        for conn in conns {
            let (reset, half_open) = (self.dice.once_in(f.reset), self.dice.once_in(f.half_open));
            if reset || half_open {
                let Some(wire) = self.wires.get_mut(&conn) else {
                    continue;
                };
                if reset {
                    if let Some(peer) = wire.peer.take() {
                        self.cluster.disconnect(peer);
                    }
                    self.wires.remove(&conn);
                } else {
                    wire.client_gone = true;
                    wire.to_client.clear();
                    wire.blocked_until = None;
                    // What is on its way may take long.
                    let late = Duration::from_millis(self.dice.range(0, 2000));
                    for (at, _) in &mut wire.to_broker {
                        *at = *at + late;
                    }
                }
                self.input(conn, Input::Disconnected(conn, Cause::Io("reset")));
            } else if self.dice.once_in(f.blackhole) {
                if let Some(wire) = self.wires.get_mut(&conn) {
                    wire.blackhole = true;
                }
            }
        }
        let nodes = self.cluster.nodes();
        let node = self.dice.pick(&nodes);
        let alone = nodes.iter().filter(|node| self.cluster.is_up(**node)).count() <= 1;
        if self.dice.once_in(f.crash) && self.cluster.is_up(node) && !(alone && f.lose_tail) {
            self.crash(node);
            self.back_at.insert(node, now + Duration::from_millis(self.dice.range(10, 3000)));
        }
        if self.dice.once_in(f.pause) && self.cluster.is_up(node) {
            self.note(Who::Node(node), || "pauses".into());
            self.cluster.pause(node);
            self.back_at.insert(node, now + Duration::from_millis(self.dice.range(10, 3000)));
        }
        self.swap();
        self.change_moods();
        if self.plan.young.is_some_and(|(at, _)| Instant::from_millis(at) <= self.now) {
            self.create_topics();
        }
        let back: Vec<i32> = self.back_at.iter().filter(|(_, at)| **at <= now).map(|(node, _)| *node).collect();
        for node in back {
            self.back(node);
        }
        self.misbehave_with_topics(node);
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_at = None;
            self.cluster.tell_zombies(now);
        }
        if self.dice.once_in(f.stall) {
            self.stalled_until = now + Duration::from_millis(self.dice.range(1, 1000));
        }
        if self.dice.once_in(f.clock_step) {
            let step = self.dice.range(0, 3_000_000) as i64 - 1_500_000;
            let time = self.plan.cluster.unix_time + (now.as_nanos() / 1_000_000) as i64 + step;
            self.producer.handle_input(now, Input::WallClock(UnixTime::from_millis(time)));
        }
    }

    /// Two nodes end, and will be back at each other's addresses, as containers are that share a pool of them.
    fn swap(&mut self) {
        if !self.later.once_in(self.plan.faults.swap) {
            return;
        }
        let up: Vec<i32> = self.cluster.nodes().into_iter().filter(|node| self.cluster.is_up(*node)).collect();
        if up.len() < 2 || (up.len() == 2 && self.plan.faults.lose_tail) {
            return;
        }
        let at = self.later.range(0, up.len() as u64 - 1) as usize;
        let (one, other) = (up[at], up[(at + 1) % up.len()]);
        for node in [one, other] {
            self.crash(node);
            self.back_at.insert(node, self.now + Duration::from_millis(self.later.range(10, 3000)));
        }
        let address = |node| self.cluster.address(node).map(|(host, port)| (host.to_string(), port));
        if let (Some((host, port)), Some((others_host, others_port))) = (address(one), address(other)) {
            self.cluster.set_address(one, &others_host, others_port);
            self.cluster.set_address(other, &host, port);
            // A pause is of the address where it was asked for.
            let mut orders = self.orders.lock().expect("nobody panics with it");
            let paused = [one, other].map(|node| orders.throttled.remove(&node));
            orders
                .throttled
                .extend([other, one].into_iter().zip(paused).filter_map(|(node, until)| Some((node, until?))));
            drop(orders);
            self.note(Who::World, || format!("nodes {one} and {other} have each other's address"));
            self.sometimes("two nodes had each other's address");
        }
    }

    /// Leaders move, topics are created again and grow.
    fn misbehave_with_topics(&mut self, node: i32) {
        let (f, now) = (self.plan.faults.clone(), self.now);
        if self.topics.is_empty() {
            return;
        }
        let topic = self.topics[self.dice.range(0, self.topics.len() as u64 - 1) as usize].clone();
        let partition = self.dice.range(0, 4) as i32;
        if self.dice.once_in(f.move_leader) {
            let told = !(f.untold && self.dice.once_in(2));
            if self.cluster.move_leader(&topic, partition, node, told) {
                let how = if told { "" } else { ", which the old leader does not know yet" };
                self.note(Who::Node(node), || format!("leads {topic}-{partition}{how}"));
                self.tell_at.get_or_insert(now + Duration::from_millis(self.dice.range(10, 1500)));
            }
        }
        if self.dice.once_in(f.recreate) {
            self.note_ids();
            let partitions = self.cluster.partitions(&topic).max(1);
            let fewer = if self.dice.once_in(4) { (partitions - 1).max(1) } else { partitions };
            if f.vanish > 0 && self.later.once_in(2) {
                self.note(Who::World, || format!("{topic} is deleted"));
                self.cluster.delete_topic(&topic);
                let back = now + Duration::from_millis(self.later.range(1, f.vanish));
                self.vanished.push((back, topic.clone(), fewer));
                self.sometimes("a topic was not there for a while");
            } else {
                self.note(Who::World, || format!("{topic} is deleted, and created again with {fewer} partitions"));
                self.create_topic(&topic, fewer);
            }
        }
        let (back, away): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.vanished).into_iter().partition(|(at, ..)| *at <= now);
        self.vanished = away;
        for (_, name, partitions) in back {
            // Unless somebody has asked for it, and so created it.
            if self.cluster.topic_id(&name).is_none() {
                self.create_topic(&name, partitions);
            }
        }
        if self.dice.once_in(f.grow) {
            let partitions = (self.cluster.partitions(&topic) + 1).min(8);
            self.cluster.add_partitions(&topic, partitions);
            self.note(Who::World, || format!("{topic} has {partitions} partitions"));
        }
    }

    /// Creates the topics that there are not yet.
    pub(super) fn create_topics(&mut self) {
        for name in self.topics.clone() {
            if self.cluster.topic_id(&name).is_none() {
                let partitions = self.plan.cluster.default_partitions;
                self.create_topic(&name, partitions);
            }
        }
    }

    /// Of topics that were created because they were sent to.
    pub(super) fn note_ids(&mut self) {
        for name in &self.topics {
            let Some(id) = self.cluster.topic_id(name) else { continue };
            let ids = self.ids.entry(name.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }

    pub(super) fn create_topic(&mut self, name: &str, partitions: i32) {
        let settings = TopicSettings::default().max_message_bytes(self.plan.max_message_bytes);
        let id = self.cluster.create_topic_with(name, partitions, settings);
        self.note(Who::World, || format!("{name} is created with {partitions} partitions"));
        self.ids.entry(name.to_string()).or_default().push(id);
        if let Some((_, hesitation)) = self.plan.young {
            let elected = self.now + Duration::from_millis(hesitation);
            let settled = elected + Duration::from_millis(self.odd.range(0, 1000));
            self.trouble_until = self.trouble_until.max(settled);
            self.orders.lock().expect("nobody panics with it").young.insert(name.to_string(), (elected, settled));
        }
    }

    /// A server begins or ends to answer in its own way.
    fn change_moods(&mut self) {
        let over: Vec<(i32, Mood)> =
            self.moods.iter().filter(|(until, ..)| *until <= self.now).map(|(_, node, mood)| (*node, *mood)).collect();
        self.moods.retain(|(until, ..)| *until > self.now);
        for (node, mood) in over {
            self.end_mood(node, mood);
        }
        if self.odd.once_in(self.plan.faults.moods) {
            let (nodes, moods) = (self.cluster.nodes(), self.plan.moods.clone());
            let (node, mood) = (self.odd.pick(&nodes), self.odd.pick(&moods));
            let until = self.now + Duration::from_millis(self.odd.range(50, 5000));
            if self.orders.lock().expect("nobody panics with it").moods.get(&node).is_none_or(Vec::is_empty) {
                self.begin_mood(node, mood);
                self.moods.push((until, node, mood));
            }
        }
        if let Some((at, node, mood)) = self.plan.lasting.filter(|(at, ..)| Instant::from_millis(*at) == self.now) {
            self.note(Who::Node(node), || format!("for good, from {at} on:"));
            self.begin_mood(node, mood);
        }
    }

    fn begin_mood(&mut self, node: i32, mood: Mood) {
        self.note(Who::Node(node), || format!("is in a mood: {mood:?}"));
        self.orders.lock().expect("nobody panics with it").moods.entry(node).or_default().push(mood);
        if mood == Mood::View(View::Lagging) {
            self.cluster.set_lagging(node, true);
        }
    }

    fn end_mood(&mut self, node: i32, mood: Mood) {
        self.note(Who::Node(node), || format!("is in no mood any more: {mood:?}"));
        let mut orders = self.orders.lock().expect("nobody panics with it");
        let moods = orders.moods.entry(node).or_default();
        if let Some(place) = moods.iter().position(|known| *known == mood) {
            moods.remove(place);
        }
        if !moods.contains(&Mood::View(View::Lagging)) {
            self.cluster.set_lagging(node, false);
        }
    }

    fn end_moods(&mut self) {
        for (_, node, mood) in core::mem::take(&mut self.moods) {
            self.end_mood(node, mood);
        }
    }

    pub(super) fn crash(&mut self, node: i32) {
        self.note(Who::Node(node), || "crashes".into());
        self.cluster.crash(node);
        for (_, wire) in self.wires.iter_mut().filter(|(_, wire)| wire.node == node) {
            if wire.peer.take().is_some() {
                wire.to_broker.clear();
            }
        }
        let gone: Vec<ConnId> =
            self.wires.iter().filter(|(_, w)| w.node == node && w.announced).map(|(c, _)| *c).collect();
        for conn in gone {
            let wire = self.wires.remove(&conn).expect("it was listed");
            if !wire.client_gone {
                self.input(conn, Input::Disconnected(conn, Cause::Io("reset")));
            }
        }
        for wire in self.wires.values_mut().filter(|wire| wire.node == node) {
            wire.refused = true;
        }
    }

    pub(super) fn back(&mut self, node: i32) {
        self.back_at.remove(&node);
        self.note(Who::Node(node), || "is back".into());
        let lose_tail = self.plan.faults.lose_tail && self.calm.is_none() && self.dice.once_in(2);
        self.cluster.resume(self.now, node);
        if !self.cluster.is_up(node) {
            self.cluster.restart(node, lose_tail);
        }
    }

    /// The faults end.
    pub(super) fn calm_down(&mut self) {
        self.note(Who::World, || "the faults end".into());
        self.calm = Some(self.now);
        // Where all servers ask for a pause that are not in a mood for good, there is none to go to.
        let moody = self.plan.lasting.map(|(_, node, _)| node);
        let well = self.cluster.nodes().into_iter().filter(|node| Some(*node) != moody);
        let throttled = self.orders.lock().expect("nobody panics with it").throttled.clone();
        let pause = well.map(|node| throttled.get(&node).copied().unwrap_or_default()).min();
        let long_pause = self.orders.lock().expect("nobody panics with it").long_pause;
        self.trouble_until = self.trouble_until.max(self.now).max(pause.unwrap_or_default()).max(long_pause);
        self.vanished.clear();
        self.create_topics();
        self.orders.lock().expect("nobody panics with it").calm = true;
        self.end_moods();
        let away: Vec<i32> = self.cluster.nodes().into_iter().filter(|node| !self.cluster.is_up(*node)).collect();
        for node in away {
            self.back(node);
        }
        self.cluster.tell_zombies(self.now);
        let time = self.plan.cluster.unix_time + (self.now.as_nanos() / 1_000_000) as i64;
        self.producer.handle_input(self.now, Input::WallClock(UnixTime::from_millis(time)));
        self.stalled_until = self.now;
        for (at, _) in &mut self.jobs {
            *at = (*at).min(self.now);
        }
        for wire in self.wires.values_mut() {
            if let Some(until) = &mut wire.blocked_until {
                *until = (*until).min(self.now);
            }
        }
    }
}
