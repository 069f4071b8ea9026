//! Where the bytes of a file lie, and reading them.
//!
//! Invariant: what a plan names is kept for as long as the plan lives, and not longer: who keeps one keeps garbage of the whole
//! store from being removed, and so does not keep it for long.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId},
    limits,
    redundancy::Redundancy,
    wire::{
        file::{FileAttributes, FilePlanQuery, FileQuestion, FileReply},
        object::{Chunk, Extent},
    },
};
use cairn_datapath::ReadError;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{FileError, Files};
use crate::{error::unexpected, metadata::Shared, session::ReadInProgress};

/// A file at one version of its data, and where some of its bytes lie.
pub struct PlannedFile {
    /// The file.
    pub attributes: FileAttributes,
    from: u64,
    to: u64,
    /// All bytes, of a small file.
    inline: Bytes,
    extents: Vec<Extent>,
    _read: ReadInProgress,
}

/// A range of a file as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRange {
    /// The bytes.
    pub range: Range<u64>,
    /// Whether they are data; otherwise a hole.
    pub is_data: bool,
}

/// A range of a file that lies in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRange {
    /// The bytes of the file.
    pub range: Range<u64>,
    /// The chunk.
    pub chunk: ChunkId,
    /// Its redundancy.
    pub redundancy: Redundancy,
    /// The devices of its shards, in order; empty where the map says nothing of them.
    pub devices: Vec<DeviceId>,
    /// Bit i: shard i is missing.
    pub missing: u32,
}

/// A piece of a read.
enum Part {
    Here(Bytes),
    Zeros(usize),
    Stored(Chunk, Range<u32>),
}

impl PlannedFile {
    /// Whether the byte at `offset` is one that the plan knows of; those at the end of the file and behind it are.
    pub fn covers(&self, offset: u64) -> bool {
        offset >= self.from && (offset < self.to || self.to >= self.attributes.size)
    }

    /// Where the plan ends.
    pub const fn end(&self) -> u64 {
        self.to
    }

    /// What the plan says of the bytes behind `offset`, in order, to its end.
    pub fn ranges(&self, offset: u64) -> Vec<PlannedRange> {
        let mut ranges = Vec::new();
        let mut push = |range: Range<u64>, is_data| {
            let range = range.start.max(offset)..range.end;
            if !range.is_empty() {
                ranges.push(PlannedRange { range, is_data });
            }
        };
        if !self.inline.is_empty() {
            push(0..self.inline.len() as u64, true);
            return ranges;
        }
        let mut at = self.from;
        for extent in &self.extents {
            push(at..extent.file_offset, false);
            let is_hole = extent.chunk.is_none() && extent.inline.is_empty();
            at = extent.file_offset + extent.length;
            push(extent.file_offset..at, !is_hole);
        }
        push(at..self.to, false);
        ranges
    }

    /// The chunks of what the plan knows of, with the devices where `map` has their shards. Bytes in the metadata are in none.
    pub fn stored(&self, map: &ClusterMap) -> Vec<StoredRange> {
        let stored = |extent: &Extent| {
            let chunk = extent.chunk.as_ref()?;
            let (id, redundancy) = (chunk.chunk_id()?, chunk.redundancy()?);
            let row = || map.row(redundancy.width(), id.placement_hash().group(map.group_bits));
            let devices = chunk.explicit_row().or_else(|| row().map(<[DeviceId]>::to_vec));
            Some(StoredRange {
                range: extent.file_offset..extent.file_offset + extent.length,
                chunk: id,
                redundancy,
                devices: devices.unwrap_or_default(),
                missing: chunk.missing,
            })
        };
        self.extents.iter().filter_map(stored).collect()
    }

    /// The parts of `range`, which lies within the plan.
    fn parts(&self, range: Range<u64>) -> Result<Vec<Part>, FileError> {
        let narrow = |bytes: u64| usize::try_from(bytes).map_err(|_| FileError::from(unexpected()));
        if !self.inline.is_empty() {
            let end = (self.inline.len() as u64).min(range.end);
            let start = range.start.min(end);
            return Ok(vec![Part::Here(self.inline.slice(narrow(start)?..narrow(end)?))]);
        }
        let mut parts = Vec::new();
        let mut at = range.start;
        let first = self
            .extents
            .partition_point(|extent| extent.file_offset + extent.length <= at);
        for extent in &self.extents[first..] {
            if extent.file_offset >= range.end {
                break;
            }
            if at < extent.file_offset {
                parts.push(Part::Zeros(narrow(extent.file_offset - at)?));
                at = extent.file_offset;
            }
            let stop = (extent.file_offset + extent.length).min(range.end);
            let skipped = at - extent.file_offset;
            push_extent(&mut parts, extent, skipped..stop - extent.file_offset)?;
            at = stop;
        }
        if at < range.end {
            parts.push(Part::Zeros(narrow(range.end - at)?));
        }
        Ok(parts)
    }
}

/// The parts of a range within an extent: stored ones in pieces, so that none is large.
fn push_extent(parts: &mut Vec<Part>, extent: &Extent, within: Range<u64>) -> Result<(), FileError> {
    let narrow = |bytes: u64| usize::try_from(bytes).map_err(|_| FileError::from(unexpected()));
    let Some(chunk) = &extent.chunk else {
        if extent.inline.is_empty() {
            parts.push(Part::Zeros(narrow(within.end - within.start)?));
            return Ok(());
        }
        let (start, end) = (narrow(within.start)?, narrow(within.end)?);
        if end > extent.inline.len() {
            return Err(unexpected().into());
        }
        parts.push(Part::Here(extent.inline.slice(start..end)));
        return Ok(());
    };
    let base = u64::from(extent.chunk_offset);
    let (mut at, end) = (base + within.start, base + within.end);
    let piece = limits::READ_PIECE_BYTES as u64;
    while at < end {
        let stop = ((at / piece + 1) * piece).min(end);
        let small = |offset: u64| u32::try_from(offset).map_err(|_| FileError::from(unexpected()));
        parts.push(Part::Stored(chunk.clone(), small(at)?..small(stop)?));
        at = stop;
    }
    Ok(())
}

impl Files {
    /// A file and where its bytes lie, from `from` on. With `expected_version`, only at that version of the data.
    pub async fn plan(&self, inode: u64, from: u64, expected_version: Option<u64>) -> Result<PlannedFile, FileError> {
        let read = self.client.shared.session().begin_read();
        let query = FilePlanQuery {
            inode,
            from,
            expected_version,
        };
        let FileReply::Plan(answer) = self.ask(FileQuestion::Plan(query)).await? else {
            return Err(unexpected().into());
        };
        let (Some(attributes), Some(plan)) = (answer.attributes, answer.plan) else {
            return Err(unexpected().into());
        };
        let whole = !plan.inline.is_empty();
        Ok(PlannedFile {
            from: if whole { 0 } else { from },
            to: if plan.next_from > 0 {
                plan.next_from
            } else {
                attributes.size
            },
            attributes,
            inline: plan.inline,
            extents: plan.extents,
            _read: read,
        })
    }

    /// The newest cluster map that is known.
    pub fn cluster_map(&self) -> Arc<ClusterMap> {
        self.client.cluster_map()
    }

    /// The bytes of `range`, which lies within the plan, verified and in order.
    pub async fn read(&self, plan: &PlannedFile, range: Range<u64>) -> Result<Vec<Bytes>, FileError> {
        let parts = plan.parts(range)?;
        if let [Part::Stored(chunk, range)] = &parts[..] {
            return Ok(self.client.shared.read_chunk(chunk, range.clone()).await?);
        }
        let shared = &self.client.shared;
        let fetched: Vec<Vec<Bytes>> = stream::iter(parts)
            .map(|part| fetch(shared, part))
            .buffered(limits::READ_AHEAD_PIECES)
            .try_collect()
            .await?;
        Ok(fetched.into_iter().flatten().collect())
    }
}

async fn fetch(shared: &Arc<Shared>, part: Part) -> Result<Vec<Bytes>, ReadError> {
    match part {
        Part::Here(bytes) => Ok(vec![bytes]),
        Part::Zeros(length) => Ok(vec![Bytes::from(vec![0; length])]),
        Part::Stored(chunk, range) => shared.read_chunk(&chunk, range).await,
    }
}
