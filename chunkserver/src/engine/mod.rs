//! The store of one device as blocking calls: a log of segments, an index over it, and what keeps both small and sound.
//!
//! It makes the decisions of `core` happen on a disk. It starts no thread and keeps no clock: `device/` calls it, and so do
//! tests that cut the power between any two of its disk operations. Invariants: what `commit` has answered with success is
//! on the disk, whatever happens next; the index holds nothing that is not.

mod compact;
pub(crate) mod disk;
pub(crate) mod health;
pub(crate) mod index;
mod payload;
mod read;
mod recover;
mod scrub;
pub(crate) mod segments;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

pub(crate) use self::{
    compact::{Compacted, Work},
    payload::{STAGE_LEN, Stage},
    read::{Cached, payload_len},
    recover::{Recovered, walk_records},
    scrub::Scrubbed,
    write::{Claimed, Item, random_salt},
};
use self::{
    disk::Disk,
    health::Health,
    index::{Found, Index, IndexBatch, IndexError},
    segments::{Segment, SegmentError, Segments},
};
use crate::{
    core::{
        changes::{Before, Changes, Tombstones},
        holdings::{Holdings, Space},
        index_record::IndexState,
        location::Location,
        position::SegmentId,
        record::{RECORD_LEN_MAX, Salt},
        scrub::ScrubState,
        segment_header::SEGMENT_HEADER_LEN,
        tail::Tail,
        usage::{Room, Usage, Usages},
    },
    metrics::DeviceMetrics,
    shard::ShardKey,
    store::StoreError,
    superblock::DeviceIdentity,
};

/// A segment is one part of so many of its file system, so that a few that are filled at a time do not take much of it.
const SEGMENTS_PER_DEVICE: u64 = 1024;

/// Smallest segment: the largest record fits.
pub(crate) const SEGMENT_BYTES_MIN: u32 = 16 << 20;

/// Largest segment that can be asked for.
pub(crate) const SEGMENT_BYTES_LIMIT: u32 = 1 << 30;

/// Segments are whole parts of this: pages, and what file systems give at a time.
pub(crate) const SEGMENT_BYTES_UNIT: u32 = 1 << 20;

const _: () = assert!(RECORD_LEN_MAX + SEGMENT_HEADER_LEN <= SEGMENT_BYTES_MIN as usize);

/// Largest segment unless it is told otherwise: what compaction works on at a time.
const SEGMENT_BYTES_MAX: u32 = 256 << 20;

/// Least reserve, in segments: one that is moved into another needs one, and deletes go on meanwhile.
const RESERVE_SEGMENTS: u64 = 2;

/// Part of the reserve, in parts of it, that stays even for deletes and compaction: room in which the index can be written.
const LAST_SHARE: u64 = 4;

/// Room beside the reserve, in segments, below which compaction takes what it can find.
const SPARE_SEGMENTS: u64 = 4;

/// How a device is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Free bytes that new shards never take, two segments at least.
    pub(crate) reserve_bytes: u64,
    /// Bytes of a segment; chosen by the size of the file system where it is `None`.
    pub(crate) segment_bytes: Option<u32>,
    /// Bytes that the device may take of its file system; all where it is `None`.
    pub(crate) capacity_bytes: Option<u64>,
}

/// What an engine is opened with.
pub(crate) struct Parts {
    pub(crate) identity: DeviceIdentity,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) index: Box<dyn Index>,
    pub(crate) health: Health,
    pub(crate) metrics: DeviceMetrics,
    pub(crate) settings: Settings,
    /// Gives bytes that nobody can guess.
    pub(crate) salts: Box<dyn Fn() -> Salt + Send + Sync>,
}

/// The store of a device.
pub(crate) struct Engine {
    pub(crate) health: Health,
    pub(crate) metrics: DeviceMetrics,
    disk: Arc<dyn Disk>,
    segments: Segments,
    index: Box<dyn Index>,
    settings: Settings,
    segment_bytes: u32,
    salts: Box<dyn Fn() -> Salt + Send + Sync>,
    /// What of each segment is in use. Held while the index changes; may be held when `tail` is taken, never the other way.
    usages: Mutex<Usages>,
    tail: Mutex<Tail>,
    scrub: Mutex<ScrubState>,
    /// Segments that are full and still have records on their way, and where they end.
    full: Mutex<Vec<(Arc<Segment>, u32)>>,
}

impl Engine {
    /// Where a shard lies.
    pub(crate) fn find(&self, key: &ShardKey) -> Result<Option<Location>, StoreError> {
        self.health.check()?;
        self.index.find(key).map_err(|error| self.index_failed(&error))
    }

    /// The same, where no wait for the disk is needed.
    pub(crate) fn find_cached(&self, key: &ShardKey) -> Result<Found, StoreError> {
        self.health.check()?;
        self.index.find_cached(key).map_err(|error| self.index_failed(&error))
    }

    /// Up to `limit` shards behind `after`, in order.
    pub(crate) fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<(ShardKey, Location)>, StoreError> {
        self.health.check()?;
        self.index.list(after, limit).map_err(|error| self.index_failed(&error))
    }

    /// What the device holds; notices that its directory has gone.
    pub(crate) fn holdings(&self) -> Holdings {
        if self.health.down().is_none() && !self.disk.is_there() {
            self.health.poison("the device's directory has vanished".to_owned());
        }
        let usages = self.usages.lock();
        Holdings {
            space: self.space().unwrap_or_default(),
            usage: usages.total(),
            segments: usages.iter().count(),
            set_aside: self.segments.set_aside().len(),
            scrub: *self.scrub.lock(),
        }
    }

    /// What of each segment is in use.
    pub(crate) fn segment_usages(&self) -> Vec<(SegmentId, Usage)> {
        self.usages.lock().iter().collect()
    }

    /// The segments of the log that cannot be used, and why.
    pub(crate) fn unreadable_segments(&self) -> Vec<(SegmentId, String)> {
        let numbers = self.segments.numbers().into_iter();
        let found = numbers.map(|number| (number, self.segments.find(number)));
        found
            .filter_map(|(number, found)| Some((number, found.err()?.to_string())))
            .collect()
    }

    /// Bytes claimed in the log since the store was opened.
    pub(crate) fn claimed_bytes(&self) -> u64 {
        self.tail.lock().claimed_bytes()
    }

    /// Brings the index to the disk, so that a start has less to read again.
    pub(crate) fn flush_index(&self) -> Result<(), StoreError> {
        match self.index.flush() {
            Err(IndexError::Full(_)) => Err(StoreError::Full),
            flushed => flushed.map_err(|error| self.index_failed(&error)),
        }
    }

    /// The room that the device has, in its file system and within what it may take.
    fn space(&self) -> Result<Space, Errno> {
        let mut space = self.disk.space()?;
        if let Some(capacity) = self.settings.capacity_bytes {
            let segments = self.segments.numbers().len() as u64;
            let left = capacity.saturating_sub(segments * u64::from(self.segment_bytes));
            space.total_bytes = space.total_bytes.min(capacity);
            space.free_bytes = space.free_bytes.min(left);
        }
        Ok(space)
    }

    /// The same for who cannot do without.
    fn room_left(&self) -> Result<Space, StoreError> {
        self.space()
            .map_err(|errno| self.health.judge("read the free space", errno))
    }

    /// Room that new data leaves alone: what emptying a segment takes before it gives anything back is always there.
    fn reserve_bytes(&self) -> u64 {
        let least = RESERVE_SEGMENTS * u64::from(self.segment_bytes);
        self.settings.reserve_bytes.max(least)
    }

    /// Room that nothing takes but the index.
    fn last_bytes(&self) -> u64 {
        self.reserve_bytes() / LAST_SHARE
    }

    /// Room with which compaction can begin another segment.
    fn compaction_bytes(&self) -> u64 {
        self.last_bytes() + u64::from(self.segment_bytes)
    }

    /// Whether there is less room than is kept free for new data.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.room() == Ok(Room::Short)
    }

    /// Whether compaction has anything to give where room is short.
    pub(crate) fn has_garbage(&self) -> bool {
        let usages = self.usages.lock();
        usages
            .victim(Room::Short, |segment| self.segments.contains(segment))
            .is_some()
    }

    /// Whether compaction must look for room.
    fn room(&self) -> Result<Room, StoreError> {
        let space = self.room_left()?;
        let spare = self.reserve_bytes() + SPARE_SEGMENTS * u64::from(self.segment_bytes);
        Ok(if space.free_bytes < spare {
            Room::Short
        } else {
            Room::Plenty
        })
    }

    /// Changes the index, in one batch with where the log is settled.
    fn change(&self, change: impl FnOnce(&View<'_>, &mut Changes) -> Result<(), IndexError>) -> Result<(), StoreError> {
        self.change_and_settle(&[], change)
    }

    /// The same for records that are durable, at `positions`.
    fn change_and_settle(
        &self,
        positions: &[crate::core::position::Position],
        change: impl FnOnce(&View<'_>, &mut Changes) -> Result<(), IndexError>,
    ) -> Result<(), StoreError> {
        let mut usages = self.usages.lock();
        let view = View {
            engine: self,
            usages: &usages,
        };
        let mut changes = Changes::default();
        change(&view, &mut changes).map_err(|error| self.index_failed(&error))?;
        let state = {
            let mut tail = self.tail.lock();
            positions.iter().for_each(|position| tail.settle(*position));
            IndexState {
                settled_end: tail.settled_end(),
                next_sequence: tail.next_sequence(),
            }
        };
        let batch = IndexBatch {
            changes,
            state: Some(state),
            ..IndexBatch::default()
        };
        self.index.apply(&batch).map_err(|error| self.index_failed(&error))?;
        for (segment, usage) in batch.changes.usages {
            usages.insert(segment, usage);
        }
        Ok(())
    }

    /// The index said something is wrong with it: it cannot be relied on until it is made anew.
    fn index_failed(&self, error: &IndexError) -> StoreError {
        self.health.poison(error.to_string())
    }

    /// A segment cannot be used: its shards are damaged, or the disk is.
    fn segment_failed(&self, error: SegmentError) -> StoreError {
        match error {
            SegmentError::Io(what, errno) => self.health.judge(what, errno),
            other @ (SegmentError::Absent(_) | SegmentError::Header(..)) => StoreError::Corrupt(other.to_string()),
        }
    }
}

/// The index as the rules of `core` look at it.
struct View<'a> {
    engine: &'a Engine,
    usages: &'a Usages,
}

impl Before for View<'_> {
    type Error = IndexError;

    fn find(&self, key: &ShardKey) -> Result<Option<Location>, IndexError> {
        self.engine.index.find(key)
    }

    fn find_tombstones(&self, target: SegmentId, segment: SegmentId) -> Result<Tombstones, IndexError> {
        self.engine.index.find_tombstones(target, segment)
    }

    fn usage(&self, segment: SegmentId) -> Option<Usage> {
        let known = self.usages.find(segment);
        known.or_else(|| self.engine.segments.contains(segment).then(Usage::default))
    }
}

/// The size of a device's segments.
fn segment_bytes(settings: &Settings, space: &Space) -> u32 {
    let total = settings
        .capacity_bytes
        .unwrap_or(space.total_bytes)
        .min(space.total_bytes);
    let part = u32::try_from(total / SEGMENTS_PER_DEVICE).unwrap_or(u32::MAX);
    let rounded = part.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).next_power_of_two();
    settings.segment_bytes.unwrap_or(rounded)
}
