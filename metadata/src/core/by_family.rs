//! Something for each family of records, found by the family's number.

use std::ops::{Index, IndexMut};

use super::view::Family;

/// One more than the highest number.
const SLOTS: usize = 26;

const _: () = {
    let mut at = 0;
    while at < Family::ALL.len() {
        assert!((Family::ALL[at] as usize) < SLOTS);
        at += 1;
    }
};

/// One `T` for each family.
#[derive(Clone, Debug)]
pub(crate) struct ByFamily<T>([T; SLOTS]);

impl<T> ByFamily<T> {
    /// All, with their families.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::ALL.into_iter().map(|family| (family, &self[family]))
    }
}

impl<T: Default> Default for ByFamily<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| T::default()))
    }
}

impl<T> Index<Family> for ByFamily<T> {
    type Output = T;

    fn index(&self, family: Family) -> &T {
        &self.0[family as usize]
    }
}

impl<T> IndexMut<Family> for ByFamily<T> {
    fn index_mut(&mut self, family: Family) -> &mut T {
        &mut self.0[family as usize]
    }
}
