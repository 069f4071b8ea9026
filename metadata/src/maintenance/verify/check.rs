//! What all passes share: the state, where findings go, and what one pass gathers for another.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use cairn_common::{
    envelope::{self, Record},
    ids::ChunkId,
};

use super::{
    super::{
        describe::describe,
        error::{MaintenanceError, io_error},
    },
    sort::Sorter,
};
use crate::{
    core::view::Family,
    record::{bucket::BucketRecord, description::hex, extent::ExtentRecord, inode::InodeKind, key::KeyWriter},
    store::{OfflineState, Records},
};

/// Records between two words of progress.
const PROGRESS_EVERY: u64 = 1 << 14;

/// What to do about a record that cannot be read.
const RESTORE: &str =
    "keep the directory, check the disk, then restore this server from a backup or from the other servers";
/// What to do about records that contradict each other.
const REPORT: &str = "keep a backup, compare the chained hash with the other servers', restore this one where only it differs, \
                      and report it";

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The family of the record, or `log`.
    pub family: &'static str,
    /// The record: its key, taken apart where it can be.
    pub record: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

/// A verification under way.
pub(super) struct Check<'a> {
    pub(super) state: &'a OfflineState,
    pub(super) records: u64,
    pub(super) findings: u64,
    report: &'a mut dyn FnMut(&Finding),
    progress: &'a mut dyn FnMut(&'static str, u64),
}

/// A family, walked record by record.
pub(super) struct Cursor<'a> {
    family: Family,
    records: Records<'a>,
    next: Option<(Vec<u8>, Vec<u8>)>,
}

/// What passes gather for later ones.
pub(super) struct Gathered {
    pub(super) buckets: BTreeMap<u64, BucketFacts>,
    /// bucket u64 | inode u64 | how u8 | parent u64
    pub(super) links: Sorter<LINK_LEN>,
    /// bucket u64 | upload u64 | how u8 | inode u64
    pub(super) claims: Sorter<LINK_LEN>,
    /// placement u64 | chunk id 16 | how u8 | end u32
    pub(super) references: Sorter<REFERENCE_LEN>,
    /// Entries of the release queue, and inodes that are held open.
    pub(super) queued: u64,
    /// The log index of the release queue's first entry.
    pub(super) first_queued: Option<u64>,
    /// Ended sessions whose locks are queued for release.
    pub(super) ended_sessions: BTreeSet<u64>,
    /// Buckets of which a feed that was ended is queued for release.
    pub(super) ended_feeds: BTreeSet<u64>,
    /// Chunks that should wait for repair.
    pub(super) to_repair: u64,
    scratch: PathBuf,
}

pub(super) const LINK_LEN: usize = 25;
pub(super) const REFERENCE_LEN: usize = 29;

/// A bucket, and what was found in it.
#[derive(Default)]
pub(super) struct BucketFacts {
    pub(super) record: BucketRecord,
    pub(super) objects: u64,
    pub(super) object_bytes: u64,
    pub(super) uploads: u64,
    pub(super) upload_bytes: u64,
    pub(super) inodes: u64,
}

/// How something leads to an inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// It is queued for release.
    Queued,
    /// It waits for a mount to close it.
    Held,
    /// What a truncation cut off is queued for release.
    Cut,
    /// A directory's name.
    Directory,
    /// A name of something of this kind.
    Name(InodeKind),
}

impl Link {
    fn code(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Held => 1,
            Self::Cut => 2,
            Self::Directory => 3,
            Self::Name(kind) => u8::try_from(i32::from(kind)).map_or(u8::MAX, |kind| 4 + kind),
        }
    }

    fn of(code: u8) -> Self {
        match code {
            0 => Self::Queued,
            1 => Self::Held,
            2 => Self::Cut,
            3 => Self::Directory,
            name => Self::Name(InodeKind::try_from(i32::from(name) - 4).unwrap_or_default()),
        }
    }
}

/// Whose the parts of an upload are.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Claim {
    /// Of the upload, which is under way.
    UnderWay = 0,
    /// Of an object.
    Object = 1,
    /// Of an object that is being released.
    Released = 2,
    /// Of nobody: the upload is queued for release.
    Queued = 3,
    /// Those that the object does not name are queued for release.
    Unselected = 4,
}

/// How something refers to a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reference {
    /// Once, by an extent or by a queued release of one.
    Extent = 0,
    /// As garbage whose shards are to be deleted.
    Garbage = 1,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        state: &'a OfflineState,
        report: &'a mut dyn FnMut(&Finding),
        progress: &'a mut dyn FnMut(&'static str, u64),
    ) -> Self {
        Self {
            state,
            records: 0,
            findings: 0,
            report,
            progress,
        }
    }

    /// Walks a family.
    pub(super) fn cursor(&mut self, family: Family) -> Result<Cursor<'a>, MaintenanceError> {
        let mut cursor = Cursor {
            family,
            records: self.state.records(family, &[])?,
            next: None,
        };
        cursor.advance(self);
        Ok(cursor)
    }

    /// The record in `value`, unless that is damaged: then it is reported.
    pub(super) fn open<R: Record>(&mut self, family: Family, key: &[u8], value: &[u8]) -> Option<R> {
        match envelope::open(value) {
            Ok(record) => Some(record),
            Err(error) => {
                self.damaged(family, key, &error.to_string());
                None
            }
        }
    }

    /// Reports a record that cannot be read.
    pub(super) fn damaged(&mut self, family: Family, key: &[u8], detail: &str) {
        self.find(
            family.name(),
            &format!("key 0x{}", hex(key)),
            detail.to_owned(),
            RESTORE,
        );
    }

    /// Reports a record that contradicts others.
    pub(super) fn wrong(&mut self, family: Family, key: &[u8], what: impl Into<String>) {
        let described = self.state.value(family, key).ok().flatten();
        let described = described.and_then(|value| describe(family, key, &value).ok());
        let record = described.map_or_else(|| format!("key 0x{}", hex(key)), |description| description.key);
        self.find(family.name(), &record, what.into(), REPORT);
    }

    /// Reports what is wrong with the log.
    pub(super) fn wrong_log(&mut self, what: String) {
        self.find("log", "the Raft log", what, RESTORE);
    }

    fn find(&mut self, family: &'static str, record: &str, what: String, advice: &'static str) {
        self.findings += 1;
        (self.report)(&Finding {
            family,
            record: record.to_owned(),
            what,
            advice,
        });
    }

    fn count(&mut self, family: Family) {
        self.records += 1;
        if self.records.is_multiple_of(PROGRESS_EVERY) {
            (self.progress)(family.name(), self.records);
        }
    }
}

impl Cursor<'_> {
    /// The key at hand.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|(key, _)| key.as_slice())
    }

    /// Takes the record at hand.
    pub(super) fn take(&mut self, check: &mut Check<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
        let taken = self.next.take()?;
        check.count(self.family);
        self.advance(check);
        Some(taken)
    }

    fn advance(&mut self, check: &mut Check<'_>) {
        self.next = match self.records.next() {
            Some(Ok(record)) => Some(record),
            None => None,
            Some(Err(error)) => {
                let what = format!("the rest of the family cannot be read: {error}");
                check.find(self.family.name(), "the family", what, RESTORE);
                None
            }
        };
    }
}

impl Gathered {
    pub(super) fn new(scratch: &std::path::Path) -> Self {
        Self {
            buckets: BTreeMap::new(),
            links: Sorter::new(scratch),
            claims: Sorter::new(scratch),
            references: Sorter::new(scratch),
            queued: 0,
            first_queued: None,
            ended_sessions: BTreeSet::new(),
            ended_feeds: BTreeSet::new(),
            to_repair: 0,
            scratch: scratch.to_owned(),
        }
    }

    /// Something leads to an inode: a name in directory `other`, or a truncation of generation `other`.
    pub(super) fn link(&mut self, bucket: u64, inode: u64, how: Link, other: u64) -> Result<(), MaintenanceError> {
        let record = link_record(bucket, inode, how.code(), other);
        let pushed = self.links.push(record);
        pushed.map_err(|error| self.failed(error))
    }

    /// The parts of an upload belong to something.
    pub(super) fn claim(&mut self, bucket: u64, upload: u64, how: Claim, inode: u64) -> Result<(), MaintenanceError> {
        let record = link_record(bucket, upload, how as u8, inode);
        let pushed = self.claims.push(record);
        pushed.map_err(|error| self.failed(error))
    }

    /// Something refers to the bytes of a chunk up to `end`; `false` where the id is none.
    pub(super) fn refer(&mut self, id: &[u8], how: Reference, end: u32) -> Result<bool, MaintenanceError> {
        let Some(id) = ChunkId::from_bytes(id) else {
            return Ok(false);
        };
        let key = KeyWriter::new().u64(id.placement_hash().value()).tail(&id.to_bytes());
        let mut record = [0; REFERENCE_LEN];
        record[..24].copy_from_slice(&key);
        record[24] = how as u8;
        record[25..].copy_from_slice(&end.to_be_bytes());
        let pushed = self.references.push(record);
        pushed.map_err(|error| self.failed(error))?;
        Ok(true)
    }

    /// An extent refers to its chunk; `false` where it names none. One without a chunk refers to nothing.
    pub(super) fn refer_extent(&mut self, extent: &ExtentRecord) -> Result<bool, MaintenanceError> {
        if extent.chunk_id.is_empty() {
            return Ok(true);
        }
        let end = u64::from(extent.chunk_offset).saturating_add(extent.length);
        self.refer(
            &extent.chunk_id,
            Reference::Extent,
            u32::try_from(end).unwrap_or(u32::MAX),
        )
    }

    /// The error of a failed sorter.
    pub(super) fn failed(&self, error: io::Error) -> MaintenanceError {
        io_error(&self.scratch)(error)
    }
}

fn link_record(bucket: u64, number: u64, how: u8, other: u64) -> [u8; LINK_LEN] {
    let key = KeyWriter::new().u64(bucket).u64(number).u8(how).u64(other).finish();
    key.try_into().expect("three numbers and a byte")
}

/// A link: where it leads to, how, and from where.
pub(super) fn link_of(record: &[u8; LINK_LEN]) -> ((u64, u64), Link, u64) {
    let (to, how, other) = link_parts(record);
    (to, Link::of(how), other)
}

/// The numbers of a link or claim: (first, second), how, other.
pub(super) fn link_parts(record: &[u8; LINK_LEN]) -> ((u64, u64), u8, u64) {
    let number = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().expect("eight bytes"));
    ((number(0), number(8)), record[16], number(17))
}

/// The first two numbers of a key, as most keys have them.
pub(super) fn pair_of(key: &[u8]) -> Option<(u64, u64)> {
    use crate::record::key::u64_at;
    Some((u64_at(key, 0)?, u64_at(key, 8)?))
}
