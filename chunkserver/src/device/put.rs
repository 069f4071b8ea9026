//! Storing a shard: small ones are collected and go with a group; large ones are written while they come.
//!
//! Invariants: a record's header is written with the last of its payload or after it; a place that nothing comes to is given
//! back, whoever goes away.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use cairn_transport::{Body, BodyError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{DeviceStore, answered, key_locks::KeyLock, room::RoomWait};
use crate::{
    core::{location::check_of, record::RecordBody},
    engine::{Claimed, Engine, Item, STAGE_LEN, Stage},
    shard::ShardDescription,
    store::StoreError,
};

/// Bytes by which the log may go on while one record is on its way: they are all read again after a crash. What is slower
/// than that is sent again by its writer.
const LAG_BYTES_MAX: u64 = 1 << 30;

/// Bytes of one shard that are in memory at most: one stage that is written and one that comes.
const IN_MEMORY_MAX: usize = 2 * STAGE_LEN;

/// Why a shard was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The bytes are more or fewer than were announced.
    #[error("the shard's bytes are not as many as announced")]
    Length,
}

/// A claimed place, given back where nothing comes to it.
struct Place {
    engine: Arc<Engine>,
    claimed: Mutex<Option<Claimed>>,
}

impl Place {
    /// Does something with the place.
    fn with<T>(&self, act: impl FnOnce(&Engine, &Claimed) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.claimed.lock() {
            Some(claimed) => act(&self.engine, claimed),
            None => Err(StoreError::Busy),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.get_mut() {
            self.engine.give_up(claimed);
        }
    }
}

pub(super) async fn put(store: &DeviceStore, shard: ShardDescription, body: Body) -> Result<(), PutError> {
    let started = Instant::now();
    let lock = store.locks.lock(shard.key).await;
    if is_there(store, &shard).await? {
        body.collect(shard.shard_len as usize).await?;
        return Ok(());
    }
    let shard_len = u64::from(shard.shard_len);
    // What comes waits at its sender until there is room; a large one is never here as a whole.
    let _share = store
        .write_budget
        .take((shard.shard_len as usize).min(IN_MEMORY_MAX))
        .await;
    let body_of_record = RecordBody::Shard(shard);
    if body_of_record.is_large() {
        put_large(store, body_of_record, body, lock).await?;
    } else {
        let payload = body.collect(body_of_record.payload_len()).await?;
        if payload.iter().map(Bytes::len).sum::<usize>() != body_of_record.payload_len() {
            return Err(PutError::Length);
        }
        put_small(store, body_of_record, payload, lock).await?;
    }
    let metrics = &store.engine.metrics;
    metrics.put_shards.inc();
    metrics.written_bytes.inc_by(shard_len);
    metrics.put_seconds.observe(started.elapsed().as_secs_f64());
    Ok(())
}

/// Has a small shard committed.
async fn put_small(
    store: &DeviceStore,
    record: RecordBody,
    payload: Vec<Bytes>,
    lock: KeyLock,
) -> Result<(), StoreError> {
    let mut lock = Some(lock);
    let mut room = RoomWait::new(store);
    loop {
        let item = Item::Write {
            body: record.clone(),
            payload: payload.clone(),
            moved: None,
        };
        // The lock goes with the record, and is free where there was no room for that.
        match answered(store.committer.commit(item, lock.take()).await) {
            Err(StoreError::Full) => room = room.wait().await?,
            outcome => return outcome,
        }
        lock = Some(store.locks.lock(record.key()).await);
        if let RecordBody::Shard(shard) = &record
            && is_there(store, shard).await?
        {
            return Ok(());
        }
    }
}

/// Whether the same shard is stored already. What is in the index is durable.
async fn is_there(store: &DeviceStore, shard: &ShardDescription) -> Result<bool, StoreError> {
    let key = shard.key;
    match store.find(key).await? {
        Some(location) if location.is_damaged => Ok(false),
        Some(location) if location.check == check_of(shard) && location.shard_len == shard.shard_len => Ok(true),
        Some(_) => Err(StoreError::Conflict),
        None => Ok(false),
    }
}

/// Writes a large shard stage by stage: while one is written the next one comes.
async fn put_large(store: &DeviceStore, record: RecordBody, mut body: Body, lock: KeyLock) -> Result<(), PutError> {
    let payload_len = record.payload_len();
    let place = claim(store, &record).await?;
    let mut stage = Stage::default();
    let (mut come, mut sent) = (0, 0);
    let mut writing = None;
    while let Some(piece) = body.next().await {
        let mut piece = piece?;
        come += piece.len();
        if come > payload_len {
            return Err(PutError::Length);
        }
        while !piece.is_empty() {
            piece = stage.add(piece);
            // What comes whole goes with its header, in one write.
            if stage.is_full() && sent + stage.len() < payload_len {
                wait(&mut writing).await?;
                let len = stage.len();
                writing = Some(start_write(store, &place, sent, stage.take())?);
                sent += len;
            }
        }
    }
    if come < payload_len {
        return Err(PutError::Length);
    }
    wait(&mut writing).await?;
    finish(store, place, sent, stage.take(), lock).await
}

/// A place for a large record.
async fn claim(store: &DeviceStore, record: &RecordBody) -> Result<Arc<Place>, StoreError> {
    let mut room = RoomWait::new(store);
    loop {
        let (engine, record) = (Arc::clone(&store.engine), record.clone());
        let claim = move || {
            let claimed = Mutex::new(Some(engine.claim(record, None)?));
            Ok(Arc::new(Place { engine, claimed }))
        };
        match store.writes.run(claim).await {
            Err(StoreError::Full) => room = room.wait().await?,
            outcome => return outcome,
        }
    }
}

type Writing = oneshot::Receiver<Result<(), StoreError>>;

async fn wait(writing: &mut Option<Writing>) -> Result<(), StoreError> {
    match writing.take() {
        Some(writing) => answered(writing.await),
        None => Ok(()),
    }
}

fn start_write(store: &DeviceStore, place: &Arc<Place>, at: usize, pieces: Vec<Bytes>) -> Result<Writing, StoreError> {
    let place = Arc::clone(place);
    store.writes.start(move || {
        place.with(|engine, claimed| {
            if claimed.lag(engine) > LAG_BYTES_MAX {
                return Err(StoreError::Busy);
            }
            engine.write_payload(claimed, at, &pieces)
        })
    })
}

/// Writes what is left of the payload, and the header. Once that is there the record is committed, also where its writer goes.
async fn finish(
    store: &DeviceStore,
    place: Arc<Place>,
    sent: usize,
    pieces: Vec<Bytes>,
    lock: KeyLock,
) -> Result<(), PutError> {
    let committer = Arc::clone(&store.committer);
    let write = move || {
        place.with(|engine, claimed| {
            if sent == 0 {
                return engine.write_header(claimed, pieces);
            }
            engine.write_payload(claimed, sent, &pieces)?;
            engine.write_header(claimed, Vec::new())
        })?;
        let claimed = place.claimed.lock().take().ok_or(StoreError::Busy)?;
        Ok(committer.commit(Item::Written(claimed), Some(lock)))
    };
    let committed = store.writes.run(write).await?;
    Ok(answered(committed.await)?)
}
