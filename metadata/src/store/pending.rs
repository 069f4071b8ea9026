//! What applied entries wrote and the database has not been given yet.
//!
//! Entries write some records again and again: their directories, their sessions. Here many entries come together and each
//! record goes to the database once, in order of keys. Nothing is lost by it: the log makes entries durable, and holds them
//! until the state has reached the disk. It must never be passed over by a reader. Invariant: the database and this together
//! are the state at the newest applied entry, and go over as one batch, with that entry's position.

use std::collections::BTreeMap;

use super::{
    StoreError,
    record::{AppliedRecord, MembershipRecord},
    state::Generation,
};
use crate::core::view::{Family, Write};

/// Bytes kept at most: records that go over together lie near each other, which makes entering them cheaper; more would save
/// little, and the batch holds up whoever applies.
const BYTES_MAX: usize = 2 << 20;
/// What a record costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 64;

/// The newest writes to one family, by key; `None` where the record is removed.
pub(super) type Written = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The writes, and the entry that they reach.
#[derive(Debug, Default)]
pub(super) struct Pending {
    families: BTreeMap<Family, Written>,
    applied: Option<AppliedRecord>,
    membership: Option<MembershipRecord>,
    bytes: usize,
}

impl Pending {
    /// The newest write under `key`, where the database has not been given it.
    pub(super) fn find(&self, family: Family, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.families.get(&family)?.get(key)
    }

    /// Takes an entry's writes.
    pub(super) fn add(&mut self, writes: Vec<Write>, applied: AppliedRecord, membership: Option<MembershipRecord>) {
        for Write { family, key, value } in writes {
            self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + OVERHEAD_BYTES;
            self.families.entry(family).or_default().insert(key, value);
        }
        self.applied = Some(applied);
        self.membership = membership.or_else(|| self.membership.take());
    }

    /// Whether it is time to give the database what is here.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX || self.membership.is_some()
    }

    /// Gives all to `generation`. After an error all is still here.
    pub(super) fn settle(&mut self, generation: &Generation) -> Result<(), StoreError> {
        let Some(applied) = &self.applied else {
            return Ok(());
        };
        generation.write(&self.families, applied, self.membership.as_ref())?;
        self.clear();
        Ok(())
    }

    /// Forgets everything: the state has been replaced.
    pub(super) fn clear(&mut self) {
        self.families.values_mut().for_each(Written::clear);
        (self.applied, self.membership, self.bytes) = (None, None, 0);
    }
}
