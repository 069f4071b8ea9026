//! From keys to dentries: finding, making and removing the directories on the way.
//!
//! Invariant: a directory made by a key vanishes with its last entry; one that was made on purpose holds the empty-named
//! child, so it is never without an entry.

use cairn_common::{
    ids::{BucketId, InodeId},
    name::split_key,
};

use super::{
    bucket::Bucket,
    feed,
    tx::{Tx, missing, read_record},
    view::{Family, View, ViewError},
};
use crate::record::{
    dentry::{self, DentryRecord},
    inode::{self, InodeKind, InodeRecord},
};

/// A name in a directory.
pub(crate) struct Place<'k> {
    pub(crate) parent: InodeId,
    pub(crate) component: &'k [u8],
}

/// The inode that `component` of `parent` stands for.
pub(crate) fn lookup(
    view: &dyn View,
    bucket: &Bucket,
    parent: InodeId,
    component: &[u8],
) -> Result<Option<InodeId>, ViewError> {
    let record: Option<DentryRecord> = read_record(view, Family::Dentry, &dentry::key(bucket.id, parent, component))?;
    Ok(record.map(|record| InodeId::new(record.inode)))
}

/// The inode under `key`.
pub(crate) fn resolve(view: &dyn View, bucket: &Bucket, key: &[u8]) -> Result<Option<InodeId>, ViewError> {
    let (directories, component) = split_key(key);
    let mut parent = InodeId::ROOT;
    for directory in directories {
        match lookup(view, bucket, parent, directory)? {
            Some(found) => parent = found,
            None => return Ok(None),
        }
    }
    lookup(view, bucket, parent, component)
}

/// An inode's record, which must be there.
pub(crate) fn inode_record(view: &dyn View, bucket: &Bucket, inode: InodeId) -> Result<InodeRecord, ViewError> {
    read_record(view, Family::Inode, &inode::key(bucket.id, inode))?.ok_or_else(|| missing(Family::Inode, inode))
}

/// Stores an inode's record. All changes of inodes come through here, so that the change feed sees them.
pub(crate) fn put_inode(
    tx: &mut Tx<'_>,
    bucket: BucketId,
    inode: InodeId,
    record: &InodeRecord,
) -> Result<(), ViewError> {
    let key = inode::key(bucket, inode);
    if feed::is_on(tx, bucket)?
        && let Some(before) = tx.record(Family::Inode, &key)?
    {
        feed::changing(tx, bucket, inode, &before, record)?;
    }
    tx.put(Family::Inode, key, record);
    Ok(())
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
        parent = match lookup(tx, bucket, parent, directory)? {
            Some(found) => found,
            None => {
                let made = bucket.next_inode();
                let record = InodeRecord {
                    kind: InodeKind::Directory.into(),
                    modified_ms: tx.time_ms,
                    parent: parent.value(),
                    ..InodeRecord::default()
                };
                put_inode(tx, bucket.id, made, &record)?;
                link(
                    tx,
                    bucket,
                    &Place {
                        parent,
                        component: directory,
                    },
                    made,
                )?;
                made
            }
        };
    }
    Ok(Place { parent, component })
}

/// Enters a name that its directory does not hold yet.
pub(crate) fn link(tx: &mut Tx<'_>, bucket: &Bucket, place: &Place<'_>, inode: InodeId) -> Result<(), ViewError> {
    let mut parent = inode_record(tx, bucket, place.parent)?;
    parent.children += 1;
    parent.modified_ms = tx.time_ms;
    put_inode(tx, bucket.id, place.parent, &parent)?;
    relink(tx, bucket, place, inode, None)
}

/// Lets a name stand for another inode than `replaced`.
pub(crate) fn relink(
    tx: &mut Tx<'_>,
    bucket: &Bucket,
    place: &Place<'_>,
    inode: InodeId,
    replaced: Option<InodeId>,
) -> Result<(), ViewError> {
    let key = dentry::key(bucket.id, place.parent, place.component);
    tx.put(Family::Dentry, key, &DentryRecord { inode: inode.value() });
    feed::entered(tx, bucket.id, place, inode, replaced)
}

/// Removes the name that `key` ends in, and the directories that hold nothing without it.
pub(crate) fn unlink(tx: &mut Tx<'_>, bucket: &Bucket, key: &[u8]) -> Result<(), ViewError> {
    let (directories, component) = split_key(key);
    let mut parents = vec![InodeId::ROOT];
    for directory in &directories {
        let parent = parents.last().copied().unwrap_or(InodeId::ROOT);
        let found = lookup(tx, bucket, parent, directory)?;
        parents.push(found.ok_or_else(|| missing(Family::Dentry, format!("a directory of {key:?}")))?);
    }
    let mut components = directories;
    components.push(component);
    for (parent, component) in parents.iter().zip(&components).rev() {
        let place = Place {
            parent: *parent,
            component,
        };
        if let Some(inode) = lookup(tx, bucket, *parent, component)? {
            feed::removed(tx, bucket.id, &place, inode)?;
        }
        tx.delete(Family::Dentry, dentry::key(bucket.id, *parent, component));
        let mut record = inode_record(tx, bucket, *parent)?;
        record.children = record.children.saturating_sub(1);
        record.modified_ms = tx.time_ms;
        if record.children > 0 || *parent == InodeId::ROOT {
            put_inode(tx, bucket.id, *parent, &record)?;
            break;
        }
        tx.delete(Family::Inode, inode::key(bucket.id, *parent));
    }
    Ok(())
}
