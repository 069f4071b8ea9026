//! The writes of an entry while it is applied: an overlay over the state, with a layer of its own for the command at hand.
//!
//! Invariant: a command sees its own writes and those of the commands before it; a refused command leaves none.

use std::{cmp::Ordering, collections::BTreeMap};

use bytes::Bytes;
use cairn_common::{
    envelope::{self, Record},
    wire::command::{ErrorCode, Refusal},
};

use super::view::{Family, View, ViewError, Visitor, Write};

/// Why a command was not carried out.
#[derive(Debug, PartialEq)]
pub(crate) enum ApplyError {
    /// It was refused: the reply says why.
    Refused(Refusal),
    /// The state cannot be read: applying stops.
    View(ViewError),
}

impl From<ViewError> for ApplyError {
    fn from(error: ViewError) -> Self {
        Self::View(error)
    }
}

/// A refusal as an error.
pub(crate) fn refuse(code: ErrorCode, detail: impl Into<String>) -> ApplyError {
    ApplyError::Refused(Refusal {
        code: code.into(),
        detail: detail.into(),
    })
}

type Layer = BTreeMap<(Family, Vec<u8>), Option<Vec<u8>>>;

/// A write: a key and its new value.
type Written<'t> = (&'t [u8], Option<&'t [u8]>);

/// The state with the writes made so far.
pub(crate) struct Tx<'a> {
    view: &'a dyn View,
    entry: Layer,
    command: Layer,
    /// Log index of the entry.
    pub(crate) log_index: u64,
    /// The entry's time, in milliseconds since 1970; it never goes back.
    pub(crate) time_ms: u64,
    /// Garbage queued by this entry so far.
    pub(crate) queued: u32,
    /// Changes noted by this entry so far.
    pub(crate) noted: u32,
    /// The S3 key that the command at hand changes; empty where it comes by inode.
    pub(crate) key: Bytes,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(view: &'a dyn View, log_index: u64, time_ms: u64) -> Self {
        Self {
            view,
            entry: Layer::new(),
            command: Layer::new(),
            log_index,
            time_ms,
            queued: 0,
            noted: 0,
            key: Bytes::new(),
        }
    }

    /// Keeps the writes of the command at hand.
    pub(crate) fn accept(&mut self) {
        self.entry.append(&mut self.command);
        self.key = Bytes::new();
    }

    /// Drops the writes of the command at hand.
    pub(crate) fn reject(&mut self) {
        self.command.clear();
        self.key = Bytes::new();
    }

    /// All writes kept.
    pub(crate) fn into_writes(self) -> Vec<Write> {
        let write = |((family, key), value)| Write { family, key, value };
        self.entry.into_iter().map(write).collect()
    }

    /// The record under `key`.
    pub(crate) fn record<R: Record>(&self, family: Family, key: &[u8]) -> Result<Option<R>, ViewError> {
        read_record(self, family, key)
    }

    /// Sets the record under `key`.
    pub(crate) fn put<R: Record>(&mut self, family: Family, key: Vec<u8>, record: &R) {
        self.put_raw(family, key, envelope::seal(record));
    }

    /// Sets the bytes under `key`.
    pub(crate) fn put_raw(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.command.insert((family, key), Some(value));
    }

    /// Removes what is under `key`.
    pub(crate) fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.command.insert((family, key), None);
    }

    /// The writes to `family` from `from` on, in order of keys; those of the command hide those of the entry.
    fn written<'t>(&'t self, family: Family, from: &[u8]) -> impl Iterator<Item = Written<'t>> {
        let start = (family, from.to_vec());
        let layer = |layer: &'t Layer, start: (Family, Vec<u8>)| {
            layer
                .range(start..)
                .take_while(move |((other, _), _)| *other == family)
                .map(|((_, key), value)| (key.as_slice(), value.as_deref()))
        };
        let mut entry = layer(&self.entry, start.clone()).peekable();
        let mut command = layer(&self.command, start).peekable();
        std::iter::from_fn(move || {
            let Some((key, _)) = command.peek() else {
                return entry.next();
            };
            match entry.peek().map(|(older, _)| older.cmp(key)) {
                Some(Ordering::Less) => entry.next(),
                Some(Ordering::Equal) => {
                    entry.next();
                    command.next()
                }
                Some(Ordering::Greater) | None => command.next(),
            }
        })
    }
}

impl View for Tx<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let place = (family, key.to_vec());
        match self.command.get(&place).or_else(|| self.entry.get(&place)) {
            Some(value) => Ok(value.clone()),
            None => self.view.get(family, key),
        }
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        let mut written = self.written(family, from).peekable();
        let mut go_on = true;
        self.view.scan(family, from, &mut |key, value| {
            while let Some((new_key, new_value)) = written.next_if(|(new_key, _)| *new_key <= key) {
                if let Some(new_value) = new_value {
                    go_on = visit(new_key, new_value);
                }
                if new_key == key || !go_on {
                    return go_on;
                }
            }
            go_on = visit(key, value);
            go_on
        })?;
        for (key, value) in written {
            let Some(value) = value else { continue };
            if !go_on {
                break;
            }
            go_on = visit(key, value);
        }
        Ok(())
    }
}

/// Sees one record of a scan; `false` or an error ends the scan.
pub(crate) type RecordVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, ViewError> + 'a;

/// The record under `key` of any view.
pub(crate) fn read_record<R: Record>(view: &dyn View, family: Family, key: &[u8]) -> Result<Option<R>, ViewError> {
    view.get(family, key)?
        .map(|bytes| open_record(family, &bytes))
        .transpose()
}

/// The record in `bytes`.
pub(crate) fn open_record<R: Record>(family: Family, bytes: &[u8]) -> Result<R, ViewError> {
    envelope::open(bytes).map_err(|error| ViewError::Corrupt {
        family: family.name(),
        detail: error.to_string(),
    })
}

/// A record that another one says must be there.
pub(crate) fn missing(family: Family, what: impl std::fmt::Display) -> ViewError {
    ViewError::Corrupt {
        family: family.name(),
        detail: format!("{what} is missing though another record names it"),
    }
}

/// Visits the records of `family` whose keys start with `prefix`, from `from` on, until the visitor answers `false` or fails.
pub(crate) fn scan_prefix(
    view: &dyn View,
    family: Family,
    prefix: &[u8],
    from: &[u8],
    visit: &mut RecordVisitor<'_>,
) -> Result<(), ViewError> {
    let mut outcome = Ok(());
    view.scan(family, from.max(prefix), &mut |key, value| {
        if !key.starts_with(prefix) {
            return false;
        }
        match visit(key, value) {
            Ok(go_on) => go_on,
            Err(error) => {
                outcome = Err(error);
                false
            }
        }
    })?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::MemoryView;

    fn keys(view: &dyn View, from: &[u8], most: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let visited = view.scan(Family::Dentry, from, &mut |key, _| {
            keys.push(key.to_vec());
            keys.len() < most
        });
        assert_eq!(visited, Ok(()));
        keys
    }

    #[test]
    fn a_scan_merges_the_layers() {
        let mut base = MemoryView::default();
        let write = |key: &[u8]| Write {
            family: Family::Dentry,
            key: key.to_vec(),
            value: Some(vec![0]),
        };
        base.commit([b"a", b"c", b"e", b"g"].map(|key| write(key)).into());
        let mut tx = Tx::new(&base, 1, 1);
        tx.put_raw(Family::Dentry, b"b".to_vec(), vec![1]);
        tx.delete(Family::Dentry, b"c".to_vec());
        tx.accept();
        tx.put_raw(Family::Dentry, b"c".to_vec(), vec![2]);
        tx.delete(Family::Dentry, b"e".to_vec());
        tx.put_raw(Family::Dentry, b"h".to_vec(), vec![3]);
        tx.put_raw(Family::Inode, b"z".to_vec(), vec![3]);
        let expected: Vec<Vec<u8>> = [b"a", b"b", b"c", b"g", b"h"].map(|key| key.to_vec()).into();
        assert_eq!(keys(&tx, b"", 99), expected);
        assert_eq!(keys(&tx, b"b", 2), expected[1..3]);
        assert_eq!(tx.get(Family::Dentry, b"c"), Ok(Some(vec![2])));
        tx.reject();
        let expected: Vec<Vec<u8>> = [b"a", b"b", b"e", b"g"].map(|key| key.to_vec()).into();
        assert_eq!(keys(&tx, b"", 99), expected);
    }
}
