//! For how long the kernel may go by what a name stands for.
//!
//! Invariant: what is given is noted before it is looked whether it is still known under a lease: whoever lets go of that forgets it first, and
//! then waits for what was noted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_common::wire::file::FileAttributes;

use crate::{entries::GONE_BY, volume::Volume};

/// What a name stands for, as the kernel is told.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) attributes: FileAttributes,
    pub(crate) trust: Trust,
}

/// For how long the kernel may go by an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) name: Duration,
    pub(crate) attributes: Duration,
}

impl Volume {
    /// The entry of what was `found` under a name, with the attributes that the kernel is told of it.
    pub(crate) fn entry(&self, directory: u64, name: &Bytes, found: &FileAttributes, told: FileAttributes) -> Entry {
        Entry {
            attributes: told,
            trust: self.entry_trust(directory, name, Some(found)),
        }
    }

    /// For how long the kernel may go by what a name stands for: nothing, or something with these attributes.
    pub(crate) fn entry_trust(&self, directory: u64, name: &Bytes, found: Option<&FileAttributes>) -> Trust {
        let asked_for = self.settings.kernel_cache;
        let now = Instant::now();
        let (is_given, is_given_too) = self.entries.will_give(directory, found.map(|found| found.inode), now);
        let left = if is_given {
            self.name_left(directory, name, found)
        } else {
            Duration::ZERO
        };
        let trusted = GONE_BY.min(left);
        let is_certain = found.is_some_and(|found| is_given_too && self.attributes_stay(found));
        if let Some(found) = found.filter(|_| is_certain) {
            self.kernel.will_trust(self.number(found.inode));
        }
        Trust {
            name: asked_for.max(trusted),
            attributes: asked_for.max(if is_certain { trusted } else { Duration::ZERO }),
        }
    }

    /// How long a name may still be gone by.
    fn name_left(&self, directory: u64, name: &Bytes, found: Option<&FileAttributes>) -> Duration {
        match self.new_file_at(directory, name) {
            Some(new) if found.is_some_and(|found| found.inode == new.inode) => self.files.alone_left(directory),
            Some(_) => Duration::ZERO,
            None => self.files.name_left(directory, name, found),
        }
    }

    /// Whether attributes stay as they are told until somebody changes them: nothing that was written is still to move them.
    fn attributes_stay(&self, told: &FileAttributes) -> bool {
        let opened = self.opened_files.get(told.inode);
        opened.is_none_or(|opened| opened.state.lock().attributes_stay())
    }
}
