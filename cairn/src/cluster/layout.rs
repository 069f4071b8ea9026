//! `cairn cluster plan` and `apply`: the next cluster map out of what the chunkservers told and an operator wants.
//!
//! Invariant: a plan changes nothing; what is applied is a plan made on the map in force, or it is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
};

use anyhow::{Context as _, bail, ensure};
use cairn_common::{
    cluster_map::{ClusterMap, Device, DomainLevel},
    ids::{DeviceId, Incarnation, NodeId},
    limits,
    planner::{change_map, slot_changes},
    redundancy::Redundancy,
    wire::{
        command::{Command, InstallMap, WriteRequest},
        map::MapMessage,
        query::{Answer, MapQuery, Query},
        server::{HeldDevice, ServerInfo, ServerState, ServersQuery},
    },
};

use super::{Way, state::waiting};
use crate::{
    alone::alone,
    cli::{LayoutArgs, OutAfter},
};

/// `cairn cluster plan`
pub(super) fn plan(args: &LayoutArgs) -> anyhow::Result<()> {
    let planned = alone(async {
        let mut way = Way::from(&args.data.data).await?;
        let planned = Planned::of(&mut way, args).await;
        way.close().await;
        planned
    })?;
    planned.print()
}

/// `cairn cluster apply`
pub(super) fn apply(args: &LayoutArgs) -> anyhow::Result<()> {
    let planned = alone(async {
        let mut way = Way::from(&args.data.data).await?;
        let installed = async {
            let planned = Planned::of(&mut way, args).await?;
            if planned.changes_anything() {
                install(&mut way, &planned.after).await?;
            }
            anyhow::Ok(planned)
        }
        .await;
        way.close().await;
        installed
    })?;
    planned.print()?;
    if planned.changes_anything() {
        writeln!(io::stdout().lock(), "applied     epoch {}", planned.after.epoch)?;
    }
    Ok(())
}

pub(super) async fn install(way: &mut Way, map: &ClusterMap) -> anyhow::Result<()> {
    let install = InstallMap {
        map: Some(MapMessage::from(map)),
    };
    let request = WriteRequest {
        command: Some(Command::InstallMap(install)),
        ..WriteRequest::default()
    };
    way.command(&request).await.map(|_| ())
}

/// A map and the one that is to follow it.
struct Planned {
    before: ClusterMap,
    after: ClusterMap,
    servers: Vec<ServerState>,
}

impl Planned {
    async fn of(way: &mut Way, args: &LayoutArgs) -> anyhow::Result<Self> {
        let Answer::Map(map) = way.query(Query::Map(MapQuery::default())).await? else {
            bail!("the metadata service gave no map");
        };
        let Answer::Servers(page) = way.query(Query::Servers(ServersQuery {})).await? else {
            bail!("the metadata service named no chunkservers");
        };
        let mut before = ClusterMap::try_from(map)?;
        let is_first = before.devices.is_empty();
        if is_first {
            before.group_bits = limits::GROUP_BITS;
            before.domain_level = DomainLevel::Host;
            before.upkeep.out_after_s = limits::DEVICE_OUT_AFTER_S;
        }
        if !args.remove.is_empty() {
            ensure_nothing_moves(way).await?;
        }
        let level = args.domain.unwrap_or(before.domain_level);
        let devices = wanted_devices(&before, &page.servers, level, args)?;
        let redundancy = args.redundancy.or(before.default_redundancy);
        let redundancy = redundancy.unwrap_or_else(|| first_redundancy(&devices));
        let mut widths = BTreeSet::from([1]);
        for scheme in args.also.iter().chain([&redundancy]) {
            widths.extend([scheme.as_replicas().width(), scheme.width()]);
        }
        let mut after = change_map(&before, devices, &widths)?;
        after.domain_level = level;
        after.default_redundancy = Some(redundancy);
        after.upkeep.out_after_s = args.out_after.map_or(before.upkeep.out_after_s, OutAfter::seconds);
        after.upkeep.rate_mib = args.rate.unwrap_or(before.upkeep.rate_mib);
        // What an operator said of a device counts for more than what the service came to by itself.
        let said = args.put_out.iter().chain(&args.take_in).chain(&args.remove);
        for id in said {
            after.given_up.remove(&DeviceId::new(*id));
        }
        Ok(Self {
            before,
            after,
            servers: page.servers,
        })
    }

    fn changes_anything(&self) -> bool {
        let unchanged = ClusterMap {
            epoch: self.after.epoch,
            ..self.before.clone()
        };
        unchanged != self.after
    }

    fn print(&self) -> anyhow::Result<()> {
        let out = &mut io::stdout().lock();
        let (before, after) = (&self.before, &self.after);
        writeln!(out, "epoch       {} → {}", before.epoch, after.epoch)?;
        writeln!(
            out,
            "domains     {} of level {}",
            after.failure_domain_count(),
            after.domain_level
        )?;
        let redundancy = after.default_redundancy.context("a plan has a redundancy")?;
        writeln!(out, "redundancy  {redundancy} for new buckets")?;
        let (moved, fullest) = self.foretell();
        let receivers = slot_changes(before, after)
            .values()
            .filter(|change| change.taken() > 0)
            .count() as u64;
        let rate_mib = match after.upkeep.rate_mib {
            0 => limits::REPAIR_RATE_MIB,
            rate => rate,
        };
        let rate = (u64::from(rate_mib) << 20) * receivers.max(1);
        writeln!(
            out,
            "to move     {} bytes, some {} s at {rate_mib} MiB/s a device",
            moved,
            moved.div_ceil(rate)
        )?;
        writeln!(
            out,
            "fullest     {:.1} % → {:.1} %",
            fullest.0 * 100.0,
            fullest.1 * 100.0
        )?;
        self.print_devices(out)?;
        if !self.changes_anything() {
            writeln!(out, "nothing     is to change")?;
        }
        Ok(())
    }

    fn print_devices(&self, out: &mut impl io::Write) -> io::Result<()> {
        let (before, after) = (&self.before, &self.after);
        writeln!(
            out,
            "{:<8} {:<8} {:<24} {:>16} {:>8} {:>8} {:>8}  change",
            "device", "server", "domain", "weight", "slots", "gives", "takes"
        )?;
        let changes = slot_changes(before, after);
        let mut slots: BTreeMap<DeviceId, usize> = BTreeMap::new();
        for id in after.rows.values().flatten().flatten() {
            *slots.entry(*id).or_default() += 1;
        }
        let removed = before
            .devices
            .values()
            .filter(|device| !after.devices.contains_key(&device.id));
        for device in removed {
            writeln!(out, "{:<8} {:<8} removed", device.id.value(), device.server.value())?;
        }
        for device in after.devices.values() {
            let change = changes.get(&device.id).copied().unwrap_or_default();
            let what = match before.devices.get(&device.id) {
                None => "new",
                Some(known) if known.weight_bytes > 0 && device.weight_bytes == 0 => "put out",
                Some(known) if known.weight_bytes == 0 && device.weight_bytes > 0 => "taken in",
                Some(known) if known != device => "changed",
                Some(_) => "",
            };
            writeln!(
                out,
                "{:<8} {:<8} {:<24} {:>16} {:>8} {:>8} {:>8}  {what}",
                device.id.value(),
                device.server.value(),
                device.failure_domain,
                device.weight_bytes,
                slots.get(&device.id).copied().unwrap_or_default(),
                change.given,
                change.taken()
            )?;
        }
        Ok(())
    }

    /// Bytes that move, by what a slot of each device holds on average; and how full the fullest device is before and after.
    fn foretell(&self) -> (u64, (f64, f64)) {
        let changes = slot_changes(&self.before, &self.after);
        let told = self.servers.iter().flat_map(|server| &server.devices);
        let used: BTreeMap<DeviceId, (u64, u64)> = told
            .map(|device| (DeviceId::new(device.device), (device.used_bytes, device.total_bytes)))
            .collect();
        let of = |id: &DeviceId| used.get(id).copied().unwrap_or_default();
        let (mut bytes, mut slots, mut moved) = (0, 0, 0.0);
        for (id, change) in &changes {
            bytes += of(id).0;
            slots += change.before;
            moved += of(id).0 as f64 * change.given as f64 / change.before.max(1) as f64;
        }
        let of_slot = bytes as f64 / slots.max(1) as f64;
        let (mut fullest_before, mut fullest_after) = (0.0_f64, 0.0_f64);
        for (id, (used, total)) in &used {
            let change = changes.get(id).copied().unwrap_or_default();
            let kept = *used as f64 * (1.0 - change.given as f64 / change.before.max(1) as f64);
            let total = (*total).max(1) as f64;
            fullest_before = fullest_before.max(*used as f64 / total);
            fullest_after = fullest_after.max((kept + change.taken() as f64 * of_slot) / total);
        }
        (moved as u64, (fullest_before, fullest_after))
    }
}

/// Every shard lies on the row in force, so that a device that stands in none holds nothing.
async fn ensure_nothing_moves(way: &mut Way) -> anyhow::Result<()> {
    ensure!(
        waiting(way).await? == 0,
        "devices can be removed once nothing is left to be repaired or moved: `cairn cluster wait` shows how far that is"
    );
    Ok(())
}

/// The devices of the next map: all that servers told of which are up, those that are known with their weights.
fn wanted_devices(
    before: &ClusterMap,
    servers: &[ServerState],
    level: DomainLevel,
    args: &LayoutArgs,
) -> anyhow::Result<BTreeMap<DeviceId, Device>> {
    let mut devices = before.devices.clone();
    for (server, is_up) in servers
        .iter()
        .filter_map(|state| Some((state.info.as_ref()?, state.is_up)))
    {
        for held in &server.devices {
            let id = DeviceId::new(held.id);
            let known = before.devices.get(&id);
            if args.remove.contains(&held.id) || known.is_none() && !is_up {
                continue;
            }
            let is_out = known.is_some_and(|known| known.weight_bytes == 0);
            let weight_bytes = match known {
                _ if args.put_out.contains(&held.id) => 0,
                _ if is_out && !args.take_in.contains(&held.id) => 0,
                Some(known) if known.weight_bytes > 0 => known.weight_bytes,
                _ => held.capacity_bytes,
            };
            ensure!(
                weight_bytes > 0 || known.is_some() || args.put_out.contains(&held.id),
                "device {id} was never open: its server {} tells why",
                server.node
            );
            let device = Device {
                id,
                incarnation: Incarnation::new(held.incarnation),
                server: NodeId::new(server.node),
                weight_bytes,
                failure_domain: domain_of(server, held, level)?,
                disk: format!("{}/{}", server.node, held.disk),
            };
            devices.insert(id, device);
        }
    }
    for id in args.remove.iter().map(|id| DeviceId::new(*id)) {
        let known = devices.remove(&id);
        let known = known.with_context(|| format!("there is no device {id}"))?;
        ensure!(
            known.weight_bytes == 0,
            "device {id} is in use: put it out first, and wait until it is empty"
        );
    }
    for id in args.put_out.iter().chain(&args.take_in) {
        ensure!(devices.contains_key(&DeviceId::new(*id)), "there is no device {id}");
    }
    ensure!(
        !devices.is_empty(),
        "no chunkserver has told of a device yet: start `cairn chunkserver` on some nodes"
    );
    Ok(devices)
}

/// The failure domain of a device: named after its level, so that names of different levels never meet.
fn domain_of(server: &ServerInfo, held: &HeldDevice, level: DomainLevel) -> anyhow::Result<String> {
    let label = match level {
        DomainLevel::Device => held.id.to_string(),
        DomainLevel::Disk => format!("{}/{}", server.host, held.disk),
        DomainLevel::Host => server.host.clone(),
        DomainLevel::Rack => server.rack.clone(),
        DomainLevel::Zone => server.zone.clone(),
    };
    ensure!(
        !label.is_empty(),
        "server {} does not tell its {level}: start it with --{level}",
        server.node
    );
    Ok(format!("{level}:{label}"))
}

/// Three copies, or as many as there are domains.
fn first_redundancy(devices: &BTreeMap<DeviceId, Device>) -> Redundancy {
    let domains: BTreeSet<&String> = devices
        .values()
        .filter(|device| device.weight_bytes > 0)
        .map(|device| &device.failure_domain)
        .collect();
    Redundancy::replicated(domains.len().clamp(1, 3)).expect("one to three copies are within limits")
}
