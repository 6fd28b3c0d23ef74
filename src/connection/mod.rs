//! One socket's protocol session: frames, requests in flight, and what versions the broker speaks.
//!
//! Bytes out are segments, shared with the batches that they come from; bytes in are parsed in place, and only a torn
//! frame is kept. What a response means is not decided here.

pub(crate) mod pace;
pub(crate) mod sasl;
pub(crate) mod window;

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use pace::Pace;
use sasl::Exchange;
use window::Window;

use crate::error::ConnectionError;
use crate::memory;
use crate::planted::planted;
use crate::time::Instant;
use crate::wire::{self, Api, api_versions};

/// What a broker calls this client (KIP-511).
const SOFTWARE_NAME: &str = "milena";

/// Requests below are not taken for too large by any server.
const LARGE: usize = 16 << 10;

/// How soon a server that finds a request too large closes the connection.
const JUST: Duration = Duration::from_secs(1);

/// The largest frame that is believed before the broker proved to be one.
const FIRST_FRAME_MAX: usize = 1 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Produce requests to the broker with this index.
    Broker(u32),
    /// Metadata and producer ids, from whichever server answers: never behind a Produce request.
    Control,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The host is opening it.
    Opening,
    /// The broker was asked for its versions, in this version of the request.
    Negotiating(i16),
    /// The producer says who it is, for the first time or again.
    Authenticating,
    /// Requests may be sent.
    Ready,
}

/// The version to use for each request; `None` where none fits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Versions {
    pub(crate) produce: Option<i16>,
    /// Whether the broker takes Produce below 13, with topic names.
    pub(crate) produce_by_name: bool,
    pub(crate) metadata: Option<i16>,
    pub(crate) init_producer_id: Option<i16>,
    pub(crate) sasl_authenticate: Option<i16>,
}

/// A request that was not answered yet.
#[derive(Debug)]
pub(crate) struct Request {
    correlation: i32,
    pub(crate) kind: RequestKind,
    pub(crate) version: i16,
    /// Its bytes, and where they end, counted from the connection's first.
    pub(crate) size: usize,
    end: u64,
    /// When its last byte was written.
    pub(crate) written: Option<Instant>,
    /// How long it may stay unanswered.
    timeout: Duration,
    /// For Produce: what it carries, in the order of the request.
    pub(crate) entries: Vec<Entry>,
}

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// The first on a connection.
    ApiVersions,
    /// Metadata of topics in use.
    Metadata,
    /// Metadata of all topics.
    TopicList,
    /// Whether anybody is there: the versions once more.
    Ping,
    /// A producer id.
    InitProducerId,
    /// Which mechanism.
    SaslHandshake,
    /// The mechanism's messages.
    SaslAuthenticate,
    /// Batches.
    Produce,
    /// Batches with acks=0: over when written.
    ProduceUnanswered,
}

impl RequestKind {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ProduceUnanswered as usize + 1;

    /// Whether it is one of those that make a connection ready.
    pub(crate) fn makes_ready(self) -> bool {
        matches!(self, Self::ApiVersions | Self::SaslHandshake | Self::SaslAuthenticate)
    }
}

/// One batch in a Produce request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Index of the topic.
    pub(crate) topic: u32,
    /// Its id, as it was sent; zero where unknown.
    pub(crate) topic_id: wire::Uuid,
    /// The partition's number.
    pub(crate) number: i32,
    /// The partition's index.
    pub(crate) partition: u32,
    /// The batch's slot, generation and attempt: an answer is for these, or for none.
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) attempt: u32,
    /// Whether the answer was seen.
    pub(crate) answered: bool,
}

/// A session.
pub(crate) struct Connection {
    pub(crate) role: Role,
    /// Where it goes, in the table of servers.
    pub(crate) server: u32,
    /// When it was asked for.
    pub(crate) opened: Instant,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) window: Window,
    /// How soon a Produce request follows another.
    pub(crate) pace: Pace,
    pub(crate) phase: Phase,
    pub(crate) versions: Versions,
    /// Whether the host was told to transmit, and has not come to an empty transmit since.
    pub(crate) armed: bool,
    /// The broker asked for a pause until then (KIP-219).
    pub(crate) throttled_until: Option<Instant>,
    /// The host needs its socket for another: it takes no more requests, and ends when none is left.
    pub(crate) leaving: bool,
    setup_deadline: Instant,
    /// For a connection that was ready before: how long a renewal of its session may take, from where the broker can have
    /// read of it.
    renewal_patience: Option<Duration>,
    /// Since when requests may be sent; `None` before that.
    pub(crate) ready_since: Option<Instant>,
    /// When the last response came in.
    answered: Instant,
    /// While authenticating.
    pub(crate) exchange: Option<Exchange>,
    /// It can't go on without a token from the host.
    pub(crate) wants_token: bool,
    /// While the application's mechanism is asked: how long the server will believe this client, in milliseconds.
    pub(crate) session_lifetime_ms: i64,
    /// When it last began to say who it is.
    pub(crate) authentication_began: Instant,
    /// From then on the session may end at any moment: no more requests until it is renewed.
    pub(crate) quiet_from: Option<Instant>,
    /// When the producer has to say again who it is.
    pub(crate) reauthenticate_at: Option<Instant>,
    last_used: Instant,
    /// When the last byte was written.
    progress: Instant,
    segments: VecDeque<Bytes>,
    /// How many bytes were put in line, and how many of them were written.
    laid_out: u64,
    passed: u64,
    /// Where the last request in line ends.
    requests_end: u64,
    /// With acks=0: the last request that was written whole, and when. Nobody says whether it was read.
    last_unanswered: Option<(Instant, usize)>,
    /// The largest of those before that the connection has survived.
    survived: usize,
    /// Where request heads are written; its memory is used again when the segments cut from it are gone.
    pub(crate) head: BytesMut,
    requests: VecDeque<Request>,
    next_correlation: i32,
    /// How many requests were written whole.
    pub(crate) requests_written: u64,
    /// A request was answered, other than those that make the connection ready.
    pub(crate) proven: bool,
    /// A torn frame.
    input: Vec<u8>,
}

impl core::fmt::Debug for Connection {
    /// Neither what it writes nor what it says of the producer.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connection").field("role", &self.role).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(
        now: Instant,
        role: Role,
        server: u32,
        (host, port): (String, u16),
        setup_timeout: Duration,
        window: Window,
        pace: Pace,
    ) -> Self {
        Self {
            role,
            server,
            opened: now,
            host,
            port,
            window,
            pace,
            phase: Phase::Opening,
            versions: Versions::default(),
            armed: false,
            throttled_until: None,
            leaving: false,
            setup_deadline: now + setup_timeout,
            renewal_patience: None,
            ready_since: None,
            answered: now,
            exchange: None,
            wants_token: false,
            session_lifetime_ms: 0,
            authentication_began: now,
            quiet_from: None,
            reauthenticate_at: None,
            last_used: now,
            progress: now,
            segments: VecDeque::new(),
            laid_out: 0,
            passed: 0,
            requests_end: 0,
            last_unanswered: None,
            survived: 0,
            head: BytesMut::new(),
            requests: VecDeque::new(),
            next_correlation: 0,
            requests_written: 0,
            proven: false,
            input: Vec::new(),
        }
    }

    /// Asks for the broker's versions: the first request on every connection.
    pub(crate) fn negotiate(&mut self, now: Instant, version: i16, client_id: &str, timeout: Duration) {
        self.phase = Phase::Negotiating(version);
        self.request(now, Api::ApiVersions, RequestKind::ApiVersions, version, client_id, timeout, |out| {
            api_versions::encode(out, version, SOFTWARE_NAME, env!("CARGO_PKG_VERSION"));
        });
    }

    /// Puts a whole request in line.
    #[expect(clippy::too_many_arguments, reason = "a request's header has that many parts")]
    pub(crate) fn request(
        &mut self,
        now: Instant,
        api: Api,
        kind: RequestKind,
        version: i16,
        client_id: &str,
        timeout: Duration,
        body: impl FnOnce(&mut BytesMut),
    ) {
        let correlation = self.correlation();
        wire::frame(&mut self.head, api, version, correlation, Some(client_id), body);
        let frame = self.head.split().freeze();
        self.push_segment(frame);
        self.await_answer(now, correlation, kind, version, timeout, Vec::new());
    }

    /// The correlation id for the next request.
    pub(crate) fn correlation(&mut self) -> i32 {
        let correlation = self.next_correlation;
        self.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        correlation
    }

    /// Puts bytes in line to be written. Empty ones would never pass.
    pub(crate) fn push_segment(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.laid_out += segment.len() as u64;
            self.segments.push_back(segment);
        }
    }

    /// Puts bytes before all others: the beginning of a request, nothing of which was shown yet.
    pub(crate) fn push_segment_first(&mut self, segment: Bytes) {
        self.laid_out += segment.len() as u64;
        self.segments.push_front(segment);
    }

    /// The request whose segments were put in line is complete.
    pub(crate) fn await_answer(
        &mut self,
        now: Instant,
        correlation: i32,
        kind: RequestKind,
        version: i16,
        timeout: Duration,
        entries: Vec<Entry>,
    ) {
        let end = self.laid_out;
        let size = (end - core::mem::replace(&mut self.requests_end, end)) as usize;
        self.requests.push_back(Request { correlation, kind, version, size, end, written: None, timeout, entries });
        (self.last_used, self.progress) = (now, now);
    }

    /// What has to be written.
    pub(crate) fn segments(&self) -> &VecDeque<Bytes> {
        &self.segments
    }

    /// `n` bytes were written. Returns an acks=0 request whose last byte is among them, wherever in line it is.
    pub(crate) fn written(&mut self, now: Instant, mut n: usize) -> Option<Request> {
        let before = self.passed;
        while n > 0 {
            let Some(first) = self.segments.front_mut() else { break };
            let step = n.min(first.len());
            first.advance(step);
            n -= step;
            self.passed += step as u64;
            if first.is_empty() {
                self.segments.pop_front();
            }
        }
        if self.passed == before {
            return None;
        }
        self.progress = now;
        let passed = self.passed;
        let mut unanswered = None;
        let first = self.requests.partition_point(|request| request.written.is_some());
        for place in first..self.requests.len() {
            let request = &mut self.requests[place];
            let early = planted("delivered-half-written") && request.kind == RequestKind::ProduceUnanswered;
            if request.end > passed && !early {
                break;
            }
            request.written = Some(now);
            self.requests_written += 1;
            if request.kind == RequestKind::ProduceUnanswered {
                unanswered = Some(place); // such requests are laid out one at a time, so it is the only one
            } else if request.kind == RequestKind::SaslHandshake {
                self.renewal_may_begin(now);
            }
        }
        let last = self.requests.len().checked_sub(1);
        if planted("renewal-cuts-a-request") && unanswered.is_some() && unanswered != last {
            return None;
        }
        let request = self.requests.remove(unanswered?)?;
        self.renewal_may_begin(now);
        if let Some((at, size)) = self.last_unanswered.replace((now, request.size)) {
            if now.saturating_since(at) > JUST {
                self.survived = self.survived.max(size);
            }
        }
        Some(request)
    }

    /// The size of the request that the other side was at when it closed the connection just now, if that may be the reason:
    /// it is large, was written a moment ago, and none of its size was answered before (`answered`).
    pub(crate) fn closed_at(&self, now: Instant, answered: usize) -> Option<usize> {
        let size = match self.requests.front() {
            Some(first) if matches!(first.kind, RequestKind::Produce | RequestKind::ProduceUnanswered) => first.size,
            Some(_) => return None,
            None => self.last_unanswered?.1,
        };
        let just_now = now.saturating_since(self.progress) <= JUST;
        (just_now && size >= LARGE && size > answered.max(self.survived)).then_some(size)
    }

    /// The session is to be renewed, which takes so long at most from where the broker can have read of it.
    pub(crate) fn begin_renewal(&mut self, now: Instant, patience: Duration) {
        self.renewal_patience = Some(patience);
        self.setup_deadline = now + patience; // what has to be done here first counts, too
    }

    /// If a renewal's first request is all that is left, the broker can read it from now on.
    fn renewal_may_begin(&mut self, now: Instant) {
        let Some(patience) = self.renewal_patience.filter(|_| self.phase == Phase::Authenticating) else { return };
        let first = self.requests.front();
        if first.is_none_or(|first| first.kind == RequestKind::SaslHandshake && first.written.is_some()) {
            self.setup_deadline = self.setup_deadline.max(now + patience);
        }
    }

    /// Whether requests may be sent: it is ready, no pause was asked for, and neither it nor its session ends soon.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        self.phase == Phase::Ready
            && (!self.leaving || planted("leaving-takes-more"))
            && (self.throttled_until.is_none_or(|until| until <= now) || planted("throttle-ignored"))
            && self.quiet_from.is_none_or(|from| from > now)
    }

    /// Whether it is ready, and the first request after that has no answer yet.
    pub(crate) fn is_unproven(&self) -> bool {
        self.phase == Phase::Ready && !self.proven && !self.requests.is_empty()
    }

    /// Since when the other side owes something: an answer, or the connection itself.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        if self.phase == Phase::Opening {
            return Some(self.opened);
        }
        let oldest = self.requests.front()?;
        Some(oldest.written.unwrap_or(self.progress).max(self.answered))
    }

    /// Whether another Produce request may be sent now.
    pub(crate) fn has_window(&self, now: Instant) -> bool {
        self.is_usable(now) && (self.requests.len() < self.window.limit() || planted("window-ignored"))
    }

    /// When the last answer came.
    pub(crate) fn last_answer(&self) -> Instant {
        self.answered
    }

    /// Requests without an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Produce requests without an answer.
    pub(crate) fn produce_in_flight(&self) -> usize {
        self.requests.iter().filter(|request| request.kind == RequestKind::Produce).count()
    }

    /// Whether a request of that kind is without an answer.
    pub(crate) fn awaits(&self, kind: RequestKind) -> bool {
        self.requests.iter().any(|request| request.kind == kind)
    }

    /// Takes all requests without an answer, oldest first: the connection is gone.
    pub(crate) fn take_requests(&mut self) -> VecDeque<Request> {
        core::mem::take(&mut self.requests)
    }

    /// When it has to be given up, if nothing happens until then: because it is not usable, because a request was not
    /// answered, or because it is not used.
    pub(crate) fn deadline(&self, max_idle: Option<Duration>) -> Option<Instant> {
        if self.phase != Phase::Ready {
            return Some(match self.requests.front().filter(|_| self.renewal_waits()) {
                Some(first) => self.late(first),
                None => self.renewal_patience.map_or(self.setup_deadline, |patience| {
                    // What the broker asked us to wait is not its failing (KIP-219).
                    self.throttled_until.map_or(self.setup_deadline, |until| self.setup_deadline.max(until + patience))
                }),
            });
        }
        let late = match self.requests.front() {
            Some(first) => Some(self.late(first)),
            None if self.leaving => Some(self.last_used),
            None => max_idle.map(|span| self.free_from() + span),
        };
        [late, self.reauthenticate_at].into_iter().flatten().min()
    }

    /// Since when nothing is wanted of it. In a pause that the broker asked for nothing could be.
    fn free_from(&self) -> Instant {
        if planted("idle-in-a-pause") { self.last_used } else { self.after_a_pause(self.last_used) }
    }

    /// This time, or the end of the pause that the broker asked for.
    fn after_a_pause(&self, at: Instant) -> Instant {
        self.throttled_until.map_or(at, |until| until.max(at))
    }

    /// When the first request in line should have been answered.
    fn late(&self, first: &Request) -> Instant {
        let from = first.written.unwrap_or(self.progress);
        let from = match self.role {
            Role::Broker(_) if planted("pause-counts") => from,
            Role::Broker(_) => self.after_a_pause(from),
            // For metadata and producer ids there are other servers, so a pause is not waited out; but what was asked before comes first.
            Role::Control if planted("control-waits-in-a-pause") => self.after_a_pause(from),
            Role::Control => from.max(self.answered),
        };
        from + first.timeout
    }

    /// Whether a renewal has still to wait for the broker: what was asked before is not answered, or the socket takes no more.
    fn renewal_waits(&self) -> bool {
        self.renewal_patience.is_some()
            && self.requests.front().is_some_and(|first| !first.kind.makes_ready() || first.written.is_none())
    }

    /// It is not idle before that time: it was made for what is asked then.
    pub(crate) fn wait_longer(&mut self, until: Instant) {
        self.last_used = until;
    }

    /// Why [`Connection::deadline`] has passed.
    pub(crate) fn why_late(&self) -> ConnectionError {
        if self.phase != Phase::Ready && !self.renewal_waits() {
            ConnectionError::SetupTimeout
        } else if self.requests.is_empty() {
            ConnectionError::Idle
        } else {
            ConnectionError::RequestTimeout
        }
    }

    /// Takes in bytes and gives back the next complete frame among them, without its length. `bytes` is moved past what
    /// was used. `None`: everything was used, and more is needed.
    pub(crate) fn next_frame<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        max: usize,
    ) -> Result<Option<Frame<'a>>, ConnectionError> {
        let trusted = matches!(self.phase, Phase::Ready | Phase::Authenticating);
        let max = if trusted { max } else { max.min(FIRST_FRAME_MAX) };
        if self.input.is_empty() {
            let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else {
                self.keep(bytes, 4)?;
                *bytes = &[];
                return Ok(None);
            };
            let length = frame_length(*prefix, max)?;
            if let Some((frame, rest)) = rest.split_at_checked(length) {
                *bytes = rest;
                return Ok(Some(Frame::InPlace(frame)));
            }
            self.keep(bytes, 4 + length)?;
            *bytes = &[];
            return Ok(None);
        }
        if self.input.len() < 4 {
            let (now, later) = bytes.split_at(bytes.len().min(4 - self.input.len()));
            self.keep(now, 4)?;
            *bytes = later;
        }
        let Some(prefix) = self.input.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = frame_length(*prefix, max)?;
        let missing = 4 + length - self.input.len();
        let (now, later) = bytes.split_at(bytes.len().min(missing));
        self.keep(now, 4 + length)?;
        *bytes = later;
        if now.len() < missing {
            return Ok(None);
        }
        Ok(Some(Frame::Torn(core::mem::take(&mut self.input))))
    }

    /// Keeps a piece of a frame of which `whole` bytes will come, or so it says: room is made as they do, twofold, but never more.
    fn keep(&mut self, bytes: &[u8], whole: usize) -> Result<(), ConnectionError> {
        let needed = self.input.len() + bytes.len();
        if needed > self.input.capacity() {
            let room = needed.max(2 * self.input.len()).min(whole).max(needed);
            let more = room - self.input.len();
            if !memory::has(room + memory::LEFT) {
                return Err(ConnectionError::NoMemory { bytes: room });
            }
            self.input.reserve_exact(more);
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// The request that a response with this correlation id answers. Brokers answer in order, so a response to a later
    /// one is nonsense. `None`: no request waits for it (some brokers answer acks=0).
    pub(crate) fn take_answered(&mut self, now: Instant, correlation: i32) -> Result<Option<Request>, ConnectionError> {
        self.last_used = now;
        match self.requests.front() {
            Some(first) if first.correlation == correlation => {
                if first.written.is_none() && !self.segments.is_empty() && self.requests.len() == 1 {
                    return Err(ConnectionError::Protocol("a response before its request was written".to_string()));
                }
                let request = self.requests.pop_front();
                self.answered = now;
                if request.as_ref().is_some_and(|request| !request.kind.makes_ready()) {
                    self.renewal_may_begin(now);
                }
                Ok(request)
            }
            _ if self.requests.iter().any(|request| request.correlation == correlation) => {
                Err(ConnectionError::Protocol("responses out of order".to_string()))
            }
            _ if (0..self.next_correlation).contains(&correlation) => Ok(None),
            _ => Err(ConnectionError::Protocol(alloc::format!(
                "a response to a request that was never sent (correlation id {correlation})"
            ))),
        }
    }

    /// The broker's versions are known. `sasl`: it has to speak that, too.
    pub(crate) fn negotiated(&mut self, response: &api_versions::Response, sasl: bool) -> Result<(), ConnectionError> {
        let range = |api: Api| response.range(api);
        let required = |api: Api| {
            let offered = range(api);
            offered.and_then(|(min, max)| api.negotiate(min, max)).ok_or(ConnectionError::UnsupportedVersion {
                api: api.name(),
                min: offered.map_or(-1, |range| range.0),
                max: offered.map_or(-1, |range| range.1),
            })
        };
        self.versions = Versions {
            produce: Some(required(Api::Produce)?),
            produce_by_name: range(Api::Produce).is_some_and(|(min, _)| min < 13),
            metadata: Some(required(Api::Metadata)?),
            init_producer_id: range(Api::InitProducerId).and_then(|(min, max)| Api::InitProducerId.negotiate(min, max)),
            sasl_authenticate: if sasl { Some(required(Api::SaslAuthenticate)?) } else { None },
        };
        if sasl {
            required(Api::SaslHandshake)?;
        }
        Ok(())
    }
}

/// A frame without its length.
pub(crate) enum Frame<'a> {
    /// It lies whole in what was handed in.
    InPlace(&'a [u8]),
    /// It came in pieces; with its length.
    Torn(Vec<u8>),
}

impl Frame<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(bytes) => bytes,
            Self::Torn(bytes) => &bytes[4..],
        }
    }
}

/// The length that a frame's first four bytes say, with a guess at what speaks if it can't be a Kafka broker.
fn frame_length(prefix: [u8; 4], max: usize) -> Result<usize, ConnectionError> {
    let length = i32::from_be_bytes(prefix);
    if let Ok(length) = usize::try_from(length) {
        if length <= max {
            return Ok(length);
        }
    }
    let guess = match prefix {
        [b'H', b'T', b'T', b'P'] => "it answers in HTTP; is this the right port?".to_string(),
        [0x15 | 0x16, 0x03, ..] => return Err(ConnectionError::SpeaksTls),
        _ => alloc::format!(
            "it announces a frame of {length} bytes; at most {max} are accepted (receive.message.max.bytes)"
        ),
    };
    Err(ConnectionError::Protocol(guess))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn connection() -> Connection {
        let mut connection = Connection::new(
            Instant::ZERO,
            Role::Control,
            0,
            ("h".to_string(), 9092),
            Duration::from_secs(10),
            Window::new(5, true),
            Pace::new(Duration::ZERO),
        );
        connection.phase = Phase::Ready;
        connection
    }

    fn frames(connection: &mut Connection, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, ConnectionError> {
        let mut frames = Vec::new();
        while let Some(frame) = connection.next_frame(&mut bytes, 1000)? {
            frames.push(frame.bytes().to_vec());
        }
        assert!(bytes.is_empty(), "everything is used");
        Ok(frames)
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let stream = [&[0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0], &[0, 0, 0, 5, 9, 9, 9, 9, 9]].concat();
        let expected = vec![vec![1, 2, 3], vec![], vec![9; 5]];
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut connection = connection();
                let mut seen = frames(&mut connection, &stream[..first]).unwrap();
                seen.extend(frames(&mut connection, &stream[first..second]).unwrap());
                seen.extend(frames(&mut connection, &stream[second..]).unwrap());
                assert_eq!(seen, expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_length_that_is_too_large_or_negative_is_refused_at_once() {
        assert!(frames(&mut connection(), &[0x7f, 0xff, 0xff, 0xff]).is_err());
        assert!(frames(&mut connection(), &[0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(frames(&mut connection(), &1001i32.to_be_bytes()).is_err());
    }

    #[test]
    fn what_is_not_kafka_is_named() {
        let error = frames(&mut connection(), b"HTTP/1.1 400 Bad Request").unwrap_err().to_string();
        assert!(error.contains("HTTP"), "{error}");
        let error = frames(&mut connection(), &[0x15, 3, 1, 0, 2, 2, 70]).unwrap_err().to_string();
        assert!(error.contains("TLS"), "{error}");
    }

    #[test]
    fn answers_must_come_in_the_order_of_requests() {
        let mut connection = connection();
        for _ in 0..2 {
            let correlation = connection.correlation();
            connection.push_segment(Bytes::from_static(b"request"));
            let kind = RequestKind::Produce;
            connection.await_answer(Instant::ZERO, correlation, kind, 9, Duration::from_secs(1), Vec::new());
            connection.written(Instant::ZERO, 7);
        }
        assert!(connection.take_answered(Instant::ZERO, 1).is_err());
        assert!(connection.take_answered(Instant::ZERO, 0).unwrap().is_some());
        assert!(connection.take_answered(Instant::ZERO, 0).unwrap().is_none(), "answered twice: nobody waits");
        assert!(connection.take_answered(Instant::ZERO, 77).is_err(), "never sent");
    }

    #[test]
    fn a_request_is_late_counted_from_its_last_byte() {
        let mut connection = connection();
        let at = Instant::from_millis;
        let correlation = connection.correlation();
        connection.push_segment(Bytes::from_static(b"request"));
        let timeout = Duration::from_millis(100);
        connection.await_answer(at(0), correlation, RequestKind::Produce, 9, timeout, Vec::new());
        assert_eq!(connection.deadline(None), Some(at(100)));
        connection.written(at(50), 3);
        assert_eq!(connection.deadline(None), Some(at(150)));
        connection.written(at(80), 4);
        assert_eq!(connection.deadline(None), Some(at(180)));
    }

    #[test]
    fn as_many_requests_are_in_flight_as_the_window_has_and_no_more() {
        let mut connection = connection();
        let second = Duration::from_secs(1);
        for _ in 0..5 {
            assert!(connection.has_window(Instant::ZERO));
            let correlation = connection.correlation();
            connection.await_answer(Instant::ZERO, correlation, RequestKind::Produce, 9, second, Vec::new());
        }
        assert!(!connection.has_window(Instant::ZERO));
        connection.take_answered(Instant::ZERO, 0).expect("in order");
        assert!(connection.has_window(Instant::ZERO));
    }

    #[test]
    fn what_a_broker_does_not_speak_is_named_with_the_versions_that_it_does() {
        let refused = |ranges: &[(i16, i16, i16)]| {
            let mut body = vec![0, 0];
            body.extend((ranges.len() as i32).to_be_bytes());
            ranges.iter().for_each(|(key, min, max)| body.extend([key, min, max].map(|n| n.to_be_bytes()).concat()));
            let response = api_versions::decode(0, &body).expect("an answer");
            match connection().negotiated(&response, false) {
                Err(ConnectionError::UnsupportedVersion { api, min, max }) => Some((api, min, max)),
                other => other.map(|()| None).expect("only that"),
            }
        };
        let (produce, metadata) = (Api::Produce.key(), Api::Metadata.key());
        assert_eq!(refused(&[(metadata, 0, 12)]), Some((Api::Produce.name(), -1, -1)));
        assert_eq!(refused(&[(produce, 0, 2), (metadata, 0, 12)]), Some((Api::Produce.name(), 0, 2)));
        assert_eq!(refused(&[(produce, 0, 9), (metadata, 0, 12)]), None);
    }
}
