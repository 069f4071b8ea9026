//! Extended attributes beside the inodes that they are of.

use bytes::Bytes;
use cairn_common::acl::{ACCESS, Acl, DEFAULT, PERMISSIONS};

use super::check::{Check, Cursor, pair_of};
use crate::{
    core::view::Family,
    record::{
        inode::{InodeKind, InodeRecord},
        xattr::{self, XattrRecord},
    },
};

const FAMILY: Family = Family::Xattr;

/// The extended attributes of an inode.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    /// Of names and values.
    bytes: u64,
    access: Option<Bytes>,
    default: Option<Bytes>,
}

/// The extended attributes of inode `at`. Those of inodes before it are of none, and are reported; all of them, without `at`.
pub(super) fn of(check: &mut Check<'_>, xattrs: &mut Cursor<'_>, at: Option<(u64, u64)>) -> Xattrs {
    let mut found = Xattrs::default();
    while let Some(next) = xattrs.key() {
        let of = pair_of(next);
        if at.is_some_and(|at| of.is_some_and(|of| of > at)) {
            break;
        }
        let Some((key, value)) = xattrs.take(check) else { break };
        if of.is_none() || of != at {
            check.wrong(FAMILY, &key, "the inode that it is of is not there");
        } else if let Some(record) = check.open::<XattrRecord>(FAMILY, &key, &value) {
            let name = &key[xattr::PREFIX_LEN..];
            found.bytes += (name.len() + record.value.len()) as u64;
            match name {
                ACCESS => found.access = Some(record.value),
                DEFAULT => found.default = Some(record.value),
                _ => {}
            }
        }
    }
    found
}

/// Holds what there is against what the inode's record says of it.
pub(super) fn compare(check: &mut Check<'_>, key: &[u8], record: &InodeRecord, found: &Xattrs) {
    // What is released loses its attributes first.
    let (says, bytes) = (record.xattr_bytes() as u64, found.bytes);
    if bytes > says || (bytes < says && record.unlinked_at == 0) {
        let what = format!("it counts {says} bytes of extended attributes, there are {bytes}");
        check.wrong(Family::Inode, key, what);
    }
    if record.unlinked_at > 0 {
        return;
    }
    let posix = record.posix();
    let access = found.access.as_deref().map(Acl::decode);
    if posix.has_access_acl != access.is_some() {
        check.wrong(
            Family::Inode,
            key,
            "whether it has an ACL of access is not what it says",
        );
    }
    if let Some(list) = access
        && !list.is_ok_and(|list| !list.is_mode() && list.mode() == posix.mode & PERMISSIONS)
    {
        check.wrong(
            Family::Inode,
            key,
            "its ACL of access is none, or not what its mode says",
        );
    }
    let default = found.default.as_deref().map(Acl::decode);
    if posix.has_default_acl != default.is_some() {
        check.wrong(Family::Inode, key, "whether it has a default ACL is not what it says");
    }
    if default.is_some_and(|list| list.is_err() || record.kind() != InodeKind::Directory) {
        check.wrong(Family::Inode, key, "its default ACL is none, or it is no directory");
    }
}
