//! Fuzzes the head of a request.
//!
//! Invariant: what is promised stands in the transport's `fuzzing`, where `make test` runs the corpus too.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    cairn_transport::fuzzing::request_head(data);
});
