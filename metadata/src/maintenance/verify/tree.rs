//! Inodes beside what leads to them, the names in them, and their extents; and the shape of each bucket's tree.

use cairn_common::ids::{BucketId, InodeId};

use super::{
    super::error::MaintenanceError,
    bodies,
    check::{Check, Cursor, Gathered, LINK_LEN, Link, link_parts, pair_of},
    sort::Sorted,
};
use crate::{
    core::view::Family,
    record::inode::{self, InodeKind, InodeRecord},
};

const FAMILY: Family = Family::Inode;

/// What leads to one inode.
#[derive(Default)]
struct Links {
    names: u64,
    directory_names: u64,
    queued: bool,
    parent: u64,
}

/// The directories of one bucket, in order: number and parent.
#[derive(Default)]
struct Directories {
    bucket: u64,
    list: Vec<(u64, u64)>,
}

pub(super) fn pass(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    mut links: Sorted<LINK_LEN>,
) -> Result<(), MaintenanceError> {
    let mut inodes = check.cursor(FAMILY)?;
    let mut names = check.cursor(Family::Dentry)?;
    let mut extents = check.cursor(Family::Extent)?;
    let mut directories = Directories::default();
    let mut last_of: Option<(u64, u64)> = None;
    while let Some((key, value)) = inodes.take(check) {
        let Some(at) = pair_of(&key) else {
            check.damaged(FAMILY, &key, "the key is too short for a bucket and an inode");
            continue;
        };
        if at.0 != directories.bucket {
            directories.check(check);
            directories = Directories {
                bucket: at.0,
                ..Directories::default()
            };
        }
        let leading = links_to(check, gathered, &mut links, Some(at))?;
        let children = names_in(check, &mut names, Some(at));
        bodies::without_inode(check, gathered, &mut extents, Some(at))?;
        last_of = Some(at);
        let Some(record) = check.open::<InodeRecord>(FAMILY, &key, &value) else {
            bodies::skip(check, &mut extents, at);
            continue;
        };
        number(check, gathered, &key, at);
        match record.kind() {
            InodeKind::Directory => {
                directories.list.push((at.1, record.parent));
                directory(check, &key, at, &record, &leading, children);
                bodies::without_inode(check, gathered, &mut extents, Some((at.0, at.1.saturating_add(1))))?;
            }
            InodeKind::File
            | InodeKind::Symlink
            | InodeKind::Fifo
            | InodeKind::Socket
            | InodeKind::CharacterDevice
            | InodeKind::BlockDevice => {
                file(check, gathered, &key, at, &record, &leading);
                bodies::of_file(check, gathered, &mut extents, at, &record, leading.queued)?;
                if children > 0 {
                    check.wrong(FAMILY, &key, format!("it is a file, and {children} names are in it"));
                }
            }
            InodeKind::Unspecified => check.wrong(FAMILY, &key, "it is of no kind that this program knows"),
        }
    }
    directories.check(check);
    links_to(check, gathered, &mut links, None)?;
    names_in(check, &mut names, None);
    bodies::without_inode(check, gathered, &mut extents, None)?;
    roots(check, gathered, last_of.is_some());
    Ok(())
}

/// What leads to inode `at`. What leads to inodes before it leads nowhere, and is reported; all of it, without `at`.
fn links_to(
    check: &mut Check<'_>,
    gathered: &Gathered,
    links: &mut Sorted<LINK_LEN>,
    at: Option<(u64, u64)>,
) -> Result<Links, MaintenanceError> {
    let mut found = Links::default();
    while let Some(next) = links.peek() {
        let (to, how, parent) = link_parts(next);
        if at.is_some_and(|at| to > at) {
            break;
        }
        links.next().map_err(|error| gathered.failed(error))?;
        let queued = how == Link::Queued as u8;
        if Some(to) != at {
            // What is queued may be gone: another entry of the queue released it.
            if !queued {
                let what = format!(
                    "bucket {} has no inode {}, and a name in directory {parent} leads to it",
                    to.0, to.1
                );
                let key = inode::key(BucketId::new(to.0), InodeId::new(to.1));
                check.wrong(FAMILY, &key, what);
            }
            continue;
        }
        found.queued |= queued;
        found.names += u64::from(how == Link::Name as u8);
        found.directory_names += u64::from(how == Link::Directory as u8);
        if !queued {
            found.parent = parent;
        }
    }
    Ok(found)
}

/// How many names are in directory `at`. Names in directories before it are in none.
fn names_in(check: &mut Check<'_>, names: &mut Cursor<'_>, at: Option<(u64, u64)>) -> u64 {
    let mut count = 0;
    while let Some(next) = names.key() {
        let parent = pair_of(next);
        if at.is_some_and(|at| parent.is_some_and(|parent| parent > at)) {
            break;
        }
        let Some((key, _)) = names.take(check) else { break };
        if parent.is_some() && parent == at {
            count += 1;
        } else if let Some((_, directory)) = parent {
            check.wrong(Family::Dentry, &key, format!("directory {directory} is not there"));
        }
    }
    count
}

fn number(check: &mut Check<'_>, gathered: &Gathered, key: &[u8], at: (u64, u64)) {
    match gathered.buckets.get(&at.0) {
        None => check.wrong(FAMILY, key, "its bucket is not there"),
        Some(bucket) if at.1 > bucket.record.last_inode.max(InodeId::ROOT.value()) => {
            let what = format!(
                "the bucket has given out numbers up to {} only",
                bucket.record.last_inode
            );
            check.wrong(FAMILY, key, what);
        }
        Some(_) => {}
    }
}

fn directory(check: &mut Check<'_>, key: &[u8], at: (u64, u64), record: &InodeRecord, leading: &Links, children: u64) {
    let is_root = at.1 == InodeId::ROOT.value();
    if record.children != children {
        let what = format!("it counts {} names, {children} are in it", record.children);
        check.wrong(FAMILY, key, what);
    }
    if leading.names > 0 {
        check.wrong(FAMILY, key, "it is a directory, and a file's name leads to it");
    }
    let expected = u64::from(!is_root);
    if leading.directory_names != expected {
        let what = format!(
            "{} names lead to the directory, not {expected}",
            leading.directory_names
        );
        check.wrong(FAMILY, key, what);
    } else if !is_root && leading.parent != record.parent {
        let what = format!(
            "it says to be in directory {}, its name is in directory {}",
            record.parent, leading.parent
        );
        check.wrong(FAMILY, key, what);
    }
    if !is_root && children == 0 && !leading.queued {
        check.wrong(FAMILY, key, "the directory holds no name, not even its own");
    }
}

fn file(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    key: &[u8],
    at: (u64, u64),
    record: &InodeRecord,
    leading: &Links,
) {
    if leading.directory_names > 0 {
        check.wrong(FAMILY, key, "it is a file, and a directory's name leads to it");
    }
    match (leading.names, leading.queued) {
        (0, false) => check.wrong(FAMILY, key, "no name leads to it, and it is not queued for release"),
        (0, true) => {}
        (_, true) => check.wrong(FAMILY, key, "it is queued for release, and a name leads to it"),
        (names, false) => {
            if names != links_expected(record) {
                let what = format!("{names} names lead to it, not {}", links_expected(record));
                check.wrong(FAMILY, key, what);
            }
            if let Some(bucket) = gathered.buckets.get_mut(&at.0) {
                bucket.objects += 1;
                bucket.object_bytes += record.size;
            }
        }
    }
}

/// How many names a file says to have: one, since none can be given another yet.
fn links_expected(_record: &InodeRecord) -> u64 {
    1
}

fn roots(check: &mut Check<'_>, gathered: &Gathered, any: bool) {
    for number in gathered.buckets.keys() {
        let key = inode::key(BucketId::new(*number), InodeId::ROOT);
        if !any || check.state.value(FAMILY, &key).is_ok_and(|found| found.is_none()) {
            check.wrong(FAMILY, &key, format!("bucket {number} has no root directory"));
        }
    }
}

impl Directories {
    /// Reports directories that do not hang from the root: they are in a circle. That a parent is missing was reported before.
    fn check(&self, check: &mut Check<'_>) {
        // Which walk came by first; 0 for none. A walk that meets itself is in a circle.
        let mut seen = vec![0_u32; self.list.len()];
        for start in 0..self.list.len() {
            let walk = u32::try_from(start + 1).unwrap_or(u32::MAX);
            let mut place = start;
            while seen[place] == 0 {
                seen[place] = walk;
                let (inode, parent) = self.list[place];
                let above = self.list.binary_search_by_key(&parent, |(number, _)| *number);
                let Ok(above) = above else { break };
                if inode == InodeId::ROOT.value() {
                    break;
                }
                if seen[above] == walk && self.list[above].0 != InodeId::ROOT.value() {
                    let key = inode::key(BucketId::new(self.bucket), InodeId::new(inode));
                    check.wrong(
                        FAMILY,
                        &key,
                        "the directory lies within itself: the root does not lead to it",
                    );
                    break;
                }
                place = above;
            }
        }
    }
}
