//! Chunks beside what refers to them: references are counted exactly.

use super::{
    super::error::MaintenanceError,
    check::{Check, Gathered, REFERENCE_LEN, Reference},
    sort::Sorted,
};
use crate::{
    core::{repair_priority, view::Family},
    record::{
        chunk::{self, ChunkRecord},
        repair,
    },
};
use cairn_common::envelope;

const FAMILY: Family = Family::Chunk;
const KEY_LEN: usize = 24;

/// What refers to one chunk.
#[derive(Default)]
struct Found {
    references: u64,
    garbage: bool,
    /// The last byte that anything refers to, plus one.
    end: u32,
}

pub(super) fn pass(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    mut references: Sorted<REFERENCE_LEN>,
) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    loop {
        let referred: Option<[u8; KEY_LEN]> = references.peek().map(key_of);
        let at = match (referred, cursor.key()) {
            (None, None) => return Ok(()),
            (Some(referred), Some(there)) if referred.as_slice() < there => None,
            (Some(_), None) => None,
            (_, Some(_)) => cursor.take(check),
        };
        match at {
            Some((key, value)) => {
                let found = take(&mut references, &key)?;
                if let Some(record) = check.open::<ChunkRecord>(FAMILY, &key, &value) {
                    compare(check, &key, &record, &found);
                    queued(check, gathered, &key, &record)?;
                }
            }
            None => {
                let key = referred.unwrap_or([0; KEY_LEN]);
                let found = take(&mut references, &key)?;
                let what = match (found.references, found.garbage) {
                    (0, _) => "its shards are queued for deletion, and its record is not there".to_owned(),
                    (count, _) => format!("{count} extents refer to it, and its record is not there"),
                };
                check.wrong(FAMILY, &key, what);
            }
        }
    }
}

/// A chunk that is not as it should be waits for repair.
fn queued(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    key: &[u8],
    record: &ChunkRecord,
) -> Result<(), MaintenanceError> {
    let (Some(priority), Some(id)) = (repair_priority(record), chunk::id_of(key)) else {
        return Ok(());
    };
    gathered.to_repair += 1;
    if check.state.value(Family::Repair, &repair::key(priority, id))?.is_none() {
        let what = format!("it needs repair, and is not queued for it under priority {priority}");
        check.wrong(FAMILY, key, what);
    }
    Ok(())
}

/// Checks that what waits for repair needs it.
pub(super) fn repairs(check: &mut Check<'_>) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(Family::Repair)?;
    while let Some((key, _)) = cursor.take(check) {
        let Some((priority, id)) = repair::parts_of(&key) else {
            check.damaged(Family::Repair, &key, "the key is too short for a priority and a chunk");
            continue;
        };
        let stored = check.state.value(FAMILY, &chunk::key(id))?;
        let record = stored.and_then(|value| envelope::open::<ChunkRecord>(&value).ok());
        if record.and_then(|record| repair_priority(&record)) != Some(priority) {
            check.wrong(
                Family::Repair,
                &key,
                "it is queued for repair, and its chunk needs none of this priority",
            );
        }
    }
    Ok(())
}

/// Takes all references to the chunk of this key.
fn take(references: &mut Sorted<REFERENCE_LEN>, key: &[u8]) -> Result<Found, MaintenanceError> {
    let mut found = Found::default();
    while let Some(next) = references.peek().filter(|next| next.starts_with(key)).copied() {
        let taken = references.next();
        taken.map_err(|error| crate::store::StoreError::from_io("sorting references", &error))?;
        if next[KEY_LEN] == Reference::Garbage as u8 {
            found.garbage = true;
        } else {
            found.references += 1;
            let end = u32::from_be_bytes(next[KEY_LEN + 1..].try_into().expect("four bytes are left"));
            found.end = found.end.max(end);
        }
    }
    Ok(found)
}

fn compare(check: &mut Check<'_>, key: &[u8], record: &ChunkRecord, found: &Found) {
    if record.references != found.references {
        let what = format!(
            "it counts {} references, there are {}",
            record.references, found.references
        );
        check.wrong(FAMILY, key, what);
    }
    if found.garbage && record.references > 0 {
        check.wrong(FAMILY, key, "its shards are queued for deletion, and it has references");
    }
    if !found.garbage && record.references == 0 {
        check.wrong(
            FAMILY,
            key,
            "it has no references, and its shards are not queued for deletion",
        );
    }
    let Some(chunk) = &record.chunk else {
        return check.wrong(FAMILY, key, "its record holds no chunk");
    };
    if chunk.chunk_id().map(chunk::key).as_deref() != Some(key) {
        check.wrong(FAMILY, key, "its record is that of another chunk");
    }
    if chunk.redundancy().is_none() || chunk.chunk_hash().is_none() {
        check.wrong(FAMILY, key, "its scheme or its hash is none");
    }
    if found.end > chunk.length {
        let what = format!("an extent goes to byte {} of its {}", found.end, chunk.length);
        check.wrong(FAMILY, key, what);
    }
}

fn key_of(reference: &[u8; REFERENCE_LEN]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key.copy_from_slice(&reference[..KEY_LEN]);
    key
}
