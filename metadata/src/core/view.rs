//! The key-value view that the state machine reads, and the writes that it returns.
//!
//! Invariant: the state machine sees the state only through [`View`], so the same function runs over RocksDB and over a
//! `BTreeMap`.

use std::collections::BTreeMap;

/// A family of records: one column family of the store. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Store-wide counters, the feature level, the cluster map.
    System = 1,
    /// Buckets by number and by name.
    Bucket = 2,
    /// (bucket, parent inode, component) → inode.
    Dentry = 3,
    /// (bucket, inode) → attributes and the first extents.
    Inode = 4,
    /// (bucket, inode, file offset) → further extents; (bucket, inode) → parts of a multipart object.
    Extent = 5,
    /// (placement hash, chunk id) → scheme, length, hash, references.
    Chunk = 6,
    /// Multipart uploads.
    Upload = 7,
    /// Parts of uploads and of completed multipart objects.
    Part = 8,
    /// Client sessions.
    Session = 9,
    /// Replies kept for repeated commands.
    Reply = 10,
    /// Inodes, uploads and chunks to be released.
    Garbage = 11,
    /// Extended attributes.
    Xattr = 20,
    /// Files without a name that mount sessions hold open.
    Hold = 25,
    /// Locks of files, by inode and by session.
    Lock = 21,
    /// Users, access keys and rights.
    User = 22,
    /// Chunks that wait for repair.
    Repair = 23,
    /// Change feeds of buckets.
    Feed = 24,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 17] = [
        Self::System,
        Self::Bucket,
        Self::Dentry,
        Self::Inode,
        Self::Extent,
        Self::Chunk,
        Self::Upload,
        Self::Part,
        Self::Session,
        Self::Reply,
        Self::Garbage,
        Self::Xattr,
        Self::Hold,
        Self::Lock,
        Self::User,
        Self::Repair,
        Self::Feed,
    ];

    /// The name of the column family. Persistent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Bucket => "bucket",
            Self::Dentry => "dentry",
            Self::Inode => "inode",
            Self::Extent => "extent",
            Self::Chunk => "chunk",
            Self::Upload => "upload",
            Self::Part => "part",
            Self::Session => "session",
            Self::Reply => "reply",
            Self::Garbage => "garbage",
            Self::Xattr => "xattr",
            Self::Hold => "hold",
            Self::Lock => "lock",
            Self::User => "user",
            Self::Repair => "repair",
            Self::Feed => "feed",
        }
    }
}

/// Why the state could not be read. The state machine stops at the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The store failed.
    #[error("the metadata store cannot be read: {0}")]
    Storage(String),
    /// A record is damaged.
    #[error("a {family} record is damaged: {detail}")]
    Corrupt {
        /// The family of the record.
        family: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// Sees one record of a scan; `false` ends the scan.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// A consistent state to read from.
pub trait View {
    /// The value under `key`.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError>;

    /// The values under `keys`, in their order. Faster than one after the other where the keys ascend.
    fn many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, ViewError> {
        keys.iter().map(|key| self.get(family, key)).collect()
    }

    /// Visits the records of `family` from `from` on, in ascending key order, until the visitor answers `false`.
    fn scan(&self, family: Family, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), ViewError>;

    /// Records of this state that are kept decoded; none where it keeps none.
    fn open_records(&self) -> Option<&OpenRecords> {
        None
    }
}

pub(crate) use super::open_records::OpenRecords;

/// One change: a record set, or removed where the value is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record's family.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Option<Vec<u8>>,
}

/// The state in memory: for tests and models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    families: BTreeMap<Family, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryView {
    /// Carries out `writes` in order.
    pub fn commit(&mut self, writes: Vec<Write>) {
        for write in writes {
            let family = self.families.entry(write.family).or_default();
            match write.value {
                Some(value) => family.insert(write.key, value),
                None => family.remove(&write.key),
            };
        }
    }
}

impl View for MemoryView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self.families.get(&family).and_then(|records| records.get(key)).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        let Some(records) = self.families.get(&family) else {
            return Ok(());
        };
        for (key, value) in records.range(from.to_vec()..) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
