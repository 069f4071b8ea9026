//! Names: each is readable, and where it leads is gathered for the pass over inodes.

use super::{
    super::error::MaintenanceError,
    check::{Check, Gathered, Link, pair_of},
};
use crate::{
    core::view::Family,
    record::dentry::{self, DentryRecord},
};

const FAMILY: Family = Family::Dentry;

pub(super) fn pass(check: &mut Check<'_>, gathered: &mut Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    while let Some((key, value)) = cursor.take(check) {
        let Some((bucket, parent)) = pair_of(&key) else {
            check.damaged(FAMILY, &key, "the key is too short for a bucket and a directory");
            continue;
        };
        let Some(record) = check.open::<DentryRecord>(FAMILY, &key, &value) else {
            continue;
        };
        if !gathered.buckets.contains_key(&bucket) {
            check.wrong(FAMILY, &key, "its bucket is not there");
        }
        let how = if dentry::is_directory(&key[dentry::PREFIX_LEN..]) {
            Link::Directory
        } else {
            Link::Name
        };
        gathered.link(bucket, record.inode, how, parent)?;
    }
    Ok(())
}
