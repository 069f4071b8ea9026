//! The chunkservers' signs of life, as this member heard them.
//!
//! Every member is told by every server, so that a new leader knows at once who lives. Invariant: what is remembered here decides
//! nothing that the state depends on; what the state is to remember goes through the log.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{DeviceId, NodeId},
    limits::{DEVICE_RESERVE_BYTES, SERVER_SILENT_MS},
    wire::{
        command::{Command, Outcome},
        failure::{Failure, FailureCode},
        server::{RefusedDevice, RegisterServer, ServerInfo, ServerReport, ServerReportReply, ServersPage},
        shard::DeviceStatus,
    },
};
use cairn_transport::{Peer, failure};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::service::Inner;
use crate::core::refused_devices;

/// What the servers said last.
#[derive(Default)]
pub(super) struct Servers {
    heard: Mutex<BTreeMap<NodeId, Heard>>,
    /// How often what is registered was forgotten.
    forgotten: AtomicU64,
}

struct Heard {
    at: Instant,
    /// Which process it was.
    run: u64,
    /// Whether it said that it ends.
    has_left: bool,
    devices: Vec<DeviceStatus>,
    /// Since when devices do not serve by their server's own word.
    down_since: BTreeMap<u32, Instant>,
    /// What the state holds of the server, as long as this member leads: so it is not read again with each sign of life.
    registered: Option<ServerInfo>,
}

impl Heard {
    fn is_silent(&self) -> bool {
        self.has_left || self.at.elapsed() >= Duration::from_millis(SERVER_SILENT_MS)
    }
}

impl Servers {
    fn note(&self, node: NodeId, report: ServerReport, registered: Option<ServerInfo>) {
        let ServerReport {
            devices,
            run,
            is_leaving,
            ..
        } = report;
        let now = Instant::now();
        let mut heard = self.heard.lock();
        let before = heard.remove(&node);
        let since = |device: &DeviceStatus| {
            let known = before.as_ref().and_then(|before| before.down_since.get(&device.device));
            (device.device, known.copied().unwrap_or(now))
        };
        let down_since = devices.iter().filter(|device| !device.up).map(since).collect();
        let told = Heard {
            at: now,
            run,
            has_left: is_leaving,
            devices,
            down_since,
            registered,
        };
        heard.insert(node, told);
    }

    /// Whether another process is the server, and was a moment ago.
    fn is_another(&self, node: NodeId, run: u64) -> bool {
        let heard = self.heard.lock();
        heard
            .get(&node)
            .is_some_and(|heard| heard.run != run && !heard.is_silent())
    }

    /// Whether the state is known to hold what the server says of itself.
    fn is_registered(&self, server: &ServerInfo) -> bool {
        let heard = self.heard.lock();
        let heard = heard.get(&NodeId::new(server.node));
        heard.is_some_and(|heard| heard.registered.as_ref() == Some(server))
    }

    /// Has every server's next word be compared with the state: a new map may have let a server be forgotten.
    pub(super) fn forget_registrations(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        for heard in self.heard.lock().values_mut() {
            heard.registered = None;
        }
    }

    /// Whether a device may serve, by what its server said last; of a server that never reports nothing is known.
    pub(super) fn may_serve(&self, device: &Device) -> bool {
        self.down_for(device).is_none_or(|down| down.is_none())
    }

    /// The device of that number in a map, where it may serve.
    pub(super) fn serving<'m>(&self, map: &'m ClusterMap, id: DeviceId) -> Option<&'m Device> {
        map.devices.get(&id).filter(|device| self.may_serve(device))
    }

    /// Whether a device has room for more than what must be there, by what its server said last.
    pub(super) fn has_room(&self, device: &Device) -> bool {
        let heard = self.heard.lock();
        let told = heard.get(&device.server).map(|heard| &heard.devices);
        let told = told.and_then(|devices| devices.iter().find(|told| told.device == device.id.value()));
        told.is_none_or(|told| told.free_bytes > 2 * DEVICE_RESERVE_BYTES)
    }

    /// How long a device has not served, as far as it is known here: nothing while it serves. None of a server that was never
    /// heard of.
    pub(super) fn down_for(&self, device: &Device) -> Option<Option<Duration>> {
        let heard = self.heard.lock();
        let heard = heard.get(&device.server)?;
        if heard.is_silent() {
            return Some(Some(heard.at.elapsed()));
        }
        let id = device.id.value();
        let is_told = heard.devices.iter().any(|told| told.device == id);
        let down = heard.down_since.get(&id).map(Instant::elapsed);
        Some(if is_told { down } else { Some(Duration::ZERO) })
    }

    /// Adds to what the state knows how the servers are.
    pub(super) fn complete(&self, page: &mut ServersPage) {
        let heard = self.heard.lock();
        for server in &mut page.servers {
            let node = NodeId::new(server.info.as_ref().map_or(0, |info| info.node));
            let Some(heard) = heard.get(&node) else { continue };
            let silent = heard.at.elapsed();
            server.is_up = !heard.is_silent();
            server.silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            server.devices.clone_from(&heard.devices);
        }
    }
}

impl Inner {
    /// Takes a server's sign of life; where this member leads, has the state remember what is new about it.
    pub(super) async fn take_report(&self, from: Peer, report: ServerReport) -> Result<ServerReportReply, Failure> {
        let server = report.server.clone().filter(|server| server.node == from.node.value());
        let Some(server) = server else {
            let text = format!("node {} does not speak for itself", from.node);
            return Err(failure(FailureCode::Forbidden, text));
        };
        if !server.address.is_empty() {
            self.node.links().addresses.set(from.node, &server.address);
        }
        if self.servers.is_another(from.node, report.run) {
            let text = format!(
                "another process is server {} and was heard a moment ago: a copy of a node's directory is not served beside it",
                from.node
            );
            return Err(failure(FailureCode::WrongDevice, text));
        }
        let leads = self.node.leading_term().is_some();
        let forgotten = self.servers.forgotten.load(Ordering::SeqCst);
        let mut refused = Vec::new();
        if leads && !self.servers.is_registered(&server) {
            refused = self.register(server.clone()).await?;
        }
        let is_whole = leads && refused.is_empty() && self.servers.forgotten.load(Ordering::SeqCst) == forgotten;
        let registered = is_whole.then_some(server);
        self.servers.note(from.node, report, registered);
        Ok(ServerReportReply {
            group: Some(self.group_members()),
            refused,
            is_registered: leads,
        })
    }

    /// Has the state remember what is new about a server, but for devices that contradict what is known: those are returned.
    async fn register(&self, server: ServerInfo) -> Result<Vec<RefusedDevice>, Failure> {
        let known = self.known_servers().await.map_err(|error| self.read_failure(&error))?;
        let refused = refused_devices(&server, &known);
        let before = known.iter().find(|known| known.node == server.node);
        let server = keep_known(without(server, &refused, before), before);
        if before == Some(&server) {
            return Ok(refused);
        }
        let register = Command::RegisterServer(RegisterServer { server: Some(server) });
        let submitted = self.proposer.submit_own(register).await;
        match submitted.map_err(|error| self.submit_failure(&error))?.outcome {
            Some(Outcome::Refused(refusal)) => Err(failure(FailureCode::WrongDevice, refusal.detail)),
            _ => Ok(refused),
        }
    }

    /// Has the carrier told where all servers are that the state knows.
    pub(super) async fn announce_servers(&self) {
        let known = self.known_servers().await.inspect_err(|error| {
            tracing::debug!(%error, "the chunkservers cannot be read");
        });
        for server in known.unwrap_or_default() {
            if !server.address.is_empty() {
                self.node
                    .links()
                    .addresses
                    .set(NodeId::new(server.node), &server.address);
            }
        }
    }
}

/// The server without the devices that are refused; what is known of its own stays.
fn without(mut server: ServerInfo, refused: &[RefusedDevice], before: Option<&ServerInfo>) -> ServerInfo {
    let is_refused = |id: u32| refused.iter().any(|refused| refused.device == id);
    server.devices.retain(|device| !is_refused(device.id));
    let known = before.into_iter().flat_map(|before| &before.devices);
    server
        .devices
        .extend(known.filter(|device| is_refused(device.id)).cloned());
    server.devices.sort_by_key(|device| device.id);
    server
}

/// A device that cannot be opened has the capacity that it had, and one that is not there is on the disk that it was on.
fn keep_known(mut server: ServerInfo, before: Option<&ServerInfo>) -> ServerInfo {
    for device in &mut server.devices {
        let known = before.and_then(|before| before.devices.iter().find(|known| known.id == device.id));
        let Some(known) = known else { continue };
        if device.capacity_bytes == 0 {
            device.capacity_bytes = known.capacity_bytes;
        }
        if device.disk.is_empty() {
            device.disk.clone_from(&known.disk);
        }
        if device.opening == 0 && device.incarnation == known.incarnation {
            (device.opening, device.opening_before) = (known.opening, known.opening_before);
        }
    }
    server
}
