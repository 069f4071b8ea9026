//! Owners: the numbers of users and groups on this machine, and those in the store.
//!
//! Invariant: a number that is shown stands for one owner in the store, and one that is stored for one on this machine: what would stand
//! for two is shown as nobody and not stored.

use std::{fmt, str::FromStr};

use fuser::Errno;

use crate::convert::Outcome;

/// Who owns what no owner here stands for.
const NOBODY: u32 = 65_534;

/// Users and groups of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Users.
    pub users: NumberMap,
    /// Groups.
    pub groups: NumberMap,
}

/// Which numbers here are which in the store. Those of which it says nothing are the same on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberMap(Vec<NumberRange>);

/// So many numbers in a row: `HERE:STORED`, or `HERE:STORED:COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberRange {
    here: u32,
    stored: u32,
    count: u32,
}

/// What is wrong with a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberRangeError {
    /// It is none.
    #[error("HERE:STORED or HERE:STORED:COUNT, of numbers up to 4,294,967,294")]
    Malformed,
    /// Another names one of its numbers already.
    #[error("{0} has a number that another range has too")]
    Overlaps(NumberRange),
}

impl NumberMap {
    /// Adds a range.
    ///
    /// # Errors
    /// Another names one of its numbers, here or in the store.
    pub fn add(&mut self, range: NumberRange) -> Result<(), NumberRangeError> {
        let overlap = |first: u32, second: u32, count: u32| {
            let distance = u64::from(first.abs_diff(second));
            distance < u64::from(if first < second { range.count } else { count })
        };
        let overlaps = |other: &NumberRange| {
            overlap(range.here, other.here, other.count) || overlap(range.stored, other.stored, other.count)
        };
        if self.0.iter().any(overlaps) {
            return Err(NumberRangeError::Overlaps(range));
        }
        self.0.push(range);
        Ok(())
    }

    /// The number here of one in the store.
    pub(crate) fn shown(&self, stored: u32) -> u32 {
        self.mapped(stored, |range| (range.stored, range.here))
            .unwrap_or(NOBODY)
    }

    /// The number in the store of one here.
    pub(crate) fn stored(&self, here: u32) -> Outcome<u32> {
        self.mapped(here, |range| (range.here, range.stored))
            .ok_or(Errno::EOVERFLOW)
    }

    /// What a number of one side is on the other, where it stands for one owner there; `ends` gives where a range begins on both.
    fn mapped(&self, number: u32, ends: impl Fn(&NumberRange) -> (u32, u32)) -> Option<u32> {
        let mapped = self.0.iter().find_map(|range| {
            let (from, to) = ends(range);
            within(number, from, to, range.count)
        });
        let is_taken = |range: &NumberRange| {
            let (_, to) = ends(range);
            number == NOBODY || within(number, to, 0, range.count).is_some()
        };
        mapped.or_else(|| (!self.0.iter().any(is_taken)).then_some(number))
    }
}

/// What `number` becomes where it is one of `count` from `from` on, which become those from `to` on.
fn within(number: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    number
        .checked_sub(from)
        .filter(|distance| *distance < count)
        .map(|distance| to + distance)
}

impl FromStr for NumberRange {
    type Err = NumberRangeError;

    fn from_str(text: &str) -> Result<Self, NumberRangeError> {
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        let (here, stored, count) = match numbers.as_deref() {
            Ok([here, stored]) => (*here, *stored, 1),
            Ok([here, stored, count]) if *count > 0 => (*here, *stored, *count),
            _ => return Err(NumberRangeError::Malformed),
        };
        // The last number means "no owner" to the kernel.
        let fits = |first: u32| first.checked_add(count).is_some();
        if !fits(here) || !fits(stored) {
            return Err(NumberRangeError::Malformed);
        }
        Ok(Self { here, stored, count })
    }
}

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.here, self.stored, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[&str]) -> Result<NumberMap, NumberRangeError> {
        let mut map = NumberMap::default();
        for range in ranges {
            map.add(range.parse()?)?;
        }
        Ok(map)
    }

    #[test]
    fn numbers_are_mapped_both_ways_and_none_stands_for_two() {
        let map = map(&["1000:5000:10", "0:7"]).expect("a map");
        assert_eq!((map.shown(5003), map.stored(1003)), (1003, Ok(5003)));
        assert_eq!((map.shown(7), map.stored(0)), (0, Ok(7)));
        assert_eq!((map.shown(42), map.stored(42)), (42, Ok(42)));
        // Another owner of the store, whose number means a mapped one here; and the other way.
        assert_eq!((map.shown(1003), map.stored(5003)), (NOBODY, Err(Errno::EOVERFLOW)));
        assert_eq!((map.shown(0), map.stored(7)), (NOBODY, Err(Errno::EOVERFLOW)));
        assert_eq!((map.shown(1010), map.stored(5010)), (1010, Ok(5010)));
        assert_eq!((map.shown(NOBODY), map.stored(NOBODY)), (NOBODY, Err(Errno::EOVERFLOW)));
    }

    #[test]
    fn a_map_without_ranges_changes_nothing() {
        let map = NumberMap::default();
        assert_eq!((map.shown(0), map.stored(u32::MAX)), (0, Ok(u32::MAX)));
    }

    #[test]
    fn ranges_that_are_none_or_overlap_are_refused() {
        for wrong in [
            "",
            "5",
            "1:2:0",
            "1:2:3:4",
            "a:b",
            "-1:2",
            "4294967295:1",
            "1:4294967290:10",
        ] {
            assert_eq!(
                wrong.parse::<NumberRange>(),
                Err(NumberRangeError::Malformed),
                "{wrong}"
            );
        }
        for wrong in [
            ["1:2", "1:3"],
            ["1:2", "3:2"],
            ["10:50:10", "5:20:6"],
            ["5:20:6", "10:50:10"],
            ["10:50:10", "30:59"],
        ] {
            assert!(matches!(map(&wrong), Err(NumberRangeError::Overlaps(_))), "{wrong:?}");
        }
        assert!(map(&["10:50:10", "20:60:10", "0:0"]).is_ok());
    }
}
