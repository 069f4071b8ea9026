//! On which disks a store's metadata is to lie.
//!
//! Invariant: no two voters on one disk. It decides by what it is told, and looks at nothing itself.

use std::{collections::BTreeSet, path::PathBuf};

/// A device that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As the store lists it.
    pub(super) device: PathBuf,
    /// What its disk is called.
    pub(super) disk: String,
}

/// On how many disks a store lies.
pub(super) fn count(places: &[Place], own_disk: &String) -> usize {
    let disks: BTreeSet<&String> = places.iter().map(|place| &place.disk).chain([own_disk]).collect();
    disks.len()
}

/// How many voters a store has, over so many disks, which is to bear the loss of `tolerance` of them.
pub(super) fn wanted(disks: usize, tolerance: usize) -> usize {
    match disks {
        0..=2 => 1,
        5.. if tolerance >= 2 => 5,
        _ => 3,
    }
}

/// The devices in which voters are to begin, where `taken` disks have one, the store's directory's own included, and `present` voters
/// are there or may come back.
pub(super) fn choose(places: &[Place], taken: &BTreeSet<String>, present: usize, tolerance: usize) -> Vec<PathBuf> {
    let mut taken = taken.clone();
    let disks: BTreeSet<&String> = places.iter().map(|place| &place.disk).chain(&taken).collect();
    let missing = wanted(disks.len(), tolerance).saturating_sub(present);
    let mut chosen = Vec::new();
    for place in places {
        if chosen.len() == missing {
            break;
        }
        if taken.insert(place.disk.clone()) {
            chosen.push(place.device.clone());
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(disks: &[&str]) -> Vec<Place> {
        let place = |(at, disk): (usize, &&str)| Place {
            device: PathBuf::from(at.to_string()),
            disk: (*disk).to_owned(),
        };
        disks.iter().enumerate().map(place).collect()
    }

    fn chosen(disks: &[&str], taken: &[&str], tolerance: usize) -> Vec<String> {
        let names = taken.iter().map(|disk| (*disk).to_owned()).collect();
        let chosen = choose(&places(disks), &names, taken.len(), tolerance);
        chosen.iter().map(|device| device.display().to_string()).collect()
    }

    #[test]
    fn one_disk_has_one_voter_and_three_have_three() {
        assert!(chosen(&["a"; 6], &["a"], 2).is_empty());
        assert!(chosen(&["a", "b"], &["a"], 1).is_empty());
        assert_eq!(chosen(&["a", "b", "c"], &["a"], 1), ["1", "2"]);
        assert_eq!(chosen(&["a", "b", "c"], &["system"], 1), ["0", "1"]);
        assert_eq!(chosen(&["a", "b"], &["system"], 1), ["0", "1"]);
    }

    #[test]
    fn five_where_two_disks_may_be_lost() {
        let disks = ["a", "a", "b", "c", "d", "e"];
        assert_eq!(chosen(&disks, &["a"], 2), ["2", "3", "4", "5"]);
        assert_eq!(chosen(&disks, &["a"], 1), ["2", "3"]);
        assert_eq!(chosen(&disks[..5], &["a"], 2), ["2", "3"]);
    }

    #[test]
    fn what_is_missing_is_filled_on_other_disks() {
        assert_eq!(chosen(&["a", "b", "c", "d"], &["a", "c"], 1), ["1"]);
        assert!(chosen(&["a", "b", "c", "d"], &["a", "b", "c"], 1).is_empty());
    }
}
