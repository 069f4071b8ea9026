//! What a mount was told of files under leases, and may go by. Told the time; it keeps none.
//!
//! Invariant: nothing is kept of an answer that was asked for before the file was last recalled or changed, however late it comes; and
//! nothing is gone by after the leases have run out.

use std::collections::HashMap;

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        file::{FileAttributes, FileId, FileKind},
        lease::OwnChange,
    },
};
use tokio::time::Instant;

/// Files and names of which something is known at most: beyond it all is given up, long before the service gives no more leases.
const KNOWN_MAX: usize = 1 << 16;

/// What is known, and until when.
#[derive(Debug)]
pub(super) struct Known {
    /// The term of the leader that gave the leases; 0 where there are none.
    term: u64,
    until: Instant,
    /// Until when the service at most took this mount for one that holds leases, whatever became of them here.
    lasted: Instant,
    files: HashMap<FileId, Entry>,
    /// Names that something is known of, in all directories; one that is taken back may still be counted.
    names: usize,
    /// Counts recalls and changes.
    moment: u64,
    /// Nothing that was asked for before this is kept.
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Entry {
    attributes: Option<FileAttributes>,
    /// Of a directory: what its names stand for; nothing for those that are not there.
    names: HashMap<Bytes, Option<u64>>,
    /// Of a directory: whether no other name is there.
    is_complete: bool,
    /// Of a directory: whether nobody else does anything in it.
    is_alone: bool,
    /// When it was recalled or changed last.
    changed: u64,
}

/// What a command of this mount came to.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) bucket: u64,
    /// What of the leases it has changed.
    pub(super) own: &'a [OwnChange],
    /// What its outcome tells of.
    pub(super) told: Option<&'a FileAttributes>,
    /// The directory and name that it entered for that.
    pub(super) entered: Option<(u64, &'a Bytes)>,
    /// Whether it took a name away, and entered none.
    pub(super) removes: bool,
    /// Directories that nobody else does anything in from now on.
    pub(super) alone: &'a [u64],
    /// The term in which a lease of what it tells of was given; 0 where none was.
    pub(super) term: u64,
}

/// When something was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    term: u64,
    moment: u64,
}

impl Asked {
    /// Whether it was asked for under the leases of this term.
    pub(crate) const fn is_of(&self, term: u64) -> bool {
        self.term == term
    }
}

impl Known {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            term: 0,
            until: now,
            lasted: now,
            files: HashMap::new(),
            names: 0,
            moment: 0,
            forgotten: 0,
        }
    }

    /// The term of the leases; 0 where there are none.
    pub(super) const fn term(&self) -> u64 {
        self.term
    }

    /// Until when what is known may be gone by.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Until when the service takes this mount for a holder at most.
    pub(super) const fn lasted(&self) -> Instant {
        self.lasted
    }

    /// Leases are given, or renewed, in a term; of `before` that one was, or none, when that was asked for. Where they were lost meanwhile they
    /// stay so.
    pub(super) fn renew(&mut self, before: u64, term: u64, until: Instant) {
        if self.term == before {
            self.term = term;
            self.until = self.until.max(until);
            self.lasted = self.lasted.max(until);
        }
    }

    /// Goes by nothing any more, and has no leases.
    pub(super) fn lose(&mut self, now: Instant) {
        self.forget_all();
        self.term = 0;
        self.until = now;
    }

    /// Goes by nothing that was asked for before now.
    pub(super) fn forget_all(&mut self) {
        self.moment += 1;
        self.forgotten = self.moment;
        self.files.clear();
        self.names = 0;
    }

    /// Whether so much is known that all is to be given up.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() + self.names >= KNOWN_MAX
    }

    /// A file has changed.
    pub(super) fn forget(&mut self, file: FileId) {
        self.moment += 1;
        let changed = self.moment;
        self.files.insert(
            file,
            Entry {
                changed,
                ..Entry::default()
            },
        );
    }

    /// Notes that something is asked for now; nothing where there is no lease.
    pub(super) fn ask(&self, now: Instant) -> Option<Asked> {
        let asked = Asked {
            term: self.term,
            moment: self.moment,
        };
        (self.term != 0 && now < self.until).then_some(asked)
    }

    /// What is known of a file.
    pub(super) fn attributes(&self, file: FileId, now: Instant) -> Option<&FileAttributes> {
        self.entry(file, now)?.attributes.as_ref()
    }

    /// What is known of a name: that it is not there, or the attributes of what it stands for.
    pub(super) fn name(&self, directory: FileId, name: &Bytes, now: Instant) -> Option<Option<&FileAttributes>> {
        let entry = self.entry(directory, now)?;
        match entry.names.get(name) {
            // Of any other the service says what is wrong with it.
            None if entry.is_complete && is_possible(name) => Some(None),
            None => None,
            Some(None) => Some(None),
            Some(Some(inode)) => {
                let file = FileId {
                    inode: *inode,
                    ..directory
                };
                self.attributes(file, now).map(Some)
            }
        }
    }

    /// Whether nobody else does anything in a directory.
    pub(super) fn is_alone(&self, directory: FileId, now: Instant) -> bool {
        self.entry(directory, now).is_some_and(|entry| entry.is_alone)
    }

    fn entry(&self, file: FileId, now: Instant) -> Option<&Entry> {
        self.files.get(&file).filter(|_| now < self.until)
    }

    /// Keeps attributes that were asked for, and given in the term of the leases.
    pub(super) fn keep_attributes(&mut self, asked: Asked, file: FileId, attributes: &FileAttributes) {
        if let Some(entry) = self.fresh(asked, file) {
            entry.attributes = Some(attributes.clone());
        }
    }

    /// The same for a name.
    pub(super) fn keep_name(&mut self, asked: Asked, directory: FileId, name: &Bytes, inode: Option<u64>) {
        if let Some(entry) = self.fresh(asked, directory)
            && entry.names.insert(name.clone(), inode).is_none()
        {
            self.names += 1;
        }
    }

    /// The entry of a file that has not changed since something was asked for.
    fn fresh(&mut self, asked: Asked, file: FileId) -> Option<&mut Entry> {
        if asked.term != self.term || asked.moment < self.forgotten {
            return None;
        }
        let entry = self.files.entry(file).or_default();
        (entry.changed <= asked.moment).then_some(entry)
    }

    /// A command of this mount was answered. Other names of a directory than those that it changed stay known.
    pub(super) fn changed(&mut self, asked: Option<Asked>, change: &Change<'_>) {
        let file = |inode| FileId {
            bucket: change.bucket,
            inode,
        };
        // Before its own changes are noted: has anything else changed since it was asked for?
        let mut is_fresh = |inode| asked.is_some_and(|asked| self.fresh(asked, file(inode)).is_some());
        let inodes = change.own.iter().map(|own| own.inode);
        let fresh: Vec<u64> = inodes.filter(|inode| is_fresh(*inode)).collect();
        let is_leased = asked.is_some_and(|asked| asked.is_of(change.term));
        let told = change.told.filter(|told| is_leased && is_fresh(told.inode));
        let entered = change.entered.filter(|(directory, _)| is_fresh(*directory));
        self.moment += 1;
        for own in change.own {
            let entry = self.files.entry(file(own.inode)).or_default();
            entry.changed = self.moment;
            if own.name.is_empty() {
                entry.attributes = own.attributes.clone().filter(|_| fresh.contains(&own.inode));
            } else {
                entry.names.remove(&own.name);
                let is_entered = told.is_some() && entered == Some((own.inode, &own.name));
                entry.is_complete &= fresh.contains(&own.inode) && (change.removes || is_entered);
            }
        }
        for directory in change.alone.iter().filter(|inode| fresh.contains(inode)) {
            self.files.entry(file(*directory)).or_default().is_alone = true;
        }
        let Some(told) = told else { return };
        let made = self.files.entry(file(told.inode)).or_default();
        made.attributes = Some(told.clone());
        // One that is used alone from its making on.
        if told.kind() == FileKind::Directory && change.alone.contains(&told.inode) {
            made.is_alone = true;
            made.is_complete = true;
        }
        if let Some((directory, name)) = entered {
            // It is told of the names of directories that there is a lease of.
            let is_known = change.own.iter().any(|own| own.inode == directory && own.name == name);
            if is_known {
                let entry = self.files.entry(file(directory)).or_default();
                entry.names.insert(name.clone(), Some(told.inode));
                self.names += 1;
            }
        }
    }
}

/// Whether the service can have a name of those that a kernel asks for.
fn is_possible(name: &[u8]) -> bool {
    name.len() <= limits::NAME_LEN_MAX && std::str::from_utf8(name).is_ok()
}

#[cfg(test)]
mod tests;
