//! POSIX ACLs: extended attributes that take effect.
//!
//! Invariant: an inode's record says which of the two it has, and the mode of one with an ACL of access is what the list says as
//! far as a mode can.

use bytes::Bytes;
use cairn_common::{
    acl::{ACCESS, Acl, DEFAULT, PERMISSIONS},
    ids::{BucketId, InodeId},
    limits::ACL_BYTES_MAX,
    wire::{command::ErrorCode, file::SetXattr},
};

use super::{
    attributes::SETGID,
    xattr::{put, take},
};
use crate::{
    core::{
        tx::{ApplyError, Tx, read_record, refuse},
        view::{Family, View, ViewError},
    },
    record::{
        inode::{InodeKind, InodeRecord},
        xattr::{self, XattrRecord},
    },
};

/// The lists that something is made with.
#[derive(Debug, Default)]
pub(super) struct Lists {
    access: Option<Bytes>,
    default: Option<Bytes>,
}

/// Sets a list, and what follows of it; the caller stores `record`.
pub(super) fn set(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &mut InodeRecord,
    set: &SetXattr,
) -> Result<(), ApplyError> {
    if set.value.len() > ACL_BYTES_MAX {
        return Err(refuse(
            ErrorCode::XattrTooLarge,
            format!("an ACL has at most {ACL_BYTES_MAX} bytes"),
        ));
    }
    let list = Acl::decode(&set.value).map_err(|error| refuse(ErrorCode::InvalidXattr, error.to_string()))?;
    if set.name == DEFAULT {
        if record.kind() != InodeKind::Directory {
            return Err(refuse(ErrorCode::InvalidXattr, "only a directory has a default ACL"));
        }
        record.posix_mut().has_default_acl = true;
        return put(tx, bucket, inode, record, DEFAULT, list.encode());
    }
    if record.kind() == InodeKind::Symlink {
        return Err(refuse(ErrorCode::InvalidXattr, "a symbolic link has no ACL"));
    }
    let posix = record.posix_mut();
    posix.mode = posix.mode & !PERMISSIONS | list.mode();
    if set.clear_setgid {
        posix.mode &= !SETGID;
    }
    posix.has_access_acl = !list.is_mode();
    if list.is_mode() {
        take(tx, bucket, inode, record, ACCESS)?;
        return Ok(());
    }
    put(tx, bucket, inode, record, ACCESS, list.encode())
}

/// Notes that a list is gone. The mode stays as it is.
pub(super) fn removed(record: &mut InodeRecord, name: &[u8]) {
    if name == ACCESS {
        record.posix_mut().has_access_acl = false;
    } else if name == DEFAULT {
        record.posix_mut().has_default_acl = false;
    }
}

/// Sets the mode, and the list of access with it; the caller stores `record`.
pub(super) fn change_mode(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &mut InodeRecord,
    mode: u32,
) -> Result<(), ApplyError> {
    let posix = record.posix_mut();
    posix.mode = mode;
    if posix.has_access_acl {
        let list = stored(tx, bucket, inode, ACCESS)?.with_mode(mode);
        put(tx, bucket, inode, record, ACCESS, list.encode())?;
    }
    Ok(())
}

/// What `record`, which is not stored yet, begins with in `directory`: the lists to enter once it has a number.
pub(super) fn inherit(
    view: &dyn View,
    bucket: BucketId,
    (directory, directory_record): (InodeId, &InodeRecord),
    record: &mut InodeRecord,
    umask: u32,
) -> Result<Lists, ViewError> {
    let (kind, posix) = (record.kind(), record.posix_mut());
    if kind == InodeKind::Symlink {
        return Ok(Lists::default());
    }
    if !has_default(directory_record) {
        posix.mode &= !(umask & PERMISSIONS);
        return Ok(Lists::default());
    }
    let default = stored(view, bucket, directory, DEFAULT)?;
    let lists = Lists {
        default: (kind == InodeKind::Directory).then(|| default.encode()),
        access: {
            let inherited = default.inherited(posix.mode);
            posix.mode = inherited.mode;
            inherited.access.map(|list| list.encode())
        },
    };
    posix.has_access_acl = lists.access.is_some();
    posix.has_default_acl = lists.default.is_some();
    let bytes: usize = lists.named().map(|(name, value)| name.len() + value.len()).sum();
    posix.xattr_bytes = u32::try_from(bytes).expect("two lists are smaller than all extended attributes may be");
    Ok(lists)
}

/// Stores the lists of an inode whose record counts them already.
pub(super) fn enter(tx: &mut Tx<'_>, bucket: BucketId, inode: InodeId, lists: Lists) {
    for (name, value) in lists.named() {
        let value = value.clone();
        tx.put(Family::Xattr, xattr::key(bucket, inode, name), &XattrRecord { value });
    }
}

impl Lists {
    fn named(&self) -> impl Iterator<Item = (&'static [u8], &Bytes)> {
        [(ACCESS, &self.access), (DEFAULT, &self.default)]
            .into_iter()
            .filter_map(|(name, list)| Some((name, list.as_ref()?)))
    }
}

fn has_default(directory: &InodeRecord) -> bool {
    directory.posix.as_ref().is_some_and(|posix| posix.has_default_acl)
}

/// A list that the record says is there.
fn stored(view: &dyn View, bucket: BucketId, inode: InodeId, name: &[u8]) -> Result<Acl, ViewError> {
    let found: Option<XattrRecord> = read_record(view, Family::Xattr, &xattr::key(bucket, inode, name))?;
    let list = found.and_then(|record| Acl::decode(&record.value).ok());
    list.ok_or_else(|| ViewError::Corrupt {
        family: Family::Xattr.name(),
        detail: format!("inode {inode} has no ACL, or a malformed one, though its record says it has one"),
    })
}
