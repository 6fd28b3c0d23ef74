//! What can be made to go wrong.

use core::fmt::Debug;

use super::Request;

/// A producer's batch, as it arrives.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProduceAttempt<'a> {
    /// The node that got it.
    pub node: i32,
    /// The topic; empty if its id is not known.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// How many records it claims to have.
    pub records: i32,
    /// Whether some replica has the batch already, from an earlier attempt.
    pub known: bool,
    /// The request's version.
    pub version: i16,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As Kafka does.
    Serve,
    /// Don't append, and answer this code.
    Refuse(i16),
    /// Append if it can be, and answer this code nevertheless.
    ApplyThen(i16),
    /// Append if it can be, and leave its partition out of the answer.
    LeaveOut,
    /// Append if it can be, and answer for its partition twice.
    AnswerTwice,
}

/// What to do with a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// As Kafka does.
    Serve,
    /// Never answer, this request or any later one on its connection.
    Hang,
    /// Close the connection without looking at it.
    HangUp,
    /// Do what it says, then close the connection instead of answering.
    HangUpAfter,
    /// Answer with another correlation id.
    WrongCorrelation,
    /// Answer with bytes that mean nothing.
    Garbage,
    /// ApiVersions: error 35 with one byte behind it, as some fakes do. Metadata: as it was before the last change of a
    /// leader. Else as Kafka does.
    Odd,
    /// Metadata: without brokers. Else as Kafka does.
    Nobody,
    /// Metadata: without any of the topics that were asked about. Else as Kafka does.
    Nothing,
    /// Metadata and producer ids: answer this code. ApiVersions: this code and an empty list. Else as Kafka does.
    Error(i16),
}

/// What a metadata answer says of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// What is so.
    #[default]
    AsItIs,
    /// That it has no leader (`LEADER_NOT_AVAILABLE`).
    Leaderless,
    /// Nothing.
    LeftOut,
}

/// Decides what goes wrong. Every method has a default that lets all go well.
pub trait Mischief: Debug + Send {
    /// A whole request arrived at `node`.
    fn request(&mut self, node: i32, request: Request) -> Treatment {
        let _ = (node, request);
        Treatment::Serve
    }

    /// A batch arrived.
    fn produce(&mut self, attempt: &ProduceAttempt<'_>) -> Verdict {
        let _ = attempt;
        Verdict::Serve
    }

    /// The error of a topic in a metadata answer.
    fn topic(&mut self, topic: &str) -> Option<i16> {
        let _ = topic;
        None
    }

    /// What a metadata answer says of a partition.
    fn partition(&mut self, topic: &str, partition: i32) -> Naming {
        let _ = (topic, partition);
        Naming::AsItIs
    }

    /// How long a client is asked to pause with the next answer, in milliseconds (KIP-219).
    fn throttle(&mut self, request: Request) -> i32 {
        let _ = request;
        0
    }
}

/// Lets all go well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peace;

impl Mischief for Peace {}
