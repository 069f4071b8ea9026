//! Between the store's words and the kernel's: attributes, kinds, times and error numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_client::FileError;
use cairn_common::wire::file::{FileAttributes, FileKind, SetTime};
use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};

/// Preferred size of reads and writes that programs are told.
const BLOCK_SIZE: u32 = 128 << 10;

/// What an operation gives, or the error number that the program gets.
pub(crate) type Outcome<T> = Result<T, Errno>;

/// The error number of a failure.
pub(crate) fn errno(error: FileError) -> Errno {
    match error {
        FileError::NoSuchEntry => Errno::ENOENT,
        FileError::Gone => Errno::ESTALE,
        FileError::Exists => Errno::EEXIST,
        FileError::NotDirectory => Errno::ENOTDIR,
        FileError::IsDirectory => Errno::EISDIR,
        FileError::NotEmpty => Errno::ENOTEMPTY,
        FileError::NameTooLong => Errno::ENAMETOOLONG,
        FileError::Invalid => Errno::EINVAL,
        FileError::NotUtf8 => Errno::EILSEQ,
        FileError::TooManyLinks => Errno::EMLINK,
        FileError::NoSuchXattr => Errno::ENODATA,
        FileError::XattrTooLarge => Errno::E2BIG,
        FileError::FileTooLarge => Errno::EFBIG,
        FileError::QuotaExceeded(_) => Errno::EDQUOT,
        FileError::OutOfSpace(_) => Errno::ENOSPC,
        FileError::DataChanged => Errno::EAGAIN,
        FileError::TooMuch(detail) | FileError::Unavailable(detail) | FileError::Failed(detail) => {
            tracing::warn!(detail, "an operation failed; the program gets EIO");
            Errno::EIO
        }
    }
}

pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::File | FileKind::Unspecified => FileType::RegularFile,
    }
}

/// Attributes as the kernel takes them, under the number that it knows the inode by.
pub(crate) fn file_attr(attributes: &FileAttributes, number: INodeNo) -> FileAttr {
    let kind = file_type(attributes.kind());
    FileAttr {
        ino: number,
        size: attributes.size,
        blocks: if kind == FileType::RegularFile {
            attributes.size.div_ceil(512)
        } else {
            0
        },
        atime: time(attributes.atime_ns),
        mtime: time(attributes.mtime_ns),
        ctime: time(attributes.ctime_ns),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(attributes.mode & 0o7777).unwrap_or_default(),
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: u32::try_from(attributes.device).unwrap_or_default(),
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

fn time(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

/// A time to set; those outside of what 64 bits of nanoseconds hold become the nearest.
pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    let TimeOrNow::SpecificTime(time) = time else {
        return SetTime { ns: None };
    };
    let ns = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    SetTime { ns: Some(ns) }
}
