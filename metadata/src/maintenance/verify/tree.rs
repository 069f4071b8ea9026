//! Inodes beside what leads to them, the names in them, and their extents; and the shape of each bucket's tree.

use cairn_common::ids::{BucketId, InodeId};

use super::{
    super::error::MaintenanceError,
    bodies,
    check::{Check, Gathered, LINK_LEN, pair_of},
    leading::{Children, Links, links_to, names_in},
    sort::Sorted,
    xattrs,
};
use crate::{
    core::view::Family,
    record::inode::{self, InodeKind, InodeRecord},
};

const FAMILY: Family = Family::Inode;

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
    let mut xattrs = check.cursor(Family::Xattr)?;
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
        let attributes = xattrs::of(check, &mut xattrs, Some(at));
        bodies::without_inode(check, gathered, &mut extents, Some(at))?;
        last_of = Some(at);
        let Some(record) = check.open::<InodeRecord>(FAMILY, &key, &value) else {
            bodies::skip(check, &mut extents, at);
            continue;
        };
        number(check, gathered, &key, at, &record);
        xattrs::compare(check, &key, &record, &attributes);
        match record.kind() {
            InodeKind::Directory => {
                directories.list.push((at.1, record.parent));
                directory(check, gathered, &key, at, &record, &leading, &children);
                bodies::without_inode(check, gathered, &mut extents, Some((at.0, at.1.saturating_add(1))))?;
            }
            InodeKind::File
            | InodeKind::Symlink
            | InodeKind::Fifo
            | InodeKind::Socket
            | InodeKind::CharacterDevice
            | InodeKind::BlockDevice => {
                file(check, gathered, &key, at, &record, &leading);
                bodies::of_file(check, gathered, &mut extents, at, &record)?;
                if children.names > 0 {
                    let what = format!("it is a file, and {} names are in it", children.names);
                    check.wrong(FAMILY, &key, what);
                }
            }
            InodeKind::Unspecified => check.wrong(FAMILY, &key, "it is of no kind that this program knows"),
        }
    }
    directories.check(check);
    links_to(check, gathered, &mut links, None)?;
    names_in(check, &mut names, None);
    xattrs::of(check, &mut xattrs, None);
    bodies::without_inode(check, gathered, &mut extents, None)?;
    roots(check, gathered, last_of.is_some());
    Ok(())
}

fn number(check: &mut Check<'_>, gathered: &Gathered, key: &[u8], at: (u64, u64), record: &InodeRecord) {
    match gathered.buckets.get(&at.0) {
        // What is left of a bucket waits for release.
        None if record.unlinked_at > 0 => {}
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

fn directory(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    key: &[u8],
    at: (u64, u64),
    record: &InodeRecord,
    leading: &Links,
    children: &Children,
) {
    let is_root = at.1 == InodeId::ROOT.value();
    let is_named = is_root && record.unlinked_at == 0 || leading.directory_names > 0;
    if let Some(facts) = gathered.buckets.get_mut(&at.0).filter(|_| is_named) {
        facts.inodes += 1;
    }
    if record.children != children.names {
        let what = format!("it counts {} names, {} are in it", record.children, children.names);
        check.wrong(FAMILY, key, what);
    }
    if record.subdirectories != children.subdirectories {
        let what = format!(
            "it counts {} sub-directories, {} are in it",
            record.subdirectories, children.subdirectories
        );
        check.wrong(FAMILY, key, what);
    }
    if leading.names > 0 {
        check.wrong(FAMILY, key, "it is a directory, and a file's name leads to it");
    }
    let expected = u64::from(!is_root && record.unlinked_at == 0);
    if leading.directory_names != expected {
        let what = format!(
            "{} names lead to the directory, not {expected}",
            leading.directory_names
        );
        check.wrong(FAMILY, key, what);
    } else if expected > 0 && leading.parent != record.parent {
        let what = format!(
            "it says to be in directory {}, its name is in directory {}",
            record.parent, leading.parent
        );
        check.wrong(FAMILY, key, what);
    }
    waiting(check, key, record, leading);
    if !is_root && children.names == 0 && record.unlinked_at == 0 {
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
    if leading.kinds.iter().any(|kind| *kind != record.kind()) {
        let what = format!("it is a {:?}, and its names say {:?}", record.kind(), leading.kinds);
        check.wrong(FAMILY, key, what);
    }
    waiting(check, key, record, leading);
    if leading.names == 0 && record.unlinked_at == 0 && !leading.waits {
        check.wrong(FAMILY, key, "no name leads to it, and it is not queued for release");
    } else if leading.names != record.links() {
        let what = format!("{} names lead to it, not {}", leading.names, record.links());
        check.wrong(FAMILY, key, what);
    }
    if let Some(bucket) = gathered.buckets.get_mut(&at.0).filter(|_| leading.names > 0) {
        bucket.inodes += 1;
        bucket.object_bytes += record.size;
    }
}

/// What lost its last name waits for release, and nothing else does.
fn waiting(check: &mut Check<'_>, key: &[u8], record: &InodeRecord, leading: &Links) {
    let is_named = leading.names > 0 || leading.directory_names > 0;
    if leading.waits && is_named {
        check.wrong(FAMILY, key, "it is queued for release, and a name leads to it");
    } else if leading.waits && record.unlinked_at == 0 {
        check.wrong(FAMILY, key, "it is queued for release, and did not lose its last name");
    } else if record.unlinked_at > 0 && !leading.waits {
        let what = format!(
            "it lost its last name at log index {}, and is not queued for release",
            record.unlinked_at
        );
        check.wrong(FAMILY, key, what);
    }
    for cut in record.cuts() {
        if !leading.cuts.contains(&cut.generation) {
            let what = format!("what its truncation at {} cut off is not queued for release", cut.from);
            check.wrong(FAMILY, key, what);
        }
    }
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
