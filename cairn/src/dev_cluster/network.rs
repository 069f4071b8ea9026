//! The network of a cluster with namespaces: a bridge on the host, and a namespace and a link to the bridge for each process.
//!
//! Two processes are cut off from each other by entries in their neighbour tables: each takes the other's address for its own
//! link's, so the bridge gets a frame that it would have to send back to where it came from, and drops it. Neither side notices
//! anything but silence, as with a cable that is cut.
//!
//! Invariant: names carry the id of the cluster, whose lock under /run is held as long as the network is used: nothing of another
//! cluster that runs, or of the machine, is ever touched. What was made is gone with the value; what killed runs left, whosever
//! they were, the next one removes.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

use super::{names::PartName, report::tell, shape::Shape};

/// As much as the carrier's packets may use, which saves it work.
const MTU_BYTES: u32 = 9000;

/// The name of the link within each namespace.
const LINK: &str = "eth0";

/// The network, as long as the value lives.
#[derive(Debug)]
pub(super) struct Network {
    id: String,
    ends: Vec<End>,
    _lock: File,
}

/// The place of one process.
#[derive(Debug)]
struct End {
    name: PartName,
    address: IpAddr,
    /// The hardware address of its link.
    hardware: String,
}

/// The file that stands for a namespace.
pub(super) fn namespace_file(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

impl Network {
    /// Makes the network of a cluster, after removing what a killed run of it left.
    pub(super) fn make(shape: &Shape) -> anyhow::Result<Option<Self>> {
        let Some(host) = shape.host_address() else {
            return Ok(None);
        };
        ensure!(
            rustix::process::geteuid().is_root(),
            "a cluster in network namespaces is for root to run: use sudo, or make one without --namespaces"
        );
        let lock = lock(&shape.id)?;
        let lock = lock.with_context(|| format!("the network {} is in use by another dev-cluster", shape.id))?;
        remove(&shape.id)?;
        remove_abandoned()?;
        ensure!(
            !super::shape::is_here(host),
            "the network of {host} is in use on this machine, perhaps by another dev-cluster: stop that first"
        );
        let end = |name: PartName| End {
            name,
            address: shape.cluster_address(name).ip(),
            hardware: hardware_address(&shape.id, shape.index(name).unwrap_or_default()),
        };
        let network = Self {
            id: shape.id.clone(),
            ends: shape.parts().into_iter().map(end).collect(),
            _lock: lock,
        };
        network.set_up(host)?;
        Ok(Some(network))
    }

    fn set_up(&self, host: IpAddr) -> anyhow::Result<()> {
        let bridge = bridge_name(&self.id);
        let mut lines = format!("link add {bridge} mtu {MTU_BYTES} type bridge\n");
        for (index, end) in self.ends.iter().enumerate() {
            let (namespace, hardware) = (self.namespace(end.name), &end.hardware);
            let link = format!("{bridge}-{index}");
            lines += &format!("netns add {namespace}\n");
            lines += &format!(
                "link add {link} mtu {MTU_BYTES} type veth peer name {LINK} mtu {MTU_BYTES} address {hardware} netns {namespace}\n"
            );
            lines += &format!("link set {link} master {bridge} up\n");
        }
        lines += &format!("address add {host}/24 dev {bridge}\nlink set {bridge} up\n");
        batch(None, &lines)?;
        for end in &self.ends {
            let lines = format!(
                "link set lo up\naddress add {}/24 dev {LINK}\nlink set {LINK} up\n",
                end.address
            );
            batch(Some(&self.namespace(end.name)), &lines)?;
        }
        Ok(())
    }

    /// The namespace of a process.
    pub(super) fn namespace(&self, name: PartName) -> String {
        format!("{}{name}", namespace_prefix(&self.id))
    }

    /// Cuts each process of `pairs` off from its partner.
    pub(super) fn cut(&self, pairs: &[(PartName, PartName)]) -> anyhow::Result<()> {
        self.change(pairs, |own, other| {
            let (address, hardware) = (other.address, &own.hardware);
            format!("neigh replace {address} lladdr {hardware} dev {LINK} nud permanent\n")
        })
    }

    /// Lets them reach each other again.
    pub(super) fn heal(&self, pairs: &[(PartName, PartName)]) -> anyhow::Result<()> {
        self.change(pairs, |_, other| format!("neigh del {} dev {LINK}\n", other.address))
    }

    /// Changes the neighbour tables of both sides of each pair.
    fn change(&self, pairs: &[(PartName, PartName)], line: impl Fn(&End, &End) -> String) -> anyhow::Result<()> {
        for own in &self.ends {
            let others = self.ends.iter().filter(|other| {
                let (a, b) = (own.name, other.name);
                pairs.contains(&(a, b)) || pairs.contains(&(b, a))
            });
            let lines: String = others.map(|other| line(own, other)).collect();
            if !lines.is_empty() {
                batch(Some(&self.namespace(own.name)), &lines)?;
            }
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.id) {
            tell(format_args!(
                "the network namespaces are not removed, the next start tries again: {error:#}"
            ));
        }
        // While it is still locked: whoever comes makes it anew.
        let _ = fs::remove_file(lock_file(&self.id));
    }
}

fn lock_file(id: &str) -> PathBuf {
    Path::new("/run").join(format!("cairn-dev-cluster-{id}.lock"))
}

/// The lock of a network; none where another process holds it.
fn lock(id: &str) -> anyhow::Result<Option<File>> {
    let path = lock_file(id);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// Removes the networks of runs that were killed and whose directory nobody has started again.
fn remove_abandoned() -> anyhow::Result<()> {
    let ids: BTreeSet<String> = namespaces()?.iter().filter_map(|name| id_of(name)).collect();
    for id in ids {
        if let Some(_lock) = lock(&id)? {
            tell("removing network namespaces that a killed dev-cluster has left");
            remove(&id)?;
        }
    }
    Ok(())
}

/// The id in the name of a namespace; none where that is not of a dev-cluster.
fn id_of(namespace: &str) -> Option<String> {
    let (id, part) = namespace.strip_prefix("cairn-")?.split_once('-')?;
    let is_id = id.len() == 4 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && part.parse::<PartName>().is_ok()).then(|| id.to_owned())
}

/// Removes all that carries the id.
fn remove(id: &str) -> anyhow::Result<()> {
    let (prefix, bridge) = (namespace_prefix(id), bridge_name(id));
    let mut lines = String::new();
    // Links first: a namespace would take its own with it, but only some time after its last process is gone.
    let links = ip(&["-oneline", "link", "show"])?;
    let links = links.lines().filter_map(|line| line.split_whitespace().nth(1));
    let links = links.filter_map(|name| name.split(['@', ':']).next());
    for link in links.filter(|name| *name == bridge || name.starts_with(&format!("{bridge}-"))) {
        lines += &format!("link delete {link}\n");
    }
    for namespace in namespaces()?.iter().filter(|name| name.starts_with(&prefix)) {
        lines += &format!("netns delete {namespace}\n");
    }
    if lines.is_empty() {
        return Ok(());
    }
    batch(None, &lines)
}

/// All that the machine has.
fn namespaces() -> anyhow::Result<Vec<String>> {
    let listed = ip(&["netns", "list"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_owned).collect())
}

fn namespace_prefix(id: &str) -> String {
    format!("cairn-{id}-")
}

/// Names of links hold at most 15 bytes.
fn bridge_name(id: &str) -> String {
    format!("cairn{id}")
}

/// One that is administered locally, of the cluster's id and the process's place.
fn hardware_address(id: &str, index: u8) -> String {
    let (high, low) = id.split_at_checked(2).unwrap_or(("00", "00"));
    format!("02:ca:12:{high}:{low}:{index:02x}")
}

/// Runs lines of `ip` in a namespace, up to the first that fails.
fn batch(namespace: Option<&str>, lines: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-netns", namespace]);
    }
    command.args(["-batch", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context(MISSING)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(lines.as_bytes()).context("telling `ip` what to do")?;
    }
    let output = child.wait_with_output().context("waiting for `ip`")?;
    if !output.status.success() {
        bail!("`ip` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("ip").args(arguments).output().context(MISSING)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const MISSING: &str = "starting `ip`, which network namespaces need: install iproute2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dev_clusters_are_known_as_such() {
        assert_eq!(id_of("cairn-0a1f-chunkserver-12").as_deref(), Some("0a1f"));
        for other in [
            "cairn-bench-s12",
            "cairn-0a1f-other",
            "cairn-0a1f",
            "0a1f-gateway-1",
            "blue",
        ] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }
}
