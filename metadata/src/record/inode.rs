//! Inodes: bodies of objects and files, directories, symbolic links and special files.
//!
//! ```text
//! family inode   key bucket u64 | inode u64 → InodeRecord
//! ```

use bytes::Bytes;
use cairn_common::{
    envelope::Record,
    ids::{BucketId, InodeId},
    wire::object::ObjectAttributes,
};
use prost::Message;

use super::{
    description::{Description, KeyReader, Unreadable},
    extent::ExtentRecord,
    key::KeyWriter,
};

/// What an inode is.
pub(crate) use cairn_common::wire::file::FileKind as InodeKind;

/// Nanoseconds of a millisecond.
const NS_PER_MS: i64 = 1_000_000;

/// A body with its attributes, or a directory.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InodeRecord {
    #[prost(enumeration = "InodeKind", tag = "1")]
    pub(crate) kind: i32,
    /// When its data, or a directory's entries, were committed last, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub(crate) modified_ms: u64,
    /// Bytes of the body.
    #[prost(uint64, tag = "3")]
    pub(crate) size: u64,
    /// What S3 gave it; the entity tag is empty once a mount has changed the data.
    #[prost(message, optional, tag = "4")]
    pub(crate) attributes: Option<ObjectAttributes>,
    /// The whole body, where it is small: then it has no extents. The target of a symbolic link.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) inline: Bytes,
    /// The first extents.
    #[prost(message, repeated, tag = "6")]
    pub(crate) extents: Vec<ExtentRecord>,
    /// Whether more extents have records of their own.
    #[prost(bool, tag = "7")]
    pub(crate) more_extents: bool,
    /// The upload whose parts are the body, under what extents a mount laid over them; 0 for none.
    #[prost(uint64, tag = "8")]
    pub(crate) upload: u64,
    /// Entries of a directory, the empty-named child included.
    #[prost(uint64, tag = "9")]
    pub(crate) children: u64,
    /// The directory that a directory lies in.
    #[prost(uint64, tag = "10")]
    pub(crate) parent: u64,
    /// What POSIX adds; none for what S3 made and no mount has changed.
    #[prost(message, optional, tag = "11")]
    pub(crate) posix: Option<PosixRecord>,
    /// Changes of the data in place; none for a body as it was put.
    #[prost(message, optional, tag = "12")]
    pub(crate) changes: Option<ChangesRecord>,
    /// Log index at which it lost its last name and was queued for release; 0 while it has one.
    #[prost(uint64, tag = "13")]
    pub(crate) unlinked_at: u64,
    /// Sub-directories of a directory that a mount shows.
    #[prost(uint32, tag = "14")]
    pub(crate) subdirectories: u32,
    /// Whether some of what it holds was released already: nobody may read it any more.
    #[prost(bool, tag = "15")]
    pub(crate) releasing: bool,
}

impl Record for InodeRecord {
    const VERSION: u8 = 1;
}

/// What POSIX adds to an inode.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PosixRecord {
    /// Permission bits.
    #[prost(uint32, tag = "1")]
    pub(crate) mode: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) uid: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) gid: u32,
    /// Names of what is no directory.
    #[prost(uint32, tag = "4")]
    pub(crate) links: u32,
    /// Device number of a device.
    #[prost(uint64, tag = "5")]
    pub(crate) device: u64,
    #[prost(int64, tag = "6")]
    pub(crate) atime_ns: i64,
    #[prost(int64, tag = "7")]
    pub(crate) mtime_ns: i64,
    #[prost(int64, tag = "8")]
    pub(crate) ctime_ns: i64,
    /// Bytes of all extended attributes, names and values.
    #[prost(uint32, tag = "9")]
    pub(crate) xattr_bytes: u32,
    /// Whether one of them is an ACL of access.
    #[prost(bool, tag = "10")]
    pub(crate) has_access_acl: bool,
    /// Whether one of them is a default ACL.
    #[prost(bool, tag = "11")]
    pub(crate) has_default_acl: bool,
}

/// Changes of a body in place.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChangesRecord {
    /// Moves with every change of the data.
    #[prost(uint64, tag = "1")]
    pub(crate) version: u64,
    /// Truncations whose remains are not removed yet; both numbers ascend.
    #[prost(message, repeated, tag = "2")]
    pub(crate) cuts: Vec<CutRecord>,
    /// Parts of the upload are cut off here.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) parts_end: Option<u64>,
}

/// A truncation: extents of an earlier generation end at `from`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct CutRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) generation: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) from: u64,
}

impl InodeRecord {
    /// A directory that a key made.
    pub(crate) fn directory(parent: InodeId, time_ms: u64) -> Self {
        Self {
            kind: InodeKind::Directory.into(),
            modified_ms: time_ms,
            parent: parent.value(),
            ..Self::default()
        }
    }

    /// What POSIX sees of an inode without a record of it.
    fn posix_default(&self) -> PosixRecord {
        let time_ns = ns(self.modified_ms);
        PosixRecord {
            mode: if self.kind() == InodeKind::Directory {
                0o755
            } else {
                0o644
            },
            links: 1,
            atime_ns: time_ns,
            mtime_ns: time_ns,
            ctime_ns: time_ns,
            ..PosixRecord::default()
        }
    }

    pub(crate) fn posix(&self) -> PosixRecord {
        self.posix.clone().unwrap_or_else(|| self.posix_default())
    }

    pub(crate) fn posix_mut(&mut self) -> &mut PosixRecord {
        let default = self.posix_default();
        self.posix.get_or_insert(default)
    }

    /// Names that lead here; for a directory as POSIX counts them.
    pub(crate) fn links(&self) -> u32 {
        if self.unlinked_at > 0 {
            0
        } else if self.kind() == InodeKind::Directory {
            self.subdirectories.saturating_add(2)
        } else {
            self.posix.as_ref().map_or(1, |posix| posix.links)
        }
    }

    pub(crate) fn data_version(&self) -> u64 {
        self.changes.as_ref().map_or(0, |changes| changes.version)
    }

    pub(crate) fn cuts(&self) -> &[CutRecord] {
        self.changes.as_ref().map_or(&[], |changes| &changes.cuts)
    }

    pub(crate) fn changes_mut(&mut self) -> &mut ChangesRecord {
        self.changes.get_or_insert_default()
    }

    pub(crate) fn xattr_bytes(&self) -> usize {
        self.posix.as_ref().map_or(0, |posix| posix.xattr_bytes as usize)
    }

    /// Whether all that the body has is in this record and not in extents: such a body stays here while it is small.
    pub(crate) fn is_inline(&self) -> bool {
        self.extents.is_empty() && !self.more_extents && self.upload == 0
    }

    /// Notes a change of the data, or of a directory's entries, for both views.
    pub(crate) fn touch_data(&mut self, time_ms: u64) {
        let time_ns = ns(time_ms);
        // Explicitly kept times stay behind only where there are any: the others follow from `modified_ms`.
        if let Some(posix) = &mut self.posix {
            posix.mtime_ns = time_ns;
            posix.ctime_ns = time_ns;
        }
        self.modified_ms = time_ms;
    }

    /// Notes a change of anything else.
    pub(crate) fn touch(&mut self, time_ms: u64) {
        self.posix_mut().ctime_ns = ns(time_ms);
    }
}

/// Milliseconds since 1970 in nanoseconds.
pub(crate) fn ns(time_ms: u64) -> i64 {
    i64::try_from(time_ms).unwrap_or(i64::MAX).saturating_mul(NS_PER_MS)
}

pub(crate) fn key(bucket: BucketId, inode: InodeId) -> Vec<u8> {
    KeyWriter::new().u64(bucket.value()).u64(inode.value()).finish()
}

/// An inode for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    KeyReader::new(key)
        .u64("bucket")?
        .u64("inode")?
        .with::<InodeRecord>(value)
}
