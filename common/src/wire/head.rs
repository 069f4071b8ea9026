//! What stands before the message of every request and answer that crosses a network.
//!
//! ```text
//! request:  length u32, big-endian | RequestHead  | bulk bytes to the end of the stream
//! answer:   length u32, big-endian | ResponseHead | bulk bytes to the end of the stream
//! ```
//!
//! The version of this layout is negotiated once per connection.

use prost::Message;

use super::failure::Failure;

/// Bytes of the length that stands before a head.
pub const HEAD_LENGTH_BYTES: usize = 4;

/// The head of a request.
#[derive(Clone, PartialEq, Message)]
pub struct RequestHead {
    /// The kind, [`super::kind::RequestKind`].
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// How long the caller waits, in milliseconds from the sending: clocks of two nodes are not compared.
    #[prost(uint64, tag = "2")]
    pub timeout_ms: u64,
    /// The encoded message, of the type that the kind names.
    #[prost(bytes = "bytes", tag = "3")]
    pub message: bytes::Bytes,
    /// What the request is a part of.
    #[prost(message, optional, tag = "4")]
    pub trace: Option<TraceContext>,
}

/// The head of an answer.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseHead {
    /// How it went.
    #[prost(oneof = "Outcome", tags = "1, 2")]
    pub outcome: Option<Outcome>,
}

/// How a request went.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Outcome {
    /// Done: the encoded reply; bulk bytes may follow.
    #[prost(bytes = "bytes", tag = "1")]
    Reply(bytes::Bytes),
    /// Not done, and why; nothing follows.
    #[prost(message, tag = "2")]
    Failed(Failure),
}

/// What a request is a part of, as W3C Trace Context has it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct TraceContext {
    /// Upper half of the trace id.
    #[prost(fixed64, tag = "1")]
    pub trace_id_high: u64,
    /// Lower half of the trace id.
    #[prost(fixed64, tag = "2")]
    pub trace_id_low: u64,
    /// The caller's span.
    #[prost(fixed64, tag = "3")]
    pub span_id: u64,
}
