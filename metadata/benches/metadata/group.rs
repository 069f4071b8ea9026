//! Members and drivers as processes of their own, over QUIC on loopback.
//!
//! Owns: their certificates, addresses and order of start.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use cairn_common::ids::{ClusterId, NodeId};
use cairn_common::wire::role::Roles;
use cairn_metadata::{CLIENT_KINDS, GROUP_KINDS, MetadataConfig, MetadataServer, Start, Surroundings};
use cairn_transport::identity::{CertificateAuthority, Identity, load_credentials, save_credentials};
use cairn_transport::{NodeAddresses, QuicServer, QuicSettings, QuicTransport, Services, Transport, TransportMetrics};
use tokio::runtime::{Builder, Runtime};

use crate::client::Metadata;
use crate::process::{self, Talker, tell_parent};
use crate::report::progress;
use crate::workload::{CLIENTS, GATEWAYS, Workload};

/// The node that drives.
const DRIVER: NodeId = NodeId::new(100);
/// The member that makes the group.
const FIRST: NodeId = NodeId::new(1);
/// Requests of members to each other at once.
const GROUP_IN_FLIGHT_MAX: usize = 256;
/// More requests than any driver has under way.
pub(crate) const IN_FLIGHT_MAX: usize = 8192;

/// The members of a group.
pub(crate) struct Group {
    members: Vec<Talker>,
    addresses: Vec<SocketAddr>,
}

impl Group {
    /// Starts `count` members with their stores and certificates under `directory`; what is there is used.
    ///
    /// # Errors
    /// When one does not start.
    pub(crate) fn start(directory: &Path, count: u64) -> Result<Self> {
        let certificates = directory.join("certificates");
        if !certificates.exists() {
            make_certificates(&certificates, count)?;
        }
        let folder = directory.to_str().context("a folder of a strange name")?;
        let addresses = free_addresses(count)?;
        let mut members = Vec::new();
        for (number, address) in (1_u64..).zip(&addresses) {
            let arguments = ["member", &number.to_string(), folder, &address.to_string()];
            let mut member = Talker::this_program(&arguments)?;
            member.hear()?;
            members.push(member);
        }
        Ok(Self { members, addresses })
    }

    /// The members' process ids.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.members.iter().map(Talker::id).collect()
    }

    /// Ends all of them as a crash would.
    pub(crate) fn kill(&mut self) {
        self.members.iter_mut().for_each(Talker::kill);
    }

    /// Starts a driver, which opens its sessions first. `fresh` where the store holds nothing yet.
    ///
    /// # Errors
    /// When the members do not answer it.
    pub(crate) fn drive(&self, directory: &Path, fresh: bool) -> Result<Talker> {
        let folder = directory.to_str().context("a folder of a strange name")?;
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        let fresh = if fresh { "fresh" } else { "old" };
        let mut driver = Talker::this_program(&["drive", folder, fresh, &addresses.join(",")])?;
        driver.hear()?;
        Ok(driver)
    }

    /// A way to the members from this process.
    ///
    /// # Errors
    /// When no connection can be set up.
    pub(crate) fn connect(&self, directory: &Path) -> Result<Arc<Metadata>> {
        connect(directory, &self.addresses)
    }
}

/// The process of a member: says its address and serves until its parent goes.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run_member(number: u64, directory: &Path, address: SocketAddr) -> Result<()> {
    process::settle_child()?;
    let runtime = runtime()?;
    let _server = runtime.block_on(serve(NodeId::new(number), directory, address))?;
    runtime.block_on(async {
        let _ = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
    });
    runtime.shutdown_background();
    Ok(())
}

async fn serve(node: NodeId, directory: &Path, address: SocketAddr) -> Result<(QuicServer, MetadataServer)> {
    let identity = identity_of(node, directory)?;
    let mut config = MetadataConfig::new(directory.join(node.to_string()), node);
    config.address = address.to_string();
    config.start = if node == FIRST { Start::Alone } else { Start::Join };
    let known = NodeAddresses::new();
    let metrics = TransportMetrics::default();
    let transport = QuicTransport::new(&identity, known.clone(), QuicSettings::default(), metrics.clone())?;
    let surroundings = Surroundings {
        addresses: Arc::new(known),
        ..Surroundings::new(Arc::new(transport))
    };
    let server = MetadataServer::start(config, surroundings).await?;
    let services = Services::new()
        .with(CLIENT_KINDS, Arc::new(server.clone()), IN_FLIGHT_MAX)
        .with(GROUP_KINDS, Arc::new(server.clone()), GROUP_IN_FLIGHT_MAX);
    let bulk = SocketAddr::new(address.ip(), 0);
    let carrier = QuicServer::start(&identity, address, &[bulk], services, QuicSettings::default(), metrics)?;
    tell_parent("serving")?;
    Ok((carrier, server))
}

/// The process of a driver: says when its sessions are open, then takes a turn for each line.
///
/// # Errors
/// When a request fails.
pub(crate) fn run_driver(directory: &Path, fresh: &str, addresses: &str) -> Result<()> {
    process::settle_child()?;
    let addresses: Vec<SocketAddr> = addresses.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let metadata = connect(directory, &addresses)?;
        if fresh == "fresh" {
            metadata.gather(&addresses).await?;
            metadata.prepare().await?;
        }
        let mut ways = vec![metadata];
        while ways.len() < GATEWAYS {
            ways.push(connect(directory, &addresses)?);
        }
        let workload = Workload::open(&ways, 0..CLIENTS).await?;
        tell_parent("ready")?;
        while let Some(line) = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await? {
            let line = line?;
            let (what, millis) = line.split_once(' ').context("a turn without a time")?;
            let figures = workload.turn(what, Duration::from_millis(millis.parse()?)).await?;
            tell_parent(&figures.to_line())?;
        }
        Ok(())
    })
}

/// One thread for a member, and one for a driver: there are more of them than processors. What becomes ready together is
/// then carried out together, and leaves in one datagram.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Addresses whose ports were free a moment ago.
fn free_addresses(count: u64) -> Result<Vec<SocketAddr>> {
    let sockets: Vec<UdpSocket> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    Ok(sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?)
}

fn connect(directory: &Path, addresses: &[SocketAddr]) -> Result<Arc<Metadata>> {
    let known = NodeAddresses::new();
    let mut nodes = Vec::new();
    for (number, address) in (1..).zip(addresses) {
        known.set(NodeId::new(number), *address);
        nodes.push(NodeId::new(number));
    }
    let identity = identity_of(DRIVER, directory)?;
    let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
    let transport: Arc<dyn Transport> = Arc::new(QuicTransport::new(&identity, known, settings, metrics)?);
    Ok(Metadata::new(transport, nodes))
}

/// Makes a CA and a certificate for each member and the driver.
fn make_certificates(directory: &Path, members: u64) -> Result<()> {
    progress("making certificates");
    std::fs::create_dir_all(directory)?;
    let authority = CertificateAuthority::create(ClusterId::new([7; 16]))?;
    let now = SystemTime::now();
    for node in (1..=members).map(NodeId::new).chain([DRIVER]) {
        let validity = now - Duration::from_secs(60)..now + Duration::from_secs(86_400);
        let credentials = authority.make_credentials(node, Roles::MEMBER, validity)?;
        let folder = directory.join(node.to_string());
        std::fs::create_dir(&folder)?;
        save_credentials(&folder, &credentials)?;
    }
    Ok(())
}

fn identity_of(node: NodeId, directory: &Path) -> Result<Identity> {
    let folder = directory.join("certificates").join(node.to_string());
    Ok(Identity::member(load_credentials(&folder)?)?)
}
