//! The world around the rules: partitions with their leaders, connections, faults.
//!
//! What is left out, for it makes no difference: an answer that is on its way. It is handed in at once, or never: then the connection
//! stays silent until it breaks. (The client does nothing between an answer's making and its coming that it could not have done before
//! its making, unless it learns that the connection or the leader is another one: then the answer counts no more.) A leader that was
//! deposed appends to a log that nobody will see, so it only answers.

use stateright::{Model, Property};

use crate::rules::{Attempt, Identity, Leaving, Partition, Rule, Rules, Settled, Stamp};

/// What may go wrong, each as often as [`World::faults`] says for all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A batch is refused, with a code of those that say "not written".
    Refuse,
    /// The largest batch that is taken gets smaller.
    Shrink,
    /// A batch is not taken, with a code that is also answered after an append.
    NotTaken,
    /// A batch is appended, and not replicated; the answer is one of those that leave doubt.
    Unreplicated,
    /// A batch is dealt with, and neither it nor what follows on the connection is answered.
    Swallow,
    /// A connection breaks. What was on its way may be dealt with later, or not.
    Break,
    /// Another node leads, with or without what was not replicated.
    Move,
    /// The leader starts again: it knows the last batch of a producer, not as many as it did.
    Restart,
    /// A batch fails: its time is over.
    GiveUp,
    /// Another partition, which is not looked at, has bumped the epoch.
    OtherBump,
    /// Nothing happens for long, and the broker forgets the producer.
    Idle,
    /// While nothing is open, another node leads, and its log was emptied, so it knows nothing of the producer.
    FreshLeader,
    /// The topic is deleted and created again.
    Recreate,
}

/// A world: how large it is, and what may go wrong.
#[derive(Clone, Debug)]
pub struct World {
    pub rules: Rules,
    /// For each partition, the numbers of records of its batches.
    pub batches: Vec<Vec<u32>>,
    pub faults: u8,
    pub kinds: Vec<Fault>,
    /// How many batches of a producer brokers remember.
    pub remembered: usize,
    pub brokers: Brokers,
    /// Requests name topics by their names.
    pub by_name: bool,
}

/// What brokers do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brokers {
    /// As today.
    Today,
    /// Before 2.5: 59 for a producer that they don't know, unless it begins at 0.
    Before25,
    /// 46 for a batch that lies before all that they remember.
    Says46,
    /// The same, whether it was replicated or not.
    Early46,
    /// A leader may know nothing of the producer, although nothing that the client can see has happened.
    Amnesic,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub partitions: Vec<Place>,
    conns: Vec<Conn>,
    /// Connections that the client has given up, whose requests may still be read.
    late: Vec<Conn>,
    epoch: i16,
    faults: u8,
}

/// A partition: the client's side, and the brokers'.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub client: Partition,
    /// How many of its batches have left.
    left: usize,
    /// The place of the next record.
    next: u64,
    pub told: Vec<Settled>,
    leader: i32,
    topic: u32,
    log: Log,
    /// Of topics that had the name before.
    pub earlier: Vec<Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Log {
    entries: Vec<Entry>,
    /// So many are on all replicas.
    replicated: usize,
    /// What is known of the producer begins here,
    known_from: usize,
    /// and the batches that are known when they come again here.
    remembered_from: usize,
    /// A batch of more records is too large.
    largest: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub first: u64,
    pub count: u32,
    stamp: Stamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Conn {
    id: u32,
    node: i32,
    requests: Vec<Request>,
    /// Attempts that were dealt with and will not be answered. If there are any, nothing is.
    swallowed: Vec<(usize, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Request {
    partition: usize,
    number: u64,
    first: u64,
    count: u32,
    stamp: Stamp,
    topic: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The client sends the next batch.
    Send {
        partition: usize,
    },
    /// The client sends the batch at this place again.
    SendAgain {
        partition: usize,
        place: usize,
    },
    GiveUp {
        partition: usize,
        place: usize,
    },
    /// The client learns who leads what topic.
    Learn {
        partition: usize,
    },
    /// The first request is answered as it should be.
    Serve {
        conn: usize,
    },
    Refuse {
        conn: usize,
        code: i16,
    },
    AnswerAfterAppend {
        conn: usize,
        code: i16,
    },
    Swallow {
        conn: usize,
    },
    Break {
        conn: usize,
    },
    /// A request of a connection that is gone is dealt with.
    ServeLate {
        conn: usize,
    },
    Move {
        partition: usize,
        keeps_all: bool,
    },
    /// The leader has forgotten the producer.
    Forget {
        partition: usize,
    },
    Restart {
        partition: usize,
    },
    Shrink {
        partition: usize,
    },
    OtherBump,
    Idle {
        partition: usize,
    },
    FreshLeader {
        partition: usize,
    },
    Recreate {
        partition: usize,
    },
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let place = |_: &Vec<u32>| {
            let mut client = Partition::default();
            client.led(self.rules, Some(0), true);
            let (told, earlier, log) = (Vec::new(), Vec::new(), Log::default());
            Place { client, left: 0, next: 0, told, leader: 0, topic: 0, log, earlier }
        };
        let partitions = self.batches.iter().map(place).collect();
        vec![State { partitions, conns: Vec::new(), late: Vec::new(), epoch: 0, faults: self.faults }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (partition, place) in state.partitions.iter().enumerate() {
            actions.push(Action::Send { partition });
            let open = 0..place.client.sent.len();
            actions.extend(open.clone().map(|place| Action::SendAgain { partition, place }));
            actions.push(Action::Learn { partition });
            if self.may(state, Fault::GiveUp) {
                actions.extend(open.map(|place| Action::GiveUp { partition, place }));
            }
            if self.may(state, Fault::Move) {
                actions.push(Action::Move { partition, keeps_all: true });
                if place.log.replicated < place.log.entries.len() {
                    actions.push(Action::Move { partition, keeps_all: false });
                }
            }
            if state.faults > 0 && self.brokers == Brokers::Amnesic {
                actions.push(Action::Forget { partition });
            }
            let more = [
                (Fault::Restart, Action::Restart { partition }),
                (Fault::Idle, Action::Idle { partition }),
                (Fault::FreshLeader, Action::FreshLeader { partition }),
                (Fault::Recreate, Action::Recreate { partition }),
                (Fault::Shrink, Action::Shrink { partition }),
            ];
            actions.extend(more.into_iter().filter(|(fault, _)| self.may(state, *fault)).map(|(_, action)| action));
        }
        for (conn, of) in state.conns.iter().enumerate() {
            if !of.swallowed.is_empty() || self.may(state, Fault::Break) {
                actions.push(Action::Break { conn });
            }
            if of.requests.is_empty() {
                continue;
            }
            actions.push(Action::Serve { conn });
            let mut refuse = |fault, codes: &[i16]| {
                if self.may(state, fault) && of.swallowed.is_empty() {
                    actions.extend(codes.iter().map(|code| Action::Refuse { conn, code: *code }));
                }
            };
            refuse(Fault::Refuse, &[19, 100]);
            refuse(Fault::NotTaken, &[3, 6]);
            if self.may(state, Fault::Unreplicated) && of.swallowed.is_empty() {
                actions.extend([6, 7].map(|code| Action::AnswerAfterAppend { conn, code }));
            }
            if self.may(state, Fault::Swallow) && of.swallowed.is_empty() {
                actions.push(Action::Swallow { conn });
            }
        }
        actions.extend((0..state.late.len()).map(|conn| Action::ServeLate { conn }));
        if self.may(state, Fault::OtherBump) {
            actions.push(Action::OtherBump);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action)?;
        for place in &mut next.partitions {
            place.told.extend(place.client.settled.drain(..));
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE, |_: &Self, state: &State| state.partitions.iter().all(Place::is_each_there_once)),
            Property::always(IN_ORDER, |_: &Self, state: &State| state.partitions.iter().all(Place::is_in_order)),
            Property::always(STORED, |_: &Self, state: &State| {
                state.partitions.iter().all(Place::is_stored_what_was_delivered)
            }),
            Property::always(NOT_WRITTEN, |_: &Self, state: &State| {
                state.partitions.iter().all(Place::is_nothing_of_what_failed)
            }),
            Property::always(TOLD_IN_ORDER, |_: &Self, state: &State| {
                state.partitions.iter().all(Place::is_told_in_order)
            }),
            Property::always(WELL_IN_THE_END, |world: &Self, state: &State| state.faults > 0 || world.ends_well(state)),
            Property::sometimes(ALL_DELIVERED, |world: &Self, state: &State| {
                let all = |(place, batches): (&Place, &Vec<u32>)| {
                    let records: u32 =
                        place.told.iter().filter(|told| told.outcome.is_ok()).map(|told| told.count).sum();
                    records == batches.iter().sum::<u32>()
                };
                state.faults == 0 && state.partitions.iter().zip(&world.batches).all(all)
            }),
        ]
    }
}

/// What has to hold in each state.
pub const ONCE: &str = "no record is twice in a log";
pub const IN_ORDER: &str = "records are in the log in the order of their sends";
pub const STORED: &str = "what is told to be delivered is in the log, where it is told to be";
pub const NOT_WRITTEN: &str = "what is told not to be written is in no log";
pub const TOLD_IN_ORDER: &str = "outcomes are told in order";
/// Nobody can know of what is in doubt behind one that has failed in doubt (by name: that has failed), nor of one that was written and is
/// too large when it comes again.
pub const WELL_IN_THE_END: &str = "after the last fault all that is open is delivered";
/// And what is reached in some.
pub const ALL_DELIVERED: &str = "all is delivered, after all faults";

impl World {
    fn may(&self, state: &State, fault: Fault) -> bool {
        state.faults > 0 && self.kinds.contains(&fault)
    }

    /// Whether all is delivered if nothing goes wrong from now on, in so many steps. Silent connections break, for somebody's patience ends.
    fn ends_well(&self, state: &State) -> bool {
        const STEPS: usize = 300;
        let before: Vec<usize> = state.partitions.iter().map(|place| place.failed().count()).collect();
        let mut state = state.clone();
        state.late.clear();
        for _ in 0..STEPS {
            let Some(next) = self.calm_step(&state) else { break };
            state = next;
        }
        let is_over = |place: &Place, batches: &Vec<u32>| place.left == batches.len() && place.client.sent.is_empty();
        let mut places = state.partitions.iter().zip(&self.batches).zip(before);
        places.all(|((place, batches), before)| {
            let in_doubt = place.failed().any(|may_be| may_be || self.by_name) || place.log.has_too_large_ones();
            in_doubt || (is_over(place, batches) && place.failed().count() == before)
        })
    }

    /// A step that is no fault: what has come is dealt with before more is sent.
    fn calm_step(&self, state: &State) -> Option<State> {
        let partitions = 0..state.partitions.len();
        let silent = (0..state.conns.len()).filter(|conn| !state.conns[*conn].swallowed.is_empty());
        let asked = (0..state.conns.len()).filter(|conn| !state.conns[*conn].requests.is_empty());
        let again = partitions.clone().flat_map(|partition| {
            // What is asked for lies behind the lowest, which might be sent again and again.
            let open = (0..state.partitions[partition].client.sent.len()).rev();
            open.map(move |place| Action::SendAgain { partition, place })
        });
        let mut steps = silent
            .map(|conn| Action::Break { conn })
            .chain(partitions.clone().map(|partition| Action::Learn { partition }))
            .chain(asked.map(|conn| Action::Serve { conn }))
            .chain(again)
            .chain(partitions.clone().map(|partition| Action::Send { partition }));
        steps.find_map(|action| self.next_state(state, action))
    }

    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        let rules = self.rules;
        match action {
            Action::Send { partition } => {
                let place = &state.partitions[partition];
                let count = *self.batches[partition].get(place.left)?;
                let (first, stamp) = (place.next, place.next_stamp(state.epoch));
                self.send(state, partition, (first, count, stamp)).ok()?;
                let place = &mut state.partitions[partition];
                (place.left, place.next) = (place.left + 1, place.next + u64::from(count));
            }
            Action::SendAgain { partition, place } => {
                let of = &state.partitions[partition];
                let batch = &of.client.sent[place];
                let stamp = batch.stamp.unwrap_or_else(|| of.next_stamp(state.epoch));
                let what = (batch.first, batch.count, stamp);
                self.send(state, partition, what).ok()?;
            }
            Action::GiveUp { partition, place } => {
                let client = &mut state.partitions[partition].client;
                (client.sent[place].waits() || client.sent[place].on_wire.is_some()).then_some(())?;
                client.give_up(rules, place);
                state.faults -= 1;
            }
            Action::Learn { partition } => {
                let place = &mut state.partitions[partition];
                let is_another = place.client.topic() != place.topic;
                if is_another {
                    place.client.new_topic(rules);
                }
                (is_another || place.client.leader != Some(place.leader)).then_some(())?;
                place.client.led(rules, Some(place.leader), true);
            }
            Action::Serve { conn } => {
                let (request, node) = (state.conns[conn].requests.remove(0), state.conns[conn].node);
                let (code, offset) = self.deal_with(state, node, &request, true);
                self.answer(state, conn, &request, code, offset);
            }
            Action::Refuse { conn, code } => {
                let request = state.conns[conn].requests.remove(0);
                self.answer(state, conn, &request, code, None);
                state.faults -= 1;
            }
            Action::AnswerAfterAppend { conn, code } => {
                let (request, node) = (state.conns[conn].requests.remove(0), state.conns[conn].node);
                let (really, _) = self.deal_with(state, node, &request, false);
                (really == 0).then_some(())?;
                self.answer(state, conn, &request, code, None);
                state.faults -= 1;
            }
            Action::Swallow { conn } => {
                let (request, node) = (state.conns[conn].requests.remove(0), state.conns[conn].node);
                self.deal_with(state, node, &request, false);
                state.conns[conn].swallowed.push((request.partition, request.number));
                state.faults -= 1;
            }
            Action::Break { conn } => {
                if state.conns[conn].swallowed.is_empty() {
                    state.faults -= 1;
                }
                let broken = self.lose(state, conn);
                if !broken.requests.is_empty() {
                    state.late.push(Conn { swallowed: Vec::new(), ..broken });
                }
            }
            Action::ServeLate { conn } => {
                let node = state.late[conn].node;
                let request = state.late[conn].requests.remove(0);
                self.deal_with(state, node, &request, false);
                if state.late[conn].requests.is_empty() {
                    state.late.remove(conn);
                }
            }
            Action::Move { partition, keeps_all } => {
                state.partitions[partition].move_leader(keeps_all);
                state.faults -= 1;
            }
            Action::Forget { partition } => {
                // While nothing is open: what comes again must be known.
                self.is_idle(state, partition)?;
                state.partitions[partition].log.forget();
                state.faults -= 1;
            }
            Action::Restart { partition } => {
                let place = &mut state.partitions[partition];
                let node = place.leader;
                place.log.remembered_from = place.log.entries.len().saturating_sub(1);
                while let Some(conn) = state.conns.iter().position(|conn| conn.node == node) {
                    self.lose(state, conn);
                }
                state.late.retain(|conn| conn.node != node);
                state.faults -= 1;
            }
            Action::Shrink { partition } => {
                let largest = &mut state.partitions[partition].log.largest;
                (*largest).is_none().then(|| *largest = Some(1))?;
                state.faults -= 1;
            }
            Action::OtherBump => {
                state.epoch += 1;
                state.faults -= 1;
            }
            Action::Idle { partition } => {
                self.is_idle(state, partition)?;
                let place = &mut state.partitions[partition];
                place.client.idle(rules);
                place.log.forget();
                state.faults -= 1;
            }
            Action::FreshLeader { partition } => {
                self.is_idle(state, partition)?;
                let place = &mut state.partitions[partition];
                // One that comes back before the client sees that it was away is another matter: see `Brokers::Amnesic`.
                (place.client.leader == Some(place.leader)).then_some(())?;
                place.move_leader(true);
                place.log.forget();
                state.faults -= 1;
            }
            Action::Recreate { partition } => {
                let place = &mut state.partitions[partition];
                place.earlier.append(&mut place.log.entries);
                place.log = Log::default();
                place.topic += 1;
                state.faults -= 1;
            }
        }
        Some(())
    }

    /// Nothing is open, and more is to come. It takes so long that nothing of before is on its way any more.
    fn is_idle(&self, state: &mut State, partition: usize) -> Option<()> {
        let place = &state.partitions[partition];
        (place.client.sent.is_empty() && place.left < self.batches[partition].len()).then_some(())?;
        state.late.clear();
        while let Some(conn) =
            state.conns.iter().position(|conn| !conn.requests.is_empty() || !conn.swallowed.is_empty())
        {
            self.lose(state, conn);
        }
        Some(())
    }

    /// What a broker does with a request, and what it would answer. `replicated`: it waits for its followers.
    fn deal_with(&self, state: &mut State, node: i32, request: &Request, replicated: bool) -> (i16, Option<i64>) {
        let place = &mut state.partitions[request.partition];
        if place.topic != request.topic {
            return (100, None);
        }
        if place.leader != node {
            return (6, None);
        }
        place.log.append(self, request, replicated)
    }

    fn answer(&self, state: &mut State, conn: usize, request: &Request, code: i16, offset: Option<i64>) {
        let conn = &mut state.conns[conn];
        if conn.swallowed.is_empty() {
            state.partitions[request.partition].client.answered(self.rules, request.number, code, offset);
            if code == 10 {
                split(self.rules, &mut state.partitions[request.partition].client, request);
            }
        } else {
            conn.swallowed.push((request.partition, request.number));
        }
    }

    /// A batch leaves, if that is allowed: on the connection to the leader that the client knows.
    fn send(&self, state: &mut State, partition: usize, what: (u64, u32, Stamp)) -> Result<(), Rule> {
        let (first, count, stamp) = what;
        let client = &state.partitions[partition].client;
        let node = client.leader.expect("it is told in the beginning");
        let asked = state.partitions.iter().filter_map(|place| place.client.asks_on);
        let used = |id: &u32| {
            let mut conns = state.conns.iter().chain(&state.late);
            conns.any(|conn| conn.id == *id) || asked.clone().any(|asked| asked == *id)
        };
        let existing = state.conns.iter().position(|conn| conn.node == node);
        let id = existing.map_or_else(|| (0..).find(|id| !used(id)), |place| Some(state.conns[place].id));
        let id = id.expect("there are more numbers than connections");
        let on_their_way = client.sent.iter().flat_map(|batch| {
            let current = batch.on_wire.map(|attempt| attempt.number);
            batch.superseded.iter().copied().chain(current)
        });
        let unread = state.conns.iter().flat_map(|conn| {
            let requests = conn.requests.iter().map(|request| (request.partition, request.number));
            requests.chain(conn.swallowed.iter().copied())
        });
        let taken: Vec<u64> =
            on_their_way.chain(unread.filter(|(of, _)| *of == partition).map(|(_, number)| number)).collect();
        let number = (0..).find(|number| !taken.contains(number)).expect("there are more numbers than attempts");
        let topic = client.topic();
        let attempt = Attempt { number, conn: id, node, topic };
        let leaving = Leaving { first, count, stamp, by_name: self.by_name, attempt };
        state.partitions[partition].client.send(self.rules, &leaving)?;
        state.epoch = state.epoch.max(stamp.identity.epoch);
        let place = existing.unwrap_or_else(|| {
            state.conns.push(Conn { id, node, requests: Vec::new(), swallowed: Vec::new() });
            state.conns.len() - 1
        });
        state.conns[place].requests.push(Request { partition, number, first, count, stamp, topic });
        Ok(())
    }

    /// The connection is gone for the client.
    fn lose(&self, state: &mut State, conn: usize) -> Conn {
        let conn = state.conns.remove(conn);
        let unread = conn.requests.iter().map(|request| (request.partition, request.number));
        for (partition, number) in conn.swallowed.iter().copied().chain(unread) {
            state.partitions[partition].client.lost(self.rules, number);
        }
        conn
    }
}

/// A batch that is too large is sent in two parts.
fn split(rules: Rules, client: &mut Partition, request: &Request) {
    let Some(place) = client.sent.iter().position(|batch| batch.first == request.first) else { return };
    if request.count > 1 {
        // If an attempt is still on its way, it goes as it is.
        let _ = client.split(rules, place, request.count / 2);
    } else {
        client.give_up(rules, place);
    }
}

impl Place {
    /// The number of what takes the next one, while this is the newest epoch. Another partition's bump serves this one too.
    fn next_stamp(&self, newest: i16) -> Stamp {
        let newest = Identity { producer_id: 1, epoch: newest };
        if self.client.identity != Some(newest) {
            return Stamp { identity: newest, sequence: 0 };
        }
        match self.client.bumped {
            true => Stamp { identity: Identity { epoch: newest.epoch + 1, ..newest }, sequence: 0 },
            false => Stamp { identity: newest, sequence: self.client.next },
        }
    }

    fn move_leader(&mut self, keeps_all: bool) {
        self.leader = 1 - self.leader;
        if !keeps_all {
            self.log.entries.truncate(self.log.replicated);
        }
        self.log.replicate();
        self.log.remembered_from = self.log.known_from;
    }

    /// For each batch that has failed, whether it may be written.
    fn failed(&self) -> impl Iterator<Item = bool> {
        let told = self.told.iter().map(|told| Some(told.outcome));
        told.chain(self.client.sent.iter().map(|batch| batch.outcome)).filter_map(|outcome| outcome?.err())
    }

    fn is_each_there_once(&self) -> bool {
        is_each_there_once(&self.log.entries)
    }

    fn is_in_order(&self) -> bool {
        self.log.entries.is_sorted_by_key(|entry| entry.first)
    }

    fn is_stored_what_was_delivered(&self) -> bool {
        self.told.iter().all(|told| {
            let Ok(offset) = told.outcome else { return true };
            let here = Log::find(&self.log.entries[..self.log.replicated], told.first);
            let earlier = Log::find(&self.earlier, told.first);
            match (here, earlier, offset) {
                (None, None, _) => false,
                (_, Some(_), _) | (Some(_), None, None) => true,
                (Some(here), None, Some(offset)) => here == offset,
            }
        })
    }

    fn is_nothing_of_what_failed(&self) -> bool {
        let failed = self.told.iter().filter(|told| told.outcome == Err(false));
        let mut records = failed.flat_map(|told| told.first..told.first + u64::from(told.count));
        records.all(|it| Log::find(&self.log.entries, it).is_none() && Log::find(&self.earlier, it).is_none())
    }

    fn is_told_in_order(&self) -> bool {
        self.told.is_sorted_by_key(|told| told.first)
    }
}

fn is_each_there_once(entries: &[Entry]) -> bool {
    let mut records: Vec<u64> =
        entries.iter().flat_map(|entry| entry.first..entry.first + u64::from(entry.count)).collect();
    records.sort_unstable();
    records.windows(2).all(|pair| pair[0] != pair[1])
}

impl Log {
    /// As Kafka's `ProducerAppendInfo`.
    fn append(&mut self, world: &World, request: &Request, replicated: bool) -> (i16, Option<i64>) {
        let Stamp { identity, sequence } = request.stamp;
        if self.largest.is_some_and(|largest| request.count > largest) {
            return (10, None); // also if it is there
        }
        if let Some(last) = self.entries[self.known_from..].last() {
            let newest = last.stamp.identity.epoch;
            if identity.epoch < newest {
                return (47, None);
            }
            if identity.epoch > newest {
                if sequence != 0 {
                    return (45, None);
                }
            } else {
                let of_epoch = |entry: &&Entry| entry.stamp.identity.epoch == newest;
                let remembered = self.entries[self.remembered_from..].iter().rev().take_while(of_epoch);
                let known = |entry: &Entry| (entry.stamp, entry.count) == (request.stamp, request.count);
                if let Some(known) = remembered.take(world.remembered).find(|entry| known(entry)) {
                    let offset = Self::find(&self.entries, known.first);
                    if replicated {
                        self.replicate();
                    }
                    return (0, offset);
                }
                let expected = crate::rules::after(last.stamp.sequence, last.count);
                if sequence != expected {
                    let says = match world.brokers {
                        Brokers::Says46 => self.replicated == self.entries.len(),
                        Brokers::Early46 => true,
                        Brokers::Today | Brokers::Before25 | Brokers::Amnesic => false,
                    };
                    let old = sequence < expected && says;
                    return (if old { 46 } else { 45 }, None);
                }
            }
        } else if world.brokers == Brokers::Before25 && sequence != 0 {
            return (59, None);
        }
        let offset: u32 = self.entries.iter().map(|entry| entry.count).sum();
        let Request { first, count, stamp, .. } = *request;
        self.entries.push(Entry { first, count, stamp });
        if replicated {
            self.replicate();
        }
        (0, Some(i64::from(offset)))
    }

    /// A batch was written that is too large by now. If its answer was lost, its parts are out of order for ever.
    fn has_too_large_ones(&self) -> bool {
        self.largest.is_some_and(|largest| self.entries.iter().any(|entry| entry.count > largest))
    }

    fn replicate(&mut self) {
        self.replicated = self.entries.len();
    }

    /// What was written is gone, and all that was known of the producer with it. It counts as written nevertheless.
    fn forget(&mut self) {
        self.replicate();
        self.known_from = self.entries.len();
        self.remembered_from = self.known_from;
    }

    /// The offset of a record.
    fn find(entries: &[Entry], record: u64) -> Option<i64> {
        let mut offset = 0;
        for entry in entries {
            if (entry.first..entry.first + u64::from(entry.count)).contains(&record) {
                return Some(offset + (record - entry.first) as i64);
            }
            offset += i64::from(entry.count);
        }
        None
    }
}
