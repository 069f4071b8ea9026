//! Records that the applier reads again and again (sessions, buckets, directories), kept beside the database.
//!
//! A write-through cache of the newest state: found records enter when they are read, and every write goes through. It must
//! never serve readers, whose state is that of a snapshot. Invariant: what it holds for a key is what the database holds.

use std::collections::HashMap;

use crate::core::{
    by_family::ByFamily,
    view::{Family, Write},
};

/// Bytes of keys and values kept at most; beyond it everything goes and the hot ones come back.
const BYTES_MAX: usize = 8 << 20;
/// Larger values are not kept: copying them costs as much as finding them.
const VALUE_BYTES_MAX: usize = 1 << 10;
/// What an entry costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 96;

/// The records kept, by family.
#[derive(Debug, Default)]
pub(super) struct HotRecords {
    families: ByFamily<HashMap<Vec<u8>, Vec<u8>>>,
    bytes: usize,
}

impl HotRecords {
    /// The value under `key`, where it is kept.
    pub(super) fn find(&self, family: Family, key: &[u8]) -> Option<&Vec<u8>> {
        self.families[family].get(key)
    }

    /// Keeps what the database holds under `key`.
    pub(super) fn keep(&mut self, family: Family, key: &[u8], value: &[u8]) {
        if value.len() > VALUE_BYTES_MAX {
            return;
        }
        if self.bytes > BYTES_MAX {
            self.clear();
        }
        self.bytes += key.len() + value.len() + OVERHEAD_BYTES;
        self.families[family].insert(key.to_vec(), value.to_vec());
    }

    /// Follows writes that the database has taken.
    pub(super) fn follow(&mut self, writes: &[Write]) {
        for write in writes {
            let records = &mut self.families[write.family];
            let Some(kept) = records.get_mut(&write.key) else {
                continue;
            };
            match &write.value {
                Some(value) if value.len() <= VALUE_BYTES_MAX => kept.clone_from(value),
                Some(_) | None => {
                    records.remove(&write.key);
                }
            }
        }
    }

    /// Forgets everything: the state has been replaced.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key";

    fn write(value: Option<Vec<u8>>) -> [Write; 1] {
        [Write {
            family: Family::Session,
            key: KEY.to_vec(),
            value,
        }]
    }

    #[test]
    fn writes_go_through() {
        let mut hot = HotRecords::default();
        hot.follow(&write(Some(vec![1])));
        assert_eq!(hot.find(Family::Session, KEY), None);
        hot.keep(Family::Session, KEY, &[1]);
        assert_eq!(hot.find(Family::Session, KEY), Some(&vec![1]));
        assert_eq!(hot.find(Family::Bucket, KEY), None);
        hot.follow(&write(Some(vec![2])));
        assert_eq!(hot.find(Family::Session, KEY), Some(&vec![2]));
        hot.follow(&write(None));
        assert_eq!(hot.find(Family::Session, KEY), None);
    }

    #[test]
    fn large_values_are_not_kept() {
        let mut hot = HotRecords::default();
        let large = vec![0; VALUE_BYTES_MAX + 1];
        hot.keep(Family::Session, KEY, &large);
        assert_eq!(hot.find(Family::Session, KEY), None);
        hot.keep(Family::Session, KEY, &[1]);
        hot.follow(&write(Some(large)));
        assert_eq!(hot.find(Family::Session, KEY), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut hot = HotRecords::default();
        for number in 0..2 * BYTES_MAX / OVERHEAD_BYTES {
            hot.keep(Family::Inode, &number.to_be_bytes(), &[0; 64]);
            assert!(hot.bytes <= BYTES_MAX + VALUE_BYTES_MAX + OVERHEAD_BYTES + 8);
        }
        assert!(hot.bytes > 0);
    }
}
