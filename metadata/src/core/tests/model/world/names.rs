//! The tree of names of a bucket, and the keys that S3 sees in it.

use std::collections::BTreeSet;

use cairn_common::{limits, wire::file::FileKind};

use super::{Bucket, Inode};

/// The root directory of every bucket.
pub(crate) const ROOT: u64 = 1;

/// The directory components of a key, each with its `/`, and the last component.
pub(crate) fn split(key: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut directories = Vec::new();
    let mut component = Vec::new();
    for byte in key {
        component.push(*byte);
        if *byte == b'/' {
            directories.push(std::mem::take(&mut component));
        }
    }
    (directories, component)
}

/// Every key of a bucket in order, with its inode: files, and directories that are there on purpose.
pub(crate) fn keys(bucket: &Bucket) -> Vec<(Vec<u8>, u64)> {
    let mut found = Vec::new();
    walk(bucket, ROOT, &[], &mut |path, inode| found.push((path.to_vec(), inode)));
    found.retain(|(_, inode)| is_object(&bucket.inodes[inode]));
    found
}

/// Whether S3 sees it under its key.
pub(crate) fn is_object(inode: &Inode) -> bool {
    matches!(inode.kind, FileKind::File | FileKind::Directory)
}

/// Every name below a directory that is not a sub-directory's.
fn walk(bucket: &Bucket, directory: u64, path: &[u8], visit: &mut dyn FnMut(&[u8], u64)) {
    for (component, inode) in &bucket.inodes[&directory].entries {
        let path = [path, component].concat();
        if component.ends_with(b"/") {
            walk(bucket, *inode, &path, visit);
        } else {
            visit(&path, *inode);
        }
    }
}

/// Whether a mount shows a component of a directory.
pub(crate) fn shown(directory: &Inode, component: &[u8]) -> bool {
    let is_directory = component.ends_with(b"/");
    let name = component.strip_suffix(b"/").unwrap_or(component);
    let nameable = !name.is_empty()
        && name != b"."
        && name != b".."
        && name.len() <= limits::NAME_LEN_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
        && std::str::from_utf8(name).is_ok();
    nameable && (is_directory || !directory.entries.contains_key(&[component, b"/"].concat()))
}

impl Bucket {
    /// The directory inodes that the directories of a key name, the root first, as far as they are there.
    pub(crate) fn path_of(&self, key: &[u8]) -> Vec<u64> {
        let mut path = vec![ROOT];
        for directory in split(key).0 {
            let last = path[path.len() - 1];
            match self.inodes[&last].entries.get(&directory) {
                Some(next) => path.push(*next),
                None => break,
            }
        }
        path
    }

    /// The inode under a key. A mount can make paths that are longer than any key: no request names what lies there.
    pub(crate) fn resolve(&self, key: &[u8]) -> Option<u64> {
        if key.len() > limits::KEY_LEN_MAX {
            return None;
        }
        let (directories, component) = split(key);
        let path = self.path_of(key);
        let parent = path.last().filter(|_| path.len() == directories.len() + 1)?;
        self.inodes[parent].entries.get(&component).copied()
    }

    /// The directories of which an inode, if it is one, lies within, itself included.
    pub(crate) fn ancestors(&self, mut inode: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        while found.insert(inode) && inode != ROOT {
            inode = self.inodes[&inode].parent;
        }
        found
    }

    pub(crate) fn new_inode(&mut self, inode: Inode) -> u64 {
        self.last_inode += 1;
        self.reserved.remove(&self.last_inode);
        self.inodes.insert(self.last_inode, inode);
        self.last_inode
    }
}
