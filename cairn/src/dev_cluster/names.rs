//! What the processes of a cluster are called.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, bail};

/// What a process does. In this order they are started; in the opposite one they are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Metadata,
    Chunkserver,
    Gateway,
}

/// The name of a process, such as `chunkserver-3`: its kind, and its number among those of its kind, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartName {
    pub(super) kind: Kind,
    pub(super) number: u32,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Metadata, Self::Chunkserver, Self::Gateway];

    /// The word in names, which is the subcommand of `cairn` too.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Chunkserver => "chunkserver",
            Self::Gateway => "gateway",
        }
    }

    /// The role that its node joins with.
    pub(super) const fn role(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Chunkserver => "chunkserver",
            Self::Gateway => "client",
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.kind.word(), self.number)
    }
}

impl FromStr for PartName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parsed = text.rsplit_once('-').and_then(|(word, number)| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
            let number = number.parse().ok()?;
            Some(Self { kind, number })
        });
        parsed.with_context(|| format!("{text:?} is no process of a dev-cluster: they are named like chunkserver-3"))
    }
}

/// The names of a request, each once.
pub(super) fn parse_all(names: &[String], known: impl Fn(PartName) -> bool) -> anyhow::Result<Vec<PartName>> {
    let mut parsed = Vec::new();
    for name in names {
        let name: PartName = name.parse()?;
        if !known(name) {
            bail!("there is no {name} here: `cairn dev-cluster status` lists what there is");
        }
        if !parsed.contains(&name) {
            parsed.push(name);
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            let name = PartName { kind, number: 12 };
            assert_eq!(name.to_string().parse::<PartName>().expect("a name"), name);
        }
        for wrong in ["", "metadata", "metadata-", "metadata-x", "server-1", "-1"] {
            assert!(wrong.parse::<PartName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_given_twice_counts_once_and_an_unknown_one_is_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known = |name: PartName| name.number <= 3;
        let parsed = parse_all(&names(&["gateway-1", "gateway-1", "metadata-3"]), known).expect("known");
        assert_eq!(parsed.len(), 2);
        assert!(parse_all(&names(&["metadata-4"]), known).is_err());
    }
}
