//! Which inodes have POSIX ACLs, as their attributes just said.
//!
//! Invariant: that an inode has no list is gone by only for a moment after its attributes said so.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cairn_common::{acl::DEFAULT, wire::file::FileAttributes};
use parking_lot::{Mutex, MutexGuard};

/// How long attributes are gone by. The kernel asks for a list right behind them, and for each check of a permission.
const KNOWN: Duration = Duration::from_millis(100);

/// Inodes of which it is known, about.
const KNOWN_MAX: usize = 4096;

/// Inodes whose attributes were just asked for, and which lists they have.
#[derive(Debug, Default)]
pub(crate) struct KnownAcls(Mutex<HashMap<u64, Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// When the question was asked, or when a list was changed since.
    when: Instant,
    may_have_access: bool,
    may_have_default: bool,
}

impl KnownAcls {
    /// Notes what came of a question that was asked at `asked`. Where lists were changed since, it says nothing.
    pub(crate) fn note(&self, asked: Instant, attributes: &FileAttributes) {
        let known = Known {
            when: asked,
            may_have_access: attributes.has_access_acl,
            may_have_default: attributes.has_default_acl,
        };
        let mut inodes = self.room();
        let newest = inodes.entry(attributes.inode).or_insert(known);
        if newest.when <= asked {
            *newest = known;
        }
    }

    /// Notes that lists were changed, or may be.
    pub(crate) fn changed(&self, inode: u64) {
        let known = Known {
            when: Instant::now(),
            may_have_access: true,
            may_have_default: true,
        };
        self.room().insert(inode, known);
    }

    /// Knows nothing of inodes any more, or of any.
    pub(crate) fn forget(&self, inodes: Option<&[u64]>) {
        match inodes {
            Some(inodes) => inodes.iter().for_each(|inode| self.changed(*inode)),
            None => self.0.lock().clear(),
        }
    }

    /// Whether an inode is known not to have the list of this name.
    pub(crate) fn is_absent(&self, inode: u64, name: &[u8]) -> bool {
        let known = self.0.lock().get(&inode).copied();
        known.is_some_and(|known| {
            let may_be_there = if name == DEFAULT {
                known.may_have_default
            } else {
                known.may_have_access
            };
            !may_be_there && known.when.elapsed() < KNOWN
        })
    }

    fn room(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        let mut inodes = self.0.lock();
        if inodes.len() >= KNOWN_MAX {
            // What was changed a moment ago is remembered: an older answer may still be on its way.
            inodes.retain(|_, known| known.when.elapsed() < KNOWN);
        }
        inodes
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
        let attributes = FileAttributes {
            inode: 1,
            has_default_acl: true,
            ..FileAttributes::default()
        };
        let asked = Instant::now();
        known.note(asked, &attributes);
        assert!(known.is_absent(1, ACCESS));
        assert!(!known.is_absent(1, DEFAULT));
        known.changed(1);
        assert!(!known.is_absent(1, ACCESS));
        // An answer from before the change says nothing of what is now.
        known.note(asked, &attributes);
        assert!(!known.is_absent(1, ACCESS));
        known.note(Instant::now(), &attributes);
        assert!(known.is_absent(1, ACCESS));
    }
}
