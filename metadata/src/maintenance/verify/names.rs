//! Names: each is readable, and where it leads is gathered for the pass over inodes.

use super::{
    super::error::MaintenanceError,
    check::{Check, Gathered, Link, pair_of},
};
use crate::{
    core::{Entry, view::Family},
    record::{
        dentry::{self, DentryRecord},
        inode::InodeKind,
    },
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
        let component = &key[dentry::PREFIX_LEN..];
        let entry = Entry::of(&record, component);
        match gathered.buckets.get_mut(&bucket) {
            Some(facts) => facts.objects += u64::from(entry.is_object(component)),
            None => check.wrong(FAMILY, &key, "its bucket is not there"),
        }
        let how = match entry.kind {
            InodeKind::Directory if dentry::is_directory(component) => Link::Directory,
            InodeKind::Directory => {
                // The directory itself, where a mount made it explicit: no name of it.
                if !component.is_empty() || record.inode != parent {
                    check.wrong(FAMILY, &key, "it says to be its directory itself, and is not");
                }
                continue;
            }
            kind => Link::Name(kind),
        };
        gathered.link(bucket, record.inode, how, parent)?;
    }
    Ok(())
}
