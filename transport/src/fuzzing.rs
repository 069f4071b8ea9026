//! What a fuzzer calls: one function for the head of each direction.
//!
//! Each takes any bytes, decodes them and panics where a promise of the frame is broken; it says whether the bytes were a
//! head. The program itself calls nothing here. Invariant: it judges by what the frame promises, never by how it is made.

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::frame::{
    HeadError, IncomingKind, REQUEST_TIMEOUT_MAX, checked_length, decode_request_head, decode_response_head,
    encode_request_head, encode_response_head,
};

/// The head of a request.
pub fn request_head(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    let head = match decode_request_head(bytes.clone()) {
        Ok(head) => head,
        Err(error) => {
            assert_ne!(error, HeadError::MissingOutcome, "only a response has an outcome");
            return false;
        }
    };
    assert!(head.timeout <= REQUEST_TIMEOUT_MAX);
    check_lent(&head.message, &bytes);
    if let IncomingKind::Known(kind) = head.kind {
        let frame = encode_request_head(kind, head.timeout, &head.message, head.trace);
        assert_eq!(decode_request_head(head_of(&frame)), Ok(head));
    }
    true
}

/// The head of a response.
pub fn response_head(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    let Ok(outcome) = decode_response_head(bytes.clone()) else {
        return false;
    };
    if let Ok(message) = &outcome {
        check_lent(message, &bytes);
    }
    let frame = encode_response_head(&outcome);
    assert_eq!(decode_response_head(head_of(&frame)), Ok(outcome));
    true
}

fn check_lent(message: &Bytes, bytes: &Bytes) {
    let is_lent = message.is_empty() || bytes.as_ptr_range().contains(&message.as_ptr());
    assert!(is_lent, "the message was copied");
}

fn head_of(frame: &Bytes) -> Bytes {
    let (prefix, _) = frame.split_first_chunk().expect("a frame starts with a length");
    assert_eq!(checked_length(*prefix), Ok(frame.len() - prefix.len()));
    frame.slice(prefix.len()..)
}
