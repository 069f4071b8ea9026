//! Leases, garbage and inventories.

use std::time::Duration;

use cairn_common::{
    ids::{DeviceId, Epoch, Incarnation},
    wire::{
        chunk::{ChunkQuery, ChunkQuestion, ChunkReply},
        command::{Command, EndSession, InstallMap, RaiseFeatureLevel},
        inventory::LossesQuery,
        map::MapMessage,
        query::{Answer, Query},
    },
};

use super::support::{Rig, cluster_map, is_done};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_sign_of_life_is_ended_and_another_is_not() {
    let rig = Rig::with(|config| config.session_lease = Duration::from_millis(500)).await;
    rig.open_session().await;
    let beats = async {
        loop {
            assert!(is_done(&rig.heartbeat(rig.session, 0).await));
        }
    };
    let ended = rig.eventually("the quiet session ends", |summary| summary.sessions == 1);
    tokio::select! {
        () = ended => {}
        () = beats => {}
    }
    assert!(is_done(&rig.heartbeat(rig.session, 0).await));
    assert_eq!(rig.server.metrics().sessions_expired.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_deleted_everywhere_and_then_forgotten() {
    let rig = Rig::new().await;
    let (kept, dropped) = (rig.put_chunk("kept").await, rig.put_chunk("dropped").await);
    let deleted = rig.delete("dropped").await;
    // Until the session gives its reads up, one of them may still want the chunk.
    assert_eq!(rig.holders(dropped).len(), 2);
    rig.heartbeat(rig.session, deleted.log_index + 1).await;
    rig.eventually("the chunk is forgotten", |_| {
        rig.server.metrics().chunks_deleted.get() == 1
    })
    .await;
    assert!(rig.holders(dropped).is_empty());
    assert_eq!(rig.holders(kept).len(), 2);
    assert_eq!(rig.chunkserver.deletes.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(rig.summary().await.release_pending, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_with_an_unconfirmed_shard_stays_until_it_is_confirmed() {
    let rig = Rig::new().await;
    let dropped = rig.put_chunk("dropped").await;
    let silent = rig.holders(dropped)[0];
    rig.chunkserver.silent.lock().insert(silent);
    let deleted = rig.delete("dropped").await;
    rig.heartbeat(rig.session, deleted.log_index + 1).await;
    rig.eventually("the other shard is deleted", |_| rig.holders(dropped) == [silent])
        .await;
    assert_eq!(rig.server.metrics().chunks_deleted.get(), 0);
    rig.chunkserver.silent.lock().clear();
    // The shard that is gone already answers "not found", which confirms it.
    rig.eventually("the chunk is forgotten", |_| {
        rig.server.metrics().chunks_deleted.get() == 1
    })
    .await;
    assert!(rig.holders(dropped).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_shards_that_can_never_be_committed_are_orphans() {
    let rig = Rig::with(|config| {
        config.inventory.first_after = Duration::from_millis(300);
        config.inventory.every = Duration::from_millis(20);
    })
    .await;
    let committed = rig.put_chunk("committed").await;
    let uncommitted = rig.store_chunk(rig.session, 1000);
    let ended = rig.open_session().await;
    let lost: Vec<_> = (1..=5).map(|counter| rig.store_chunk(ended, counter)).collect();
    rig.send(ended, 0, Command::EndSession(EndSession { session: ended }))
        .await;
    rig.eventually("the orphans are deleted", |_| {
        lost.iter().all(|chunk| rig.holders(*chunk).is_empty())
    })
    .await;
    let compared = rig.server.metrics().inventory_shards.get();
    // Two passes more find nothing else.
    rig.eventually("further passes", |_| {
        rig.server.metrics().inventory_shards.get() >= compared + 8
    })
    .await;
    assert_eq!(rig.holders(committed).len(), 2);
    assert_eq!(rig.holders(uncommitted).len(), 2);
    assert_eq!(rig.server.metrics().orphans_deleted.get(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strays_go_where_the_shard_is_at_home_and_stay_where_it_is_not() {
    let rig = Rig::with(|config| {
        config.inventory.first_after = Duration::from_millis(100);
        config.inventory.every = Duration::from_millis(20);
    })
    .await;
    let raise = Command::RaiseFeatureLevel(RaiseFeatureLevel { level: 2 });
    assert!(is_done(&rig.send(0, 0, raise).await));
    let (safe, lost) = (rig.put_chunk("safe").await, rig.put_chunk("lost").await);
    let stray = |chunk| {
        let holders = rig.holders(chunk);
        (1..=3)
            .find(|device| !holders.contains(device))
            .expect("a third device")
    };
    let (beside_safe, beside_lost) = (stray(safe), stray(lost));
    {
        let mut shards = rig.chunkserver.shards.lock();
        shards.insert((beside_safe, safe, 0));
        shards.insert((beside_lost, lost, 0));
        shards.retain(|(device, chunk, index)| *chunk != lost || *index != 0 || *device == beside_lost);
    }
    rig.eventually("the shard is missed at home", |summary| summary.repair_pending == 1)
        .await;
    rig.eventually("the stray is deleted", |_| !rig.holders(safe).contains(&beside_safe))
        .await;
    let compared = rig.server.metrics().inventory_shards.get();
    rig.eventually("further passes", |_| {
        rig.server.metrics().inventory_shards.get() >= compared + 8
    })
    .await;
    assert_eq!(rig.holders(safe).len(), 2);
    assert!(
        rig.holders(lost).contains(&beside_lost),
        "it may be all that is left of the shard"
    );
    assert_eq!(rig.server.metrics().strays_deleted.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_lost_is_found_also_behind_what_it_was_given_meanwhile() {
    let rig = Rig::with(|config| config.inventory.first_after = Duration::from_secs(3600)).await;
    let raise = Command::RaiseFeatureLevel(RaiseFeatureLevel { level: 2 });
    assert!(is_done(&rig.send(0, 0, raise).await));
    let mut chunks = Vec::new();
    for number in 0..12 {
        chunks.push(rig.put_chunk(&number.to_string()).await);
    }
    chunks.retain(|chunk| rig.holders(*chunk).contains(&1));
    chunks.sort_by_key(|chunk| (chunk.placement_hash().value(), *chunk));
    assert!(chunks.len() > 4, "several pages");
    // It was empty when it was first asked; all but the last are there again when it is asked once more.
    let last = chunks.pop().expect("a chunk");
    rig.chunkserver
        .shards
        .lock()
        .retain(|(device, chunk, _)| *device != 1 || *chunk != last);
    rig.chunkserver.empty_once.lock().insert(1);
    let mut map = cluster_map();
    map.epoch = Epoch::new(2);
    map.devices.get_mut(&DeviceId::new(1)).expect("a device").incarnation = Incarnation::new(2);
    let map = Some(MapMessage::from(&map));
    assert!(is_done(&rig.send(0, 0, Command::InstallMap(InstallMap { map })).await));
    // The number is counted once the mark is answered, so after the mark can be seen.
    rig.eventually("the last is missed", |summary| {
        summary.repair_pending == 1 && rig.server.metrics().shards_missed.get() > 0
    })
    .await;
    assert_eq!(rig.server.metrics().shards_missed.get(), 1);
}

/// Devices that are still to be looked through.
async fn unsurveyed(rig: &Rig) -> usize {
    let question = Some(ChunkQuestion::Losses(LossesQuery {}));
    let reply = rig
        .try_ask(Query::Chunk(ChunkQuery { question }))
        .await
        .expect("a reply");
    let Some(Answer::Chunk(answer)) = reply.answer else {
        panic!("no answer about chunks");
    };
    match answer.reply {
        Some(ChunkReply::Losses(losses)) => losses.losses.len(),
        other => panic!("no losses: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_never_answers_is_done_with_once_nothing_lies_on_it() {
    let rig = Rig::new().await;
    let raise = Command::RaiseFeatureLevel(RaiseFeatureLevel { level: 2 });
    assert!(is_done(&rig.send(0, 0, raise).await));
    // Nobody ever hears of its server, as after a restore on new hosts.
    rig.chunkserver.silent.lock().insert(1);
    let mut map = cluster_map();
    map.epoch = Epoch::new(2);
    map.devices.get_mut(&DeviceId::new(1)).expect("a device").incarnation = Incarnation::new(2);
    let map = Some(MapMessage::from(&map));
    assert!(is_done(&rig.send(0, 0, Command::InstallMap(InstallMap { map })).await));
    let done = async {
        while unsurveyed(&rig).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), done).await;
    waited.expect("what nothing lies on has lost nothing");
}
