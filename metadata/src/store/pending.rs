//! What applied entries wrote and the database has not been given yet.
//!
//! Entries write some records again and again: their directories, their sessions. Here many entries come together and each
//! record goes to the database once, in order of keys. Nothing is lost by it: the log makes entries durable, and holds them
//! until the state has reached the disk. It must never be passed over by a reader. Invariants: the database and this together
//! are the state at the newest applied entry; what is given goes over as one batch, with the position of its last entry, and
//! can be found here until the database has it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    StoreError,
    record::{AppliedRecord, MembershipRecord},
    state::Generation,
};
use crate::core::{
    by_family::ByFamily,
    view::{Family, Write},
};

/// Bytes gathered before they are given to the database: records that go over together lie near each other, which makes
/// entering them cheaper; more would save little.
const BYTES_MAX: usize = 2 << 20;
/// Bytes beyond which whoever applies waits until they are given.
const BYTES_LIMIT: usize = 2 * BYTES_MAX;
/// What a record costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 64;

/// The newest writes to one family, by key; `None` where the record is removed.
type Written = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// A write: its key, and the record or that it is removed.
type WriteRef<'a> = (&'a Vec<u8>, &'a Option<Vec<u8>>);

/// When what is gathered should be given to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing presses.
    Later,
    /// By whoever has time.
    Soon,
    /// Before anything else is applied.
    Now,
}

/// Writes, and the entry that they reach.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    families: ByFamily<Written>,
    pub(super) applied: Option<AppliedRecord>,
    pub(super) membership: Option<MembershipRecord>,
    bytes: usize,
}

/// The writes that wait.
#[derive(Debug, Default)]
pub(super) struct Pending {
    layers: Mutex<Layers>,
    /// Held by who gives them to the database: one at a time, the older ones first.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Layers {
    filling: Gathered,
    /// What the database is being given, or could not be given; older than what is filling.
    settling: Option<Arc<Gathered>>,
}

impl Gathered {
    /// With room for about as much as `before` has.
    fn like(before: &Self) -> Self {
        let mut made = Self::default();
        for (family, written) in before.families.iter() {
            made.families[family].reserve(written.len());
        }
        made
    }

    /// About how many they are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writes of each family, in order of keys.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (Family, Vec<WriteRef<'_>>)> {
        self.families.iter().map(|(family, written)| {
            let mut writes: Vec<_> = written.iter().collect();
            writes.sort_unstable_by_key(|(key, _)| *key);
            (family, writes)
        })
    }

    fn add(&mut self, writes: Vec<Write>, applied: AppliedRecord, membership: Option<MembershipRecord>) -> Due {
        for Write { family, key, value } in writes {
            self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + OVERHEAD_BYTES;
            self.families[family].insert(key, value);
        }
        self.applied = Some(applied);
        self.membership = membership.or_else(|| self.membership.take());
        match self.bytes {
            _ if self.membership.is_some() => Due::Now,
            0..BYTES_MAX => Due::Later,
            BYTES_MAX..BYTES_LIMIT => Due::Soon,
            _ => Due::Now,
        }
    }

    fn find(&self, family: Family, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.families[family].get(key)
    }
}

impl Pending {
    /// The newest write under `key`, where the database may not have it yet.
    pub(super) fn find(&self, family: Family, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let layers = self.layers.lock();
        let older = || layers.settling.as_ref()?.find(family, key);
        layers.filling.find(family, key).or_else(older).cloned()
    }

    /// Takes an entry's writes.
    pub(super) fn add(&self, writes: Vec<Write>, applied: AppliedRecord, membership: Option<MembershipRecord>) -> Due {
        self.layers.lock().filling.add(writes, applied, membership)
    }

    /// Gives all that is here now to the database that `current` names. After an error all is still here.
    pub(super) fn settle(
        &self,
        current: impl FnOnce() -> Result<Arc<Generation>, StoreError>,
    ) -> Result<Arc<Generation>, StoreError> {
        let _turn = self.turn.lock();
        let generation = current()?;
        let left = self.layers.lock().settling.clone();
        self.give(&generation, left)?;
        let next = {
            let mut layers = self.layers.lock();
            if layers.filling.applied.is_some() {
                let next = Gathered::like(&layers.filling);
                layers.settling = Some(Arc::new(std::mem::replace(&mut layers.filling, next)));
            }
            layers.settling.clone()
        };
        self.give(&generation, next)?;
        Ok(generation)
    }

    fn give(&self, generation: &Generation, gathered: Option<Arc<Gathered>>) -> Result<(), StoreError> {
        let Some(gathered) = gathered else { return Ok(()) };
        generation.write(&gathered)?;
        self.layers.lock().settling = None;
        Ok(())
    }

    /// Forgets everything: `replace` puts another state in the place of the one that it was for.
    pub(super) fn clear(&self, replace: impl FnOnce()) {
        let _turn = self.turn.lock();
        let mut layers = self.layers.lock();
        *layers = Layers::default();
        replace();
    }
}
