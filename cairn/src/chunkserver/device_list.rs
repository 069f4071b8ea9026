//! The devices of a chunkserver, as `chunkserver.toml` in its directory lists them.
//!
//! Invariants: a device is listed before it is formatted, so that a start which was cut short or refused is completed, under the
//! same number, by one that is given the device again; a number is never given twice, here or at another node; what was formatted
//! once is formatted again only for a new life, which an operator asked for.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cairn_chunkserver::DeviceConfig;
use cairn_common::ids::{ClusterId, DeviceId, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDir, check_version, format_device_at, replace_file};

const VERSION: u32 = 1;

/// Each node has so many numbers of devices to itself; the first of them stays free.
const NUMBERS_PER_NODE: u32 = 256;

/// The list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceList {
    version: u32,
    cluster_id: String,
    node: u64,
    /// How many numbers were given.
    numbered: u32,
    #[serde(default)]
    devices: Vec<Listed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    id: u32,
    incarnation: u64,
    /// Relative to the node's directory, where it lies within it.
    path: PathBuf,
    is_formatted: bool,
}

/// The number of a node's `count`-th device, counted from one: unique in the cluster without asking anybody.
fn device_number(node: NodeId, count: u32) -> anyhow::Result<DeviceId> {
    ensure!(
        (1..NUMBERS_PER_NODE).contains(&count),
        "a node numbers {} devices in its life, and this one has: let the machine join as a new node",
        NUMBERS_PER_NODE - 1
    );
    let node = u32::try_from(node.value()).ok();
    let base = node.and_then(|node| node.checked_mul(NUMBERS_PER_NODE));
    let base = base.context("nodes from 16,777,216 on have no numbers for devices")?;
    Ok(DeviceId::new(base + count))
}

/// The devices of the node that `data` is; those of `given` that are new are listed and formatted first.
pub(super) fn open(
    data: &DataDir,
    cluster: ClusterId,
    node: NodeId,
    given: &[PathBuf],
) -> anyhow::Result<Vec<DeviceConfig>> {
    let mut list = DeviceList::load(data.root(), cluster, node)?;
    let given = given.iter().map(|path| data.stored_path(path));
    let given: Vec<PathBuf> = given.collect::<Result<_, _>>()?;
    for path in &given {
        list.add(node, path)?;
    }
    ensure!(
        !given.is_empty() || list.devices.iter().any(|device| device.is_formatted),
        "no device yet: give --device PATH, a directory that is empty or absent, best on a disk of its own"
    );
    list.save(data.root())?;
    list.format_new(data.root(), cluster, &given)?;
    Ok(list
        .devices
        .iter()
        .filter(|device| device.is_formatted)
        .map(|device| device.config(data.root(), cluster))
        .collect())
}

/// Gives a device a new life in its empty directory; tells its number and the life.
pub(super) fn replace(
    data: &DataDir,
    cluster: ClusterId,
    node: NodeId,
    named: &str,
) -> anyhow::Result<(DeviceId, Incarnation)> {
    let mut list = DeviceList::load(data.root(), cluster, node)?;
    let path = data.stored_path(Path::new(named)).ok();
    let is_named = |device: &Listed| path.as_ref() == Some(&device.path) || device.id.to_string() == named;
    let at = list.devices.iter().position(is_named);
    let at =
        at.with_context(|| format!("{named} is no device of this node: `cairn chunkserver` lists them at its start"))?;
    list.devices[at].incarnation += 1;
    let config = list.devices[at].config(data.root(), cluster);
    // First the directory: where it is refused, as one that is not empty, the device stays what it was.
    format_device_at(&config)?;
    list.save(data.root())?;
    Ok((config.id, config.incarnation))
}

impl DeviceList {
    fn file(root: &Path) -> PathBuf {
        root.join("chunkserver.toml")
    }

    fn load(root: &Path, cluster: ClusterId, node: NodeId) -> anyhow::Result<Self> {
        let path = Self::file(root);
        if !path.exists() {
            return Ok(Self {
                version: VERSION,
                cluster_id: cluster.to_string(),
                node: node.value(),
                numbered: 0,
                devices: Vec::new(),
            });
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let list: Self = toml::from_str(&text).with_context(|| {
            format!(
                "{} is damaged: restore it, or write it anew by what `cairn chunkserver inspect DEVICE` tells of each device",
                path.display()
            )
        })?;
        check_version(&path, list.version, VERSION)?;
        ensure!(
            list.cluster_id == cluster.to_string() && list.node == node.value(),
            "{} lists the devices of node {} of cluster {}, and the directory is node {node} of cluster {cluster}: restore the \
             right one",
            path.display(),
            list.node,
            list.cluster_id
        );
        Ok(list)
    }

    fn save(&self, root: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("writing chunkserver.toml")?;
        replace_file(&Self::file(root), &text)
    }

    /// Lists a device that is not.
    fn add(&mut self, node: NodeId, path: &Path) -> anyhow::Result<()> {
        if self.devices.iter().any(|device| device.path == path) {
            return Ok(());
        }
        self.numbered += 1;
        self.devices.push(Listed {
            id: device_number(node, self.numbered)?.value(),
            incarnation: 1,
            path: path.to_owned(),
            is_formatted: false,
        });
        Ok(())
    }

    /// Formats those of `given` that are not yet. One that cannot be stays listed with its number: a supervisor that starts the
    /// process over and over must not use up the node's numbers.
    fn format_new(&mut self, root: &Path, cluster: ClusterId, given: &[PathBuf]) -> anyhow::Result<()> {
        for at in 0..self.devices.len() {
            let device = &self.devices[at];
            if device.is_formatted || !given.contains(&device.path) {
                continue;
            }
            format_device_at(&device.config(root, cluster))?;
            self.devices[at].is_formatted = true;
            self.save(root)?;
        }
        Ok(())
    }
}

impl Listed {
    fn config(&self, root: &Path, cluster: ClusterId) -> DeviceConfig {
        DeviceConfig {
            id: DeviceId::new(self.id),
            incarnation: Incarnation::new(self.incarnation),
            path: root.join(&self.path),
            cluster_id: cluster.to_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::new([7; 16]);
    const NODE: NodeId = NodeId::new(3);

    fn numbers(devices: &[DeviceConfig]) -> Vec<u32> {
        devices.iter().map(|device| device.id.value()).collect()
    }

    #[test]
    fn devices_are_listed_once_and_never_share_a_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("an empty directory");
        let open = |given: &[&str]| {
            let given: Vec<_> = given.iter().map(|name| folder.path().join(name)).collect();
            open(&data, CLUSTER, NODE, &given)
        };
        let error = open(&[]).expect_err("there is none");
        assert!(error.to_string().contains("--device"), "{error}");
        assert_eq!(numbers(&open(&["a", "b"]).expect("two")), [769, 770]);
        assert_eq!(numbers(&open(&[]).expect("as before")), [769, 770]);
        std::fs::create_dir_all(folder.path().join("full/of-photos")).expect("made");
        let error = open(&["b", "full"]).expect_err("it is not empty");
        assert!(format!("{error:#}").contains("of-photos"), "{error:#}");
        assert_eq!(numbers(&open(&["c"]).expect("a third")), [769, 770, 772]);
    }

    #[test]
    fn a_device_that_cannot_be_formatted_uses_up_one_number_and_holds_up_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("an empty directory");
        let open = |given: &[&str]| {
            let given: Vec<_> = given.iter().map(|name| folder.path().join(name)).collect();
            open(&data, CLUSTER, NODE, &given)
        };
        std::fs::create_dir_all(folder.path().join("full/of-photos")).expect("made");
        for _ in 0..NUMBERS_PER_NODE {
            let error = open(&["full"]).expect_err("it is not empty");
            assert!(format!("{error:#}").contains("of-photos"), "{error:#}");
        }
        let error = open(&[]).expect_err("none serves");
        assert!(error.to_string().contains("--device"), "{error}");
        assert_eq!(numbers(&open(&["a"]).expect("another")), [770]);
        std::fs::remove_dir(folder.path().join("full/of-photos")).expect("empty");
        assert_eq!(numbers(&open(&[]).expect("it was not given")), [770]);
        assert_eq!(numbers(&open(&["full"]).expect("empty now")), [769, 770]);
    }

    #[test]
    fn a_start_that_was_cut_short_after_formatting_is_completed() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("an empty directory");
        let given = [folder.path().join("a")];
        let first = open(&data, CLUSTER, NODE, &given).expect("formatted");
        let mut list = DeviceList::load(folder.path(), CLUSTER, NODE).expect("a list");
        list.devices[0].is_formatted = false;
        list.save(folder.path()).expect("saved");
        let again = open(&data, CLUSTER, NODE, &given).expect("completed");
        assert_eq!(numbers(&again), numbers(&first));
    }

    #[test]
    fn a_device_is_replaced_where_its_directory_is_empty_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("an empty directory");
        let given = [folder.path().join("a"), folder.path().join("b")];
        open(&data, CLUSTER, NODE, &given).expect("formatted");
        let replace = |named: &str| replace(&data, CLUSTER, NODE, named);
        let error = replace("770").expect_err("it holds a device");
        assert!(format!("{error:#}").contains("life 1"), "{error:#}");
        assert!(replace("771").is_err() && replace("nowhere").is_err());
        std::fs::remove_dir_all(&given[1]).expect("removed");
        let (id, life) = replace("770").expect("replaced");
        assert_eq!((id.value(), life.value()), (770, 2));
        std::fs::remove_dir_all(&given[1]).expect("removed");
        let path = given[1].to_str().expect("a name");
        let (id, life) = replace(path).expect("replaced");
        assert_eq!((id.value(), life.value()), (770, 3));
        let devices = open(&data, CLUSTER, NODE, &[]).expect("a list");
        assert_eq!(devices[1].incarnation.value(), 3);
    }

    #[test]
    fn a_list_of_another_node_or_of_rubbish_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("an empty directory");
        open(&data, CLUSTER, NODE, &[folder.path().join("a")]).expect("one");
        let other = open(&data, CLUSTER, NodeId::new(4), &[]).expect_err("another node");
        assert!(other.to_string().contains("node 3"), "{other}");
        std::fs::write(folder.path().join("chunkserver.toml"), "rubbish").expect("written");
        let damaged = open(&data, CLUSTER, NODE, &[]).expect_err("rubbish");
        assert!(damaged.to_string().contains("restore it"), "{damaged}");
    }

    #[test]
    fn numbers_run_out_before_they_meet_those_of_the_next_node() {
        assert_eq!(device_number(NODE, 255).expect("the last").value(), 1023);
        assert!(device_number(NODE, 256).is_err());
        assert!(device_number(NodeId::new(1 << 24), 1).is_err());
    }
}
