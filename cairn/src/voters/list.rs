//! `DIR/voters.toml`: the metadata servers of a store beside the one in its directory.
//!
//! Invariant: a number is given once. A voter is noted as used before the group hears of it, and from then on never starts empty.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cairn_common::ids::NodeId;
use serde::{Deserialize, Serialize};

use crate::data_dir::replace_file;

const VERSION: u32 = 1;

/// Nodes of a cluster are numbered below, since their devices' numbers are made of theirs.
const FIRST_NUMBER: u64 = (1 << 24) + 1;

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoterList {
    version: u32,
    /// Counts up with each change, so that the newest of several copies can be told.
    pub(super) revision: u64,
    next: u64,
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
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let path = Self::file(root);
        if !path.exists() {
            return Ok(Self {
                version: VERSION,
                revision: 0,
                next: FIRST_NUMBER,
                is_own_lost: false,
                voters: Vec::new(),
            });
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text, &path)
    }

    pub(super) fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let list: Self = toml::from_str(text).with_context(|| {
            format!(
                "{} is damaged: copy it from the newest voter-* directory of the store's devices",
                path.display()
            )
        })?;
        ensure!(
            list.version == VERSION,
            "{} has version {}, this program reads version {VERSION}: use a cairn that knows it",
            path.display(),
            list.version
        );
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

    /// Whether a store without metadata in its directory may start, since others have it.
    pub(crate) fn is_own_lost(&self) -> bool {
        self.is_own_lost
    }

    /// Whether there are voters on other disks.
    pub(crate) fn has_others(&self) -> bool {
        self.voters.iter().any(|voter| voter.is_used)
    }

    /// Lists a new voter in `device`.
    pub(super) fn add(&mut self, device: PathBuf) -> NodeId {
        let node = self.next;
        self.next += 1;
        self.voters.push(Voter {
            node,
            device,
            is_used: false,
        });
        NodeId::new(node)
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
}

/// Forgets the voters of the store in `root`, whose metadata was made anew without them; tells what stays of them.
pub(crate) fn forget(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut list = VoterList::load(root)?;
    if list.voters.is_empty() && !list.is_own_lost {
        return Ok(Vec::new());
    }
    let left = list.voters.drain(..).map(|voter| voter.directory(root)).collect();
    list.is_own_lost = false;
    list.save(root)?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_once_and_survive_a_save() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut list = VoterList::load(directory.path()).expect("an empty list");
        let first = list.add(PathBuf::from("devices/1"));
        list.note_used(first);
        list.save(directory.path()).expect("saved");
        let mut list = VoterList::load(directory.path()).expect("found");
        assert!(list.voters[0].is_used);
        list.remove(first);
        assert_ne!(list.add(PathBuf::from("devices/1")), first);
    }

    #[test]
    fn a_forgotten_list_tells_what_stays_and_keeps_counting() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut list = VoterList::load(directory.path()).expect("an empty list");
        let node = list.add(PathBuf::from("/disks/2"));
        list.save(directory.path()).expect("saved");
        let left = forget(directory.path()).expect("forgotten");
        assert_eq!(left, [PathBuf::from(format!("/disks/2/voter-{node}"))]);
        let mut list = VoterList::load(directory.path()).expect("found");
        assert_ne!(list.add(PathBuf::from("/disks/2")), node);
    }
}
