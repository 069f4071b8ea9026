//! The segments of a device: their files, opened when they are needed, and how far each one's life has come.
//!
//! Invariants: a file is used only after its header was found to be this device's; what is removed can still be read by who
//! holds it; no more than [`OPEN_MAX`] files are kept open for nobody.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;

use super::disk::{Disk, SegmentFile};
use crate::{
    core::{
        position::SegmentId,
        record::Salt,
        segment_header::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentHeaderError},
        segment_name::{Stage, parse_segment_name, segment_name},
    },
    superblock::DeviceIdentity,
};

/// Segments that are kept open: two files each.
const OPEN_MAX: usize = 128;

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    /// There is none of this number (any more).
    #[error("segment {0} is not there")]
    Absent(SegmentId),
    #[error("segment {0}: {1}")]
    Header(SegmentId, SegmentHeaderError),
    #[error("cannot {0}: {1}")]
    Io(&'static str, Errno),
}

/// An open segment.
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) salt: Salt,
    pub(crate) size_bytes: u32,
    pub(crate) file: Arc<dyn SegmentFile>,
    /// When it was used last, in uses of all.
    used: AtomicU64,
}

/// All segments of a device.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    identity: DeviceIdentity,
    table: Mutex<BTreeMap<SegmentId, Entry>>,
    uses: AtomicU64,
}

struct Entry {
    stage: Stage,
    open: Option<Arc<Segment>>,
}

impl Segments {
    /// The segments on `disk`. Removes those that were never used.
    pub(crate) fn open(disk: Arc<dyn Disk>, identity: DeviceIdentity) -> Result<Self, SegmentError> {
        let mut table = BTreeMap::new();
        for name in disk.names().map_err(io("list the segments"))? {
            match parse_segment_name(&name) {
                Some((_, Stage::Making)) => disk.remove(&name).map_err(io("remove a segment without use"))?,
                Some((segment, stage)) => _ = table.insert(segment, Entry { stage, open: None }),
                None => {}
            }
        }
        Ok(Self {
            disk,
            identity,
            table: Mutex::new(table),
            uses: AtomicU64::new(0),
        })
    }

    /// The numbers of all segments of the log, in order.
    pub(crate) fn numbers(&self) -> Vec<SegmentId> {
        let table = self.table.lock();
        let serving = table.iter().filter(|(_, entry)| entry.stage != Stage::SetAside);
        serving.map(|(segment, _)| *segment).collect()
    }

    /// All segments and how far their lives have come, in order of their numbers.
    pub(crate) fn stages(&self) -> Vec<(SegmentId, Stage)> {
        let table = self.table.lock();
        table.iter().map(|(segment, entry)| (*segment, entry.stage)).collect()
    }

    /// The newest segment, whether it is in the log or set aside.
    pub(crate) fn newest(&self) -> Option<SegmentId> {
        self.table.lock().keys().next_back().copied()
    }

    /// The segments that were set aside.
    pub(crate) fn set_aside(&self) -> Vec<SegmentId> {
        let table = self.table.lock();
        let aside = table.iter().filter(|(_, entry)| entry.stage == Stage::SetAside);
        aside.map(|(segment, _)| *segment).collect()
    }

    /// Whether a segment of this number is in the log.
    pub(crate) fn contains(&self, segment: SegmentId) -> bool {
        let table = self.table.lock();
        table.get(&segment).is_some_and(|entry| entry.stage != Stage::SetAside)
    }

    /// A segment whose compaction has begun and not ended.
    pub(crate) fn condemned(&self) -> Option<SegmentId> {
        let table = self.table.lock();
        let condemned = table.iter().find(|(_, entry)| entry.stage == Stage::Condemned);
        condemned.map(|(segment, _)| *segment)
    }

    /// A segment, opened where it was not.
    pub(crate) fn find(&self, segment: SegmentId) -> Result<Arc<Segment>, SegmentError> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.lock();
        let entry = table.get_mut(&segment).ok_or(SegmentError::Absent(segment))?;
        let found = match &entry.open {
            Some(open) => Arc::clone(open),
            None => {
                let name = segment_name(segment, entry.stage);
                let opened = Arc::new(self.open_file(segment, &name)?);
                entry.open = Some(Arc::clone(&opened));
                close_one(&mut table, segment);
                opened
            }
        };
        found.used.store(used, Ordering::Relaxed);
        Ok(found)
    }

    /// A segment that is open, without a wait for the disk.
    pub(crate) fn find_open(&self, segment: SegmentId) -> Option<Arc<Segment>> {
        let found = self.table.lock().get(&segment)?.open.clone()?;
        found
            .used
            .store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(found)
    }

    fn open_file(&self, segment: SegmentId, name: &str) -> Result<Segment, SegmentError> {
        let file = self.disk.open(name).map_err(io("open a segment"))?;
        let page = file
            .read_at(0, SEGMENT_HEADER_LEN)
            .map_err(io("read a segment's header"))?;
        let header = SegmentHeader::decode(&page, &self.identity, segment)
            .map_err(|error| SegmentError::Header(segment, error))?;
        Ok(Segment {
            id: segment,
            salt: header.salt,
            size_bytes: u32::try_from(header.size_bytes).unwrap_or(u32::MAX),
            file,
            used: AtomicU64::new(0),
        })
    }

    /// Makes a segment; it and its name are durable before it is used.
    pub(crate) fn make(&self, segment: SegmentId, size_bytes: u32, salt: Salt) -> Result<Arc<Segment>, SegmentError> {
        let making = segment_name(segment, Stage::Making);
        let file = self
            .disk
            .create(&making, size_bytes)
            .map_err(io("set room aside for a segment"))?;
        let header = SegmentHeader {
            identity: self.identity,
            segment,
            size_bytes: size_bytes.into(),
            salt,
        };
        file.write_at(0, &[Bytes::from(header.encode())])
            .map_err(io("write a segment's header"))?;
        file.sync().map_err(io("sync a segment's header"))?;
        self.disk
            .rename(&making, &segment_name(segment, Stage::Serving))
            .map_err(io("name a segment"))?;
        self.disk.sync_directory().map_err(io("sync the segments' directory"))?;
        let made = Arc::new(Segment {
            id: segment,
            salt,
            size_bytes,
            file,
            used: AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed)),
        });
        let entry = Entry {
            stage: Stage::Serving,
            open: Some(Arc::clone(&made)),
        };
        self.table.lock().insert(segment, entry);
        Ok(made)
    }

    /// Says how far a segment's life has come.
    pub(crate) fn put_stage(&self, segment: SegmentId, stage: Stage) -> Result<(), SegmentError> {
        let mut table = self.table.lock();
        let entry = table.get_mut(&segment).ok_or(SegmentError::Absent(segment))?;
        if entry.stage == stage {
            return Ok(());
        }
        let [from, to] = [entry.stage, stage].map(|stage| segment_name(segment, stage));
        self.disk.rename(&from, &to).map_err(io("rename a segment"))?;
        entry.stage = stage;
        drop(table);
        self.disk.sync_directory().map_err(io("sync the segments' directory"))
    }

    /// Removes a segment for good.
    pub(crate) fn remove(&self, segment: SegmentId) -> Result<(), SegmentError> {
        let mut table = self.table.lock();
        let entry = table.get(&segment).ok_or(SegmentError::Absent(segment))?;
        self.disk
            .remove(&segment_name(segment, entry.stage))
            .map_err(io("remove a segment"))?;
        table.remove(&segment);
        drop(table);
        self.disk.sync_directory().map_err(io("sync the segments' directory"))
    }
}

/// Closes the segment that was not used for longest, where too many are open.
fn close_one(table: &mut BTreeMap<SegmentId, Entry>, but: SegmentId) {
    let open = |entry: &Entry| entry.open.as_ref().map(|open| open.used.load(Ordering::Relaxed));
    if table.values().filter(|entry| entry.open.is_some()).count() <= OPEN_MAX {
        return;
    }
    let others = table
        .iter_mut()
        .filter(|(segment, entry)| **segment != but && entry.open.is_some());
    if let Some((_, oldest)) = others.min_by_key(|(_, entry)| open(entry)) {
        oldest.open = None;
    }
}

fn io(what: &'static str) -> impl Fn(Errno) -> SegmentError {
    move |errno| SegmentError::Io(what, errno)
}
