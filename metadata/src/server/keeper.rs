//! Keeps the cluster map true without an operator: devices in a new life, devices that stay down, and those that are back.
//!
//! It must never put a device out where more than one failure domain is down: then it is the network that is ill, or the power, and
//! moving everything would make it worse. Invariant: what it decides is a function of the map, of what servers said of
//! themselves, and of how long devices have been down as far as this leader knows; a new leader counts anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{DeviceId, Epoch, Incarnation},
    planner::change_map,
    wire::{
        command::{Command, InstallMap, Outcome},
        map::MapMessage,
        server::{HeldDevice, ServerInfo},
    },
};
use tokio::time::{Instant, sleep};

use super::{local::RoundError, service::Inner};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a device that was given up must serve before it is taken in again.
const BACK_FOR: Duration = Duration::from_secs(30);

/// What the worker needs.
pub(super) struct KeeperWorker {
    pub(super) inner: Arc<Inner>,
}

/// What is remembered from look to look.
struct Memory {
    started: Instant,
    /// Of the map that was looked at last.
    epoch: Epoch,
    /// Since when devices serve without a break.
    up_since: BTreeMap<DeviceId, Instant>,
}

/// What a look comes to.
struct Change {
    map: ClusterMap,
    /// In words, for the log.
    what: Vec<String>,
}

/// How devices are, as far as this leader knows.
#[derive(Default)]
struct Health {
    /// Devices that do not serve, and for how long.
    down: BTreeMap<DeviceId, Duration>,
    /// Devices that serve, and for how long at least.
    up: BTreeMap<DeviceId, Duration>,
}

impl KeeperWorker {
    /// Works for as long as it is polled.
    pub(super) async fn run(self) {
        let mut memory = Memory {
            started: Instant::now(),
            epoch: Epoch::default(),
            up_since: BTreeMap::new(),
        };
        loop {
            sleep(LOOK_EVERY).await;
            match self.look(&mut memory).await {
                Ok(()) => {}
                Err(RoundError::Submit(error)) => tracing::debug!(%error, "the cluster map stays as it is for now"),
                Err(RoundError::View(error)) => tracing::error!(%error, "the cluster map cannot be kept"),
            }
        }
    }

    async fn look(&self, memory: &mut Memory) -> Result<(), RoundError> {
        let Some(map) = self.inner.local_map().await? else {
            return Ok(());
        };
        if std::mem::replace(&mut memory.epoch, map.epoch) != map.epoch {
            self.inner.servers.forget_registrations();
        }
        let servers = self.inner.known_servers().await?;
        let health = self.health(&map, &servers, memory);
        let Some(change) = next_map(&map, &servers, &health) else {
            return Ok(());
        };
        let install = InstallMap {
            map: Some(MapMessage::from(&change.map)),
        };
        let reply = self.inner.proposer.submit_own(Command::InstallMap(install)).await?;
        if let Some(Outcome::Refused(refusal)) = reply.outcome {
            tracing::warn!(refusal.detail, "the cluster map was not changed");
            return Ok(());
        }
        for what in &change.what {
            tracing::warn!(epoch = %change.map.epoch, "{what}");
        }
        Ok(())
    }

    /// Devices of servers that never reported are left out: nothing is known of them.
    fn health(&self, map: &ClusterMap, servers: &[ServerInfo], memory: &mut Memory) -> Health {
        let mut health = Health::default();
        for device in map.devices.values() {
            let is_known = servers.iter().any(|server| server.node == device.server.value());
            let down = match self.inner.servers.down_for(device) {
                Some(down) => down,
                None if is_known => Some(memory.started.elapsed()),
                None => continue,
            };
            match down {
                Some(down) => {
                    memory.up_since.remove(&device.id);
                    health.down.insert(device.id, down);
                }
                None => {
                    let since = memory.up_since.entry(device.id).or_insert_with(Instant::now);
                    health.up.insert(device.id, since.elapsed());
                }
            }
        }
        health
    }
}

/// The map that is to follow; none where all is as it should be.
fn next_map(map: &ClusterMap, servers: &[ServerInfo], health: &Health) -> Option<Change> {
    reborn_devices(map, servers)
        .or_else(|| lasting_losses(map, health))
        .or_else(|| returned_devices(map, servers, health))
}

/// Devices that their servers serve in a later life than the map knows.
fn reborn_devices(map: &ClusterMap, servers: &[ServerInfo]) -> Option<Change> {
    let mut change = Change {
        map: following(map),
        what: Vec::new(),
    };
    for (server, held) in held_devices(servers) {
        let id = DeviceId::new(held.id);
        let Some(device) = change.map.devices.get_mut(&id) else {
            continue;
        };
        if device.server.value() != server || held.incarnation <= device.incarnation.value() {
            continue;
        }
        device.incarnation = Incarnation::new(held.incarnation);
        change
            .what
            .push(format!("device {id} is back in life {}, empty", held.incarnation));
    }
    (!change.what.is_empty()).then_some(change)
}

/// Puts out what has been down for too long.
fn lasting_losses(map: &ClusterMap, health: &Health) -> Option<Change> {
    let out_after = Duration::from_secs(map.upkeep.out_after_s.into());
    if out_after.is_zero() {
        return None;
    }
    let is_in = |device: &&Device| device.weight_bytes > 0;
    let down: Vec<&Device> = (map.devices.values().filter(is_in))
        .filter(|device| health.down.contains_key(&device.id))
        .collect();
    let lost: Vec<DeviceId> = (down.iter().map(|device| device.id))
        .filter(|id| health.down[id] >= out_after)
        .collect();
    if lost.is_empty() || domains(down.iter().copied()).len() > 1 {
        return None;
    }
    let mut devices = map.devices.clone();
    for id in &lost {
        devices.get_mut(id)?.weight_bytes = 0;
    }
    // Where shards of a chunk would come to share a domain that were apart before, waiting is safer than moving.
    let before = domains(map.devices.values().filter(is_in)).len();
    let after = domains(devices.values().filter(is_in)).len();
    let widest = map.rows.keys().max().copied().unwrap_or_default();
    if after < before.min(widest) {
        return None;
    }
    let mut next = change_map(map, devices, &BTreeSet::new()).ok()?;
    next.given_up.extend(&lost);
    let what = |id: &DeviceId| format!("device {id} was down for {} s and is put out", map.upkeep.out_after_s);
    Some(Change {
        what: lost.iter().map(what).collect(),
        map: next,
    })
}

/// Takes in again what was given up and is back.
fn returned_devices(map: &ClusterMap, servers: &[ServerInfo], health: &Health) -> Option<Change> {
    let mut devices = map.devices.clone();
    let mut returned = BTreeSet::new();
    for (_, held) in held_devices(servers) {
        let id = DeviceId::new(held.id);
        let is_back = health.up.get(&id).is_some_and(|up| *up >= BACK_FOR);
        if map.given_up.contains(&id) && is_back && held.capacity_bytes > 0 {
            devices.get_mut(&id)?.weight_bytes = held.capacity_bytes;
            returned.insert(id);
        }
    }
    if returned.is_empty() {
        return None;
    }
    let mut next = change_map(map, devices, &BTreeSet::new()).ok()?;
    next.given_up.retain(|id| !returned.contains(id));
    let what = |id: &DeviceId| format!("device {id} is back and is taken in again");
    Some(Change {
        what: returned.iter().map(what).collect(),
        map: next,
    })
}

fn held_devices(servers: &[ServerInfo]) -> impl Iterator<Item = (u64, &HeldDevice)> {
    servers
        .iter()
        .flat_map(|server| server.devices.iter().map(move |held| (server.node, held)))
}

fn domains<'d>(devices: impl Iterator<Item = &'d Device>) -> BTreeSet<&'d str> {
    devices.map(|device| device.failure_domain.as_str()).collect()
}

fn following(map: &ClusterMap) -> ClusterMap {
    ClusterMap {
        epoch: Epoch::new(map.epoch.value() + 1),
        ..map.clone()
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::{cluster_map::Upkeep, ids::NodeId};

    use super::*;

    const AFTER: Duration = Duration::from_secs(600);

    /// Five servers of two devices each: 21 and 22 are those of server 2.
    fn map() -> ClusterMap {
        let device = |number: u32| Device {
            id: DeviceId::new(number),
            incarnation: Incarnation::new(1),
            server: NodeId::new((number / 10).into()),
            weight_bytes: 1 << 40,
            failure_domain: format!("host:{}", number / 10),
            disk: number.to_string(),
        };
        let numbers = (1..=5).flat_map(|server| [server * 10 + 1, server * 10 + 2]);
        let empty = ClusterMap {
            group_bits: 6,
            upkeep: Upkeep {
                out_after_s: 600,
                ..Upkeep::default()
            },
            ..ClusterMap::default()
        };
        let devices = numbers.map(|number| (DeviceId::new(number), device(number))).collect();
        change_map(&empty, devices, &[3].into()).expect("ten devices carry three")
    }

    fn servers(map: &ClusterMap) -> Vec<ServerInfo> {
        let server = |node: u64| {
            let own = map.devices.values().filter(|device| device.server.value() == node);
            let held = |device: &Device| HeldDevice {
                id: device.id.value(),
                incarnation: device.incarnation.value(),
                capacity_bytes: 1 << 40,
                ..HeldDevice::default()
            };
            ServerInfo {
                node,
                devices: own.map(held).collect(),
                ..ServerInfo::default()
            }
        };
        (1..=5).map(server).collect()
    }

    fn down(devices: &[(u32, Duration)]) -> Health {
        Health {
            down: devices.iter().map(|(id, down)| (DeviceId::new(*id), *down)).collect(),
            up: BTreeMap::new(),
        }
    }

    #[test]
    fn a_device_in_a_new_life_keeps_its_rows() {
        let map = map();
        let mut servers = servers(&map);
        assert!(next_map(&map, &servers, &Health::default()).is_none());
        servers[1].devices[0].incarnation = 4;
        let change = next_map(&map, &servers, &Health::default()).expect("news");
        let id = DeviceId::new(21);
        assert_eq!(change.map.devices[&id].incarnation, Incarnation::new(4));
        assert_eq!((change.map.epoch, &change.map.rows), (Epoch::new(2), &map.rows));
    }

    #[test]
    fn what_stays_down_goes_out_and_comes_in_again_when_it_is_back() {
        let map = map();
        let servers = servers(&map);
        let short = AFTER - Duration::from_secs(1);
        assert!(next_map(&map, &servers, &down(&[(21, short)])).is_none());
        let change = next_map(&map, &servers, &down(&[(21, AFTER), (22, short)])).expect("one is lost");
        let id = DeviceId::new(21);
        assert_eq!(change.map.given_up, [id].into());
        assert!(change.map.rows[&3].iter().all(|row| !row.contains(&id)));
        assert!(change.map.rows[&3].iter().any(|row| row.contains(&DeviceId::new(22))));
        let back = |up| Health {
            up: [(id, up)].into(),
            ..Health::default()
        };
        assert!(next_map(&change.map, &servers, &back(BACK_FOR / 2)).is_none());
        let again = next_map(&change.map, &servers, &back(BACK_FOR)).expect("it is back");
        assert!(again.map.given_up.is_empty());
        assert!(again.map.rows[&3].iter().any(|row| row.contains(&id)));
    }

    #[test]
    fn nothing_goes_out_where_two_domains_are_down_or_shards_would_come_to_share_one() {
        let whole = map();
        let all = servers(&whole);
        let second = Duration::from_secs(1);
        assert!(next_map(&whole, &all, &down(&[(21, AFTER), (31, second)])).is_none());
        let never = ClusterMap {
            upkeep: Upkeep::default(),
            ..whole.clone()
        };
        assert!(next_map(&never, &all, &down(&[(21, AFTER)])).is_none());
        // Three hosts for three shards: none can be spared.
        let mut devices = whole.devices.clone();
        devices.retain(|_, device| device.server.value() <= 3);
        let empty = ClusterMap {
            rows: BTreeMap::new(),
            ..whole.clone()
        };
        let small = change_map(&empty, devices, &[3].into()).expect("six devices");
        assert!(next_map(&small, &all, &down(&[(21, AFTER), (22, AFTER)])).is_none());
        assert!(
            next_map(&small, &all, &down(&[(21, AFTER)])).is_some(),
            "its host has another"
        );
    }
}
