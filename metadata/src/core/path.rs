//! Names and inodes: finding, entering and removing names, the directories on the way of a key, and all changes of inode
//! records. Every change of either goes through here.
//!
//! Invariant: a directory made by a key vanishes with its last entry; one that was made on purpose holds the empty-named
//! child, so it is never without an entry. The counts of entries, sub-directories, objects and inodes move with the names.

use cairn_common::{
    ids::{BucketId, InodeId},
    limits,
    name::split_key,
    wire::command::ErrorCode,
};

use super::{
    bucket::Bucket,
    feed, links,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::{
    dentry::{self, DentryRecord},
    inode::{self, InodeKind, InodeRecord},
};

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'k> {
    pub(crate) parent: InodeId,
    pub(crate) component: &'k [u8],
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) inode: InodeId,
    /// `Directory` for a sub-directory, and for the empty-named child that is its directory itself.
    pub(crate) kind: InodeKind,
}

impl Entry {
    /// The entry in the record under `component`.
    pub(crate) fn of(record: &DentryRecord, component: &[u8]) -> Self {
        let kind = match record.kind() {
            InodeKind::Unspecified if dentry::is_directory(component) => InodeKind::Directory,
            InodeKind::Unspecified => InodeKind::File,
            kind => kind,
        };
        Self {
            inode: InodeId::new(record.inode),
            kind,
        }
    }

    fn record(self, component: &[u8]) -> DentryRecord {
        let kind = if self.kind == InodeKind::File || dentry::is_directory(component) {
            InodeKind::Unspecified
        } else {
            self.kind
        };
        DentryRecord {
            inode: self.inode.value(),
            kind: kind.into(),
        }
    }

    /// Whether S3 sees an object: a body, or an explicit directory's key `d/`.
    pub(crate) fn is_object(self, component: &[u8]) -> bool {
        !dentry::is_directory(component) && matches!(self.kind, InodeKind::File | InodeKind::Directory)
    }
}

/// Whether a mount shows a component: its name is one that POSIX can have. A file beside a directory of the same name is
/// hidden all the same.
pub(crate) fn is_shown(component: &[u8]) -> bool {
    check_name(name_of(component)).is_ok()
}

/// A component without the `/` that marks a sub-directory.
pub(crate) fn name_of(component: &[u8]) -> &[u8] {
    component.strip_suffix(b"/").unwrap_or(component)
}

/// Checks a name that a mount gives.
pub(crate) fn check_name(name: &[u8]) -> Result<(), ApplyError> {
    let invalid = |what: &str| Err(refuse(ErrorCode::InvalidName, format!("a name cannot be {what}")));
    match name {
        b"" => invalid("empty"),
        b"." | b".." => invalid("`.` or `..`"),
        _ if name.contains(&b'/') || name.contains(&0) => invalid("one with a slash or a zero byte"),
        _ if name.len() > limits::NAME_LEN_MAX => Err(refuse(ErrorCode::NameTooLong, "a name has at most 255 bytes")),
        _ if std::str::from_utf8(name).is_err() => Err(refuse(ErrorCode::NotUtf8, "a name is UTF-8")),
        _ => Ok(()),
    }
}

/// What `component` of `parent` stands for.
pub(crate) fn lookup(
    view: &dyn View,
    bucket: BucketId,
    parent: InodeId,
    component: &[u8],
) -> Result<Option<Entry>, ViewError> {
    let record: Option<DentryRecord> = read_record(view, Family::Dentry, &dentry::key(bucket, parent, component))?;
    Ok(record.map(|record| Entry::of(&record, component)))
}

/// What `key` stands for.
pub(crate) fn resolve(view: &dyn View, bucket: &Bucket, key: &[u8]) -> Result<Option<Entry>, ViewError> {
    // A mount can make longer ones; no request of S3 leads there.
    if key.len() > limits::KEY_LEN_MAX {
        return Ok(None);
    }
    let (directories, component) = split_key(key);
    let mut parent = InodeId::ROOT;
    for directory in directories {
        match lookup(view, bucket.id, parent, directory)? {
            Some(found) => parent = found.inode,
            None => return Ok(None),
        }
    }
    lookup(view, bucket.id, parent, component)
}

/// An inode's record, where there is one.
pub(crate) fn find_inode(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<Option<InodeRecord>, ViewError> {
    read_record(view, Family::Inode, &inode::key(bucket, inode))
}

/// An inode's record, unless the inode is gone or is being taken apart.
pub(crate) fn find_readable(
    view: &dyn View,
    bucket: BucketId,
    inode: InodeId,
) -> Result<Option<InodeRecord>, ViewError> {
    Ok(find_inode(view, bucket, inode)?.filter(|record| !record.releasing))
}

/// An inode's record, which must be there.
pub(crate) fn inode_record(view: &dyn View, bucket: BucketId, inode: InodeId) -> Result<InodeRecord, ViewError> {
    find_inode(view, bucket, inode)?.ok_or_else(|| missing(Family::Inode, inode))
}

/// The records of inodes, all of which must be there.
pub(crate) fn inode_records(
    view: &dyn View,
    bucket: BucketId,
    inodes: &[InodeId],
) -> Result<Vec<InodeRecord>, ViewError> {
    let keys: Vec<_> = inodes.iter().map(|inode| inode::key(bucket, *inode)).collect();
    let found = view.many(Family::Inode, &keys)?;
    let record = |(found, inode): (Option<Vec<u8>>, &InodeId)| {
        let bytes = found.ok_or_else(|| missing(Family::Inode, inode))?;
        open_record(Family::Inode, &bytes)
    };
    found.into_iter().zip(inodes).map(record).collect()
}

/// Stores an inode's record. All changes of inodes come through here.
pub(crate) fn put_inode(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
) -> Result<(), ViewError> {
    if feed::is_on(tx, bucket)?
        && let Some(before) = find_inode(tx, bucket, inode)?
    {
        feed::changing(tx, bucket, inode, &before, record)?;
    }
    tx.put(Family::Inode, inode::key(bucket, inode), record);
    Ok(())
}

/// Removes an inode's record.
pub(crate) fn delete_inode(tx: &mut Tx<'_>, bucket: BucketId, inode: InodeId) {
    tx.delete(Family::Inode, inode::key(bucket, inode));
}

/// Stores a new inode, which is to get a name, and gives its number.
pub(crate) fn new_inode(tx: &mut Tx<'_>, bucket: &mut Bucket, record: &InodeRecord) -> InodeId {
    let inode = bucket.next_inode();
    enter_inode(tx, bucket, inode, record);
    inode
}

/// The same under a number that was given before.
pub(crate) fn enter_inode(tx: &mut Tx<'_>, bucket: &mut Bucket, inode: InodeId, record: &InodeRecord) {
    bucket.record.inodes += 1;
    // New: no change that a feed would note before the name that it gets.
    tx.put(Family::Inode, inode::key(bucket.id, inode), record);
}

/// Makes the directories that `key` needs and gives the place of its last component.
pub(crate) fn make_directories<'k>(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    key: &'k [u8],
) -> Result<Place<'k>, ViewError> {
    let (directories, component) = split_key(key);
    let mut parent = InodeId::ROOT;
    for directory in directories {
        parent = match lookup(tx, bucket.id, parent, directory)? {
            Some(found) => found.inode,
            None => {
                let record = InodeRecord::directory(parent, tx.time_ms);
                let inode = new_inode(tx, bucket, &record);
                let place = Place {
                    parent,
                    component: directory,
                };
                let kind = InodeKind::Directory;
                enter(tx, bucket, &place, Entry { inode, kind })?;
                inode
            }
        };
    }
    Ok(Place { parent, component })
}

/// Makes a directory explicit, as every change that a mount makes in it does first.
pub(crate) fn make_explicit(tx: &mut Tx<'_>, bucket: &mut Bucket, directory: InodeId) -> Result<(), ViewError> {
    let place = Place {
        parent: directory,
        component: b"",
    };
    if directory == InodeId::ROOT || lookup(tx, bucket.id, directory, b"")?.is_some() {
        return Ok(());
    }
    let kind = InodeKind::Directory;
    enter(tx, bucket, &place, Entry { inode: directory, kind })
}

/// Enters a name that its directory does not hold yet.
pub(crate) fn enter(tx: &mut Tx<'_>, bucket: &mut Bucket, place: &Place<'_>, entry: Entry) -> Result<(), ViewError> {
    let mut parent = inode_record(tx, bucket.id, place.parent)?;
    parent.children += 1;
    if dentry::is_directory(place.component) && is_shown(place.component) {
        parent.subdirectories += 1;
    }
    if !place.component.is_empty() {
        parent.touch_data(tx.time_ms);
    }
    put_inode(tx, bucket.id, place.parent, &parent)?;
    if entry.is_object(place.component) {
        bucket.record.objects += 1;
    }
    put_name(tx, bucket.id, place, entry, None)
}

/// Lets a name that its directory holds stand for another inode. The directory's times stay.
pub(crate) fn swap(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    place: &Place<'_>,
    old: Entry,
    new: Entry,
) -> Result<(), ViewError> {
    let objects = &mut bucket.record.objects;
    *objects = objects.saturating_sub(old.is_object(place.component).into());
    *objects += u64::from(new.is_object(place.component));
    put_name(tx, bucket.id, place, new, Some(old.inode))
}

/// Removes a name. Gives its directory as it is without it.
pub(crate) fn remove(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    place: &Place<'_>,
    entry: Entry,
) -> Result<InodeRecord, ViewError> {
    let mut parent = inode_record(tx, bucket.id, place.parent)?;
    parent.children = parent.children.saturating_sub(1);
    if dentry::is_directory(place.component) && is_shown(place.component) {
        parent.subdirectories = parent.subdirectories.saturating_sub(1);
    }
    if !place.component.is_empty() {
        parent.touch_data(tx.time_ms);
    }
    put_inode(tx, bucket.id, place.parent, &parent)?;
    let objects = &mut bucket.record.objects;
    *objects = objects.saturating_sub(entry.is_object(place.component).into());
    tx.delete(Family::Dentry, dentry::key(bucket.id, place.parent, place.component));
    feed::removed(tx, bucket.id, place, entry.inode)?;
    Ok(parent)
}

fn put_name(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    place: &Place<'_>,
    entry: Entry,
    replaced: Option<InodeId>,
) -> Result<(), ViewError> {
    let key = dentry::key(bucket, place.parent, place.component);
    tx.put(Family::Dentry, key, &entry.record(place.component));
    feed::entered(tx, bucket, place, entry.inode, replaced)
}

/// Removes the name that `key` ends in, and the directories that hold nothing without it.
pub(crate) fn unlink(tx: &mut Tx<'_>, bucket: &mut Bucket, key: &[u8]) -> Result<(), ViewError> {
    let (mut components, component) = split_key(key);
    components.push(component);
    let mut parent = InodeId::ROOT;
    let mut way = Vec::with_capacity(components.len());
    for component in components {
        let found = lookup(tx, bucket.id, parent, component)?;
        let entry = found.ok_or_else(|| missing(Family::Dentry, format!("a component of {key:?}")))?;
        way.push((Place { parent, component }, entry));
        parent = entry.inode;
    }
    for (place, entry) in way.into_iter().rev() {
        let left = remove(tx, bucket, &place, entry)?;
        if left.children > 0 || place.parent == InodeId::ROOT {
            break;
        }
        links::drop_inode(tx, bucket, place.parent, left)?;
    }
    Ok(())
}
