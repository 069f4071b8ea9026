//! What leads to inodes: names, the release queue, mounts that hold them; and what is in directories.

use std::collections::BTreeSet;

use cairn_common::ids::{BucketId, InodeId};

use super::{
    super::error::MaintenanceError,
    check::{Check, Cursor, Gathered, LINK_LEN, Link, link_of, pair_of},
    sort::Sorted,
};
use crate::{
    core::{is_shown, view::Family},
    record::{
        dentry,
        inode::{self, InodeKind},
    },
};

/// What leads to one inode.
#[derive(Default)]
pub(super) struct Links {
    pub(super) names: u32,
    /// What the names say that it is.
    pub(super) kinds: BTreeSet<InodeKind>,
    pub(super) directory_names: u64,
    /// Whether it waits for release: in the queue, or for a mount to close it.
    pub(super) waits: bool,
    /// Generations of truncations that are queued.
    pub(super) cuts: BTreeSet<u64>,
    /// The directory that the last name lies in.
    pub(super) parent: u64,
}

/// Names in one directory.
#[derive(Default)]
pub(super) struct Children {
    pub(super) names: u64,
    /// Sub-directories that a mount shows.
    pub(super) subdirectories: u32,
}

/// What leads to inode `at`. What leads to inodes before it leads nowhere, and is reported; all of it, without `at`.
pub(super) fn links_to(
    check: &mut Check<'_>,
    gathered: &Gathered,
    links: &mut Sorted<LINK_LEN>,
    at: Option<(u64, u64)>,
) -> Result<Links, MaintenanceError> {
    let mut found = Links::default();
    while let Some(next) = links.peek() {
        let (to, how, other) = link_of(next);
        if at.is_some_and(|at| to > at) {
            break;
        }
        links.next().map_err(|error| gathered.failed(error))?;
        if Some(to) != at {
            nowhere(check, to, how, other);
            continue;
        }
        match how {
            Link::Queued | Link::Held => found.waits = true,
            Link::Cut => {
                found.cuts.insert(other);
            }
            Link::Directory => {
                found.directory_names += 1;
                found.parent = other;
            }
            Link::Name(kind) => {
                found.names += 1;
                found.kinds.insert(kind);
                found.parent = other;
            }
        }
    }
    Ok(found)
}

/// Reports what leads to an inode that is not there.
fn nowhere(check: &mut Check<'_>, (bucket, number): (u64, u64), how: Link, other: u64) {
    let what = match how {
        // What is queued may be gone: another entry of the queue released it.
        Link::Queued | Link::Cut => return,
        Link::Held => format!("bucket {bucket} has no inode {number}, and it waits to be closed"),
        Link::Directory | Link::Name(_) => {
            format!("bucket {bucket} has no inode {number}, and a name in directory {other} leads to it")
        }
    };
    let key = inode::key(BucketId::new(bucket), InodeId::new(number));
    check.wrong(Family::Inode, &key, what);
}

/// How many names are in directory `at`. Names in directories before it are in none.
pub(super) fn names_in(check: &mut Check<'_>, names: &mut Cursor<'_>, at: Option<(u64, u64)>) -> Children {
    let mut found = Children::default();
    while let Some(next) = names.key() {
        let parent = pair_of(next);
        if at.is_some_and(|at| parent.is_some_and(|parent| parent > at)) {
            break;
        }
        let Some((key, _)) = names.take(check) else { break };
        if parent.is_some() && parent == at {
            let component = &key[dentry::PREFIX_LEN..];
            found.names += 1;
            found.subdirectories += u32::from(dentry::is_directory(component) && is_shown(component));
        } else if let Some((_, directory)) = parent {
            check.wrong(Family::Dentry, &key, format!("directory {directory} is not there"));
        }
    }
    found
}
