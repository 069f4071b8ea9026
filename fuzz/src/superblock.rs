//! Fuzzes the superblock of a device.
//!
//! Invariant: what is promised stands in the chunkserver's `fuzzing`, where `make test` runs the corpus too.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    cairn_chunkserver::fuzzing::superblock(data);
});
