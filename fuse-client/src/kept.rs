//! Small files as this mount has written them, for who reads them next: the kernel keeps only pages that are full.
//!
//! Invariant: what is kept is one version of a file's data, and whoever uses it knows under a lease that this is the version in force.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of a file that is kept.
const FILE_BYTES_MAX: usize = 128 << 10;

/// Bytes of all: the files of a moment.
const BYTES_MAX: usize = 16 << 20;

/// Files that are kept.
const FILES_MAX: usize = 4096;

/// The files, by inode.
#[derive(Debug, Default)]
pub(crate) struct KeptFiles(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Version and bytes.
    files: HashMap<u64, (u64, Bytes)>,
    /// Inodes and versions as they came; of a file that came again the last counts.
    order: VecDeque<(u64, u64)>,
    bytes: usize,
}

impl KeptFiles {
    /// Keeps all bytes of a file, at a version of its data.
    pub(crate) fn keep(&self, inode: u64, version: u64, data: &[u8]) {
        let mut kept = self.0.lock();
        kept.remove(inode);
        if data.len() > FILE_BYTES_MAX {
            return;
        }
        kept.bytes += data.len();
        kept.files.insert(inode, (version, Bytes::copy_from_slice(data)));
        kept.order.push_back((inode, version));
        while kept.bytes > BYTES_MAX || kept.order.len() > FILES_MAX {
            let Some((inode, version)) = kept.order.pop_front() else {
                return;
            };
            if kept.files.get(&inode).is_some_and(|file| file.0 == version) {
                kept.remove(inode);
            }
        }
    }

    /// All bytes of a file at a version, where they are kept.
    pub(crate) fn at(&self, inode: u64, version: u64) -> Option<Bytes> {
        let kept = self.0.lock();
        let (of, data) = kept.files.get(&inode)?;
        (*of == version).then(|| data.clone())
    }
}

impl Kept {
    fn remove(&mut self, inode: u64) {
        if let Some((_, data)) = self.files.remove(&inode) {
            self.bytes -= data.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_kept_and_the_first_that_came_go_first() {
        let kept = KeptFiles::default();
        kept.keep(7, 1, b"old");
        kept.keep(7, 2, b"new");
        assert_eq!((kept.at(7, 1), kept.at(7, 2)), (None, Some(Bytes::from_static(b"new"))));
        let large = vec![0; FILE_BYTES_MAX];
        for inode in 100..100 + (BYTES_MAX / FILE_BYTES_MAX) as u64 {
            kept.keep(inode, 1, &large);
        }
        assert!(kept.at(7, 2).is_none() && kept.at(100, 1).is_some());
        for version in 0..2 * FILES_MAX as u64 {
            kept.keep(8, version, b"small");
        }
        let all = kept.0.lock();
        assert!(all.order.len() <= FILES_MAX && all.bytes <= BYTES_MAX && all.files.contains_key(&8));
    }
}
