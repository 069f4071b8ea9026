//! What the records must be, whatever the code keeps in them: nothing is deleted too early, and nothing stays for ever.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_common::envelope::open;

use super::same;
use crate::{
    core::{
        deletable_chunks,
        tests::model::world::World,
        view::{Family, View},
    },
    record::chunk::ChunkRecord,
};

/// Chunks that may be deleted.
fn deletable(view: &dyn View) -> Result<BTreeSet<Bytes>, String> {
    let chunks = deletable_chunks(view, usize::MAX).map_err(|error| error.to_string())?;
    Ok(chunks
        .iter()
        .map(|chunk| Bytes::copy_from_slice(&chunk.id.to_bytes()))
        .collect())
}

/// Every chunk record by chunk.
fn chunk_records(view: &dyn View) -> Result<BTreeMap<Bytes, ChunkRecord>, String> {
    let mut records = BTreeMap::new();
    let mut damaged = None;
    let scanned = view.scan(Family::Chunk, &[], &mut |key, value| {
        match open::<ChunkRecord>(value) {
            Ok(record) => {
                let id = record.chunk.as_ref().map(|chunk| chunk.id.clone()).unwrap_or_default();
                records.insert(id, record);
            }
            Err(error) => damaged = Some(format!("{key:?}: {error}")),
        }
        true
    });
    scanned.map_err(|error| error.to_string())?;
    damaged.map_or(Ok(records), Err)
}

fn count(view: &dyn View, family: Family) -> Result<usize, String> {
    let mut count = 0;
    let scanned = view.scan(family, &[], &mut |_, _| {
        count += 1;
        true
    });
    scanned.map_err(|error| error.to_string())?;
    Ok(count)
}

/// No chunk may be deleted that something refers to, or that a read may still need; and every chunk has its record.
pub(super) fn garbage_in_time(world: &World, view: &dyn View) -> Result<(), String> {
    let oldest_read = world.oldest_read();
    for id in deletable(view)? {
        if world.deletion_held {
            return Err(format!("a chunk may be deleted while deletion is held: {id:?}"));
        }
        match world.lost.get(&id) {
            Some(lost_at) if *lost_at <= oldest_read => {}
            lost => {
                let detail = format!("{id:?} was lost at {lost:?}, and reads go back to {oldest_read}");
                return Err(format!("a chunk may be deleted too early: {detail}"));
            }
        }
    }
    let records = chunk_records(view)?;
    let unknown: Vec<&Bytes> = records.keys().filter(|id| !world.chunks.contains_key(*id)).collect();
    let gone: Vec<Bytes> = world
        .live_chunks()
        .into_iter()
        .filter(|id| !records.contains_key(id))
        .collect();
    same(
        unknown.is_empty() && gone.is_empty(),
        &"chunk records",
        &("none gone", gone),
        &("unknown", unknown),
    )
}

/// Nobody needs anything, and all garbage was released: exactly the lost chunks may be deleted.
pub(in super::super) fn drained(world: &World, view: &dyn View) -> Result<(), String> {
    let lost: BTreeSet<Bytes> = world.lost.keys().cloned().collect();
    let found = deletable(view)?;
    let pinned = world.pinned_chunks();
    let left: Vec<&Bytes> = lost.difference(&found).filter(|id| !pinned.contains(*id)).collect();
    let wrong: Vec<&Bytes> = found.difference(&lost).collect();
    same(
        left.is_empty() && wrong.is_empty(),
        &"garbage chunks",
        &("none left", left),
        &("none wrong", wrong),
    )
}

/// All garbage is forgotten: what is left belongs to something.
pub(in super::super) fn clean(world: &World, view: &dyn View) -> Result<(), String> {
    let records = chunk_records(view)?;
    let pinned = world.pinned_chunks();
    let kept: BTreeSet<Bytes> = records.into_keys().filter(|id| !pinned.contains(id)).collect();
    let live = world.live_chunks();
    same(live == kept, &"chunks that are left", &live, &kept)?;
    let inodes: usize = world.buckets.values().map(|bucket| bucket.inodes.len()).sum();
    same(
        count(view, Family::Inode)? == inodes,
        &"inode records",
        &inodes,
        &count(view, Family::Inode)?,
    )?;
    let directories = world.buckets.values().flat_map(|bucket| bucket.inodes.values());
    let names: usize = directories.map(|inode| inode.entries.len()).sum();
    same(
        count(view, Family::Dentry)? == names,
        &"names",
        &names,
        &count(view, Family::Dentry)?,
    )?;
    same(
        count(view, Family::Garbage)? == 0,
        &"garbage records",
        &0,
        &count(view, Family::Garbage)?,
    )
}
