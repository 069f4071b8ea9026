//! The chunkservers' signs of life, as this member heard them.
//!
//! Every member is told by every server, so that a new leader knows at once who lives. Invariant: what is remembered here decides
//! nothing that the state depends on; what the state is to remember goes through the log.

use std::{collections::BTreeMap, time::Duration};

use cairn_common::{
    cluster_map::Device,
    ids::NodeId,
    limits::SERVER_SILENT_MS,
    wire::{
        command::{Command, Outcome},
        failure::{Failure, FailureCode},
        query::{Answer, Query},
        server::{RegisterServer, ServerInfo, ServerReport, ServerReportReply, ServersPage, ServersQuery},
        shard::DeviceStatus,
    },
};
use cairn_transport::{Peer, failure};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::service::Inner;
use crate::core::view::ViewError;

/// What the servers said last.
#[derive(Default)]
pub(super) struct Servers {
    heard: Mutex<BTreeMap<NodeId, Heard>>,
}

struct Heard {
    at: Instant,
    devices: Vec<DeviceStatus>,
    /// What the state holds of the server, as long as this member leads: so it is not read again with each sign of life.
    registered: Option<ServerInfo>,
}

impl Servers {
    fn note(&self, node: NodeId, devices: Vec<DeviceStatus>, registered: Option<ServerInfo>) {
        let heard = Heard {
            at: Instant::now(),
            devices,
            registered,
        };
        self.heard.lock().insert(node, heard);
    }

    /// Whether the state is known to hold what the server says of itself.
    fn is_registered(&self, server: &ServerInfo) -> bool {
        let heard = self.heard.lock();
        let heard = heard.get(&NodeId::new(server.node));
        heard.is_some_and(|heard| heard.registered.as_ref() == Some(server))
    }

    /// Whether a device may serve, by what its server said last; of a server that never reports nothing is known.
    pub(super) fn may_serve(&self, device: &Device) -> bool {
        let heard = self.heard.lock();
        let Some(heard) = heard.get(&device.server) else {
            return true;
        };
        let is_up = |told: &DeviceStatus| told.device == device.id.value() && told.up;
        heard.at.elapsed() < Duration::from_millis(SERVER_SILENT_MS) && heard.devices.iter().any(is_up)
    }

    /// Adds to what the state knows how the servers are.
    pub(super) fn complete(&self, page: &mut ServersPage) {
        let heard = self.heard.lock();
        for server in &mut page.servers {
            let node = NodeId::new(server.info.as_ref().map_or(0, |info| info.node));
            let Some(heard) = heard.get(&node) else { continue };
            let silent = heard.at.elapsed();
            server.is_up = silent < Duration::from_millis(SERVER_SILENT_MS);
            server.silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            server.devices.clone_from(&heard.devices);
        }
    }
}

impl Inner {
    /// Takes a server's sign of life; where this member leads, has the state remember what is new about it.
    pub(super) async fn take_report(&self, from: Peer, report: ServerReport) -> Result<ServerReportReply, Failure> {
        let Some(server) = report.server.filter(|server| server.node == from.node.value()) else {
            let text = format!("node {} does not speak for itself", from.node);
            return Err(failure(FailureCode::Forbidden, text));
        };
        if !server.address.is_empty() {
            self.node.links().addresses.set(from.node, &server.address);
        }
        let leads = self.node.leading_term().is_some();
        if leads && !self.servers.is_registered(&server) {
            self.register(server.clone()).await?;
        }
        self.servers.note(from.node, report.devices, leads.then_some(server));
        Ok(ServerReportReply {
            group: Some(self.group_members()),
        })
    }

    async fn register(&self, server: ServerInfo) -> Result<(), Failure> {
        let known = self.known_servers().map_err(|error| self.read_failure(&error))?;
        let before = known.iter().find(|known| known.node == server.node);
        let server = keep_capacities(server, before);
        if before == Some(&server) {
            return Ok(());
        }
        let register = Command::RegisterServer(RegisterServer { server: Some(server) });
        let submitted = self.proposer.submit_own(register).await;
        match submitted.map_err(|error| self.submit_failure(&error))?.outcome {
            Some(Outcome::Refused(refusal)) => Err(failure(FailureCode::WrongDevice, refusal.detail)),
            _ => Ok(()),
        }
    }

    /// Has the carrier told where all servers are that the state knows.
    pub(super) fn announce_servers(&self) {
        let known = self.known_servers().inspect_err(|error| {
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

    pub(super) fn known_servers(&self) -> Result<Vec<ServerInfo>, ViewError> {
        let query = Query::Servers(ServersQuery {});
        let state = self.node.state();
        let reply = state.read(|view, applied| self.machine.answer(view, applied.index(), &query))?;
        let Some(Answer::Servers(page)) = reply.answer else {
            return Ok(Vec::new());
        };
        Ok(page.servers.into_iter().filter_map(|server| server.info).collect())
    }
}

/// A device that cannot be opened has the capacity that it had.
fn keep_capacities(mut server: ServerInfo, before: Option<&ServerInfo>) -> ServerInfo {
    for device in server.devices.iter_mut().filter(|device| device.capacity_bytes == 0) {
        let known = before.and_then(|before| before.devices.iter().find(|known| known.id == device.id));
        device.capacity_bytes = known.map_or(0, |known| known.capacity_bytes);
    }
    server
}
