//! Messages that travel together: one request for many small ones to the same node.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::failure::Failure;

/// Messages of one kind, each answered for itself.
#[derive(Clone, PartialEq, Message)]
pub struct Gathered {
    /// The encoded messages.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub messages: Vec<Bytes>,
}

/// The answers to a [`Gathered`], in its order.
#[derive(Clone, PartialEq, Message)]
pub struct GatheredAnswers {
    /// As many as there were messages.
    #[prost(message, repeated, tag = "1")]
    pub answers: Vec<GatheredAnswer>,
}

/// The answer to one of the messages.
#[derive(Clone, PartialEq, Message)]
pub struct GatheredAnswer {
    /// What it came to.
    #[prost(oneof = "AnswerOutcome", tags = "1, 2")]
    pub outcome: Option<AnswerOutcome>,
}

/// What one of the messages came to.
#[derive(Clone, PartialEq, Oneof)]
pub enum AnswerOutcome {
    /// The encoded reply.
    #[prost(bytes = "bytes", tag = "1")]
    Reply(Bytes),
    /// Why there is none.
    #[prost(message, tag = "2")]
    Failure(Failure),
}
