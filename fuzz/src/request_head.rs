//! Fuzzes the head of a request: any bytes are decoded or refused, and what is decoded survives being sent on.
//!
//! Invariant: it judges by what the frame promises, never by how it is made.

#![no_main]

use bytes::Bytes;
use cairn_transport::frame::{
    HeadError, IncomingKind, REQUEST_TIMEOUT_MAX, checked_length, decode_request_head, encode_request_head,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let head = match decode_request_head(bytes.clone()) {
        Ok(head) => head,
        Err(error) => {
            assert_ne!(error, HeadError::MissingOutcome, "only a response has an outcome");
            return;
        }
    };
    assert!(head.timeout <= REQUEST_TIMEOUT_MAX);
    let read = bytes.as_ptr_range();
    assert!(
        head.message.is_empty() || read.contains(&head.message.as_ptr()),
        "the message was copied"
    );
    if let IncomingKind::Known(kind) = head.kind {
        let frame = encode_request_head(kind, head.timeout, &head.message, head.trace);
        let (prefix, _) = frame.split_first_chunk().expect("a frame starts with a length");
        assert_eq!(checked_length(*prefix), Ok(frame.len() - prefix.len()));
        assert_eq!(decode_request_head(frame.slice(prefix.len()..)), Ok(head));
    }
});
