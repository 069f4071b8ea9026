//! Fuzzes an entry of the index.
//!
//! Invariant: what is promised stands in the chunkserver's `fuzzing`, where `make test` runs the corpus too.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    cairn_chunkserver::fuzzing::location(data);
});
