//! Reads: byte-exact with all devices, with as many lost or damaged as the scheme bears, and an honest error beyond.

use cairn_datapath::ReadError;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::harness::{Spot, Store, Trouble, content, read, scheme, subsets};

const SCHEMES: [&str; 5] = ["1", "3", "2+1", "4+2", "8+3"];

const KIB: usize = 1 << 10;

/// Block edges, the edge between copies and coded shards, shard edges, and the full chunk.
const SIZES: [usize; 13] = [
    1,
    4 * KIB,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    128 * KIB,
    128 * KIB + 1,
    512 * KIB - 1,
    512 * KIB + 1,
    1024 * KIB + 77,
    3000 * KIB + 5,
    8192 * KIB - 1,
    8192 * KIB,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scheme_and_size_is_read_back_exactly() {
    for text in SCHEMES {
        let scheme = scheme(text);
        let store = Store::new(scheme.width() as u32, scheme).await;
        for (seed, len) in SIZES.into_iter().enumerate() {
            let bytes = content(seed as u64, len);
            let chunk = store.write(scheme, &bytes).await;
            assert_eq!(chunk.length as usize, len);
            assert_eq!(chunk.epoch, 5);
            let expected = if len <= 128 * KIB { scheme.as_replicas() } else { scheme };
            assert_eq!(chunk.redundancy(), Some(expected), "{text}, {len} bytes");
            let datapath = store.datapath();
            assert!(
                read(&datapath, &chunk, 0, len).await.expect("readable") == bytes,
                "{text}, {len} bytes"
            );
            assert_eq!(datapath.metrics().degraded_reads(), 0);
        }
        assert_eq!(store.budget.in_use_bytes(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_tolerated_loss_reads_exactly_and_one_more_says_so() {
    for text in SCHEMES {
        let scheme = scheme(text);
        let store = Store::new(scheme.width() as u32, scheme).await;
        for len in [1, 128 * KIB + 1, 700 * KIB + 3] {
            let bytes = content(len as u64, len);
            let chunk = store.write(scheme, &bytes).await;
            let (row, stored) = (store.row(&chunk), chunk.redundancy().expect("a scheme"));
            for lost in subsets(&row, stored.tolerance()) {
                store.set_down(lost.iter().copied());
                let found = read(&store.datapath(), &chunk, 0, len).await.expect("readable");
                assert!(found == bytes, "{text}, {len} bytes, without {lost:?}");
            }
            for lost in subsets(&row, stored.tolerance() + 1) {
                store.set_down(lost.iter().copied());
                let needed = stored.data_shards();
                let expected = Err(ReadError::TooFewShards {
                    present: needed - 1,
                    needed,
                });
                assert_eq!(
                    read(&store.datapath(), &chunk, 0, len).await,
                    expected,
                    "{text}, without {lost:?}"
                );
            }
            store.set_down([]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_directories_are_read_around() {
    let scheme = scheme("4+2");
    let store = Store::new(6, scheme).await;
    let mut chunks = Vec::new();
    for (seed, len) in SIZES.into_iter().enumerate() {
        let bytes = content(seed as u64, len);
        chunks.push((store.write(scheme, &bytes).await, bytes));
    }
    for device in [2, 5] {
        std::fs::remove_dir_all(store.path(device)).expect("removed");
    }
    store.look().await;
    let datapath = store.datapath();
    for (chunk, bytes) in &chunks {
        assert!(read(&datapath, chunk, 0, bytes.len()).await.expect("readable") == *bytes);
    }
    std::fs::remove_dir_all(store.path(1)).expect("removed");
    store.look().await;
    for (chunk, bytes) in chunks.iter().filter(|(chunk, _)| chunk.data_shards == 4) {
        let found = read(&store.datapath(), chunk, 0, bytes.len()).await;
        assert_eq!(found, Err(ReadError::TooFewShards { present: 3, needed: 4 }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_are_found_counted_and_read_around() {
    for text in ["3", "2+1", "4+2", "8+3"] {
        let scheme = scheme(text);
        let store = Store::new(scheme.width() as u32, scheme).await;
        let bytes = content(1, 900 * KIB + 1);
        for shard in 0..scheme.width() {
            // The shards before a damaged parity shard or further copy are down, so that it is asked.
            let before = shard
                .checked_sub(scheme.data_shards())
                .map_or(0..0, |_| scheme.data_shards()..shard);
            let down: Vec<usize> = before.chain((shard >= scheme.data_shards()).then_some(0)).collect();
            // Magic, tag, a block hash, the payload's ends.
            for spot in [
                Spot::Header(0),
                Spot::Header(80),
                Spot::Header(100),
                Spot::FirstByte,
                Spot::LastByte,
            ] {
                let chunk = store.write(scheme, &bytes).await;
                store.flip(&chunk, shard, spot);
                let (datapath, row) = (store.datapath(), store.row(&chunk));
                store.set_down(down.iter().map(|shard| row[*shard]));
                let found = read(&datapath, &chunk, 0, bytes.len()).await;
                store.set_down([]);
                let tolerated = down.len() < scheme.tolerance();
                assert_eq!(found.is_ok(), tolerated, "{text}, shard {shard}, {spot:?}");
                assert!(
                    found.is_err() || found == Ok(bytes.clone()),
                    "{text}, shard {shard}, {spot:?}"
                );
                assert_eq!(
                    datapath.metrics().corrupt_shards(),
                    1,
                    "{text}, shard {shard}, {spot:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_beyond_the_tolerance_is_corrupt_and_never_data() {
    for text in ["1", "3", "4+2"] {
        let scheme = scheme(text);
        let store = Store::new(scheme.width() as u32, scheme).await;
        let bytes = content(2, 900 * KIB + 1);
        let chunk = store.write(scheme, &bytes).await;
        for shard in 0..=scheme.tolerance() {
            store.flip(&chunk, shard, Spot::LastByte);
        }
        let datapath = store.datapath();
        let (needed, present) = (scheme.data_shards(), scheme.width());
        let expected = Err(ReadError::Corrupt {
            good: needed - 1,
            present,
            needed,
        });
        assert_eq!(read(&datapath, &chunk, 0, bytes.len()).await, expected);
        assert_eq!(datapath.metrics().corrupt_shards(), scheme.tolerance() as u64 + 1);
        // Undamaged blocks of the same shards can still be read.
        let head = 64 * KIB.min(scheme.shard_len(bytes.len()));
        assert!(read(&datapath, &chunk, 0, head).await.expect("undamaged") == bytes[..head]);
    }
}

#[tokio::test]
async fn a_missing_shard_is_counted_and_read_around() {
    let scheme = scheme("4+2");
    let store = Store::new(6, scheme).await;
    let bytes = content(3, 900 * KIB);
    let chunk = store.write(scheme, &bytes).await;
    store.forget(&chunk, 1).await;
    let datapath = store.datapath();
    assert!(read(&datapath, &chunk, 0, bytes.len()).await.expect("readable") == bytes);
    assert_eq!(
        (datapath.metrics().missing_shards(), datapath.metrics().corrupt_shards()),
        (1, 0)
    );
}

#[tokio::test]
async fn a_silent_device_delays_a_read_by_little() {
    for text in ["3", "4+2"] {
        let scheme = scheme(text);
        let store = Store::new(scheme.width() as u32, scheme).await;
        let bytes = content(4, 900 * KIB);
        let chunk = store.write(scheme, &bytes).await;
        let row = store.row(&chunk);
        store.set_trouble([row[0]], Trouble::Silent);
        let started = std::time::Instant::now();
        assert!(read(&store.datapath(), &chunk, 0, bytes.len()).await.expect("readable") == bytes);
        // Far below the deadline of a shard read, 10 s, even on a machine under load.
        assert!(started.elapsed().as_secs() < 5, "{text}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn impossible_requests_are_refused() {
    let scheme = scheme("3");
    let store = Store::new(3, scheme).await;
    let chunk = store.write(scheme, &content(5, 100)).await;
    let datapath = store.datapath();
    assert_eq!(read(&datapath, &chunk, 100, 100).await, Ok(Vec::new()));
    assert!(matches!(
        read(&datapath, &chunk, 0, 101).await,
        Err(ReadError::Malformed(_))
    ));
    let broken = cairn_common::wire::object::Chunk {
        hash: bytes::Bytes::new(),
        ..chunk.clone()
    };
    assert!(matches!(
        read(&datapath, &broken, 0, 1).await,
        Err(ReadError::Malformed(_))
    ));
    let narrow = cairn_common::wire::object::Chunk {
        parity_shards: 6,
        ..chunk
    };
    assert_eq!(read(&datapath, &narrow, 0, 1).await, Err(ReadError::NoRow));
}

#[test]
fn ranges_equal_slices_whatever_is_lost() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for text in SCHEMES {
        let scheme = scheme(text);
        let (store, chunk, bytes) = runtime.block_on(async {
            let store = Store::new(scheme.width() as u32, scheme).await;
            let bytes = content(6, 1800 * KIB + 123);
            let chunk = store.write(scheme, &bytes).await;
            (store, chunk, bytes)
        });
        let row = store.row(&chunk);
        let losses = subsets(&row, scheme.tolerance());
        let input = (any::<prop::sample::Index>(), 0..=1800 * KIB + 123, 0..=400 * KIB);
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 40,
            failure_persistence: None,
            ..Default::default()
        });
        let outcome = runner.run(&input, |(loss, from, len)| {
            let to = (from + len).min(bytes.len());
            store.set_down(losses[loss.index(losses.len())].iter().copied());
            let found = runtime.block_on(read(&store.datapath(), &chunk, from, to));
            prop_assert!(found.as_deref() == Ok(&bytes[from..to]), "{} {}..{}", text, from, to);
            Ok(())
        });
        outcome.expect("every range is a slice");
    }
}
