//! What a mount keeps of a file that it has open: bytes not yet stored, what was last told of it, and where its bytes lie.
//!
//! Invariant: of two answers about a file the one of the newer data counts, whichever comes first; bytes that are on their way
//! to the store are seen by readers until what they became can be read back.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_client::{NewFile, Piece, PlannedFile};
use cairn_common::wire::file::FileAttributes;
use fuser::Errno;
use parking_lot::Mutex;

use crate::dirty::Dirty;

/// How long a plan is gone by: it keeps garbage of the whole store from being removed.
const PLAN_KEPT: Duration = Duration::from_secs(1);

/// Files that are not open, of which it is known which version of their data the kernel has pages of.
const REMEMBERED_MAX: usize = 1 << 16;

/// A file that is open.
pub(crate) struct Opened {
    pub(crate) inode: u64,
    pub(crate) state: Mutex<State>,
    /// One stores what is dirty at a time.
    pub(crate) flushing: tokio::sync::Mutex<()>,
}

/// What may change of it.
pub(crate) struct State {
    opens: usize,
    pub(crate) dirty: Dirty,
    /// What the service is to be told of the file first, where it does not know it yet.
    pub(crate) new: Option<NewFile>,
    /// On their way to the store.
    pub(crate) in_flight: Vec<Piece>,
    /// From here on, what is dirty was appended: its place is only certain once it is stored.
    pub(crate) appended_from: Option<u64>,
    /// The same of what is on its way.
    pub(crate) flying_appended_from: Option<u64>,
    pub(crate) dirty_since: Option<Instant>,
    /// Whether what is dirty clears set-user-id bits.
    pub(crate) clear_suid: bool,
    /// Whether somebody will flush soon.
    pub(crate) flush_is_due: bool,
    pub(crate) known: FileAttributes,
    /// Whether the kernel may have pages of an older version than is known.
    has_stale_pages: bool,
    errors: Errors,
    plan: Option<(Instant, Arc<PlannedFile>)>,
    /// Moves when plans that were asked for before must not be kept.
    pub(crate) plan_generation: u64,
}

/// Errors of flushes, each told once to everyone who has the file open.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    count: u64,
    last: Option<Errno>,
    told: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct OpenedFiles {
    open: Mutex<HashMap<u64, Arc<Opened>>>,
    /// Versions of data that the kernel has pages of, of files that are not open.
    remembered: Mutex<HashMap<u64, u64>>,
}

/// What was told of a file, seen by a mount that may have written to it.
pub(crate) struct Seen {
    pub(crate) attributes: FileAttributes,
    /// Whether the kernel cannot find out by itself that the data changed.
    pub(crate) is_hidden_change: bool,
}

impl OpenedFiles {
    /// Enters an open of a file; says whether the kernel's pages of it are of this version of the data.
    pub(crate) fn open(&self, attributes: &FileAttributes) -> (Arc<Opened>, bool) {
        let inode = attributes.inode;
        let mut open = self.open.lock();
        if let Some(opened) = open.get(&inode) {
            let mut state = opened.state.lock();
            state.opens += 1;
            let is_same = state.known.data_version == attributes.data_version;
            state.learn(attributes);
            let is_same = is_same || state.known.data_version > attributes.data_version;
            let is_same = is_same && !std::mem::take(&mut state.has_stale_pages);
            drop(state);
            return (Arc::clone(opened), is_same);
        }
        let remembered = self.remembered.lock().remove(&inode);
        let opened = Arc::new(Opened {
            inode,
            state: Mutex::new(State::new(attributes.clone())),
            flushing: tokio::sync::Mutex::default(),
        });
        open.insert(inode, Arc::clone(&opened));
        (opened, remembered == Some(attributes.data_version))
    }

    /// Takes an open back. What is dirty is stored before.
    pub(crate) fn close(&self, opened: &Opened) {
        let mut open = self.open.lock();
        let mut state = opened.state.lock();
        state.opens -= 1;
        if state.opens > 0 {
            return;
        }
        open.remove(&opened.inode);
        if state.has_stale_pages {
            return;
        }
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(opened.inode, state.known.data_version);
    }

    /// The kernel has forgotten an inode, and its pages.
    pub(crate) fn forget(&self, inode: u64) {
        self.remembered.lock().remove(&inode);
    }

    pub(crate) fn get(&self, inode: u64) -> Option<Arc<Opened>> {
        self.open.lock().get(&inode).cloned()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Opened>> {
        self.open.lock().values().cloned().collect()
    }

    /// What an answer of the store about an inode comes to.
    pub(crate) fn seen(&self, attributes: FileAttributes) -> Seen {
        let opened = self.get(attributes.inode);
        match opened {
            Some(opened) => opened.state.lock().seen(attributes),
            None => Seen {
                attributes,
                is_hidden_change: false,
            },
        }
    }
}

impl State {
    fn new(known: FileAttributes) -> Self {
        Self {
            opens: 1,
            dirty: Dirty::default(),
            new: None,
            in_flight: Vec::new(),
            appended_from: None,
            flying_appended_from: None,
            dirty_since: None,
            clear_suid: false,
            flush_is_due: false,
            known,
            has_stale_pages: false,
            errors: Errors::default(),
            plan: None,
            plan_generation: 0,
        }
    }

    /// Bytes of the file, those counted that are not stored.
    pub(crate) fn size(&self) -> u64 {
        let flying = self.in_flight.iter().map(Piece::end).max();
        self.known
            .size
            .max(self.dirty.end().unwrap_or(0))
            .max(flying.unwrap_or(0))
    }

    /// Whether nothing waits to be stored.
    pub(crate) const fn is_stored(&self) -> bool {
        self.dirty_since.is_none() && self.in_flight.is_empty() && self.new.is_none()
    }

    /// Whether what was told of it stays until somebody changes it.
    pub(crate) fn attributes_stay(&self) -> bool {
        match &self.new {
            Some(new) => new.then.is_empty() && self.dirty.is_empty() && self.in_flight.is_empty(),
            None => self.is_stored(),
        }
    }

    /// Whether nothing waits to be stored that nobody is storing.
    pub(crate) fn has_nothing_waiting(&self) -> bool {
        self.dirty.is_empty() && self.new.is_none()
    }

    /// Whether bytes up to `end` would lie over some whose place is not certain yet.
    pub(crate) fn reaches_appended(&self, end: u64) -> bool {
        let first = [self.appended_from, self.flying_appended_from]
            .into_iter()
            .flatten()
            .min();
        first.is_some_and(|first| end > first)
    }

    /// The appended piece in flight at `slot` comes to lie at `end`, and all that was appended after it behind it. Gives from where
    /// on the file looks different, if it does.
    pub(crate) fn place_appended(&mut self, slot: usize, end: u64) -> Option<u64> {
        let from = self.in_flight.get(slot)?.offset;
        if from == end {
            return None;
        }
        let mut at = end;
        for piece in &mut self.in_flight[slot..] {
            piece.offset = at;
            at = piece.end();
        }
        self.flying_appended_from = self.flying_appended_from.map(|first| first.min(end));
        if let Some(behind) = self.appended_from {
            self.appended_from = Some(self.dirty.shift(behind, at));
        }
        Some(from.min(end))
    }

    /// Takes over an answer of the store, unless a newer one is known.
    pub(crate) fn learn(&mut self, attributes: &FileAttributes) {
        if attributes.data_version > self.known.data_version {
            self.forget_plan();
        }
        if attributes.data_version >= self.known.data_version {
            self.known = attributes.clone();
        }
    }

    /// Takes over the answer to a change of this mount's own, which moved the data by `steps` versions at most. Says whether others
    /// have changed the data too, so that pages which the kernel has are no longer right.
    #[must_use]
    pub(crate) fn learn_own(&mut self, attributes: &FileAttributes, steps: u64) -> bool {
        let is_foreign = attributes.data_version > self.known.data_version + steps;
        self.has_stale_pages |= is_foreign;
        self.learn(attributes);
        is_foreign
    }

    fn seen(&mut self, mut attributes: FileAttributes) -> Seen {
        let known = &self.known;
        let is_hidden_change = attributes.data_version > known.data_version
            && (attributes.size, attributes.mtime_ns) == (known.size, known.mtime_ns);
        if attributes.data_version < known.data_version {
            attributes.size = known.size;
            attributes.mtime_ns = known.mtime_ns;
            attributes.ctime_ns = attributes.ctime_ns.max(known.ctime_ns);
            attributes.data_version = known.data_version;
        }
        self.learn(&attributes);
        attributes.size = self.size();
        Seen {
            attributes,
            is_hidden_change,
        }
    }

    /// A plan that was asked for a moment ago and knows of the byte at `offset`.
    pub(crate) fn plan(&self, offset: u64) -> Option<Arc<PlannedFile>> {
        let (when, plan) = self.plan.as_ref()?;
        (when.elapsed() < PLAN_KEPT && plan.covers(offset)).then(|| Arc::clone(plan))
    }

    /// Keeps a plan that was asked for at `generation`.
    pub(crate) fn keep_plan(&mut self, generation: u64, plan: &Arc<PlannedFile>) {
        if generation == self.plan_generation {
            self.plan = Some((Instant::now(), Arc::clone(plan)));
        }
    }

    /// Lets go of a plan that is too old to be used: it keeps garbage from being removed.
    pub(crate) fn drop_old_plan(&mut self) {
        if self.plan.as_ref().is_some_and(|(when, _)| when.elapsed() >= PLAN_KEPT) {
            self.plan = None;
        }
    }

    pub(crate) fn forget_plan(&mut self) {
        self.plan = None;
        self.plan_generation += 1;
    }

    /// Keeps an error for whoever asks next.
    pub(crate) fn fail(&mut self, error: Errno) {
        self.errors = Errors {
            count: self.errors.count + 1,
            last: Some(error),
            told: false,
        };
    }

    /// Flushes that failed so far.
    pub(crate) const fn error_count(&self) -> u64 {
        self.errors.count
    }

    /// The last error, where there were more than `count`. Its owners are still to be told.
    pub(crate) fn error_behind(&self, count: u64) -> Option<Errno> {
        self.errors.last.filter(|_| self.errors.count > count)
    }

    /// Up to which error one who opens the file now counts as told: one that nobody was told of is theirs too.
    pub(crate) fn told_at_open(&self) -> u64 {
        self.errors.count - u64::from(!self.errors.told && self.errors.count > 0)
    }

    /// The error that one who was told up to `told` was not told of.
    pub(crate) fn error_since(&mut self, told: &mut u64) -> Option<Errno> {
        if *told >= self.errors.count {
            return None;
        }
        *told = self.errors.count;
        self.errors.told = true;
        self.errors.last
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn piece(offset: u64, data: &'static [u8]) -> Piece {
        Piece {
            offset,
            data: Bytes::from_static(data),
        }
    }

    #[test]
    fn a_version_that_is_not_this_mounts_own_makes_pages_stale() {
        let at = |data_version| FileAttributes {
            inode: 1,
            data_version,
            ..FileAttributes::default()
        };
        let files = OpenedFiles::default();
        let (opened, _) = files.open(&at(1));
        assert!(!opened.state.lock().learn_own(&at(2), 1));
        assert!(files.open(&at(2)).1);
        assert!(opened.state.lock().learn_own(&at(4), 1));
        assert!(!files.open(&at(4)).1, "the kernel drops its pages at the next open");
        assert!(files.open(&at(4)).1);
        assert!(opened.state.lock().learn_own(&at(5), 0));
    }

    #[test]
    fn bytes_that_are_appended_move_together_and_nothing_is_written_over_them() {
        let mut state = State::new(FileAttributes {
            size: 10,
            ..FileAttributes::default()
        });
        state.in_flight = vec![piece(0, b"a"), piece(10, b"bcd"), piece(13, b"ef")];
        state.flying_appended_from = Some(10);
        state.dirty.write(15, b"gh");
        state.appended_from = Some(15);
        assert!(state.reaches_appended(11) && !state.reaches_appended(10));

        // Another mount appended ten bytes.
        assert_eq!(state.place_appended(1, 20), Some(10));
        assert_eq!(state.in_flight, [piece(0, b"a"), piece(20, b"bcd"), piece(23, b"ef")]);
        assert_eq!((state.appended_from, state.size()), (Some(25), 27));
        assert!(state.reaches_appended(11), "the first is where it was first put");
        assert_eq!(state.place_appended(2, 23), None);
    }

    #[test]
    fn bytes_that_move_to_the_front_lie_behind_what_was_written_at_a_place() {
        let mut state = State::new(FileAttributes::default());
        state.in_flight = vec![piece(100, b"bcd")];
        state.flying_appended_from = Some(100);
        state.dirty.write(60, b"plain");
        state.dirty.write(103, b"ef");
        state.appended_from = Some(103);
        assert_eq!(state.place_appended(0, 50), Some(50));
        assert_eq!(state.appended_from, Some(65));
        assert_eq!(state.dirty.bytes(), 7, "none was written over another");
    }
}
