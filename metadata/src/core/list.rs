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
    object::entity_tag,
    path::{self, Entry},
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
    if query.prefix.len() > limits::KEY_LEN_MAX {
        return Ok(page);
    }
    // No key lies between a longer one and the first bytes of it with a zero byte behind them.
    let from: Vec<u8> = match query.from.get(..limits::KEY_LEN_MAX) {
        Some(first) if query.from.len() > limits::KEY_LEN_MAX => [first, b"\0"].concat(),
        Some(_) | None => query.from.to_vec(),
    };
    walk.seek(from.as_slice().max(query.prefix.as_ref()))?;
    let mut visits = 0;
    // Objects of the page, and where their entries are.
    let mut objects = Vec::new();
    while let Some(step) = walk.next()? {
        visits += 1;
        let key = step.path.as_slice();
        if !key.starts_with(&query.prefix) {
            break;
        }
        let rolled_up = common_prefix(key, &query.prefix, &query.delimiter);
        if visits > limits::LIST_VISITS_MAX {
            page.next_from = Bytes::copy_from_slice(rolled_up.unwrap_or(key));
            break;
        }
        // A mount can make paths that are longer than a key: no request could name what lies there.
        if step.is_hidden() || rolled_up.unwrap_or(key).len() > limits::KEY_LEN_MAX {
            continue;
        }
        if rolled_up.is_none() && step.is_directory() {
            walk.descend(step);
            continue;
        }
        if page.entries.len() == limit {
            page.next_from = Bytes::copy_from_slice(rolled_up.unwrap_or(key));
            break;
        }
        let Some(prefix) = rolled_up else {
            objects.push((step.inode, page.entries.len()));
            page.entries.push(ListEntry {
                key: step.path.into(),
                ..ListEntry::default()
            });
            continue;
        };
        let prefix = Bytes::copy_from_slice(prefix);
        let whole_directory = prefix == key && step.is_directory();
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
    describe(view, &bucket, objects, &mut page.entries)?;
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

/// Fills the entries of `objects` in. All are read at once, in order of their numbers: those that were made at the same time
/// lie together.
fn describe(
    view: &dyn View,
    bucket: &Bucket,
    mut objects: Vec<(InodeId, usize)>,
    entries: &mut [ListEntry],
) -> Result<(), ViewError> {
    objects.sort_unstable();
    let inodes: Vec<InodeId> = objects.iter().map(|(inode, _)| *inode).collect();
    let records = path::inode_records(view, bucket.id, &inodes)?;
    for ((inode, at), record) in objects.into_iter().zip(records) {
        let entry = &mut entries[at];
        entry.size = record.size;
        entry.modified_ms = record.modified_ms;
        entry.etag = entity_tag(inode, &record);
        entry.checksums = record.attributes.unwrap_or_default().checksums;
        entry.checksums.iter_mut().for_each(|checksum| checksum.value.clear());
    }
    Ok(())
}

/// What the walk comes to next: a key, or a directory with its trailing `/`.
struct Step {
    path: Vec<u8>,
    inode: InodeId,
    shows: Shows,
}

/// What S3 sees of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Object,
    Directory,
    /// Nothing: a symbolic link or special file.
    Nothing,
}

impl Step {
    fn is_directory(&self) -> bool {
        self.shows == Shows::Directory
    }

    fn is_hidden(&self) -> bool {
        self.shows == Shows::Nothing
    }
}

impl Shows {
    fn of(entry: Entry, component: &[u8]) -> Self {
        if dentry::is_directory(component) {
            Self::Directory
        } else if entry.is_object(component) {
            Self::Object
        } else {
            Self::Nothing
        }
    }
}

/// One directory on the way from the root to where the walk is.
struct Level {
    directory: InodeId,
    /// The directory's path, with its trailing `/`.
    path: Vec<u8>,
    batch: VecDeque<(Vec<u8>, Entry)>,
    /// Where the next batch starts; `None` once the directory is read to its end.
    from: Option<Vec<u8>>,
}

struct Walk<'a> {
    view: &'a dyn View,
    bucket: &'a Bucket,
    levels: Vec<Level>,
}

impl<'a> Walk<'a> {
    fn new(view: &'a dyn View, bucket: &'a Bucket) -> Self {
        Self {
            view,
            bucket,
            levels: Vec::new(),
        }
    }

    /// Goes to the first key that is not less than `key`.
    fn seek(&mut self, key: &[u8]) -> Result<(), ViewError> {
        self.levels.clear();
        let (directories, component) = split_key(key);
        let mut directory = InodeId::ROOT;
        let mut path = Vec::new();
        for name in directories {
            let found = path::lookup(self.view, self.bucket.id, directory, name)?;
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
            directory = found.inode;
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
            let Some((component, entry)) = level.batch.pop_front() else {
                self.levels.pop();
                continue;
            };
            return Ok(Some(Step {
                path: [level.path.as_slice(), &component].concat(),
                inode: entry.inode,
                shows: Shows::of(entry, &component),
            }));
        }
    }

    /// Enters the directory that `next` gave last.
    fn descend(&mut self, directory: Step) {
        self.levels.push(Level {
            directory: directory.inode,
            path: directory.path,
            batch: VecDeque::new(),
            from: Some(Vec::new()),
        });
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
        let component = &key[dentry::PREFIX_LEN..];
        batch.push_back((component.to_vec(), Entry::of(&record, component)));
        Ok(batch.len() < BATCH)
    })?;
    if let Some((last, _)) = level.batch.back().filter(|_| level.batch.len() == BATCH) {
        level.from = Some([last.as_slice(), &[0]].concat());
    }
    Ok(())
}
