//! Extended attributes beside the inodes that they are of.

use super::check::{Check, Cursor, pair_of};
use crate::{
    core::view::Family,
    record::xattr::{self, XattrRecord},
};

const FAMILY: Family = Family::Xattr;

/// Bytes of the extended attributes of inode `at`, names and values. Those of inodes before it are of none, and are reported;
/// all of them, without `at`.
pub(super) fn bytes_of(check: &mut Check<'_>, xattrs: &mut Cursor<'_>, at: Option<(u64, u64)>) -> u64 {
    let mut bytes = 0;
    while let Some(next) = xattrs.key() {
        let of = pair_of(next);
        if at.is_some_and(|at| of.is_some_and(|of| of > at)) {
            break;
        }
        let Some((key, value)) = xattrs.take(check) else { break };
        if of.is_none() || of != at {
            check.wrong(FAMILY, &key, "the inode that it is of is not there");
        } else if let Some(record) = check.open::<XattrRecord>(FAMILY, &key, &value) {
            bytes += (key.len() - xattr::PREFIX_LEN + record.value.len()) as u64;
        }
    }
    bytes
}
