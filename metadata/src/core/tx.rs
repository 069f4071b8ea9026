//! The writes of an entry while it is applied: an overlay over the state, and how to undo those of the command at hand.
//!
//! Invariant: a command sees its own writes and those of the commands before it; a refused command leaves none.

use std::{collections::BTreeMap, ops::Bound, rc::Rc};

use bytes::Bytes;
use cairn_common::{
    envelope::{self, Record},
    wire::command::{ErrorCode, Refusal},
};

use super::{
    by_family::ByFamily,
    open_records::{OpenRecord, OpenRecords},
    replies::Replies,
    view::{Family, View, ViewError, Visitor, Write},
};
use crate::record::inode::ns;

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

/// The writes to one family, by key; `None` where the record is removed.
type Written = BTreeMap<Vec<u8>, Option<Value>>;

/// A written record.
#[derive(Clone)]
enum Value {
    Sealed(Vec<u8>),
    /// One that is likely to be written again: it is sealed once, at the end.
    Open(Rc<dyn OpenRecord>),
}

impl Value {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Sealed(bytes) => bytes.clone(),
            Self::Open(record) => record.seal(),
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Sealed(bytes) => bytes,
            Self::Open(record) => record.seal(),
        }
    }
}

/// A write of the command at hand, with what had been written under the key before.
struct Undo {
    family: Family,
    key: Vec<u8>,
    before: Option<Option<Value>>,
}

/// The state with the writes made so far.
pub(crate) struct Tx<'a> {
    view: &'a dyn View,
    written: ByFamily<Written>,
    undo: Vec<Undo>,
    touched: Vec<(Family, Vec<u8>)>,
    open: OpenRecords,
    /// Log index of the entry.
    pub(crate) log_index: u64,
    /// The entry's time, in milliseconds since 1970; it never goes back.
    pub(crate) time_ms: u64,
    /// Replies kept for repeated commands.
    pub(crate) replies: Replies,
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
            written: ByFamily::default(),
            undo: Vec::new(),
            touched: Vec::new(),
            open: OpenRecords::default(),
            log_index,
            time_ms,
            replies: Replies::default(),
            queued: 0,
            noted: 0,
            key: Bytes::new(),
        }
    }

    /// The entry's time, in nanoseconds since 1970.
    pub(crate) fn time_ns(&self) -> i64 {
        ns(self.time_ms)
    }

    /// Keeps the writes of the command at hand.
    pub(crate) fn accept(&mut self) {
        let kept = self.undo.drain(..).map(|undo| (undo.family, undo.key));
        self.touched
            .extend(kept.filter(|(family, _)| matches!(family, Family::Dentry | Family::Inode | Family::Xattr)));
        self.key = Bytes::new();
    }

    /// The keys of names, inodes and extended attributes that were written since this was last asked.
    pub(crate) fn take_touched(&mut self) -> impl Iterator<Item = (Family, Vec<u8>)> {
        self.touched.drain(..)
    }

    /// Drops the writes of the command at hand.
    pub(crate) fn reject(&mut self) {
        while let Some(Undo { family, key, before }) = self.undo.pop() {
            self.open.forget(family, &key);
            let written = &mut self.written[family];
            match before {
                Some(value) => written.insert(key, value),
                None => written.remove(&key),
            };
        }
        self.key = Bytes::new();
    }

    /// All writes kept, by family and key.
    pub(crate) fn into_writes(mut self) -> Vec<Write> {
        let mut writes = Vec::with_capacity(self.written.iter().map(|(_, written)| written.len()).sum());
        for family in Family::ALL {
            let written = std::mem::take(&mut self.written[family]);
            writes.extend(written.into_iter().map(|(key, value)| Write {
                family,
                key,
                value: value.map(Value::into_bytes),
            }));
        }
        writes
    }

    /// The record under `key`.
    pub(crate) fn record<R: Record>(&self, family: Family, key: &[u8]) -> Result<Option<R>, ViewError> {
        read_record(self, family, key)
    }

    /// Sets the record under `key`.
    pub(crate) fn put<R: Record>(&mut self, family: Family, key: Vec<u8>, record: &R) {
        if !OpenRecords::keeps(family) {
            return self.put_raw(family, key, envelope::seal(record));
        }
        let record: Rc<dyn OpenRecord> = Rc::new(record.clone());
        self.open.keep(family, &key, Some(Rc::clone(&record)));
        self.write(family, key, Some(Value::Open(record)));
    }

    /// Sets the bytes under `key`.
    pub(crate) fn put_raw(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.open.forget(family, &key);
        self.write(family, key, Some(Value::Sealed(value)));
    }

    /// Removes what is under `key`.
    pub(crate) fn delete(&mut self, family: Family, key: Vec<u8>) {
        self.open.forget(family, &key);
        self.write(family, key, None);
    }

    fn write(&mut self, family: Family, key: Vec<u8>, value: Option<Value>) {
        let before = self.written[family].insert(key.clone(), value);
        self.undo.push(Undo { family, key, before });
    }
}

impl View for Tx<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.written[family].get(key) {
            Some(value) => Ok(value.as_ref().map(Value::to_bytes)),
            None => self.view.get(family, key),
        }
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut Visitor<'_>) -> Result<(), ViewError> {
        let bounds = (Bound::Included(from), Bound::Unbounded);
        let mut written = self.written[family].range::<[u8], _>(bounds).peekable();
        let mut go_on = true;
        self.view.scan(family, from, &mut |key, value| {
            while let Some((new_key, new_value)) = written.next_if(|(new_key, _)| new_key.as_slice() <= key) {
                if let Some(new_value) = new_value {
                    go_on = visit(new_key, &new_value.to_bytes());
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
            go_on = visit(key, &value.to_bytes());
        }
        Ok(())
    }

    fn open_records(&self) -> Option<&OpenRecords> {
        Some(&self.open)
    }
}

/// Sees one record of a scan; `false` or an error ends the scan.
pub(crate) type RecordVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, ViewError> + 'a;

/// The record under `key` of any view.
pub(crate) fn read_record<R: Record>(view: &dyn View, family: Family, key: &[u8]) -> Result<Option<R>, ViewError> {
    let kept = view.open_records().filter(|_| OpenRecords::keeps(family));
    if let Some(found) = kept.and_then(|kept| kept.find(family, key)) {
        return Ok(found);
    }
    let record: Option<R> = view
        .get(family, key)?
        .map(|bytes| open_record(family, &bytes))
        .transpose()?;
    if let Some(kept) = kept {
        let open = record.clone().map(|record| Rc::new(record) as Rc<dyn OpenRecord>);
        kept.keep(family, key, open);
    }
    Ok(record)
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

    #[test]
    fn a_refused_command_leaves_what_was_written_before_it() {
        let base = MemoryView::default();
        let mut tx = Tx::new(&base, 1, 1);
        tx.put_raw(Family::Inode, b"a".to_vec(), vec![1]);
        tx.accept();
        for value in [2, 3] {
            tx.put_raw(Family::Inode, b"a".to_vec(), vec![value]);
            tx.put_raw(Family::Chunk, b"b".to_vec(), vec![value]);
        }
        tx.delete(Family::Inode, b"a".to_vec());
        assert_eq!(tx.get(Family::Inode, b"a"), Ok(None));
        tx.reject();
        let kept = Write {
            family: Family::Inode,
            key: b"a".to_vec(),
            value: Some(vec![1]),
        };
        assert_eq!(tx.into_writes(), [kept]);
    }
}
