//! Listings: an in-order walk of the directory tree, which is the byte order of keys.
//!
//! Invariant: a page visits at most [`limits::LIST_VISITS_MAX`] entries; a rolled-up branch costs one, however much it
//! holds, when the delimiter ends a component.

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_common::{
    ids::InodeId,
    limits,
    name::split_key,
    wire::query::{ListEntry, ListPage, ListQuery},
};

use super::{
    bucket::{self, Bucket},
    path,
    tx::{ApplyError, open_record, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    dentry::{self, DentryRecord},
    key::{KeyWriter, successor},
};

/// Entries read from a directory at a time.
const BATCH: usize = 128;

/// A page of keys.
pub(crate) fn list(view: &dyn View, query: &ListQuery) -> Result<ListPage, ApplyError> {
    let bucket = bucket::require(view, &query.bucket)?;
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let mut page = ListPage::default();
    let mut walk = Walk::new(view, &bucket);
    walk.seek(query.from.as_ref().max(query.prefix.as_ref()))?;
    let mut visits = 0;
    while let Some(step) = walk.next()? {
        visits += 1;
        let key = step.path();
        if !key.starts_with(&query.prefix) {
            break;
        }
        let rolled_up = common_prefix(key, &query.prefix, &query.delimiter);
        if rolled_up.is_none() && matches!(step, Step::Directory { .. }) {
            walk.descend()?;
            continue;
        }
        if page.entries.len() == limit || visits > limits::LIST_VISITS_MAX {
            page.next_from = Bytes::copy_from_slice(rolled_up.unwrap_or(key));
            break;
        }
        match rolled_up {
            Some(prefix) => {
                let prefix = Bytes::copy_from_slice(prefix);
                let whole_directory = prefix == key && matches!(step, Step::Directory { .. });
                page.entries.push(ListEntry {
                    key: prefix.clone(),
                    is_prefix: true,
                    ..ListEntry::default()
                });
                if !whole_directory {
                    let behind = successor(&prefix);
                    if behind.is_empty() {
                        break;
                    }
                    walk.seek(&behind)?;
                }
            }
            None => page.entries.push(object_entry(view, &bucket, &step)?),
        }
    }
    Ok(page)
}

/// What `key` is rolled up to: up to and with the first delimiter behind the prefix.
fn common_prefix<'k>(key: &'k [u8], prefix: &[u8], delimiter: &[u8]) -> Option<&'k [u8]> {
    if delimiter.is_empty() {
        return None;
    }
    let tail = key.get(prefix.len()..)?;
    let at = tail.windows(delimiter.len()).position(|window| window == delimiter)?;
    key.get(..prefix.len() + at + delimiter.len())
}

fn object_entry(view: &dyn View, bucket: &Bucket, step: &Step) -> Result<ListEntry, ViewError> {
    let record = path::inode_record(view, bucket, step.inode())?;
    let attributes = record.attributes.unwrap_or_default();
    let mut checksums = attributes.checksums;
    checksums.iter_mut().for_each(|checksum| checksum.value.clear());
    Ok(ListEntry {
        key: Bytes::copy_from_slice(step.path()),
        is_prefix: false,
        size: record.size,
        modified_ms: record.modified_ms,
        etag: attributes.etag,
        checksums,
    })
}

/// What the walk comes to next.
enum Step {
    Object { path: Vec<u8>, inode: InodeId },
    Directory { path: Vec<u8>, inode: InodeId },
}

impl Step {
    fn path(&self) -> &[u8] {
        match self {
            Self::Object { path, .. } | Self::Directory { path, .. } => path,
        }
    }

    const fn inode(&self) -> InodeId {
        match self {
            Self::Object { inode, .. } | Self::Directory { inode, .. } => *inode,
        }
    }
}

/// One directory on the way from the root to where the walk is.
struct Level {
    directory: InodeId,
    /// The directory's path, with its trailing `/`.
    path: Vec<u8>,
    batch: VecDeque<(Vec<u8>, InodeId)>,
    /// Where the next batch starts; `None` once the directory is read to its end.
    from: Option<Vec<u8>>,
}

struct Walk<'a> {
    view: &'a dyn View,
    bucket: &'a Bucket,
    levels: Vec<Level>,
    /// The directory that `next` gave last: `descend` goes into it.
    last: Option<(Vec<u8>, InodeId)>,
}

impl<'a> Walk<'a> {
    fn new(view: &'a dyn View, bucket: &'a Bucket) -> Self {
        Self {
            view,
            bucket,
            levels: Vec::new(),
            last: None,
        }
    }

    /// Goes to the first key that is not less than `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), ViewError> {
        self.levels.clear();
        self.last = None;
        let (directories, component) = split_key(key);
        let mut directory = InodeId::ROOT;
        let mut path = Vec::new();
        for name in directories {
            let found = path::lookup(self.view, self.bucket, directory, name)?;
            let mut from = name.to_vec();
            if found.is_some() {
                from.push(0);
            }
            let level = Level {
                directory,
                path: path.clone(),
                batch: VecDeque::new(),
                from: Some(from),
            };
            self.levels.push(level);
            let Some(found) = found else { return Ok(()) };
            path.extend_from_slice(name);
            directory = found;
        }
        let from = Some(component.to_vec());
        self.levels.push(Level {
            directory,
            path,
            batch: VecDeque::new(),
            from,
        });
        Ok(())
    }

    /// The next entry in order; a directory is not entered unless `descend` is called.
    fn next(&mut self) -> Result<Option<Step>, ViewError> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            if level.batch.is_empty() {
                read_batch(self.view, self.bucket, level)?;
            }
            let Some((component, inode)) = level.batch.pop_front() else {
                self.levels.pop();
                continue;
            };
            let path = [level.path.as_slice(), &component].concat();
            if dentry::is_directory(&component) {
                self.last = Some((path.clone(), inode));
                return Ok(Some(Step::Directory { path, inode }));
            }
            return Ok(Some(Step::Object { path, inode }));
        }
    }

    /// Enters the directory that `next` gave last.
    fn descend(&mut self) -> Result<(), ViewError> {
        if let Some((path, directory)) = self.last.take() {
            self.levels.push(Level {
                directory,
                path,
                batch: VecDeque::new(),
                from: Some(Vec::new()),
            });
        }
        Ok(())
    }
}

/// Reads on in a directory. Leaves the batch empty at its end.
fn read_batch(view: &dyn View, bucket: &Bucket, level: &mut Level) -> Result<(), ViewError> {
    let Some(from) = level.from.take() else { return Ok(()) };
    let prefix = KeyWriter::new()
        .u64(bucket.id.value())
        .u64(level.directory.value())
        .finish();
    let start = dentry::key(bucket.id, level.directory, &from);
    let batch = &mut level.batch;
    scan_prefix(view, Family::Dentry, &prefix, &start, &mut |key, value| {
        let record: DentryRecord = open_record(Family::Dentry, value)?;
        batch.push_back((key[dentry::PREFIX_LEN..].to_vec(), InodeId::new(record.inode)));
        Ok(batch.len() < BATCH)
    })?;
    if let Some((last, _)) = level.batch.back().filter(|_| level.batch.len() == BATCH) {
        level.from = Some([last.as_slice(), &[0]].concat());
    }
    Ok(())
}
