//! Chunkservers in the state: who they are, as they last said.
//!
//! Invariant: a device is held by one server at most, the lives that it is said to be in never go back, and the openings of one life
//! follow each other: an old copy of a device is refused.

use std::collections::{BTreeMap, BTreeSet};

use cairn_common::{
    cluster_map::ClusterMap,
    ids::NodeId,
    limits,
    wire::{
        command::{ErrorCode, Outcome},
        server::{HeldDevice, RefusedDevice, RegisterServer, ServerInfo, ServerState, ServersPage},
    },
};

use super::{
    apply::done,
    tx::{ApplyError, Tx, open_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::server;

/// All servers.
pub(crate) fn all(view: &dyn View) -> Result<Vec<ServerInfo>, ViewError> {
    let mut servers = Vec::new();
    scan_prefix(view, Family::System, server::PREFIX, &[], &mut |_, value| {
        servers.push(open_record(Family::System, value)?);
        Ok(true)
    })?;
    Ok(servers)
}

pub(crate) fn answer(view: &dyn View) -> Result<ServersPage, ViewError> {
    let state = |info| ServerState {
        info: Some(info),
        ..ServerState::default()
    };
    let servers = all(view)?.into_iter().map(state).collect();
    Ok(ServersPage { servers })
}

pub(crate) fn register(tx: &mut Tx<'_>, register: &RegisterServer) -> Result<Outcome, ApplyError> {
    let server = register.server.as_ref().filter(|server| server.node != 0);
    let Some(server) = server else {
        return Err(refuse(ErrorCode::Malformed, "no server is named"));
    };
    let known = all(tx)?;
    check(server, &known)?;
    tx.put(Family::System, server::key(NodeId::new(server.node)), server);
    Ok(done())
}

/// Forgets the servers whose last device the next map no longer knows. One that lives says anew who it is.
pub(crate) fn forget_removed(tx: &mut Tx<'_>, before: &ClusterMap, after: &ClusterMap) {
    let serves = |map: &ClusterMap, node: NodeId| map.devices.values().any(|device| device.server == node);
    let removed: BTreeSet<NodeId> = (before.devices.values().map(|device| device.server))
        .filter(|node| !serves(after, *node))
        .collect();
    for node in removed {
        tx.delete(Family::System, server::key(node));
    }
}

/// What of the other servers and of its own past a server may not contradict.
pub(crate) fn check(server: &ServerInfo, known: &[ServerInfo]) -> Result<(), ApplyError> {
    if server.devices.len() > limits::DEVICES_PER_SERVER_MAX {
        let detail = format!("a server has at most {} devices", limits::DEVICES_PER_SERVER_MAX);
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    let is_new = known.iter().all(|other| other.node != server.node);
    if is_new && known.len() >= limits::SERVERS_MAX {
        let detail = format!("a cluster has at most {} chunkservers", limits::SERVERS_MAX);
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    match refused_devices(server, known).into_iter().next() {
        Some(refused) => Err(refuse(ErrorCode::Malformed, refused.reason)),
        None => Ok(()),
    }
}

/// The devices of a server that contradict what is known of them, each with the reason.
pub fn refused_devices(server: &ServerInfo, known: &[ServerInfo]) -> Vec<RefusedDevice> {
    let mut holders: BTreeMap<u32, (u64, &HeldDevice)> = BTreeMap::new();
    for other in known {
        holders.extend(other.devices.iter().map(|device| (device.id, (other.node, device))));
    }
    let refused = |device: &HeldDevice| {
        let (holder, before) = holders.get(&device.id)?;
        let reason = contradiction(server.node, device, *holder, before)?;
        let device = device.id;
        Some(RefusedDevice { device, reason })
    };
    server.devices.iter().filter_map(refused).collect()
}

fn contradiction(node: u64, device: &HeldDevice, holder: u64, before: &HeldDevice) -> Option<String> {
    let id = device.id;
    if holder != node {
        return Some(format!(
            "device {id} is that of server {holder}: it cannot be served by server {node} too"
        ));
    }
    let (life, last) = (device.incarnation, before.incarnation);
    if life < last {
        return Some(format!(
            "device {id} is in life {life}, and was in life {last} before: an old copy of it is not served"
        ));
    }
    // One that cannot be opened tells no number.
    let follows = [device.opening, device.opening_before].contains(&before.opening);
    let is_told = life == last && device.opening != 0 && before.opening != 0;
    (is_told && !follows).then(|| {
        format!(
            "device {id} was opened since this copy of it was made: an old copy is not served; where the newer one is lost, empty \
             the directory and give it a new life with `cairn chunkserver replace-device`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(node: u64, devices: &[(u32, u64)]) -> ServerInfo {
        let held = |(id, incarnation): &(u32, u64)| HeldDevice {
            id: *id,
            incarnation: *incarnation,
            ..HeldDevice::default()
        };
        ServerInfo {
            node,
            devices: devices.iter().map(held).collect(),
            ..ServerInfo::default()
        }
    }

    fn refusal(outcome: Result<(), ApplyError>) -> String {
        match outcome {
            Err(ApplyError::Refused(refusal)) => refusal.detail,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_device_has_one_server_and_never_goes_back_to_an_earlier_life() {
        let known = [server(2, &[(513, 1), (514, 3)]), server(3, &[(769, 1)])];
        assert!(check(&server(2, &[(513, 2), (514, 3), (515, 1)]), &known).is_ok());
        assert!(check(&server(4, &[(1025, 1)]), &known).is_ok());
        assert!(refusal(check(&server(3, &[(513, 1)]), &known)).contains("that of server 2"));
        assert!(refusal(check(&server(2, &[(514, 2)]), &known)).contains("old copy"));
    }

    #[test]
    fn openings_of_a_life_follow_each_other() {
        let opened = |life, opening, opening_before| {
            let mut server = server(2, &[(513, life)]);
            (server.devices[0].opening, server.devices[0].opening_before) = (opening, opening_before);
            server
        };
        let known = [opened(3, 80, 70)];
        for taken in [opened(3, 80, 70), opened(3, 90, 80), opened(3, 0, 0), opened(4, 5, 0)] {
            assert_eq!(refused_devices(&taken, &known), []);
        }
        for old in [opened(3, 70, 60), opened(3, 95, 70)] {
            assert!(refusal(check(&old, &known)).contains("replace-device"));
        }
        let never_opened = [opened(3, 0, 0)];
        assert_eq!(refused_devices(&opened(3, 1, 0), &never_opened), []);
    }
}
