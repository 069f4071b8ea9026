//! `DIR/voters.toml`: the metadata servers of a store beside the one in its directory.
//!
//! Invariant: a number is given once. A voter is noted as used before the group hears of it, and from then on never starts empty.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use cairn_common::ids::NodeId;
use serde::{Deserialize, Serialize};

use super::copies;
use crate::data_dir::{check_version, replace_file};

const VERSION: u32 = 1;

/// Nodes of a cluster are numbered below, since their devices' numbers are made of theirs.
const FIRST_NUMBER: u64 = 1 << 32;

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoterList {
    version: u32,
    /// Counts up with each change, so that the newest of several copies can be told.
    pub(super) revision: u64,
    /// The one in DIR lost its files: it is taken out of the group and begins anew.
    #[serde(default)]
    pub(super) is_own_lost: bool,
    #[serde(default)]
    pub(super) voters: Vec<Voter>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Voter {
    node: u64,
    /// The device that it lies in: relative to the store's directory, where it lies within it.
    pub(super) device: PathBuf,
    /// Whether the group may count on it.
    pub(super) is_used: bool,
}

impl VoterList {
    pub(super) fn file(root: &Path) -> PathBuf {
        root.join("voters.toml")
    }

    /// The list of the store in `root`; empty where it never had any.
    pub(super) fn load(root: &Path) -> anyhow::Result<Self> {
        let path = Self::file(root);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self {
                version: VERSION,
                revision: 0,
                is_own_lost: false,
                voters: Vec::new(),
            }),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    pub(super) fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let list: Self = toml::from_str(text).with_context(|| {
            format!(
                "{} is damaged: copy it from the newest voter-* directory of the store's devices",
                path.display()
            )
        })?;
        check_version(path, list.version, VERSION)?;
        Ok(list)
    }

    /// Writes the list, as its next revision.
    pub(super) fn save(&mut self, root: &Path) -> anyhow::Result<()> {
        self.revision += 1;
        replace_file(&Self::file(root), &self.text()?)
    }

    pub(super) fn text(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("writing voters.toml")
    }

    /// Whether there are voters on other disks.
    pub(super) fn has_others(&self) -> bool {
        self.voters.iter().any(|voter| voter.is_used)
    }

    /// Lists a new voter.
    pub(super) fn add(&mut self, voter: Voter) {
        self.voters.push(voter);
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.voters.retain(|voter| voter.node() != node);
    }

    pub(super) fn note_used(&mut self, node: NodeId) {
        for voter in self.voters.iter_mut().filter(|voter| voter.node() == node) {
            voter.is_used = true;
        }
    }
}

impl Voter {
    /// One in `device`. Its number is drawn: one that a list gave which was lost since must not be given again.
    pub(super) fn new(device: PathBuf) -> anyhow::Result<Self> {
        let drawn = getrandom::u32().map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
        Ok(Self {
            node: FIRST_NUMBER + u64::from(drawn),
            device,
            is_used: false,
        })
    }

    pub(super) fn node(&self) -> NodeId {
        NodeId::new(self.node)
    }

    /// Where it lies.
    pub(super) fn directory(&self, root: &Path) -> PathBuf {
        root.join(&self.device).join(format!("voter-{}", self.node))
    }

    /// Its databases.
    pub(super) fn metadata(&self, root: &Path) -> PathBuf {
        self.directory(root).join("metadata")
    }

    /// Whether they are there.
    pub(super) fn has_files(&self, root: &Path) -> anyhow::Result<bool> {
        has_files(&self.metadata(root))
    }
}

/// Whether the databases of a metadata server are in `metadata`; an error where that cannot be told.
pub(super) fn has_files(metadata: &Path) -> anyhow::Result<bool> {
    let newest = metadata.join("log").join("CURRENT");
    let found = newest.try_exists();
    found.with_context(|| format!("looking for {}", newest.display()))
}

/// Forgets the voters of the store in `root`, whose metadata is about to be made anew without them; tells the directories that stay
/// of them in its `devices`.
pub(crate) fn forget(root: &Path, devices: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut list = VoterList::load(root)?;
    let mut left = Vec::new();
    for copies in devices.iter().flat_map(|device| copies::in_device(device)) {
        // What they say must not pass for newer than what is made now.
        list.revision = list.revision.max(copies.list.revision);
        left.push(copies.directory);
    }
    if list.voters.is_empty() && !list.is_own_lost && left.is_empty() {
        return Ok(left);
    }
    list.voters.clear();
    list.is_own_lost = false;
    list.save(root)?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_is_listed_under_a_number_of_its_own_and_survives_a_save() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut list = VoterList::load(directory.path()).expect("an empty list");
        let first = Voter::new(PathBuf::from("devices/1")).expect("a number");
        let second = Voter::new(PathBuf::from("devices/1")).expect("a number");
        assert_ne!(first.node(), second.node());
        list.add(first.clone());
        list.note_used(first.node());
        list.save(directory.path()).expect("saved");
        let found = VoterList::load(directory.path()).expect("found");
        assert!(found.has_others() && found.revision == 1);
    }

    #[test]
    fn what_is_forgotten_is_older_than_what_is_made_then() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = directory.path().join("device");
        let mut list = VoterList::load(directory.path()).expect("an empty list");
        let voter = Voter::new(device.clone()).expect("a number");
        list.add(voter.clone());
        for _ in 0..3 {
            list.save(directory.path()).expect("saved");
        }
        let beside = voter.directory(directory.path());
        std::fs::create_dir_all(&beside).expect("a directory");
        std::fs::write(beside.join("store.toml"), "").expect("a copy");
        std::fs::write(beside.join("credentials.toml"), "").expect("a copy");
        std::fs::copy(VoterList::file(directory.path()), VoterList::file(&beside)).expect("a copy");
        std::fs::remove_file(VoterList::file(directory.path())).expect("the list is lost");
        let left = forget(directory.path(), std::slice::from_ref(&device)).expect("forgotten");
        assert_eq!(left, [beside]);
        let list = VoterList::load(directory.path()).expect("found");
        assert!(list.revision > 3 && !list.has_others());
    }
}
