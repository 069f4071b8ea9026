//! What a cluster is made of, as `dev-cluster.toml` in its directory says: how many processes, and where they listen.
//!
//! ```text
//! on loopback     127.0.0.1, four ports for each process: cluster (UDP), bulk bytes (UDP), admin, S3
//! in namespaces   198.18.N.1 is the host, 198.18.N.10 the first process; the ports are the usual ones
//! ```
//!
//! Invariant: it is written once, before anything else is made: a cluster comes back with the addresses that it had.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::names::{Kind, PartName};
use crate::{
    cli::RunDevClusterArgs,
    config,
    data_dir::{check_version, default_redundancy, replace_file},
};

const VERSION: u32 = 1;

/// Ports that a process has to itself on loopback.
const PORTS_EACH: u16 = 4;

/// Where free ports are looked for: below those that the system gives to outgoing connections.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How many places are tried for free ports, and for a free network.
const ATTEMPTS: usize = 200;

/// The network for measurements between machines (RFC 2544): no route of the machine can be meant by it.
const NETWORK: [u8; 2] = [198, 18];

/// The last byte of the host's address, and of the first process's.
const HOST: u8 = 1;
const FIRST_PART: u8 = 10;

/// What a cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    version: u32,
    /// Sets its namespaces and links apart from those of others: four hexadecimal digits.
    pub(super) id: String,
    metadata: u32,
    chunkservers: u32,
    gateways: u32,
    pub(super) devices_per_server: u32,
    pub(super) redundancy: String,
    place: Place,
}

/// Where its processes listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    /// On loopback, from this port on.
    PortBase(u16),
    /// Each in a namespace of its own; the third byte of their network.
    Namespaces(u8),
}

impl Shape {
    fn file(root: &Path) -> PathBuf {
        root.join("dev-cluster.toml")
    }

    /// What `root` holds, or what it is to hold from now on.
    pub(super) fn load_or_make(root: &Path, args: &RunDevClusterArgs) -> anyhow::Result<Self> {
        let path = Self::file(root);
        if !path.exists() {
            let shape = Self::wanted(args)?;
            let text = toml::to_string(&shape).context("writing dev-cluster.toml")?;
            replace_file(&path, &text)?;
            return Ok(shape);
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let shape: Self = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        check_version(&path, shape.version, VERSION)?;
        shape.check_same(root, args)?;
        Ok(shape)
    }

    fn wanted(args: &RunDevClusterArgs) -> anyhow::Result<Self> {
        let chunkservers = args.chunkservers.unwrap_or(6);
        let devices_per_server = args.devices_per_server.unwrap_or(1);
        let redundancy = args
            .redundancy
            .unwrap_or_else(|| default_redundancy(chunkservers as usize));
        let devices = chunkservers * devices_per_server;
        ensure!(
            redundancy.width() <= devices as usize,
            "redundancy {redundancy} needs {} devices, and there are {devices}: give more --chunkservers or another --redundancy",
            redundancy.width()
        );
        let mut shape = Self {
            version: VERSION,
            id: hex::encode(random::<2>()?),
            metadata: args.metadata.unwrap_or(3),
            chunkservers,
            gateways: args.gateways.unwrap_or(2),
            devices_per_server,
            redundancy: redundancy.to_string(),
            place: Place::PortBase(args.port_base.unwrap_or_default()),
        };
        if args.namespaces {
            shape.place = Place::Namespaces(free_network()?);
        } else if args.port_base.is_none() {
            shape.place = Place::PortBase(shape.free_ports()?);
        }
        let ports = PORTS_EACH.checked_mul(u16::try_from(shape.parts().len())?);
        if let (Place::PortBase(base), Some(ports)) = (shape.place, ports) {
            ensure!(
                base.checked_add(ports).is_some(),
                "port {base} leaves no {ports} ports behind it: choose a lower --port-base"
            );
        }
        Ok(shape)
    }

    /// A flag that says otherwise than the directory would be heeded by nobody.
    fn check_same(&self, root: &Path, args: &RunDevClusterArgs) -> anyhow::Result<()> {
        let same = |given: Option<u32>, held: u32| given.is_none_or(|given| given == held);
        let port_base = args.port_base.map(Place::PortBase);
        let is_same = same(args.metadata, self.metadata)
            && same(args.chunkservers, self.chunkservers)
            && same(args.gateways, self.gateways)
            && same(args.devices_per_server, self.devices_per_server)
            && args.redundancy.is_none_or(|given| given.to_string() == self.redundancy)
            && port_base.is_none_or(|given| given == self.place)
            && (!args.namespaces || self.uses_namespaces());
        ensure!(
            is_same,
            "{} holds a cluster of another shape ({}): leave the flags out to start it again, or choose another --data",
            root.display(),
            self.described()
        );
        Ok(())
    }

    /// In words.
    pub(super) fn described(&self) -> String {
        let namespaces = if self.uses_namespaces() { ", in namespaces" } else { "" };
        format!(
            "{} metadata, {} chunkservers with {} device(s) each, {} gateways, redundancy {}{namespaces}",
            self.metadata, self.chunkservers, self.devices_per_server, self.gateways, self.redundancy
        )
    }

    pub(super) const fn uses_namespaces(&self) -> bool {
        matches!(self.place, Place::Namespaces(_))
    }

    /// All processes, in the order in which they are started.
    pub(super) fn parts(&self) -> Vec<PartName> {
        let of = |(kind, count)| (1..=count).map(move |number| PartName { kind, number });
        let counts = [
            (Kind::Metadata, self.metadata),
            (Kind::Chunkserver, self.chunkservers),
            (Kind::Gateway, self.gateways),
        ];
        counts.into_iter().flat_map(of).collect()
    }

    /// Whether there is one of that name.
    pub(super) fn has(&self, name: PartName) -> bool {
        self.index(name).is_some()
    }

    /// The place of a process among all.
    pub(super) fn index(&self, name: PartName) -> Option<u8> {
        let index = self.parts().iter().position(|part| *part == name)?;
        u8::try_from(index).ok()
    }

    /// Where a process serves other nodes.
    pub(super) fn cluster_address(&self, name: PartName) -> SocketAddr {
        self.address(name, 0, config::DEFAULT_CLUSTER_LISTEN.port())
    }

    /// Where it tells of itself.
    pub(super) fn admin_address(&self, name: PartName) -> SocketAddr {
        self.address(name, 2, config::DEFAULT_ADMIN.port())
    }

    /// Where a gateway serves S3.
    pub(super) fn s3_address(&self, name: PartName) -> SocketAddr {
        self.address(name, 3, config::DEFAULT_LISTEN.port())
    }

    fn address(&self, name: PartName, offset: u16, usual_port: u16) -> SocketAddr {
        let index = self.index(name).unwrap_or_default();
        match self.place {
            Place::PortBase(base) => {
                let port = base + PORTS_EACH * u16::from(index) + offset;
                SocketAddr::from((Ipv4Addr::LOCALHOST, port))
            }
            Place::Namespaces(third) => SocketAddr::new(network_address(third, FIRST_PART + index), usual_port),
        }
    }

    /// The host's address in the network of the namespaces; none where there are no namespaces.
    pub(super) fn host_address(&self) -> Option<IpAddr> {
        match self.place {
            Place::PortBase(_) => None,
            Place::Namespaces(third) => Some(network_address(third, HOST)),
        }
    }

    /// A port behind which all ports are free.
    fn free_ports(&self) -> anyhow::Result<u16> {
        let parts = u16::try_from(self.parts().len())?;
        for _ in 0..ATTEMPTS {
            let room = FREE_PORTS.end - FREE_PORTS.start - PORTS_EACH * parts;
            let base = FREE_PORTS.start + u16::from_le_bytes(random()?) % room;
            if (0..parts).all(|part| are_free(base + PORTS_EACH * part)) {
                return Ok(base);
            }
        }
        bail!(
            "no {} free ports in a row were found: give --port-base",
            PORTS_EACH * parts
        )
    }
}

/// Whether the ports of a process that begin here are free.
fn are_free(base: u16) -> bool {
    let at = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, base + offset));
    UdpSocket::bind(at(0)).is_ok()
        && UdpSocket::bind(at(1)).is_ok()
        && TcpListener::bind(at(2)).is_ok()
        && TcpListener::bind(at(3)).is_ok()
}

/// The third byte of a network that this machine does not have.
fn free_network() -> anyhow::Result<u8> {
    for _ in 0..ATTEMPTS {
        let [third] = random()?;
        if !is_here(network_address(third, HOST)) {
            return Ok(third);
        }
    }
    bail!("no free network was found in 198.18.0.0/16")
}

/// Whether the address is one of this machine's.
pub(super) fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

fn network_address(third: u8, last: u8) -> IpAddr {
    let [first, second] = NETWORK;
    IpAddr::from([first, second, third, last])
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_once_is_found_again_and_not_changed_by_flags() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = RunDevClusterArgs::default();
        let made = Shape::load_or_make(folder.path(), &plain).expect("made");
        assert_eq!(made.redundancy, "4+2");
        assert_eq!(made.parts().len(), 3 + 6 + 2);
        assert_eq!(Shape::load_or_make(folder.path(), &plain).expect("found"), made);
        let same = RunDevClusterArgs {
            metadata: Some(3),
            ..plain.clone()
        };
        assert_eq!(Shape::load_or_make(folder.path(), &same).expect("found"), made);
        let other = RunDevClusterArgs {
            chunkservers: Some(7),
            ..plain
        };
        let error = Shape::load_or_make(folder.path(), &other).expect_err("another shape");
        assert!(error.to_string().contains("6 chunkservers"), "{error}");
    }

    #[test]
    fn every_process_has_ports_of_its_own() {
        let wanted = RunDevClusterArgs {
            port_base: Some(21_000),
            ..RunDevClusterArgs::default()
        };
        let shape = Shape::wanted(&wanted).expect("a shape");
        let mut seen = std::collections::BTreeSet::new();
        for part in shape.parts() {
            let cluster = shape.cluster_address(part).port();
            for port in [
                cluster,
                cluster + 1,
                shape.admin_address(part).port(),
                shape.s3_address(part).port(),
            ] {
                assert!(port >= 21_000 && seen.insert(port), "{part}: {port}");
            }
        }
        let high = RunDevClusterArgs {
            port_base: Some(65_500),
            ..wanted
        };
        assert!(Shape::wanted(&high).is_err());
    }

    #[test]
    fn redundancy_that_the_devices_cannot_hold_is_refused() {
        let wanted = RunDevClusterArgs {
            chunkservers: Some(3),
            redundancy: Some("4+2".parse().expect("a scheme")),
            ..RunDevClusterArgs::default()
        };
        let error = Shape::wanted(&wanted).expect_err("three devices");
        assert!(error.to_string().contains("needs 6 devices"), "{error}");
    }
}
