//! Directories that one mount uses alone: it tells the service of new files in them later, so whoever else wants something of one has to wait
//! until it has. Told the time; it keeps none.
//!
//! Invariant: a directory is given alone only while no command of anybody else is under way that may change it, and whoever sends one
//! afterwards waits until it was let go of. So no such command is ever carried out between a file's making and the service's hearing of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use cairn_common::{
    ids::SessionId,
    limits::{ALONE_REST_MS, METADATA_DEADLINE_MS},
    wire::file::FileId,
};

const REST: Duration = Duration::from_millis(ALONE_REST_MS);

/// How long a command may be carried out after whoever waited for it has gone.
const LINGERS: Duration = Duration::from_millis(2 * METADATA_DEADLINE_MS);

/// What a command may change of directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Nothing,
    Files(Vec<FileId>),
    /// Any of a bucket.
    Bucket(u64),
    /// Nobody knows: it was sent while no mount was there.
    Unknown,
}

/// Who uses which directory alone, and which commands are under way.
#[derive(Default)]
pub(super) struct Alone {
    holders: HashMap<FileId, SessionId>,
    under_way: BTreeMap<u64, (SessionId, Scope)>,
    newest: u64,
    /// Commands that nobody waits for any more, and until when they may be carried out.
    lingering: Vec<(Duration, u64)>,
    /// Directories that are not given alone, until when.
    resting: HashMap<FileId, Duration>,
}

impl Scope {
    /// Whether it has no directory.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Files(files) => files.is_empty(),
            Self::Bucket(_) | Self::Unknown => false,
        }
    }

    fn has(&self, file: FileId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Files(files) => files.contains(&file),
            Self::Bucket(bucket) => *bucket == file.bucket,
            Self::Unknown => true,
        }
    }
}

impl Alone {
    /// Lets a session use a directory alone where nobody else has a command under way that may change it; whether it does.
    pub(super) fn give(&mut self, session: SessionId, file: FileId, now: Duration) -> bool {
        if self.holders.get(&file) == Some(&session) {
            return true;
        }
        let may_change = |(other, scope): &(SessionId, Scope)| *other != session && scope.has(file);
        let rests = self.resting.get(&file).is_some_and(|until| *until > now);
        if rests || self.under_way.values().any(may_change) {
            return false;
        }
        self.holders.insert(file, session);
        true
    }

    /// Whether another than `session` uses a directory alone.
    pub(super) fn is_others(&self, file: FileId, session: SessionId) -> bool {
        self.holders.get(&file).is_some_and(|holder| *holder != session)
    }

    /// Nobody uses anything alone any more; what is under way still is.
    pub(super) fn without_holders(self) -> Self {
        Self {
            holders: HashMap::new(),
            resting: HashMap::new(),
            ..self
        }
    }

    /// A session has no lease of a directory any more.
    pub(super) fn take(&mut self, session: SessionId, file: FileId) {
        if self.holders.get(&file) == Some(&session) {
            self.holders.remove(&file);
        }
    }

    /// Directories of a scope that others than `but` use alone. They are given to nobody alone for a while.
    pub(super) fn disturb(&mut self, scope: &Scope, but: SessionId, now: Duration) -> HashSet<FileId> {
        let is_others = |file: &FileId| self.is_others(*file, but);
        let disturbed: HashSet<FileId> = match scope {
            Scope::Nothing => HashSet::new(),
            Scope::Files(files) => files.iter().copied().filter(is_others).collect(),
            Scope::Bucket(_) | Scope::Unknown => {
                let held = self.holders.keys().copied().filter(|file| scope.has(*file));
                held.filter(is_others).collect()
            }
        };
        self.resting.extend(disturbed.iter().map(|file| (*file, now + REST)));
        disturbed
    }

    /// A command is under way from now on; gives its number.
    pub(super) fn begin(&mut self, session: SessionId, scope: Scope) -> u64 {
        self.newest += 1;
        self.under_way.insert(self.newest, (session, scope));
        self.newest
    }

    /// A command was answered.
    pub(super) fn end(&mut self, number: u64) {
        self.under_way.remove(&number);
    }

    /// Nobody waits for a command any more, which may be carried out all the same.
    pub(super) fn abandon(&mut self, number: u64, now: Duration) {
        // Nobody else looks where this member does not lead.
        self.expire(now);
        self.lingering.push((now + LINGERS, number));
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Duration) {
        self.resting.retain(|_, until| *until > now);
        let under_way = &mut self.under_way;
        self.lingering.retain(|(until, number)| {
            let stays = *until > now;
            if !stays {
                under_way.remove(number);
            }
            stays
        });
    }

    /// How many directories are used alone.
    pub(super) fn count(&self) -> usize {
        self.holders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId::new(1);
    const TWO: SessionId = SessionId::new(2);

    fn file(inode: u64) -> FileId {
        FileId { bucket: 1, inode }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nobody_is_alone_where_others_have_a_command_under_way() {
        let mut alone = Alone::default();
        let first = alone.begin(TWO, Scope::Files(vec![file(7), file(8)]));
        assert!(!alone.give(ONE, file(7), at(0)));
        assert!(alone.give(ONE, file(9), at(0)));
        assert!(alone.give(TWO, file(8), at(0)), "its own command");
        let second = alone.begin(TWO, Scope::Bucket(1));
        alone.end(first);
        assert!(!alone.give(ONE, file(7), at(0)));
        alone.end(second);
        let third = alone.begin(TWO, Scope::Unknown);
        assert!(!alone.give(ONE, file(7), at(0)));
        // Whoever sent it has gone; it may be carried out for a while.
        alone.abandon(third, at(0));
        alone.expire(at(1));
        assert!(!alone.give(ONE, file(7), at(1)));
        alone.expire(LINGERS);
        assert!(alone.give(ONE, file(7), LINGERS));
    }

    #[test]
    fn who_wants_something_of_a_directory_disturbs_who_is_alone_there() {
        let mut alone = Alone::default();
        assert!(alone.give(ONE, file(7), at(0)) && alone.give(ONE, file(8), at(0)));
        assert!(
            alone
                .disturb(&Scope::Files(vec![file(7), file(9)]), ONE, at(0))
                .is_empty()
        );
        let disturbed = alone.disturb(&Scope::Files(vec![file(7), file(9)]), TWO, at(0));
        assert_eq!(disturbed, HashSet::from([file(7)]));
        assert_eq!(alone.disturb(&Scope::Bucket(2), TWO, at(0)).len(), 0);
        assert_eq!(alone.disturb(&Scope::Bucket(1), TWO, at(0)).len(), 2);
        alone.take(TWO, file(7));
        assert_eq!(alone.count(), 2, "it was not theirs");
        alone.take(ONE, file(7));
        assert!(!alone.give(ONE, file(7), at(0)), "it rests");
        assert!(alone.give(ONE, file(7), at(0) + REST));
    }

    #[test]
    fn what_is_under_way_stays_so_though_nobody_is_alone_any_more() {
        let mut alone = Alone::default();
        let before = alone.begin(TWO, Scope::Files(vec![file(7)]));
        assert!(alone.give(ONE, file(8), at(0)));
        let mut alone = alone.without_holders();
        assert!(!alone.is_others(file(8), TWO) && !alone.give(ONE, file(7), at(0)));
        let after = alone.begin(TWO, Scope::Files(vec![file(7)]));
        alone.end(before);
        assert!(!alone.give(ONE, file(7), at(0)), "another number");
        alone.end(after);
        assert!(alone.give(ONE, file(7), at(0)));
    }
}
