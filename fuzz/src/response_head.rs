//! Fuzzes the head of a response: any bytes are decoded or refused, and what is decoded survives being sent on.
//!
//! Invariant: it judges by what the frame promises, never by how it is made.

#![no_main]

use bytes::Bytes;
use cairn_transport::frame::{checked_length, decode_response_head, encode_response_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(outcome) = decode_response_head(bytes.clone()) else {
        return;
    };
    if let Ok(message) = &outcome {
        let read = bytes.as_ptr_range();
        assert!(
            message.is_empty() || read.contains(&message.as_ptr()),
            "the message was copied"
        );
    }
    let frame = encode_response_head(&outcome);
    let (prefix, _) = frame.split_first_chunk().expect("a frame starts with a length");
    assert_eq!(checked_length(*prefix), Ok(frame.len() - prefix.len()));
    assert_eq!(decode_response_head(frame.slice(prefix.len()..)), Ok(outcome));
});
