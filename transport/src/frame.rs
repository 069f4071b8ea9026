//! Frames: the bytes that stand before the bulk bytes on a network's stream, made and read.
//!
//! ```text
//! request:  length u32, big-endian | RequestHead  (protobuf) | bulk bytes to the end of the stream
//! answer:   length u32, big-endian | ResponseHead (protobuf) | bulk bytes to the end of the stream
//! ```
//!
//! The length counts the head alone: neither itself nor the bulk bytes. What is decoded is the head, the length cut off.
//! The heads' fields are those of [`cairn_common::wire::head`]; the version of the layout is negotiated per connection.
//!
//! It does no I/O and knows no clock. Invariant: whatever bytes come, decoding ends with a value or a [`HeadError`], and
//! allocates no more than a small multiple of their number; messages are slices of what was read, never copies.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use cairn_common::{
    limits::HEADER_BYTES_MAX,
    wire::{
        failure::Failure,
        head::{HEAD_LENGTH_BYTES, Outcome, RequestHead, ResponseHead, TraceContext},
        kind::RequestKind,
    },
};
use prost::{Message, encode_length_delimiter, length_delimiter_len};

/// Longest time that a request may give itself; what asks for more gets this. Nothing waits longer for one answer, and
/// a server must not keep a place for a caller whose clock or program went wrong.
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_mins(5);

/// Longest head: the largest message, and room for the fields around it.
pub const HEAD_BYTES_MAX: usize = HEADER_BYTES_MAX + 4096;

/// Protobuf keys (tag, wire type "length-delimited") of the fields that are written without making the struct around
/// them, which would have to own what is only borrowed here.
const REQUEST_MESSAGE_KEY: u8 = 3 << 3 | 2;
const RESPONSE_REPLY_KEY: u8 = 1 << 3 | 2;
const RESPONSE_FAILED_KEY: u8 = 2 << 3 | 2;

/// Why a head cannot be read. In each case the two sides do not speak the same language, or bytes were damaged: the
/// stream is of no further use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The head is longer than any that is sent.
    #[error("a head of {length} bytes, where at most {limit} are taken")]
    TooLong {
        /// Bytes of the head.
        length: usize,
        /// Bytes taken at most.
        limit: usize,
    },
    /// There is no head.
    #[error("an empty head")]
    Empty,
    /// The bytes are not a message.
    #[error("the head cannot be decoded: {0}")]
    Undecodable(String),
    /// A response that says neither that it was done nor that it failed.
    #[error("the head of a response without an outcome")]
    MissingOutcome,
}

/// What a request that came in asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncomingKind {
    /// A kind that this program knows.
    Known(RequestKind),
    /// Another: the sender is newer. It is answered with `FailureCode::Unsupported`.
    Unknown(u32),
}

/// The head of a request that came in.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingHead {
    /// What is asked for.
    pub kind: IncomingKind,
    /// How long the caller waits from the sending on, at most [`REQUEST_TIMEOUT_MAX`].
    pub timeout: Duration,
    /// The encoded message: a slice of the bytes that were decoded.
    pub message: Bytes,
    /// What the request is a part of.
    pub trace: Option<TraceContext>,
}

/// The length of the head that follows, from the bytes before it; refused where no head has that length.
pub fn checked_length(prefix: [u8; HEAD_LENGTH_BYTES]) -> Result<usize, HeadError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    check(length)?;
    Ok(length)
}

/// The frame of a request: length and head. The timeout is rounded up to whole milliseconds, so that a short one does
/// not become none. A message of more than [`HEADER_BYTES_MAX`] bytes may be refused by the receiver.
pub fn encode_request_head(
    kind: RequestKind,
    timeout: Duration,
    message: &Bytes,
    trace: Option<TraceContext>,
) -> Bytes {
    Bytes::from(request_frame(kind, timeout, message, trace))
}

/// Reads the head of a request.
pub fn decode_request_head(bytes: Bytes) -> Result<IncomingHead, HeadError> {
    check(bytes.len())?;
    let head = RequestHead::decode(bytes).map_err(undecodable)?;
    let kind = RequestKind::from_number(head.kind).map_or(IncomingKind::Unknown(head.kind), IncomingKind::Known);
    Ok(IncomingHead {
        kind,
        timeout: Duration::from_millis(head.timeout_ms).min(REQUEST_TIMEOUT_MAX),
        message: head.message,
        trace: head.trace,
    })
}

/// The frame of a response: length and head.
pub fn encode_response_head(outcome: &Result<Bytes, Failure>) -> Bytes {
    Bytes::from(response_frame(outcome))
}

/// Reads the head of a response.
pub fn decode_response_head(bytes: Bytes) -> Result<Result<Bytes, Failure>, HeadError> {
    check(bytes.len())?;
    match ResponseHead::decode(bytes).map_err(undecodable)?.outcome {
        Some(Outcome::Reply(message)) => Ok(Ok(message)),
        Some(Outcome::Failed(failure)) => Ok(Err(failure)),
        None => Err(HeadError::MissingOutcome),
    }
}

fn check(length: usize) -> Result<(), HeadError> {
    match length {
        0 => Err(HeadError::Empty),
        1..=HEAD_BYTES_MAX => Ok(()),
        _ => Err(HeadError::TooLong {
            length,
            limit: HEAD_BYTES_MAX,
        }),
    }
}

fn undecodable(error: prost::DecodeError) -> HeadError {
    HeadError::Undecodable(error.to_string())
}

/// Encodings one behind the other are one message, so the head is written as three: the fields before the message, the
/// message from where it lies, and the trace.
fn request_frame(kind: RequestKind, timeout: Duration, message: &Bytes, trace: Option<TraceContext>) -> Vec<u8> {
    let before = RequestHead {
        kind: kind.number().into(),
        timeout_ms: whole_millis(timeout),
        ..RequestHead::default()
    };
    let behind = RequestHead {
        trace,
        ..RequestHead::default()
    };
    let message_len = if message.is_empty() {
        0
    } else {
        delimited_len(message.len())
    };
    let mut frame = frame_of(before.encoded_len() + message_len + behind.encoded_len());
    append(&mut frame, &before);
    if !message.is_empty() {
        append_key(&mut frame, REQUEST_MESSAGE_KEY, message.len());
        frame.extend_from_slice(message);
    }
    append(&mut frame, &behind);
    frame
}

fn response_frame(outcome: &Result<Bytes, Failure>) -> Vec<u8> {
    match outcome {
        Ok(message) => {
            let mut frame = frame_of(delimited_len(message.len()));
            append_key(&mut frame, RESPONSE_REPLY_KEY, message.len());
            frame.extend_from_slice(message);
            frame
        }
        Err(failure) => {
            let length = failure.encoded_len();
            let mut frame = frame_of(delimited_len(length));
            append_key(&mut frame, RESPONSE_FAILED_KEY, length);
            append(&mut frame, failure);
            frame
        }
    }
}

/// A frame that holds the length of a head of `length` bytes and has room for exactly that. A length that 32 bits cannot
/// hold becomes one that every receiver refuses.
fn frame_of(length: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_LENGTH_BYTES + length);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame
}

fn append(frame: &mut Vec<u8>, message: &impl Message) {
    message.encode(frame).expect("a vector grows as needed");
}

fn append_key(frame: &mut Vec<u8>, key: u8, length: usize) {
    frame.push(key);
    encode_length_delimiter(length, frame).expect("a vector grows as needed");
}

/// Bytes of a field whose key takes one byte and whose value has `length`.
fn delimited_len(length: usize) -> usize {
    1 + length_delimiter_len(length) + length
}

fn whole_millis(timeout: Duration) -> u64 {
    let millis = timeout.min(REQUEST_TIMEOUT_MAX).as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).expect("five minutes are few milliseconds")
}

#[cfg(test)]
mod tests;
