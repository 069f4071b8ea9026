//! Which block of a slot's files an operation takes: all blocks of all of them as one row, from which the order of keys chooses.

use super::block_files::BlockFiles;
use crate::load::{KeyOrder, KeyPicker, Random};

/// The blocks of one slot's files.
pub(super) struct BlockChoice {
    /// Each file, and how many blocks there are up to its end.
    files: Vec<(u64, u64)>,
    picker: KeyPicker,
}

impl BlockChoice {
    /// For each slot; absent where its files have no block at all.
    pub(super) fn of_slots(files: &BlockFiles<'_>, order: KeyOrder, slots: u32) -> Vec<Option<Self>> {
        let mut known: Option<(u64, KeyPicker)> = None;
        let mut choices = Vec::new();
        for slot in 0..u64::from(slots) {
            let mut count = 0;
            let own = files.of_slot(slot, slots).map(|index| {
                count += files.size_bytes(index).div_ceil(files.block_bytes);
                (index, count)
            });
            let own: Vec<_> = own.collect();
            choices.push((count > 0).then(|| {
                // A zipf of many blocks takes a while to begin, and the slots are mostly alike.
                let alike = known.take().filter(|(of, _)| *of == count);
                let picker = alike.map_or_else(|| KeyPicker::new(order, count), |(_, picker)| picker);
                known = Some((count, picker.clone()));
                Self { files: own, picker }
            }));
        }
        choices
    }

    /// File and block of operation `number`.
    pub(super) fn pick(&self, number: u64, random: &mut Random) -> (u64, u64) {
        let at = self.picker.pick(number, random);
        let place = self.files.partition_point(|(_, end)| *end <= at);
        let before = place.checked_sub(1).map_or(0, |place| self.files[place].1);
        (self.files[place].0, at - before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::files::Place;

    #[test]
    fn every_block_of_every_file_of_the_slot_is_taken_and_no_other() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place::new(mount.path(), "b/", 1, &"0-1000".parse().unwrap(), true).unwrap();
        let files = BlockFiles::prepared(&place, 20, 100);
        let choices = BlockChoice::of_slots(&files, KeyOrder::Uniform, 3);
        for (slot, choice) in choices.into_iter().enumerate() {
            let mut taken: BTreeMap<(u64, u64), u32> = BTreeMap::new();
            for number in 0..20_000 {
                let block = choice.as_ref().unwrap().pick(number, &mut Random::of(1, number));
                *taken.entry(block).or_default() += 1;
            }
            let own = files.of_slot(slot as u64, 3);
            let expected: Vec<_> = own
                .flat_map(|index| (0..files.size_bytes(index).div_ceil(100)).map(move |block| (index, block)))
                .collect();
            assert_eq!(taken.keys().copied().collect::<Vec<_>>(), expected);
            // Evenly, whatever file it is in.
            let mean = 20_000 / expected.len() as u32;
            assert!(
                taken.values().all(|count| (mean / 2..mean * 2).contains(count)),
                "{taken:?}"
            );
        }
    }

    #[test]
    fn files_without_a_block_leave_no_choice() {
        let mount = tempfile::tempdir().unwrap();
        let place = Place::new(mount.path(), "b/", 1, &"0".parse().unwrap(), true).unwrap();
        let files = BlockFiles::prepared(&place, 4, 100);
        assert!(
            BlockChoice::of_slots(&files, KeyOrder::Zipf(0.9), 2)
                .iter()
                .all(Option::is_none)
        );
    }
}
