//! Chunkservers in the state: who they are, as they last said.
//!
//! Invariant: a device is held by one server at most, and the lives that it is said to be in never go back: an old copy of a
//! device is refused.

use std::collections::BTreeMap;

use cairn_common::{
    ids::NodeId,
    limits,
    wire::{
        command::{ErrorCode, Outcome},
        server::{HeldDevice, RegisterServer, ServerInfo, ServerState, ServersPage},
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
    let mut holders: BTreeMap<u32, (u64, &HeldDevice)> = BTreeMap::new();
    for other in known {
        holders.extend(other.devices.iter().map(|device| (device.id, (other.node, device))));
    }
    for device in &server.devices {
        let Some((holder, before)) = holders.get(&device.id) else {
            continue;
        };
        if *holder != server.node {
            let detail = format!(
                "device {} is that of server {holder}: it cannot be served by server {} too",
                device.id, server.node
            );
            return Err(refuse(ErrorCode::Malformed, detail));
        }
        if device.incarnation < before.incarnation {
            let detail = format!(
                "device {} is in life {}, and was in life {} before: an old copy of it is not served",
                device.id, device.incarnation, before.incarnation
            );
            return Err(refuse(ErrorCode::Malformed, detail));
        }
    }
    Ok(())
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
}
