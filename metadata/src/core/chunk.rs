//! The bytes of a commit: checked, and entered as chunk and extent records.
//!
//! Invariant: a chunk is committed at most once, and only while its session can still commit it.

use cairn_common::{
    ids::{ChunkId, SessionId},
    limits,
    wire::{
        command::ErrorCode,
        object::{Body, Chunk, Extent},
    },
};

use super::{
    session,
    tx::{ApplyError, Tx, refuse},
    view::{Family, View},
};
use crate::record::{
    chunk::{self, ChunkRecord},
    extent::ExtentRecord,
    session as session_record,
};

/// Checks a body and enters its chunks, each with one reference. Gives the extents, offsets as in the body.
pub(crate) fn commit_body(tx: &mut Tx<'_>, session: SessionId, body: &Body) -> Result<Vec<ExtentRecord>, ApplyError> {
    check_shape(body)?;
    if body.extents.is_empty() {
        return Ok(Vec::new());
    }
    let mut committer = session::require(tx, session)?;
    let mut records = Vec::with_capacity(body.extents.len());
    for extent in &body.extents {
        let chunk = extent
            .chunk
            .as_ref()
            .ok_or_else(|| malformed("an extent without a chunk"))?;
        let id = check_chunk(chunk, extent)?;
        if id.session != session || id.counter < committer.settled_below {
            let detail = format!("chunk {id} can no longer be committed by session {session}: send the data again");
            return Err(refuse(ErrorCode::SessionEnded, detail));
        }
        let key = chunk::key(id);
        // Counters come mostly in ascending order, so that there is mostly no record to look for.
        let may_be_known = id.counter <= committer.newest_chunk;
        if may_be_known && tx.get(Family::Chunk, &key)?.is_some() {
            return Err(malformed("a chunk that is committed already"));
        }
        committer.newest_chunk = committer.newest_chunk.max(id.counter);
        tx.put(
            Family::Chunk,
            key,
            &ChunkRecord {
                chunk: Some(chunk.clone()),
                references: 1,
            },
        );
        records.push(ExtentRecord {
            file_offset: extent.file_offset,
            length: extent.length,
            chunk_offset: extent.chunk_offset,
            chunk_id: chunk.id.clone(),
            ..ExtentRecord::default()
        });
    }
    tx.put(Family::Session, session_record::key(session), &committer);
    Ok(records)
}

/// A body is inline, or extents that follow each other without a hole.
fn check_shape(body: &Body) -> Result<(), ApplyError> {
    if body.extents.is_empty() {
        let fits = body.inline.len() <= limits::INLINE_SIZE_BYTES && body.inline.len() as u64 == body.size;
        return if fits {
            Ok(())
        } else {
            Err(malformed("an inline body of another size"))
        };
    }
    if !body.inline.is_empty() || body.extents.len() > limits::COMMAND_EXTENTS_MAX {
        return Err(malformed("a body both inline and in extents, or of too many extents"));
    }
    let mut offset = 0_u64;
    for extent in &body.extents {
        if extent.file_offset != offset || extent.length == 0 {
            return Err(malformed("extents that do not follow each other"));
        }
        offset = offset.saturating_add(extent.length);
    }
    if offset == body.size {
        Ok(())
    } else {
        Err(malformed("extents of another size than the body"))
    }
}

fn check_chunk(chunk: &Chunk, extent: &Extent) -> Result<ChunkId, ApplyError> {
    let id = chunk
        .chunk_id()
        .ok_or_else(|| malformed("a chunk id that is not 16 bytes"))?;
    let redundancy = chunk.redundancy().ok_or_else(|| malformed("a scheme out of range"))?;
    let hashed = chunk.chunk_hash().is_some();
    let sized = (1..=limits::CHUNK_SIZE_BYTES).contains(&(chunk.length as usize));
    let inside = u64::from(extent.chunk_offset).saturating_add(extent.length) <= u64::from(chunk.length);
    let explicit = chunk.explicit_devices.is_empty() || chunk.explicit_devices.len() == redundancy.width();
    if hashed && sized && inside && explicit {
        Ok(id)
    } else {
        Err(malformed("a chunk that breaks a rule"))
    }
}

pub(crate) fn malformed(what: &str) -> ApplyError {
    refuse(ErrorCode::Malformed, format!("the message holds {what}"))
}
