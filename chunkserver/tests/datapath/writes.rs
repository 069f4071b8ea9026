//! Writes: all shards or none, around devices that fail, and as copies where no row is whole.

use std::{collections::BTreeSet, sync::Arc};

use cairn_common::wire::failure::FailureCode;
use cairn_datapath::WriteError;
use futures::future::join_all;

use crate::harness::{Store, Trouble, content, read, scheme, subsets};

const LEN: usize = 900_001;

#[tokio::test]
async fn with_two_of_six_devices_gone_three_copies_are_placed_and_survive_two_more() {
    let scheme = scheme("4+2");
    let store = Store::new(6, scheme).await;
    for device in [2, 5] {
        std::fs::remove_dir_all(store.path(device)).expect("removed");
    }
    let datapath = store.datapath();
    let bytes = content(1, LEN);
    for _ in 0..8 {
        let chunk = store
            .try_write(&datapath, scheme, &bytes)
            .await
            .expect("four devices carry three copies");
        let row = store.row(&chunk);
        assert_eq!((chunk.data_shards, chunk.parity_shards), (1, 2));
        assert_eq!(chunk.explicit_devices, row);
        assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), 3);
        assert!(!row.contains(&2) && !row.contains(&5), "{row:?}");
        for lost in subsets(&row, 2) {
            store.set_down(lost.iter().copied());
            assert!(
                read(&store.datapath(), &chunk, 0, LEN).await.expect("readable") == bytes,
                "without {lost:?}"
            );
        }
        store.set_down([]);
    }
    assert_eq!(datapath.metrics().explicit_placements(), 8);
    // Small chunks find whole rows of copies without the two.
    let small = store
        .try_write(&datapath, scheme, &bytes[..1000])
        .await
        .expect("stored");
    assert!(small.explicit_devices.is_empty());
}

#[tokio::test]
async fn a_failed_device_is_avoided_by_choice_of_the_group() {
    for code in [
        FailureCode::DeviceDown,
        FailureCode::DeviceFull,
        FailureCode::WrongDevice,
        FailureCode::Internal,
    ] {
        let scheme = scheme("4+2");
        let store = Store::new(8, scheme).await;
        store.set_trouble([3], Trouble::Answers(code));
        let datapath = store.datapath();
        for seed in 0..20 {
            let bytes = content(seed, LEN);
            let chunk = store
                .try_write(&datapath, scheme, &bytes)
                .await
                .expect("seven devices carry six shards");
            assert_eq!(chunk.redundancy(), Some(scheme));
            assert!(
                chunk.explicit_devices.is_empty() && !store.row(&chunk).contains(&3),
                "{code:?}"
            );
            assert!(read(&datapath, &chunk, 0, LEN).await.expect("readable") == bytes);
        }
    }
}

#[tokio::test]
async fn a_silent_device_costs_one_try_of_one_write() {
    for (devices, silent) in [(8, 3), (6, 5)] {
        let scheme = scheme("4+2");
        let store = Store::new(devices, scheme).await;
        let datapath = store.datapath();
        store.set_trouble([silent], Trouble::Silent);
        for seed in 0..12 {
            let chunk = store
                .try_write(&datapath, scheme, &content(seed, LEN))
                .await
                .expect("stored");
            assert!(!store.row(&chunk).contains(&silent));
        }
        assert_eq!(datapath.metrics().write_retries(), 1, "of {devices} devices");
    }
}

#[tokio::test]
async fn too_few_devices_are_said_in_numbers() {
    let scheme = scheme("4+2");
    let store = Store::new(6, scheme).await;
    store.set_down(1..=4);
    let datapath = store.datapath();
    let refused = store.try_write(&datapath, scheme, &content(1, LEN)).await;
    assert_eq!(refused, Err(WriteError::TooFewDevices { up: 2, needed: 3 }));
    store.meddler.puts.lock().clear();
    let again = store.try_write(&datapath, scheme, &content(1, LEN)).await;
    assert_eq!(again, Err(WriteError::TooFewDevices { up: 2, needed: 3 }));
    assert!(
        store.meddler.puts.lock().is_empty(),
        "it is known before anything is sent"
    );
    assert_eq!(store.budget.in_use_bytes(), 0);
}

#[tokio::test]
async fn full_and_busy_devices_have_errors_of_their_own() {
    let scheme = scheme("3");
    let store = Store::new(3, scheme).await;
    store.set_trouble(1..=3, Trouble::Answers(FailureCode::DeviceFull));
    let refused = store.try_write(&store.datapath(), scheme, &content(1, 1000)).await;
    assert_eq!(
        refused,
        Err(WriteError::OutOfSpace {
            up: 0,
            full: 3,
            needed: 3
        })
    );
    store.set_trouble(1..=3, Trouble::Answers(FailureCode::Busy));
    let refused = store.try_write(&store.datapath(), scheme, &content(1, 1000)).await;
    assert_eq!(refused, Err(WriteError::Busy));
    store.set_trouble(1..=3, Trouble::Answers(FailureCode::Malformed));
    let refused = store.try_write(&store.datapath(), scheme, &content(1, 1000)).await;
    assert!(matches!(refused, Err(WriteError::Rejected(_))));
    assert_eq!(store.budget.in_use_bytes(), 0);
}

#[tokio::test]
async fn each_try_has_an_id_of_its_own() {
    let scheme = scheme("4+2");
    let store = Store::new(6, scheme).await;
    store.set_down([4]);
    let chunk = store.write(scheme, &content(1, LEN)).await;
    let puts = std::mem::take(&mut *store.meddler.puts.lock());
    let ids: BTreeSet<_> = puts.iter().map(|put| put.chunk_id.clone()).collect();
    assert_eq!(ids.len(), 2);
    let committed: Vec<_> = puts.iter().filter(|put| put.chunk_id == chunk.id).collect();
    assert_eq!(
        committed.len(),
        3,
        "every shard of the committed id was sent, and by one try"
    );
}

#[tokio::test]
async fn an_empty_chunk_is_refused() {
    let store = Store::new(1, scheme("1")).await;
    let refused = store.try_write(&store.datapath(), scheme("1"), &[]).await;
    assert!(matches!(refused, Err(WriteError::Rejected(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_slow_writers_finish_within_a_small_budget_and_give_it_all_back() {
    let scheme = scheme("4+2");
    let store = Arc::new(Store::new(6, scheme).await);
    // Room for two whole chunks of 3 MiB and their parity at a time.
    let budget = cairn_datapath::ChunkBudget::new(16 << 20);
    let datapath = store.datapath();
    let writers = (0..50_u64).map(|seed| {
        let (store, budget, datapath) = (Arc::clone(&store), budget.clone(), datapath.clone());
        tokio::spawn(async move {
            let bytes = content(seed, 3 << 20);
            let mut buffer = budget.acquire(bytes.len(), scheme).await.expect("in time");
            for piece in bytes.chunks(128 << 10) {
                buffer.extend_from_slice(piece).await.expect("in time");
                tokio::task::yield_now().await;
            }
            let chunk = datapath.write_chunk(store.ids(), scheme, buffer).await.expect("stored");
            assert!(read(&datapath, &chunk, 0, bytes.len()).await.expect("readable") == bytes);
        })
    });
    for writer in join_all(writers).await {
        writer.expect("no writer fails");
    }
    assert_eq!(budget.in_use_bytes(), 0);
}
