//! Random numbers from a seed, the same on every machine.
//!
//! Invariant: what is drawn depends on the seed and on nothing else.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// `true` in so many of 100 cases.
    pub(super) fn percent(&mut self, cases: u64) -> bool {
        self.below(100) < cases
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(from.len() as u64) as usize;
        &from[at]
    }

    /// So many of 100 of the items, `most` at most.
    pub(super) fn sample<T>(&mut self, items: impl Iterator<Item = T>, cases: u64, most: usize) -> Vec<T> {
        items.filter(|_| self.percent(cases)).take(most).collect()
    }

    /// One of the entities whose tags are given, or nothing where there are none. Which one does not depend on how many
    /// others there are, unless it is one of them: so a sequence keeps its meaning when commands are taken out of it.
    pub(super) fn pick_tagged<T: Copy>(&mut self, tagged: impl Iterator<Item = (u64, T)>) -> Option<T> {
        let salt = self.next();
        tagged.min_by_key(|(tag, _)| mixed(tag ^ salt)).map(|(_, found)| found)
    }
}

fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
