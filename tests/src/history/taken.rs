//! Which operations an attempt has taken, in few numbers.
//!
//! *Invariant*: taking operations back in reverse order gives back exactly what was before.

/// Which operations were taken, in the form in which configurations are compared.
#[derive(Default)]
pub(super) struct Taken {
    /// All answered operations of a smaller rank are taken, and this one is not.
    pub(super) below: u32,
    /// Ranks of other answered operations that are taken, ascending.
    pub(super) beyond: Vec<u32>,
    /// Ranks of operations of unknown outcome that are taken, ascending.
    pub(super) unknown: Vec<u32>,
}

impl Taken {
    pub(super) fn insert(&mut self, rank: u32, is_answered: bool) {
        if !is_answered {
            insert_sorted(&mut self.unknown, rank);
        } else if rank != self.below {
            insert_sorted(&mut self.beyond, rank);
        } else {
            self.below += 1;
            let run = self
                .beyond
                .iter()
                .zip(self.below..)
                .take_while(|(rank, next)| **rank == *next);
            let run = run.count();
            self.beyond.drain(..run);
            self.below += u32::try_from(run).expect("ranks are 32 bits");
        }
    }

    /// Takes back the insertion that was made last.
    pub(super) fn remove(&mut self, rank: u32, is_answered: bool) {
        if !is_answered {
            remove_sorted(&mut self.unknown, rank);
        } else if rank >= self.below {
            remove_sorted(&mut self.beyond, rank);
        } else {
            self.beyond.splice(..0, rank + 1..self.below);
            self.below = rank;
        }
    }
}

/// Whether each of `few` is among `many`; both ascend.
pub(super) fn is_subset(few: &[u32], many: &[u32]) -> bool {
    let mut many = many.iter();
    few.len() <= many.len() && few.iter().all(|rank| many.any(|other| other == rank))
}

fn insert_sorted(ranks: &mut Vec<u32>, rank: u32) {
    let place = ranks.partition_point(|other| *other < rank);
    ranks.insert(place, rank);
}

fn remove_sorted(ranks: &mut Vec<u32>, rank: u32) {
    let place = ranks.partition_point(|other| *other < rank);
    ranks.remove(place);
}

#[cfg(test)]
mod tests {
    use super::{Taken, is_subset};

    #[test]
    fn what_is_taken_last_is_taken_back_first() {
        let mut taken = Taken::default();
        let steps = [(2, true), (1, true), (0, false), (0, true), (4, true), (3, true)];
        let mut before = Vec::new();
        for (rank, is_answered) in steps {
            before.push((taken.below, taken.beyond.clone(), taken.unknown.clone()));
            taken.insert(rank, is_answered);
        }
        assert_eq!(
            (taken.below, taken.beyond.as_slice(), taken.unknown.as_slice()),
            (5, [].as_slice(), [0].as_slice())
        );
        for ((rank, is_answered), before) in steps.into_iter().rev().zip(before.into_iter().rev()) {
            taken.remove(rank, is_answered);
            assert_eq!((taken.below, taken.beyond.clone(), taken.unknown.clone()), before);
        }
    }

    #[test]
    fn subsets() {
        let cases: [(&[u32], &[u32], bool); 6] = [
            (&[], &[], true),
            (&[], &[1], true),
            (&[1], &[], false),
            (&[1, 3], &[1, 2, 3], true),
            (&[1, 4], &[1, 2, 3], false),
            (&[2], &[1, 3], false),
        ];
        for (few, many, expected) in cases {
            assert_eq!(is_subset(few, many), expected, "{few:?} in {many:?}");
        }
    }
}
