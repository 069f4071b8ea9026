//! The shares of the operations in a mixed load.

use std::fmt;
use std::str::FromStr;

use super::operation::OpKind;
use super::random::Random;

/// What a mix may hold, by the names of the flag.
const MIXABLE: [OpKind; 9] = [
    OpKind::Get,
    OpKind::RangeGet,
    OpKind::Stat,
    OpKind::List,
    OpKind::Put,
    OpKind::Multipart,
    OpKind::Overwrite,
    OpKind::Copy,
    OpKind::Delete,
];

/// Operations with their weights, such as `get=45,stat=30,put=15,delete=10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<(OpKind, u32)>);

impl Mix {
    pub(crate) fn draw(&self, random: &mut Random) -> OpKind {
        let total = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = random.below(total);
        for (kind, weight) in &self.0 {
            match left.checked_sub(u64::from(*weight)) {
                None => return *kind,
                Some(rest) => left = rest,
            }
        }
        self.0[0].0
    }

    pub(crate) fn has(&self, kind: OpKind) -> bool {
        self.0.iter().any(|(other, _)| *other == kind)
    }

    fn weight(&self, kind: OpKind) -> u32 {
        self.0
            .iter()
            .find(|(other, _)| *other == kind)
            .map_or(0, |(_, weight)| *weight)
    }
}

impl Default for Mix {
    /// The mix that MinIO's `warp mixed` has by default, so that figures can be laid side by side.
    fn default() -> Self {
        Self(vec![
            (OpKind::Get, 45),
            (OpKind::Stat, 30),
            (OpKind::Put, 15),
            (OpKind::Delete, 10),
        ])
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut mix = Self(Vec::new());
        for part in text.split(',') {
            let (name, weight) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not OPERATION=WEIGHT"))?;
            let kind = *MIXABLE.iter().find(|kind| kind.label() == name).ok_or_else(|| {
                format!(
                    "{name:?} is no operation; {} are",
                    MIXABLE.map(OpKind::label).join(", ")
                )
            })?;
            if mix.has(kind) {
                return Err(format!("{name} is given twice"));
            }
            match weight.parse() {
                Ok(weight @ 1..=1_000_000) => mix.0.push((kind, weight)),
                _ => return Err(format!("the weight of {name} is a whole number from 1 to 1000000")),
            }
        }
        // What is deleted was put by the same load, so that reads always have one right answer.
        if mix.weight(OpKind::Delete) > mix.weight(OpKind::Put) {
            return Err("delete takes what put has written, so that its weight is at most that of put".to_owned());
        }
        Ok(mix)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (kind, weight)) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}={weight}", kind.label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_shown_and_drawn() {
        let mix: Mix = "get=3,put=1".parse().unwrap();
        assert_eq!(mix.to_string(), "get=3,put=1");
        let gets = (0..10_000)
            .filter(|number| mix.draw(&mut Random::of(1, *number)) == OpKind::Get)
            .count();
        assert!((7_300..7_700).contains(&gets), "{gets}");
        assert_eq!(Mix::default().to_string().parse(), Ok(Mix::default()));
    }

    #[test]
    fn wrong_mixes_are_refused() {
        for text in [
            "",
            "get",
            "get=0",
            "get=x",
            "fetch=1",
            "get=1,get=2",
            "get=1,delete=1",
            "put=1,delete=2",
        ] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
