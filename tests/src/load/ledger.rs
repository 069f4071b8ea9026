//! A list kept in one key by compare-and-swap: who appends reads the list and swaps it for one with its value at the end.
//!
//! A list is known by its length and a digest over its values in their order, so it fits an entity tag however long it is, and a
//! value that is missing, doubled or moved gives another one. The values themselves are in the attempts, which are all kept.
//!
//! *Invariant*: an attempt is kept before it is sent, so every list that can be read can be traced back to the empty one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result, ensure};

use crate::content::Sequence;
use crate::history::{Action, Tag};

/// A list of values: the length in the low 32 bits, the digest in the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listing(u128);

impl Listing {
    /// The list with one more value.
    #[must_use]
    pub fn with(self, value: u64) -> Self {
        let (high, low) = ((self.0 >> 64) as u64, self.0 as u64);
        let first = Sequence::new(high ^ Sequence::new(value).next_u64()).next_u64();
        let second = Sequence::new(low ^ first.rotate_left(32)).next_u64();
        let length = u128::from(self.length().wrapping_add(1));
        Self(u128::from(first) << 64 | u128::from(second >> 32) << 32 | length)
    }

    /// How many values are in it.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.0 as u32
    }

    /// What is done to the key to append a value to this list.
    #[must_use]
    pub fn append(self, value: u64) -> Action {
        let tag = Tag(self.with(value).0);
        if self == Self::default() {
            return Action::PutIfAbsent(tag);
        }
        let expected = Tag(self.0);
        Action::CompareAndSwap { expected, tag }
    }
}

/// No object is the empty list.
impl From<Option<Tag>> for Listing {
    fn from(tag: Option<Tag>) -> Self {
        tag.map_or_else(Self::default, |Tag(value)| Self(value))
    }
}

/// What came of an attempt to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    /// Refused by its condition, or not done for certain.
    NotDone,
    Unknown,
}

#[derive(Debug)]
struct Attempt {
    onto: Listing,
    value: u64,
    outcome: Outcome,
}

/// All attempts to append to one list.
#[derive(Debug, Default)]
pub struct Ledger {
    attempts: Mutex<Vec<Attempt>>,
}

/// An attempt that was begun.
#[derive(Debug)]
#[must_use = "without an outcome the attempt stays unknown"]
pub struct Begun(usize);

impl Ledger {
    /// Begins to append `value`, which nobody else appends, to the list as it was read.
    ///
    /// # Panics
    /// Another user of the ledger has panicked.
    pub fn begin(&self, onto: Listing, value: u64) -> Begun {
        let mut attempts = self.lock();
        let outcome = Outcome::Unknown;
        attempts.push(Attempt { onto, value, outcome });
        Begun(attempts.len() - 1)
    }

    /// The attempt was acknowledged.
    ///
    /// # Panics
    /// Another user of the ledger has panicked.
    pub fn acknowledged(&self, Begun(index): Begun) {
        self.lock()[index].outcome = Outcome::Acknowledged;
    }

    /// The attempt has no effect, now or later.
    ///
    /// # Panics
    /// Another user of the ledger has panicked.
    pub fn not_done(&self, Begun(index): Begun) {
        self.lock()[index].outcome = Outcome::NotDone;
    }

    /// The values of the list that was read at last, in their order.
    ///
    /// # Errors
    /// An acknowledged value is missing, one is there twice, or one is there that was never sent or had failed.
    ///
    /// # Panics
    /// Another user of the ledger has panicked.
    pub fn audit(&self, last: Listing) -> Result<Vec<u64>> {
        let attempts = self.lock();
        let made: HashMap<Listing, &Attempt> = attempts
            .iter()
            .map(|attempt| (attempt.onto.with(attempt.value), attempt))
            .collect();
        let mut values = Vec::new();
        let mut list = last;
        while list != Listing::default() {
            let attempt = made
                .get(&list)
                .with_context(|| format!("nobody made the list {list:?}"))?;
            let Attempt { onto, value, outcome } = **attempt;
            ensure!(
                outcome != Outcome::NotDone,
                "value {value} is in the list though its append was not done"
            );
            values.push(value);
            list = onto;
        }
        values.reverse();
        let present: BTreeSet<u64> = values.iter().copied().collect();
        ensure!(
            present.len() == values.len(),
            "a value is in the list twice: {values:?}"
        );
        for attempt in attempts
            .iter()
            .filter(|attempt| attempt.outcome == Outcome::Acknowledged)
        {
            let Attempt { value, .. } = attempt;
            ensure!(
                present.contains(value),
                "value {value} was acknowledged and is not in the list"
            );
        }
        Ok(values)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().expect("no holder of the lock panics")
    }
}
