//! Which inodes have POSIX ACLs, as their attributes just said.
//!
//! Invariant: that an inode has no list is gone by only for a moment after its attributes said so.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cairn_common::{acl::DEFAULT, wire::file::FileAttributes};
use parking_lot::Mutex;

/// How long attributes are gone by. The kernel asks for a list right behind them, and for each check of a permission.
const KNOWN: Duration = Duration::from_millis(100);

/// Inodes of which it is known.
const KNOWN_MAX: usize = 4096;

/// Inodes whose attributes were just told, and which lists they have.
#[derive(Debug, Default)]
pub(crate) struct KnownAcls(Mutex<HashMap<u64, Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    when: Instant,
    has_access: bool,
    has_default: bool,
}

impl KnownAcls {
    pub(crate) fn note(&self, attributes: &FileAttributes) {
        let known = Known {
            when: Instant::now(),
            has_access: attributes.has_access_acl,
            has_default: attributes.has_default_acl,
        };
        let mut inodes = self.0.lock();
        if inodes.len() >= KNOWN_MAX {
            inodes.clear();
        }
        inodes.insert(attributes.inode, known);
    }

    pub(crate) fn forget(&self, inode: u64) {
        self.0.lock().remove(&inode);
    }

    /// Whether an inode is known not to have the list of this name.
    pub(crate) fn is_absent(&self, inode: u64, name: &[u8]) -> bool {
        let known = self.0.lock().get(&inode).copied();
        known.is_some_and(|known| {
            let is_there = if name == DEFAULT {
                known.has_default
            } else {
                known.has_access
            };
            !is_there && known.when.elapsed() < KNOWN
        })
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::acl::ACCESS;

    use super::*;

    #[test]
    fn that_there_is_no_list_is_known_until_one_is_set() {
        let known = KnownAcls::default();
        assert!(!known.is_absent(1, ACCESS));
        known.note(&FileAttributes {
            inode: 1,
            has_default_acl: true,
            ..FileAttributes::default()
        });
        assert!(known.is_absent(1, ACCESS));
        assert!(!known.is_absent(1, DEFAULT));
        known.forget(1);
        assert!(!known.is_absent(1, ACCESS));
    }
}
