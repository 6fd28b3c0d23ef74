//! Clients' connections: requests are answered one after the other, and some have to wait.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{FetchRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::answer::Unreadable;
use super::api::Request;
use super::mischief::Treatment;
use super::{Cluster, NodeState, guard, produce, sasl};
use crate::time::Instant;

/// One client's connection to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub(super) u64);

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) node: i32,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// The request that waits: nothing else of the connection is looked at until it is answered.
    pub(super) parked: Option<Parked>,
    pub(super) state: ConnectionState,
    pub(super) session: sasl::Session,
    /// When the client last began to authenticate itself again.
    pub(super) renewed_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    Open,
    /// Answers nothing any more.
    Hung,
    /// Closes when its output is taken.
    Closing,
}

/// A request, and where it came from.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) now: Instant,
    pub(super) peer: Peer,
    pub(super) node: i32,
    pub(super) request: Request,
    pub(super) version: i16,
    pub(super) correlation: i32,
    /// `client.id`.
    pub(super) client: String,
    /// What follows the header, until it is read.
    pub(super) body: Bytes,
    pub(super) treatment: Treatment,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Parked {
    call: Call,
    /// When it is answered at the latest; `None` where a group knows.
    pub(super) deadline: Option<Instant>,
    waits: Waits,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Waits {
    /// All in-sync replicas have what it brought.
    Produce(Vec<produce::AnsweredTopic>),
    /// There is enough to read.
    Fetch(FetchRequest),
    /// All members have joined.
    Join { group: String, member: String },
    /// The leader has said who gets what.
    Sync { group: String, member: String },
}

/// What has changed, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Logs,
    Groups,
    /// Time has passed, or nodes and leaders are other ones.
    Anything,
}

impl Connection {
    pub(super) fn new(node: i32) -> Self {
        Self {
            node,
            input: Vec::new(),
            output: Vec::new(),
            parked: None,
            state: ConnectionState::Open,
            session: sasl::Session::New,
            renewed_at: None,
        }
    }
}

impl Call {
    /// The request itself. Can be read once.
    pub(super) fn read<T: Decodable>(&mut self) -> Result<T, Unreadable> {
        guard::decode(&core::mem::take(&mut self.body), self.version)
    }
}

impl Parked {
    fn waits_for(&self, changed: Changed) -> bool {
        match (changed, &self.waits) {
            (Changed::Anything, _) | (Changed::Logs, Waits::Fetch(_)) => true,
            (Changed::Groups, Waits::Join { .. } | Waits::Sync { .. }) => true,
            (Changed::Logs | Changed::Groups, _) => false,
        }
    }
}

impl Cluster {
    /// Looks at what came in on a connection, request by request, until one has to wait.
    pub(super) fn work(&mut self, now: Instant, peer: Peer) {
        loop {
            let Some(connection) = self.peers.get_mut(&peer) else {
                return;
            };
            let node = connection.node;
            let idle = connection.state == ConnectionState::Open && connection.parked.is_none();
            if !idle || self.nodes[&node].state != NodeState::Up {
                return;
            }
            let Some(prefix) = connection.input.first_chunk::<4>() else {
                return;
            };
            let length = i32::from_be_bytes(*prefix);
            if !(8..=104_857_600).contains(&length) {
                connection.state = ConnectionState::Closing;
                return;
            }
            let end = 4 + length as usize;
            if connection.input.len() < end {
                return;
            }
            let rest = connection.input.split_off(end);
            let frame = Bytes::from(core::mem::replace(&mut connection.input, rest)).slice(4..);
            if self.serve(now, peer, node, frame).is_err() {
                if let Some(connection) = self.peers.get_mut(&peer) {
                    connection.state = ConnectionState::Closing;
                }
            }
        }
    }

    /// Makes a request wait, unless it can be answered at once.
    pub(super) fn park(&mut self, call: Call, deadline: Option<Instant>, waits: Waits) {
        let (now, peer) = (call.now, call.peer);
        if let Some(connection) = self.peers.get_mut(&peer) {
            connection.parked = Some(Parked { call, deadline, waits });
        }
        self.try_answer(now, peer);
    }

    /// Answers all requests that wait for nothing any more, and goes on with what came behind them.
    pub(super) fn unpark(&mut self, now: Instant, changed: Changed) {
        loop {
            let waits = |parked: &Parked| parked.waits_for(changed);
            let waiting = self.peers.iter().filter(|(_, connection)| connection.parked.as_ref().is_some_and(waits));
            let waiting: Vec<Peer> = waiting.map(|(peer, _)| *peer).collect();
            let mut answered = false;
            for peer in waiting {
                if self.try_answer(now, peer) {
                    answered = true;
                    self.work(now, peer);
                }
            }
            // What came behind may have been what others wait for.
            if !answered {
                return;
            }
        }
    }

    /// Answers the connection's parked request, if it waits for nothing any more.
    fn try_answer(&mut self, now: Instant, peer: Peer) -> bool {
        let Some(connection) = self.peers.get_mut(&peer) else {
            return false;
        };
        if self.nodes[&connection.node].state != NodeState::Up {
            return false;
        }
        let Some(mut parked) = connection.parked.take() else {
            return false;
        };
        let before = connection.output.len();
        let late = parked.deadline.is_some_and(|deadline| deadline <= now);
        let call = &parked.call;
        let answered = match &mut parked.waits {
            Waits::Produce(topics) => self.answer_produce(call, topics, late),
            Waits::Fetch(request) => self.answer_fetch(call, request, late),
            Waits::Join { group, member } => self.answer_join(call, group, member),
            Waits::Sync { group, member } => self.answer_sync(call, group, member),
        };
        if answered {
            self.finish(peer, before, parked.call.treatment);
        } else if let Some(connection) = self.peers.get_mut(&peer) {
            connection.parked = Some(parked);
        }
        answered
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, call: &Call, response: &impl Encodable) {
        self.answer_as(call, call.version, response);
    }

    /// Answers in the form of another version.
    pub(super) fn answer_as(&mut self, call: &Call, version: i16, response: &impl Encodable) {
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(call.correlation);
        let written = header.encode(&mut frame, call.request.api().response_header_version(version));
        let written = written.and_then(|()| response.encode(&mut frame, version));
        written.expect("answers only set what their version has");
        if let Some(connection) = self.peers.get_mut(&call.peer) {
            connection.output.extend_from_slice(&(frame.len() as i32).to_be_bytes());
            connection.output.extend_from_slice(&frame);
        }
    }

    pub(super) fn output_len(&self, peer: Peer) -> usize {
        self.peers.get(&peer).map_or(0, |connection| connection.output.len())
    }

    /// Spoils the answer that was written behind `before`, if that was decided.
    pub(super) fn finish(&mut self, peer: Peer, before: usize, treatment: Treatment) {
        let Some(connection) = self.peers.get_mut(&peer) else {
            return;
        };
        match treatment {
            Treatment::HangUpAfter => {
                connection.output.truncate(before);
                connection.state = ConnectionState::Closing;
            }
            Treatment::WrongCorrelation if connection.output.len() >= before + 8 => {
                connection.output[before + 4] ^= 0x40;
            }
            Treatment::WrongCorrelation
            | Treatment::Serve
            | Treatment::Hang
            | Treatment::HangUp
            | Treatment::Garbage
            | Treatment::Odd
            | Treatment::Nobody
            | Treatment::Nothing
            | Treatment::Error(_) => {}
        }
    }

    /// The code that was demanded for the next request of this kind.
    pub(super) fn demanded(&mut self, request: Request) -> Option<i16> {
        self.demanded.get_mut(&request)?.pop_front()
    }

    /// Counts an answer with an error.
    pub(super) fn count_error(&mut self, code: i16) {
        if code != 0 {
            *self.counters.errors.entry(code).or_default() += 1;
        }
    }
}

/// What stands in front of every request.
pub(super) fn header(frame: &mut Bytes, version: i16) -> Result<RequestHeader, Unreadable> {
    RequestHeader::decode(frame, version).map_err(|_| Unreadable)
}
