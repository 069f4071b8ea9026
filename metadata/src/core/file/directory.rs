//! Pages of directories as a mount shows them.
//!
//! Invariant: a page goes on behind a component, so entries made or removed meanwhile move no others; it visits a bounded
//! number of entries, shown or not.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, InodeId},
    limits,
    wire::file::{DirectoryEntry, DirectoryPage, DirectoryQuery},
};

use super::{
    attributes,
    lookup::{component_of, require_directory},
};
use crate::{
    core::{
        path::{self, Entry, is_shown, name_of},
        tx::{ApplyError, open_record, scan_prefix},
        view::{Family, View, ViewError},
    },
    record::{
        dentry::{self, DentryRecord},
        inode::InodeKind,
    },
};

/// A component and what it stands for.
type Named = (Vec<u8>, Entry);

/// A page of a directory.
pub(super) fn page(view: &dyn View, bucket: BucketId, query: &DirectoryQuery) -> Result<DirectoryPage, ApplyError> {
    let directory = InodeId::new(query.inode);
    let record = require_directory(view, bucket, directory)?;
    let limit = (query.limit as usize).clamp(1, limits::LIST_PAGE_MAX);
    let (found, next_after) = read(view, bucket, directory, &query.after, limit)?;
    let mut page = DirectoryPage {
        entries: Vec::with_capacity(found.len()),
        next_after,
    };
    let mut bytes = 0;
    for (component, entry) in found {
        if bytes >= limits::DIRECTORY_PAGE_BYTES_MAX {
            page.next_after = page.entries.last().map(DirectoryEntry::cookie).unwrap_or_default();
            break;
        }
        let is_directory = entry.kind == InodeKind::Directory;
        if !is_directory && record.subdirectories > 0 && is_hidden(view, bucket, directory, &component)? {
            continue;
        }
        let attributes = query
            .with_attributes
            .then(|| path::inode_record(view, bucket, entry.inode))
            .transpose()?
            .map(|record| attributes::of(entry.inode, &record));
        bytes += component.len() + attributes.as_ref().map_or(0, |attributes| attributes.target.len());
        page.entries.push(DirectoryEntry {
            name: Bytes::copy_from_slice(name_of(&component)),
            inode: entry.inode.value(),
            kind: entry.kind.into(),
            attributes,
        });
    }
    Ok(page)
}

/// Up to `limit` entries behind `after` whose names a mount can show, and where to go on.
fn read(
    view: &dyn View,
    bucket: BucketId,
    directory: InodeId,
    after: &[u8],
    limit: usize,
) -> Result<(Vec<Named>, Bytes), ViewError> {
    let prefix = dentry::key(bucket, directory, b"");
    // The least key behind a component is the one with a zero byte more.
    let start = dentry::key(bucket, directory, &[after, b"\0"].concat());
    let mut found = Vec::new();
    let mut next_after = Bytes::new();
    let mut visits = 0;
    scan_prefix(view, Family::Dentry, &prefix, &start, &mut |key, value| {
        let component = &key[dentry::PREFIX_LEN..];
        if is_shown(component) {
            let record: DentryRecord = open_record(Family::Dentry, value)?;
            found.push((component.to_vec(), Entry::of(&record, component)));
        }
        visits += 1;
        let is_full = found.len() == limit || visits == limits::LIST_VISITS_MAX;
        if is_full {
            next_after = Bytes::copy_from_slice(component);
        }
        Ok(!is_full)
    })?;
    Ok((found, next_after))
}

/// Whether a directory of the same name hides a file.
fn is_hidden(view: &dyn View, bucket: BucketId, directory: InodeId, component: &[u8]) -> Result<bool, ViewError> {
    let beside = component_of(component, InodeKind::Directory);
    Ok(path::lookup(view, bucket, directory, &beside)?.is_some())
}
