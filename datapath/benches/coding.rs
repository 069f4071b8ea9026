//! Encode, hash and decode of one 8 MiB chunk per scheme, on one core.
//!
//! Beside criterion's statistics each prints a line `BENCH <name> <value> GB/s`, in chunk bytes: parity and further copies
//! are work, not throughput.

use std::{hint::black_box, time::Instant};

use cairn_common::{
    checksum::{block_hashes, chunk_hash, shard_hash},
    erasure::Codec,
    limits::CHUNK_SIZE_BYTES,
    redundancy::Redundancy,
};
use criterion::{Criterion, Throughput};

const SCHEMES: [&str; 5] = ["1", "3", "2+1", "4+2", "8+3"];

/// Rounds behind each `BENCH` line; the fastest counts.
const ROUNDS: usize = 20;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    for text in SCHEMES {
        let scheme: Redundancy = text.parse().expect("a valid scheme");
        encode(&mut criterion, scheme);
        hash(&mut criterion, scheme);
        decode(&mut criterion, scheme);
    }
    criterion.final_summary();
}

#[expect(clippy::print_stdout, reason = "the line is what the benchmark is run for")]
fn measure(criterion: &mut Criterion, piece: &str, scheme: Redundancy, mut work: impl FnMut()) {
    let fastest = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "BENCH {piece}_{scheme} {:.2} GB/s",
        CHUNK_SIZE_BYTES as f64 / fastest / 1e9
    );
    let mut group = criterion.benchmark_group(piece);
    group.throughput(Throughput::Bytes(CHUNK_SIZE_BYTES as u64));
    group.bench_function(scheme.to_string(), |bencher| bencher.iter(&mut work));
    group.finish();
}

fn encoded(codec: &Codec) -> Vec<u8> {
    let mut buffer: Vec<u8> = (0..codec.encoded_len(CHUNK_SIZE_BYTES))
        .map(|index| (index * 31 / 7) as u8)
        .collect();
    codec.encode(&mut buffer, CHUNK_SIZE_BYTES);
    buffer
}

fn encode(criterion: &mut Criterion, scheme: Redundancy) {
    if scheme.is_replicated() {
        return;
    }
    let codec = Codec::new(scheme);
    let mut buffer = encoded(&codec);
    measure(criterion, "encode", scheme, || {
        codec.encode(black_box(&mut buffer), CHUNK_SIZE_BYTES)
    });
}

/// What a writer hashes: each distinct shard's blocks, the shards, the chunk. Copies are hashed once.
fn hash(criterion: &mut Criterion, scheme: Redundancy) {
    let buffer = encoded(&Codec::new(scheme));
    let shard_len = scheme.shard_len(CHUNK_SIZE_BYTES);
    measure(criterion, "hash", scheme, || {
        let shards: Vec<_> = buffer
            .chunks(shard_len)
            .map(|shard| shard_hash(shard_len, &block_hashes(black_box(shard))))
            .collect();
        black_box(chunk_hash(CHUNK_SIZE_BYTES, &shards));
    });
}

/// The worst case: as many data shards lost as the scheme bears.
fn decode(criterion: &mut Criterion, scheme: Redundancy) {
    if scheme.is_replicated() {
        return;
    }
    let codec = Codec::new(scheme);
    let shard_len = scheme.shard_len(CHUNK_SIZE_BYTES);
    let mut shards: Vec<Option<Vec<u8>>> = encoded(&codec)
        .chunks(shard_len)
        .map(|shard| Some(shard.to_vec()))
        .collect();
    measure(criterion, "decode", scheme, || {
        shards[..scheme.parity_shards()]
            .iter_mut()
            .for_each(|shard| *shard = None);
        codec
            .decode_data(black_box(&mut shards))
            .expect("enough shards are left");
    });
}
