//! The servers: the addresses of brokers and of `bootstrap.servers`. How connecting to each went belongs to the address,
//! whatever it is wanted for; and here is known whose turn it is to be asked.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::connection::RequestKind;
use crate::error::ConnectionError;
use crate::ids::ConnId;
use crate::memory;
use crate::metrics::Traffic;
use crate::planted::planted;
use crate::time::Instant;

/// The versions of ApiVersions to try, one after the other, where a server breaks the connection instead of answering
/// (some gateways do so for a version that they don't know).
const API_VERSIONS_LADDER: [i16; 3] = [4, 3, 0];

/// How connecting to a server went so far.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// None may be made before this time.
    pub(crate) not_before: Instant,
    /// Failures since it last answered a request.
    pub(crate) failures: u32,
    /// Refusals (authentication, TLS) in a row.
    pub(crate) refusals: u32,
    /// Set-up timeouts in a row.
    pub(crate) setup_timeouts: u32,
    /// Connections that broke, or were too slow, while negotiating.
    broken_negotiations: usize,
    /// Connections that were closed at their first request, since one was answered.
    closed_early: u32,
    /// Connections up to this one were there when the last one failed.
    failed_up_to: ConnId,
    /// After a failure one connection alone is tried, until it is ready or has failed: this one.
    probe: Option<ConnId>,
    /// When the last one was made.
    last: Instant,
}

impl Attempts {
    const NONE: Self = Self {
        not_before: Instant::ZERO,
        failures: 0,
        refusals: 0,
        setup_timeouts: 0,
        broken_negotiations: 0,
        closed_early: 0,
        failed_up_to: ConnId(0),
        probe: None,
        last: Instant::ZERO,
    };

    /// The version of ApiVersions to start with.
    pub(crate) fn api_versions(&self) -> i16 {
        API_VERSIONS_LADDER[self.broken_negotiations % API_VERSIONS_LADDER.len()]
    }

    /// The connection broke while negotiating.
    pub(crate) fn negotiation_broke(&mut self) {
        self.broken_negotiations += 1;
    }

    /// The connection was closed at its first request. How often that has happened by now.
    pub(crate) fn closed_early(&mut self) -> u32 {
        self.closed_early = self.closed_early.saturating_add(1);
        self.closed_early
    }

    /// A connection is being made.
    pub(crate) fn begin(&mut self, now: Instant, conn: ConnId) {
        self.last = now;
        if self.failures > 0 {
            self.probe = Some(conn);
        }
    }

    /// A connection failed. Whether that is news: those that were there when an earlier one failed have gone with it.
    /// `newest`: the last connection that was made.
    pub(crate) fn failed(&mut self, conn: ConnId, newest: ConnId) -> bool {
        let news = conn > self.failed_up_to;
        if news {
            self.failed_up_to = newest;
        }
        news
    }

    /// The connection is ready. With which version of ApiVersions it was had is remembered.
    pub(crate) fn negotiated(&mut self) {
        (self.setup_timeouts, self.refusals) = (0, 0);
    }

    /// A request was answered. Only this ends the backoff: a server that takes connections and breaks them at the first
    /// request is not to be asked a hundred times a second. (So what was there before the last failure proves nothing.)
    pub(crate) fn answered(&mut self, conn: ConnId) {
        if conn > self.failed_up_to {
            (self.failures, self.closed_early) = (0, 0);
        }
    }

    /// The connection is ready, or gone. Whether others waited for how it goes.
    pub(crate) fn probed(&mut self, conn: ConnId) -> bool {
        self.probe.take_if(|probe| *probe == conn).is_some()
    }
}

/// Whether a connection to a server may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    Now,
    NotBefore(Instant),
    /// It is to be seen first how another connection goes.
    AfterAnother,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// No other server has this number, before or after.
    pub(crate) serial: u32,
    pub(crate) attempts: Attempts,
    /// The connection for control requests.
    pub(crate) control: Option<ConnId>,
    /// Counts the turns that were lost, of all servers: the later this one lost its last, the later it is asked again. For each
    /// [`Task`]: who knows nothing of a topic may well give producer ids.
    lost_turn: [u64; 2],
    /// Turns that it lost since an answer of it helped.
    lost_in_a_row: u32,
    /// A request was answered once: it speaks what this client speaks.
    pub(crate) proven: bool,
    /// What happened to its last connection for records, unless it has answered on one since.
    trouble: Option<Trouble>,
    /// The same of those for control requests.
    control_trouble: Option<Trouble>,
    /// What was exchanged with it.
    pub(crate) traffic: Traffic,
    /// How long its last answer took.
    pub(crate) round_trip: Option<Duration>,
    /// It asked for a pause until then (KIP-219), on connections for records and on those for control requests.
    paused_until: [Option<Instant>; 2],
    /// Why it did not let this client in, if that was the last that happened.
    pub(crate) refusal: Option<ConnectionError>,
    /// Brokers and connections at this address, and one if it is a bootstrap server.
    users: u32,
}

/// What a server takes in the tables, in bytes, besides its name: a node of the tree has room for eleven, and the first takes all of it.
pub(crate) const MEMORY: usize = size_of::<Server>() + 12 * size_of::<((String, u16), u32)>();

/// What went wrong with a server, and when.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// The first time since it last answered.
    pub(crate) since: Instant,
    /// The last time.
    pub(crate) at: Instant,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) error: ConnectionError,
}

/// A server that has lost so many turns in a row is no help.
const NO_HELP: u32 = 3;

/// What a server is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Task {
    #[default]
    Metadata,
    ProducerId,
}

/// In which order servers are asked: brokers before others, then who owes no answer, then who lost its turn longest ago, then who is known by more than
/// another server's word, then who is at hand, then who has least to do, then who was tried longest ago, then by lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// It is no broker, as far as is known.
    pub(crate) stranger: bool,
    /// It owes an answer, and would answer that first.
    pub(crate) owes: bool,
    lost_turn: u64,
    /// See [`Servers::is_hearsay`].
    pub(crate) hearsay: bool,
    distance: u8,
    load: usize,
    last: Instant,
    lot: u32,
}

/// All servers.
#[derive(Debug)]
pub(crate) struct Servers {
    entries: Vec<Server>,
    by_address: BTreeMap<(String, u16), u32>,
    /// Entries that nobody uses.
    free: Vec<u32>,
    /// How many stand in `bootstrap.servers`: the first entries.
    bootstrap: u32,
    turns_lost: u64,
    /// How many servers there were so far.
    met: u32,
    /// What was exchanged with those that are forgotten.
    forgotten: Traffic,
    /// Spreads many producers over the servers.
    start: u32,
    /// Control requests that were not answered in time, in a row, of each [`RequestKind`].
    silences: [u32; RequestKind::COUNT],
    /// What happened to the last control connection, unless a server has answered since.
    trouble: Option<Trouble>,
}

impl core::ops::Index<u32> for Servers {
    type Output = Server;

    #[inline]
    fn index(&self, index: u32) -> &Server {
        &self.entries[index as usize]
    }
}

impl core::ops::IndexMut<u32> for Servers {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Server {
        &mut self.entries[index as usize]
    }
}

impl Servers {
    /// `start` spreads many producers over the servers.
    pub(crate) fn new(bootstrap: &[(String, u16)], start: u32) -> Self {
        let mut servers = Self {
            entries: Vec::with_capacity(bootstrap.len()),
            by_address: BTreeMap::new(),
            free: Vec::new(),
            bootstrap: 0,
            turns_lost: 0,
            met: 0,
            forgotten: Traffic::default(),
            start,
            silences: [0; RequestKind::COUNT],
            trouble: None,
        };
        for (host, port) in bootstrap {
            servers.join(host, *port);
        }
        servers.bootstrap = servers.entries.len() as u32;
        servers
    }

    /// The server at this address, for one more user.
    pub(crate) fn join(&mut self, host: &str, port: u16) -> u32 {
        let address = (host.to_string(), port);
        let index = match (self.by_address.get(&address), self.free.last()) {
            (Some(index), _) => *index,
            (None, Some(free)) => *free,
            (None, None) => self.entries.len() as u32,
        };
        if index as usize == self.entries.len() {
            let newcomer = self.newcomer(host, port, index);
            memory::push(&mut self.entries, newcomer);
        } else if self[index].users == 0 {
            self.free.pop();
            self[index] = self.newcomer(host, port, index);
        }
        self.by_address.insert(address, index);
        self[index].users += 1;
        index
    }

    /// It comes after all that wait for their turn: who names other addresses each time keeps none from being asked.
    fn newcomer(&mut self, host: &str, port: u16, index: u32) -> Server {
        let lost_turn = if planted("newcomers-first") { [0; 2] } else { [self.turns_lost; 2] };
        self.met = self.met.wrapping_add(1);
        let serial = if planted("places-are-numbers") { index } else { self.met };
        Server { lost_turn, serial, ..Server::new(host, port) }
    }

    /// Whether only other servers say that it is one: nobody configured it, and it has never answered.
    pub(crate) fn is_hearsay(&self, index: u32) -> bool {
        index >= self.bootstrap && !self[index].proven && !planted("hearsay-is-as-good")
    }

    /// One user less; without any the server is forgotten.
    pub(crate) fn leave(&mut self, index: u32) {
        let server = &mut self[index];
        server.users -= 1;
        if server.users == 0 {
            let address = (core::mem::take(&mut server.host), server.port);
            let traffic = core::mem::take(&mut server.traffic);
            if !planted("traffic-is-forgotten") {
                self.forgotten = self.forgotten.and(&traffic);
            }
            self.by_address.remove(&address);
            self.free.push(index);
        }
    }

    /// One user more.
    pub(crate) fn stay(&mut self, index: u32) {
        self[index].users += 1;
    }

    /// Whether nobody uses it but one connection.
    pub(crate) fn is_alone(&self, index: u32) -> bool {
        self[index].users == 1
    }

    /// What was exchanged with servers that nobody uses any more.
    pub(crate) const fn forgotten(&self) -> Traffic {
        self.forgotten
    }

    /// Those of `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> core::ops::Range<u32> {
        0..self.bootstrap
    }

    /// All that have a use, with their places.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (u32, &Server)> {
        (0..).zip(&self.entries).filter(|(_, server)| server.users > 0)
    }

    /// Whether a connection may be made. A pause that was asked for on an earlier one of its kind holds for the next, too.
    pub(crate) fn may_connect(&self, index: u32, control: bool, now: Instant) -> May {
        let Server { attempts, paused_until, .. } = &self[index];
        let paused = paused_until[usize::from(control)].filter(|_| !planted("pauses-end-with-connections"));
        let not_before = paused.map_or(attempts.not_before, |until| until.max(attempts.not_before));
        match attempts.probe {
            Some(_) => May::AfterAnother,
            None if not_before > now => May::NotBefore(not_before),
            None => May::Now,
        }
    }

    /// How often in a row such a request was not answered in time.
    pub(crate) fn silences(&self, kind: RequestKind) -> u32 {
        self.silences[kind as usize]
    }

    /// Such a request was not answered in time.
    pub(crate) fn was_silent(&mut self, kind: RequestKind) {
        let silences = &mut self.silences[kind as usize];
        *silences = silences.saturating_add(1);
    }

    /// Such a request was answered, by whichever server. What else is asked may take longer, so it says nothing of that.
    pub(crate) fn was_answered(&mut self, kind: RequestKind) {
        match planted("one-patience-for-all") {
            true => self.silences = [0; RequestKind::COUNT],
            false => self.silences[kind as usize] = 0,
        }
    }

    /// It did not help with a task, or failed (`None`): others are asked first.
    pub(crate) fn lose_turn(&mut self, index: u32, task: Option<Task>) {
        if planted("control-never-moves") {
            return;
        }
        self.turns_lost += 1;
        let lost = self.turns_lost;
        let server = &mut self[index];
        match task.filter(|_| !planted("one-turn-for-all")) {
            Some(task) => server.lost_turn[task as usize] = lost,
            None => server.lost_turn = [lost; 2],
        }
        server.lost_in_a_row = server.lost_in_a_row.saturating_add(1);
    }

    /// Somebody did not wait for its answer: others are asked first, and nothing is held against it.
    pub(crate) fn give_way(&mut self, index: u32, task: Task) {
        self.turns_lost += 1;
        let lost = self.turns_lost;
        self[index].lost_turn[task as usize] = lost;
    }

    /// An answer of it helped.
    pub(crate) fn helped(&mut self, index: u32) {
        self[index].lost_in_a_row = 0;
    }

    /// Whether nothing that it said of late was of any help.
    pub(crate) fn is_no_help(&self, index: u32) -> bool {
        self[index].lost_in_a_row >= NO_HELP && !planted("strangers-never-asked")
    }

    /// When it last lost its turn, in the order of all turns lost.
    pub(crate) fn lost_turn(&self, index: u32) -> u64 {
        self[index].lost_turn.into_iter().max().unwrap_or(0)
    }

    /// Its place in the order in which servers are asked. `distance`: 0 for those that can be asked at once; `load`: how much
    /// they have to do. That they owe an answer is for the caller to say.
    pub(crate) fn rank(&self, index: u32, task: Task, stranger: bool, distance: u8, load: usize) -> Rank {
        let Server { lost_turn, attempts, .. } = &self[index];
        let count = self.entries.len() as u32;
        let lot = (index + count - self.start % count) % count;
        let hearsay = self.is_hearsay(index);
        Rank {
            stranger,
            owes: false,
            lost_turn: lost_turn[task as usize],
            hearsay,
            distance,
            load,
            last: attempts.last,
            lot,
        }
    }

    /// A connection was lost or could not be made.
    pub(crate) fn note_trouble(&mut self, index: u32, control: bool, at: Instant, error: &ConnectionError) {
        let server = &mut self.entries[index as usize];
        let (host, port) = (server.host.clone(), server.port);
        let own = if control { &mut server.control_trouble } else { &mut server.trouble };
        let begun = |before: &Option<Trouble>| before.as_ref().map_or(at, |before| before.since);
        let trouble = Trouble { since: begun(own), at, host, port, error: error.clone() };
        if control {
            self.trouble = Some(Trouble { since: begun(&self.trouble), ..trouble.clone() });
        }
        *own = Some(trouble);
    }

    /// A request was answered: what was before is over.
    pub(crate) fn forget_trouble(&mut self, index: u32, control: bool) {
        match control {
            true => (self.trouble, self[index].control_trouble) = (None, None),
            false => self[index].trouble = None,
        }
    }

    /// The server at this address.
    pub(crate) fn find(&self, host: &str, port: u16) -> Option<u32> {
        self.in_use().find(|(_, server)| server.host == host && server.port == port).map(|(index, _)| index)
    }

    /// The trouble with asking any server.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whoever did not let the client in may be asked again at once.
    pub(crate) fn forget_refusals(&mut self, now: Instant) {
        for server in &mut self.entries {
            server.refusal = None;
            let attempts = &mut server.attempts;
            if core::mem::take(&mut attempts.refusals) > 0 {
                attempts.failures = 0;
                attempts.not_before = now.min(attempts.not_before);
            }
        }
    }
}

impl Server {
    /// A pause is asked for until then.
    pub(crate) fn pause(&mut self, control: bool, until: Option<Instant>) {
        let paused = &mut self.paused_until[usize::from(control)];
        *paused = until.max(*paused);
    }

    /// Until when records have to wait for it.
    pub(crate) fn records_paused_until(&self) -> Option<Instant> {
        self.paused_until[usize::from(false)]
    }

    /// Until when anything has to.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until.into_iter().max().flatten()
    }

    /// What happened to its last connection for records, unless it has answered on one since.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// What happened to its last connection of any kind, unless it has answered on one of that kind since.
    pub(crate) fn any_trouble(&self) -> Option<&Trouble> {
        self.trouble.iter().chain(&self.control_trouble).max_by_key(|trouble| trouble.at)
    }

    fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_string(),
            port,
            serial: 0,
            attempts: Attempts::NONE,
            control: None,
            lost_turn: [0; 2],
            lost_in_a_row: 0,
            proven: false,
            trouble: None,
            control_trouble: None,
            traffic: Traffic::default(),
            round_trip: None,
            paused_until: [None; 2],
            refusal: None,
            users: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> Servers {
        Servers::new(&[("a".into(), 1), ("b".into(), 1)], 1)
    }

    #[test]
    fn an_address_is_one_server_however_many_use_it() {
        let mut servers = servers();
        assert_eq!((servers.join("a", 1), servers.join("a", 2), servers.join("a", 2)), (0, 2, 2));
        servers.leave(2);
        assert_eq!(servers.join("a", 2), 2);
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut servers = servers();
        for port in 1..5000 {
            let server = servers.join("c", port);
            servers[server].attempts.failures = 7;
            servers.leave(server);
        }
        assert_eq!(servers.entries.len(), 3);
        let server = servers.join("c", 9);
        assert_eq!(servers[server].attempts.failures, 0);
    }

    #[test]
    fn who_lost_its_turn_is_asked_after_others() {
        let mut servers = servers();
        let first = |servers: &Servers| {
            (0..2).min_by_key(|index| servers.rank(*index, Task::Metadata, false, 0, 0)).expect("two")
        };
        assert_eq!(first(&servers), 1, "the start");
        servers.lose_turn(1, None);
        assert_eq!(first(&servers), 0);
        servers.lose_turn(0, Some(Task::Metadata));
        assert_eq!(first(&servers), 1);
    }

    #[test]
    fn connections_that_break_together_are_one_failure() {
        let mut attempts = Attempts::NONE;
        assert!(attempts.failed(ConnId(3), ConnId(5)));
        attempts.failures = 1;
        assert!(!attempts.failed(ConnId(4), ConnId(5)));
        attempts.answered(ConnId(5));
        assert_eq!(attempts.failures, 1, "it was there before");
        attempts.begin(Instant::ZERO, ConnId(6));
        assert!(attempts.probed(ConnId(6)) && !attempts.probed(ConnId(6)));
        attempts.answered(ConnId(6));
        assert_eq!(attempts.failures, 0);
        assert!(attempts.failed(ConnId(6), ConnId(6)));
    }
}
