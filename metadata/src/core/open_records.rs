//! Records that many commands of an entry read and write again (its sessions, buckets, the store), kept decoded while it is
//! applied.
//!
//! Decoding and sealing them for each command would cost more than the commands themselves. Invariant: what is kept under a
//! key is what the entry has made of it so far, or that there is nothing.

use std::{any::Any, cell::RefCell, collections::HashMap, rc::Rc};

use cairn_common::envelope::{self, Record};

use super::{by_family::ByFamily, view::Family};

/// Records of an entry, by family and key.
#[derive(Default)]
pub struct OpenRecords {
    families: RefCell<ByFamily<HashMap<Vec<u8>, Kept>>>,
}

/// What is kept under a key; `None` where there is no record.
type Kept = Option<Rc<dyn OpenRecord>>;

/// A decoded record.
pub(crate) trait OpenRecord {
    /// Its bytes.
    fn seal(&self) -> Vec<u8>;

    /// Itself, to be looked at as what it is.
    fn as_any(&self) -> &dyn Any;
}

impl<R: Record> OpenRecord for R {
    fn seal(&self) -> Vec<u8> {
        envelope::seal(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl OpenRecords {
    /// Whether records of a family are kept.
    pub(crate) const fn keeps(family: Family) -> bool {
        matches!(family, Family::System | Family::Bucket | Family::Session | Family::Feed)
    }

    /// What is kept under `key`: nothing, that there is no record, or a record.
    pub(crate) fn find<R: Record>(&self, family: Family, key: &[u8]) -> Option<Option<R>> {
        let families = self.families.borrow();
        match families[family].get(key)? {
            None => Some(None),
            Some(open) => open.as_any().downcast_ref::<R>().map(|record| Some(record.clone())),
        }
    }

    /// Keeps what is under `key`.
    pub(crate) fn keep(&self, family: Family, key: &[u8], open: Kept) {
        let mut families = self.families.borrow_mut();
        let records = &mut families[family];
        match records.get_mut(key) {
            Some(kept) => *kept = open,
            None => _ = records.insert(key.to_vec(), open),
        }
    }

    /// Forgets what is under `key`.
    pub(crate) fn forget(&self, family: Family, key: &[u8]) {
        self.families.borrow_mut()[family].remove(key);
    }
}
