//! What the objects of one client must be: the ledger of what it was told.
//!
//! *Invariant*: a key is in it from the moment its first write is acknowledged, and what it says of a key changes with an
//! acknowledgement alone.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::content::{self, Sequence};

/// One version of an object. Its content follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    seed: u64,
    pub(super) size: usize,
}

/// What is right for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Stored(Version),
    Deleted,
}

/// The objects of one client.
#[derive(Debug)]
pub(super) struct Objects {
    prefix: String,
    right: BTreeMap<String, Right>,
    /// Keys that may be written: of all their attempts the client knows what came of them.
    open: Vec<String>,
    keys_made: u64,
}

impl Version {
    /// A version that no other has.
    pub(super) fn new(sequence: &mut Sequence, size: usize) -> Self {
        let seed = sequence.next_u64();
        Self { seed, size }
    }

    pub(super) fn content(self) -> Vec<u8> {
        content::bytes(self.seed, self.size)
    }

    /// Whether these are the bytes from `from` on, as many as they are.
    ///
    /// # Errors
    /// They are not; where they begin to differ.
    pub(super) fn check(self, from: usize, read: &[u8], expected_length: usize) -> Result<()> {
        if read.len() != expected_length {
            bail!("{} bytes were read in place of {expected_length}", read.len());
        }
        let content = self.content();
        let right = &content[from..from + expected_length];
        match read.iter().zip(right).position(|(read, right)| read != right) {
            Some(at) => bail!("the byte at {} of {} is wrong", from + at, self.size),
            None => Ok(()),
        }
    }
}

impl Objects {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix,
            right: BTreeMap::new(),
            open: Vec::new(),
            keys_made: 0,
        }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A key that was never written.
    pub(super) fn fresh_key(&mut self) -> String {
        self.keys_made += 1;
        // In several directories, so that listings cross them.
        format!("{}{}/{}", self.prefix, self.keys_made % 3, self.keys_made)
    }

    /// One of the keys that hold something and may be written.
    pub(super) fn pick_open(&self, sequence: &mut Sequence) -> Option<String> {
        (!self.open.is_empty()).then(|| sequence.pick(&self.open).clone())
    }

    /// How many keys hold something and may be written.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// One of all keys, with what is right for it.
    pub(super) fn pick(&self, sequence: &mut Sequence) -> Option<(String, Right)> {
        let count = self.right.len() as u64;
        let at = usize::try_from((count > 0).then(|| sequence.below(count))?).ok()?;
        self.right.iter().nth(at).map(|(key, right)| (key.clone(), *right))
    }

    /// A write was acknowledged. `is_certain` where no attempt is left of which nobody knows what came, or will come.
    pub(super) fn acknowledged(&mut self, key: &str, right: Right, is_certain: bool) {
        self.right.insert(key.to_owned(), right);
        let is_open = is_certain && right != Right::Deleted;
        let at = self.open.iter().position(|open| open == key);
        match (at, is_open) {
            (Some(at), false) => {
                self.open.swap_remove(at);
            }
            (None, true) => self.open.push(key.to_owned()),
            (Some(_), true) | (None, false) => {}
        }
        if right == Right::Deleted && is_certain {
            // The key is never used again: that it stays away is looked at for a while only.
            self.forget_some_deleted();
        }
    }

    /// All keys with what is right for them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Right)> {
        self.right.iter().map(|(key, right)| (key.as_str(), *right))
    }

    /// The keys that a listing shows, in its order.
    pub(super) fn listed(&self) -> Vec<String> {
        let stored = self.right.iter().filter(|(_, right)| **right != Right::Deleted);
        stored.map(|(key, _)| key.clone()).collect()
    }

    fn forget_some_deleted(&mut self) {
        const KEPT: usize = 50;
        let deleted: Vec<String> = self
            .right
            .iter()
            .filter(|(_, right)| **right == Right::Deleted)
            .map(|(key, _)| key.clone())
            .collect();
        for key in deleted.iter().take(deleted.len().saturating_sub(KEPT)) {
            self.right.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_unknown_attempts_is_never_written_again() {
        let mut sequence = Sequence::new(1);
        let mut objects = Objects::new("a/".to_owned());
        let (known, unknown) = (objects.fresh_key(), objects.fresh_key());
        let version = Version::new(&mut sequence, 10);
        objects.acknowledged(&known, Right::Stored(version), true);
        objects.acknowledged(&unknown, Right::Stored(version), false);
        assert_eq!(objects.open_count(), 1);
        assert_eq!(objects.pick_open(&mut sequence), Some(known.clone()));
        assert_eq!(objects.listed().len(), 2);
        objects.acknowledged(&known, Right::Deleted, true);
        assert_eq!(objects.pick_open(&mut sequence), None);
        assert_eq!(objects.listed(), [unknown]);
    }

    #[test]
    fn wrong_bytes_and_lengths_are_noticed() {
        let version = Version::new(&mut Sequence::new(1), 100);
        let mut read = version.content();
        assert!(version.check(0, &read, 100).is_ok());
        assert!(version.check(10, &read[10..20], 10).is_ok());
        assert!(version.check(0, &read[..99], 100).is_err());
        read[50] ^= 1;
        assert!(version.check(0, &read, 100).is_err());
    }
}
