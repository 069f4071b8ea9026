//! Who has a lease of which file, and which are being recalled. Told the time; it keeps none.
//!
//! Invariant: a lease is given only of a state that nobody has changed since it was read, and is let go of only when its holder says so
//! or has not been heard of for its whole length. So whoever waits for the recalls of a change waits until nobody goes by the state
//! before it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use cairn_common::{
    ids::SessionId,
    limits::{FILE_LEASES_MAX, LEASE_RECALLS_MAX},
    wire::file::FileId,
};
use tokio::sync::Notify;

use super::alone::{Alone, Scope};
use crate::raft::{Doing, Hold};

/// Changes of files that are remembered: more than there are in flight at a time by far.
const RECENT_MAX: usize = 1 << 16;

/// Leases of a mount beyond which it has to begin anew: answers that it did not keep have left leases of what it does not know.
const FILES_RENEWED_MAX: usize = FILE_LEASES_MAX / 4 * 3;

/// The leases that a leader has given.
pub(super) struct Table {
    length: Duration,
    sessions: HashMap<SessionId, Holder>,
    /// Holders of each file, and the number of the recall where it is recalled from one.
    leases: HashMap<FileId, Vec<(SessionId, Option<u64>)>>,
    recent: Recent,
    /// Who of those that have a lease of a directory uses it alone.
    pub(super) alone: Alone,
    newest_recall: u64,
    /// Recalls since they were last counted.
    recalled: u64,
}

/// A mount that may hold leases.
struct Holder {
    ends: Duration,
    /// How often it has begun.
    begun: u64,
    /// What it has leases of, what is recalled included.
    files: HashSet<FileId>,
    /// Recalls that it was not heard to have followed, by their numbers.
    recalls: BTreeMap<u64, (FileId, Doing)>,
    more: Arc<Notify>,
}

/// At which log index files were changed last.
#[derive(Default)]
struct Recent {
    files: HashMap<FileId, u64>,
    order: VecDeque<(u64, FileId)>,
    /// What was changed up to this index may be forgotten.
    forgotten: u64,
}

/// What a holder is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recalls {
    pub(super) files: Vec<FileId>,
    pub(super) newest: u64,
}

impl Table {
    /// Nobody has a lease. What was changed up to log index `applied` is not known.
    pub(super) fn new(length: Duration, applied: u64) -> Self {
        Self {
            length,
            sessions: HashMap::new(),
            leases: HashMap::new(),
            recent: Recent {
                forgotten: applied,
                ..Recent::default()
            },
            alone: Alone::default(),
            newest_recall: 0,
            recalled: 0,
        }
    }

    /// What was changed up to log index `applied` is not known.
    pub(super) fn forget_changes(&mut self, applied: u64) {
        self.recent = Recent {
            forgotten: applied,
            ..Recent::default()
        };
    }

    /// Lets a session have leases, or go on having them. One that `holds_none` begins anew, for the `begun`th time; one that takes itself for
    /// a holder and is none any more, or that has more than are kept for it, is told so by `false`.
    pub(super) fn renew(&mut self, session: SessionId, holds_none: bool, begun: u64, now: Duration) -> bool {
        let ends = now + self.length;
        let known = self.sessions.get_mut(&session);
        if !holds_none {
            // Another number: one of the two questions is from before the mount began.
            let known = known.filter(|holder| holder.begun == begun && holder.files.len() < FILES_RENEWED_MAX);
            return known.map(|holder| holder.ends = holder.ends.max(ends)).is_some();
        }
        if known.is_some_and(|holder| holder.begun >= begun) {
            return false;
        }
        self.remove(session);
        let holder = Holder {
            ends,
            begun,
            files: HashSet::new(),
            recalls: BTreeMap::new(),
            more: Arc::default(),
        };
        self.sessions.insert(session, holder);
        true
    }

    /// A session has let go of what was recalled up to a number.
    pub(super) fn released(&mut self, session: SessionId, through: u64) {
        let Some(holder) = self.sessions.get_mut(&session) else {
            return;
        };
        let behind = holder.recalls.split_off(&(through + 1));
        let released = std::mem::replace(&mut holder.recalls, behind);
        for (number, (file, doing)) in released {
            holder.files.remove(&file);
            self.alone.take(session, file);
            if let Entry::Occupied(mut holders) = self.leases.entry(file) {
                holders.get_mut().retain(|lease| *lease != (session, Some(number)));
                if holders.get().is_empty() {
                    holders.remove();
                }
            }
            doing.done();
        }
    }

    /// What is recalled from a session, and what tells that there is more.
    pub(super) fn recalls(&self, session: SessionId) -> Option<(Recalls, Arc<Notify>)> {
        let holder = self.sessions.get(&session)?;
        let told = || holder.recalls.iter().take(LEASE_RECALLS_MAX);
        let recalls = Recalls {
            files: told().map(|(_, (file, _))| *file).collect(),
            newest: told().next_back().map_or(0, |(number, _)| *number),
        };
        Some((recalls, Arc::clone(&holder.more)))
    }

    /// Gives a session leases of files as they were at log index `read_at`. All or none; whether it did.
    pub(super) fn grant(&mut self, session: SessionId, read_at: u64, files: &[FileId], now: Duration) -> bool {
        let Some(holder) = self.sessions.get_mut(&session) else {
            return false;
        };
        if holder.ends <= now || holder.files.len() + files.len() > FILE_LEASES_MAX {
            return false;
        }
        let (leases, recent) = (&self.leases, &self.recent);
        let may_be_given = |file: &FileId| {
            let mut holders = leases.get(file).into_iter().flatten();
            let is_recalled = holders.any(|(holder, recall)| *holder == session && recall.is_some());
            !is_recalled && recent.changed_at(*file) <= read_at
        };
        if !files.iter().all(may_be_given) {
            return false;
        }
        for file in files {
            let holders = self.leases.entry(*file).or_default();
            if holders.iter().all(|(other, _)| *other != session) {
                holders.push((session, None));
                holder.files.insert(*file);
            }
        }
        true
    }

    /// A file was changed by the entry at `log_index`, by a session that knows of it. Gives what is to be waited for before others are
    /// told that it was.
    pub(super) fn changed(&mut self, by: SessionId, log_index: u64, file: FileId, holds: &mut Vec<Hold>) {
        self.recent.note(file, log_index);
        self.recall(by, file, holds);
    }

    /// Recalls whatever others than `but` use alone of a scope. Gives what is to be waited for before any of it is read or changed.
    pub(super) fn disturb(&mut self, scope: &Scope, but: SessionId, now: Duration) -> Vec<Hold> {
        let mut holds = Vec::new();
        for file in self.alone.disturb(scope, but, now) {
            self.recall(but, file, &mut holds);
        }
        holds
    }

    /// Lets a session use a directory alone, of which nobody else has a lease; whether it does.
    pub(super) fn give_alone(&mut self, session: SessionId, file: FileId, now: Duration) -> bool {
        let is_live = self.sessions.get(&session).is_some_and(|holder| holder.ends > now);
        let is_only = self
            .leases
            .get(&file)
            .is_some_and(|holders| holders[..] == [(session, None)]);
        is_live && is_only && self.alone.give(session, file, now)
    }

    fn recall(&mut self, by: SessionId, file: FileId, holds: &mut Vec<Hold>) {
        let Some(holders) = self.leases.get_mut(&file) else {
            return;
        };
        for (session, recall) in holders.iter_mut().filter(|(session, _)| *session != by) {
            let Some(holder) = self.sessions.get_mut(session) else {
                continue;
            };
            if let Some((_, doing)) = recall.and_then(|number| holder.recalls.get(&number)) {
                holds.push(doing.hold());
                continue;
            }
            self.newest_recall += 1;
            self.recalled += 1;
            let (doing, hold) = Doing::new();
            holder.recalls.insert(self.newest_recall, (file, doing));
            *recall = Some(self.newest_recall);
            holder.more.notify_one();
            holds.push(hold);
        }
    }

    /// Whether a session has a lease of a file, be it one that is recalled.
    pub(super) fn holds(&self, session: SessionId, file: FileId) -> bool {
        let mut holders = self.leases.get(&file).into_iter().flatten();
        holders.any(|(holder, _)| *holder == session)
    }

    /// Whether nobody may hold leases.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Recalls of files that others have not followed yet.
    pub(super) fn recalls_of(&self, files: &[FileId], but: SessionId) -> Vec<Hold> {
        let holders = files.iter().filter_map(|file| self.leases.get(file)).flatten();
        let recalled = holders.filter(|(session, _)| *session != but);
        recalled
            .filter_map(|(session, recall)| self.sessions.get(session)?.recalls.get(&(*recall)?))
            .map(|(_, doing)| doing.hold())
            .collect()
    }

    /// A session has ended, or begins anew: nobody waits for it any more.
    pub(super) fn remove(&mut self, session: SessionId) {
        let Some(holder) = self.sessions.remove(&session) else {
            return;
        };
        for file in &holder.files {
            self.alone.take(session, *file);
            if let Entry::Occupied(mut holders) = self.leases.entry(*file) {
                holders.get_mut().retain(|(other, _)| *other != session);
                if holders.get().is_empty() {
                    holders.remove();
                }
            }
        }
        for (_, doing) in holder.recalls.into_values() {
            doing.done();
        }
        holder.more.notify_one();
    }

    /// Takes the leases of sessions that were not heard of for their whole length; tells which.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<SessionId> {
        let over = self.sessions.iter().filter(|(_, holder)| holder.ends <= now);
        let over: Vec<_> = over.map(|(session, _)| *session).collect();
        for session in &over {
            self.remove(*session);
        }
        over
    }

    /// Leases in force, those that are recalled included.
    pub(super) fn count(&self) -> usize {
        self.sessions.values().map(|holder| holder.files.len()).sum()
    }

    /// How many were recalled since this was last asked.
    pub(super) const fn take_recalled(&mut self) -> u64 {
        std::mem::replace(&mut self.recalled, 0)
    }
}

impl Recent {
    fn note(&mut self, file: FileId, log_index: u64) {
        if self.files.insert(file, log_index) == Some(log_index) {
            return;
        }
        self.order.push_back((log_index, file));
        if self.order.len() <= RECENT_MAX {
            return;
        }
        if let Some((index, file)) = self.order.pop_front() {
            self.forgotten = self.forgotten.max(index);
            if self.files.get(&file) == Some(&index) {
                self.files.remove(&file);
            }
        }
    }

    /// The log index at which a file was changed last, or a later one.
    fn changed_at(&self, file: FileId) -> u64 {
        self.files.get(&file).copied().unwrap_or(0).max(self.forgotten)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(5);
    const ONE: SessionId = SessionId::new(1);
    const TWO: SessionId = SessionId::new(2);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn file(inode: u64) -> FileId {
        FileId { bucket: 1, inode }
    }

    fn table() -> Table {
        let mut table = Table::new(LENGTH, 10);
        assert!(table.renew(ONE, true, 1, at(0)));
        assert!(table.renew(TWO, true, 1, at(0)));
        table
    }

    fn change(table: &mut Table, by: SessionId, log_index: u64, inode: u64) -> Vec<Hold> {
        let mut holds = Vec::new();
        table.changed(by, log_index, file(inode), &mut holds);
        holds
    }

    fn is_over(hold: &Hold) -> bool {
        hold.clone().wait().now_or_never().is_some()
    }

    fn recalled(table: &Table, session: SessionId) -> (Vec<FileId>, u64) {
        let (recalls, _) = table.recalls(session).expect("a holder");
        (recalls.files, recalls.newest)
    }

    #[test]
    fn a_change_waits_for_all_others_that_have_a_lease() {
        let mut table = table();
        assert!(table.grant(ONE, 10, &[file(7), file(8)], at(1)));
        assert!(table.grant(TWO, 10, &[file(7)], at(1)));
        assert_eq!(change(&mut table, ONE, 11, 9).len(), 0, "nobody has a lease of it");
        assert_eq!(change(&mut table, ONE, 12, 8).len(), 0, "who changes it knows of it");
        assert!(table.holds(ONE, file(8)));

        let first = change(&mut table, ONE, 13, 7);
        assert_eq!(first.len(), 1);
        assert_eq!(recalled(&table, TWO), (vec![file(7)], 1));
        // A second change waits for the same.
        let second = change(&mut table, ONE, 14, 7);
        assert!(!is_over(&first[0]) && !is_over(&second[0]));
        assert_eq!(table.recalls_of(&[file(7), file(8)], ONE).len(), 1);
        assert_eq!(table.recalls_of(&[file(7)], TWO).len(), 0);

        table.released(TWO, 1);
        assert!(is_over(&first[0]) && is_over(&second[0]));
        assert_eq!(recalled(&table, TWO), (vec![], 0));
        assert_eq!(change(&mut table, ONE, 15, 7).len(), 0);
        assert_eq!((table.count(), table.take_recalled(), table.take_recalled()), (2, 1, 0));
    }

    #[test]
    fn no_lease_is_given_of_what_has_changed_since_it_was_read() {
        let mut table = table();
        change(&mut table, ONE, 12, 7);
        assert!(!table.grant(TWO, 11, &[file(8), file(7)], at(1)), "all or none");
        assert!(!table.holds(TWO, file(8)));
        assert!(table.grant(TWO, 12, &[file(8), file(7)], at(1)));
        assert!(!table.grant(TWO, 9, &[file(1)], at(1)), "older than what is remembered");
        // What is being recalled is given again once it was let go of, so that the two cannot cross.
        change(&mut table, ONE, 13, 7);
        assert!(!table.grant(TWO, 13, &[file(7)], at(1)));
        table.released(TWO, 1);
        assert!(table.grant(TWO, 13, &[file(7)], at(1)));
    }

    #[test]
    fn many_changes_are_forgotten_on_the_side_of_giving_no_lease() {
        let mut table = table();
        for index in 0..RECENT_MAX as u64 + 5 {
            change(&mut table, ONE, 11 + index, index);
        }
        assert!(!table.grant(ONE, 14, &[file(u64::MAX)], at(1)));
        assert!(table.grant(ONE, 16, &[file(u64::MAX)], at(1)));
        assert!(table.recent.files.len() <= RECENT_MAX);
    }

    #[test]
    fn who_is_not_heard_of_is_waited_for_as_long_as_its_lease() {
        let mut table = table();
        assert!(table.grant(TWO, 10, &[file(7)], at(0)));
        assert!(table.renew(TWO, false, 1, at(3)));
        assert!(table.renew(ONE, false, 1, at(7)));
        let holds = change(&mut table, ONE, 11, 7);
        assert_eq!(table.expire(at(7)), []);
        assert!(!is_over(&holds[0]));
        assert_eq!(table.expire(at(8)), [TWO]);
        assert!(is_over(&holds[0]));
        assert!(!table.renew(TWO, false, 1, at(9)), "it is told that it has none");
        assert!(table.renew(TWO, true, 2, at(9)));
        assert!(!table.holds(TWO, file(7)));
    }

    #[test]
    fn one_that_begins_anew_has_let_go_of_all() {
        let mut table = table();
        assert!(table.grant(TWO, 10, &[file(7)], at(0)));
        let holds = change(&mut table, ONE, 11, 7);
        assert!(!table.renew(TWO, true, 1, at(1)), "a question that came late");
        assert!(!table.renew(TWO, false, 3, at(1)));
        assert!(table.renew(TWO, true, 2, at(1)));
        assert!(!table.renew(TWO, false, 1, at(1)));
        assert!(is_over(&holds[0]));
        assert_eq!(change(&mut table, ONE, 12, 7).len(), 0);
        assert_eq!(table.count(), 0);
    }

    #[tokio::test]
    async fn a_table_that_goes_leaves_it_open_whether_leases_were_let_go_of() {
        let mut table = table();
        assert!(table.grant(TWO, 10, &[file(7)], at(0)));
        let mut holds = change(&mut table, ONE, 11, 7);
        drop(table);
        assert!(!holds.remove(0).wait().await);
    }
}
