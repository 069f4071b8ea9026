//! `cairn cluster status`: servers, devices, the map in force, and what is still to be repaired or moved.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Write as _},
};

use anyhow::{Context as _, bail};
use cairn_common::{
    cluster_map::ClusterMap,
    ids::DeviceId,
    wire::{
        chunk::{ChunkQuery, ChunkQuestion, ChunkReply, PageQuery},
        inventory::LossesQuery,
        query::{Answer, BucketInfo, BucketsQuery, MapQuery, Query, Summary, SummaryQuery},
        recode::MarksQuery,
        server::{ServerInfo, ServerState, ServersQuery},
        shard::DeviceStatus,
    },
};
use serde::{Serialize, Serializer};

use super::{Way, tolerance};
use crate::{alone::alone, cli::ClusterStatusArgs};

/// Entries of a queue that are asked for at a time.
const PAGE: u32 = 1000;

/// The state of a cluster.
#[derive(Debug, Serialize)]
pub(super) struct ClusterState {
    pub(super) epoch: u64,
    pub(super) domain_level: String,
    pub(super) domains: usize,
    /// Redundancy of new buckets; empty where no map was applied yet.
    pub(super) redundancy: String,
    pub(super) buckets: u64,
    pub(super) objects: u64,
    pub(super) object_bytes: u64,
    pub(super) repairs: BTreeMap<Waits, u64>,
    /// How many shards any chunk may still lose, with the devices that are up now and the shards that are known to be missing;
    /// negative where not all can be read. The worse of the two counts, since most shards that are missing lay on the devices that
    /// are down: a chunk that has lost one and lies on a device that is down besides may bear less. None where nothing is kept that
    /// tolerates a loss, or no device is told of.
    pub(super) tolerance_left: Option<i64>,
    /// Groups whose row has changed and that may have chunks on a former one.
    pub(super) moving_groups: u64,
    /// Devices that lost what they held, as long as it is not known what is missing.
    pub(super) unsurveyed: Vec<u32>,
    /// Buckets that may hold chunks of another redundancy than they want.
    pub(super) recoding: Vec<String>,
    /// Who holds the cluster's authority; none where the metadata service keeps no copy of it.
    pub(super) authority_holder: Option<u64>,
    /// Whether all deletion of data is held, as after a restore.
    pub(super) deletion_held: bool,
    /// Whether moves are held up by an operator.
    pub(super) moves_paused: bool,
    /// Seconds after which a device that stays down is put out; 0 is never.
    pub(super) out_after_s: u32,
    pub(super) servers: Vec<ServerRow>,
}

/// Why a chunk waits for repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    /// Shards are missing, and so many more may be lost.
    Degraded(u32),
    /// It is whole and belongs elsewhere.
    Move,
    /// Its writer placed it, for want of a healthy row.
    Placed,
    /// It cannot be repaired now.
    BeyondRepair,
}

#[derive(Debug, Serialize)]
pub(super) struct ServerRow {
    pub(super) node: u64,
    pub(super) address: String,
    pub(super) zone: String,
    pub(super) rack: String,
    pub(super) host: String,
    pub(super) up: bool,
    pub(super) silent_ms: u64,
    pub(super) devices: Vec<DeviceRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct DeviceRow {
    pub(super) id: u32,
    pub(super) incarnation: u64,
    /// In use, out, given up because it stayed down, or new.
    pub(super) place: &'static str,
    pub(super) up: bool,
    /// Why it is down.
    pub(super) reason: String,
    pub(super) used_bytes: u64,
    pub(super) total_bytes: u64,
    pub(super) corrupt_shards: u64,
    /// When the last pass of the scrub ended, in milliseconds since 1970; 0 where none has.
    pub(super) scrub_finished_ms: u64,
}

/// `cairn cluster status`
pub(super) fn status(args: &ClusterStatusArgs) -> anyhow::Result<()> {
    let state = alone(async {
        let mut way = Way::from(&args.data.data).await?;
        let state = gather(&mut way, usize::MAX).await;
        way.close().await;
        state
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&state).context("writing JSON")?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    print(&mut out, &state).context("writing to standard output")
}

/// The state as the leader has it now.
pub(super) async fn gather(way: &mut Way, pages_max: usize) -> anyhow::Result<ClusterState> {
    let Answer::Map(map) = way.query(Query::Map(MapQuery::default())).await? else {
        bail!("the metadata service gave no map");
    };
    let Answer::Servers(page) = way.query(Query::Servers(ServersQuery {})).await? else {
        bail!("the metadata service named no chunkservers");
    };
    let Answer::Summary(summary) = way.query(Query::Summary(SummaryQuery {})).await? else {
        bail!("the metadata service gave no summary");
    };
    let Answer::Buckets(buckets) = way.query(Query::Buckets(BucketsQuery {})).await? else {
        bail!("the metadata service named no buckets");
    };
    let map = ClusterMap::try_from(map)?;
    // In this order: what leaves a group on the move, or is found lost, enters the queue.
    let unsurveyed = unsurveyed(way).await?;
    let moving_groups = moving_groups(way).await?;
    let repairs = repairs(way, pages_max, summary.repair_pending).await?;
    let told = state(&map, &page.servers, &summary);
    Ok(ClusterState {
        recoding: recoding(way).await?,
        unsurveyed,
        tolerance_left: tolerance_left(&map, &told.servers, &buckets.buckets, &repairs),
        repairs,
        moving_groups,
        ..told
    })
}

fn tolerance_left(
    map: &ClusterMap,
    servers: &[ServerRow],
    buckets: &[BucketInfo],
    repairs: &BTreeMap<Waits, u64>,
) -> Option<i64> {
    // A store of one process that is no node tells of no devices here: its own metrics do.
    if servers.is_empty() {
        return None;
    }
    let devices = servers.iter().flat_map(|server| &server.devices);
    let up: BTreeSet<DeviceId> = devices
        .filter(|device| device.up)
        .map(|device| DeviceId::new(device.id))
        .collect();
    let down = map
        .devices
        .keys()
        .filter(|device| !up.contains(device))
        .copied()
        .collect();
    let of_bucket = |bucket: &BucketInfo| (bucket.data_shards as usize, bucket.parity_shards as usize);
    let by_rows = tolerance::left(map, &down, &buckets.iter().map(of_bucket).collect());
    let by_queue = repairs.keys().filter_map(|waits| match waits {
        Waits::Degraded(left) => Some(i64::from(*left)),
        Waits::BeyondRepair => Some(-1),
        Waits::Move | Waits::Placed => None,
    });
    by_queue.chain(by_rows).min()
}

fn state(map: &ClusterMap, servers: &[ServerState], summary: &Summary) -> ClusterState {
    let row = |server: &ServerState| Some(server_row(map, server, server.info.as_ref()?));
    ClusterState {
        epoch: map.epoch.value(),
        domain_level: map.domain_level.to_string(),
        domains: map.failure_domain_count(),
        redundancy: map
            .default_redundancy
            .map_or_else(String::new, |scheme| scheme.to_string()),
        buckets: summary.buckets,
        objects: summary.objects,
        object_bytes: summary.object_bytes,
        repairs: BTreeMap::new(),
        tolerance_left: None,
        moving_groups: 0,
        unsurveyed: Vec::new(),
        recoding: Vec::new(),
        authority_holder: (summary.authority_holder != 0).then_some(summary.authority_holder),
        deletion_held: summary.deletion_held,
        moves_paused: map.upkeep.moves_paused,
        out_after_s: map.upkeep.out_after_s,
        servers: servers.iter().filter_map(row).collect(),
    }
}

fn server_row(map: &ClusterMap, server: &ServerState, info: &ServerInfo) -> ServerRow {
    let row = |id: u32, incarnation: u64| {
        let told = server.devices.iter().find(|told| told.device == id);
        let told = told.cloned().unwrap_or_else(DeviceStatus::default);
        DeviceRow {
            id,
            incarnation,
            place: match map.devices.get(&DeviceId::new(id)) {
                None => "new",
                Some(device) if map.given_up.contains(&device.id) => "given up",
                Some(device) if device.weight_bytes == 0 => "out",
                Some(_) => "in",
            },
            up: server.is_up && told.up,
            reason: if server.is_up {
                told.reason
            } else {
                "its server is silent".to_owned()
            },
            used_bytes: told.used_bytes,
            total_bytes: told.total_bytes,
            corrupt_shards: told.corrupt_shards,
            scrub_finished_ms: told.scrub_finished_ms,
        }
    };
    ServerRow {
        node: info.node,
        address: info.address.clone(),
        zone: info.zone.clone(),
        rack: info.rack.clone(),
        host: info.host.clone(),
        up: server.is_up,
        silent_ms: server.silent_ms,
        devices: info.devices.iter().map(|held| row(held.id, held.incarnation)).collect(),
    }
}

/// The queue, most urgent first. What is behind `pages_max` pages of the `pending` chunks is counted as the last that was seen.
async fn repairs(way: &mut Way, pages_max: usize, pending: u64) -> anyhow::Result<BTreeMap<Waits, u64>> {
    let mut counts = BTreeMap::new();
    let mut pages = 0;
    let mut page = PageQuery {
        limit: PAGE,
        ..PageQuery::default()
    };
    loop {
        let ChunkReply::Repairs(repairs) = ask(way, ChunkQuestion::Repairs(page.clone())).await? else {
            bail!("the metadata service did not tell what waits for repair");
        };
        for repair in &repairs.repairs {
            *counts.entry(Waits::of(repair.priority)).or_insert(0) += 1;
        }
        if repairs.next_from.is_empty() {
            return Ok(counts);
        }
        pages += 1;
        if pages >= pages_max {
            let counted: u64 = counts.values().sum();
            if let Some(mut last) = counts.last_entry() {
                *last.get_mut() += pending.saturating_sub(counted);
            }
            return Ok(counts);
        }
        page.from = repairs.next_from;
    }
}

impl Waits {
    fn of(priority: u32) -> Self {
        match priority {
            left @ 0..64 => Self::Degraded(left),
            64..128 => Self::Move,
            128..192 => Self::Placed,
            _ => Self::BeyondRepair,
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Degraded(left) => write!(f, "tolerance {left}"),
            Self::Move => f.write_str("to move"),
            Self::Placed => f.write_str("placed by writers"),
            Self::BeyondRepair => f.write_str("beyond repair"),
        }
    }
}

impl Serialize for Waits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Devices to be looked through, groups and chunks, of which something is to be moved or repaired.
pub(super) async fn waiting(way: &mut Way) -> anyhow::Result<u64> {
    // In this order: what leaves a group on the move, or is found lost, enters the queue.
    let lost = unsurveyed(way).await?.len() as u64;
    let moving = moving_groups(way).await?;
    let Answer::Summary(summary) = way.query(Query::Summary(SummaryQuery {})).await? else {
        bail!("the metadata service gave no summary");
    };
    Ok(lost + moving + summary.repair_pending)
}

/// The names of buckets that may hold chunks of another redundancy than they want.
pub(super) async fn recoding(way: &mut Way) -> anyhow::Result<Vec<String>> {
    let ChunkReply::Marks(marks) = ask(way, ChunkQuestion::Marks(MarksQuery {})).await? else {
        bail!("the metadata service did not tell which buckets are coded anew");
    };
    if marks.marks.is_empty() {
        return Ok(Vec::new());
    }
    let Answer::Buckets(page) = way.query(Query::Buckets(BucketsQuery {})).await? else {
        bail!("the metadata service named no buckets");
    };
    let is_marked = |bucket: &BucketInfo| marks.marks.iter().any(|mark| mark.bucket == bucket.id);
    Ok(page
        .buckets
        .into_iter()
        .filter(is_marked)
        .map(|bucket| bucket.name)
        .collect())
}

/// Devices of which it is not known yet what they lost.
async fn unsurveyed(way: &mut Way) -> anyhow::Result<Vec<u32>> {
    match ask(way, ChunkQuestion::Losses(LossesQuery {})).await? {
        ChunkReply::Losses(losses) => Ok(losses.losses.iter().map(|loss| loss.device).collect()),
        _ => bail!("the metadata service did not tell which devices lost what they held"),
    }
}

async fn moving_groups(way: &mut Way) -> anyhow::Result<u64> {
    let mut count = 0;
    let mut page = PageQuery {
        limit: PAGE,
        ..PageQuery::default()
    };
    loop {
        let ChunkReply::Moves(moves) = ask(way, ChunkQuestion::Moves(page.clone())).await? else {
            bail!("the metadata service did not tell what moves");
        };
        count += moves.moves.len() as u64;
        if moves.next_from.is_empty() {
            return Ok(count);
        }
        page.from = moves.next_from;
    }
}

async fn ask(way: &mut Way, question: ChunkQuestion) -> anyhow::Result<ChunkReply> {
    let question = Some(question);
    match way.query(Query::Chunk(ChunkQuery { question })).await? {
        Answer::Chunk(answer) => answer.reply.context("an empty answer about chunks"),
        _ => bail!("the metadata service answered something else about chunks"),
    }
}

fn print(out: &mut impl io::Write, state: &ClusterState) -> io::Result<()> {
    writeln!(out, "epoch       {}", state.epoch)?;
    let redundancy = if state.redundancy.is_empty() {
        "none yet"
    } else {
        &state.redundancy
    };
    writeln!(out, "redundancy  {redundancy} for new buckets")?;
    writeln!(out, "domains     {} of level {}", state.domains, state.domain_level)?;
    writeln!(
        out,
        "content     {} buckets, {} objects, {} bytes",
        state.buckets, state.objects, state.object_bytes
    )?;
    match state.authority_holder {
        Some(holder) => writeln!(out, "authority   node {holder}, recoverable")?,
        None => writeln!(
            out,
            "authority   NO COPY is kept: run `cairn cluster recovery-key` on the first node"
        )?,
    }
    match state.tolerance_left {
        Some(left) if left < 0 => writeln!(out, "tolerance   NONE: some chunks cannot be read as it is")?,
        Some(left) => writeln!(out, "tolerance   any chunk may lose {left} more shards")?,
        None => {}
    }
    if state.deletion_held {
        writeln!(out, "deletion    HELD, until `cairn metadata release-deletion`")?;
    }
    for device in &state.unsurveyed {
        writeln!(
            out,
            "lost        device {device} begins anew: what it held is being looked up"
        )?;
    }
    if state.repairs.is_empty() && state.unsurveyed.is_empty() {
        writeln!(out, "repair      nothing waits")?;
    }
    for (kind, count) in &state.repairs {
        writeln!(out, "repair      {count} chunks {kind}")?;
    }
    let paused = if state.moves_paused { ", paused" } else { "" };
    writeln!(out, "moving      {} groups{paused}", state.moving_groups)?;
    for bucket in &state.recoding {
        writeln!(out, "recoding    bucket {bucket}{paused}")?;
    }
    print_servers(out, &state.servers)
}

fn print_servers(out: &mut impl io::Write, servers: &[ServerRow]) -> io::Result<()> {
    for server in servers {
        let up = if server.up {
            "up".to_owned()
        } else {
            "SILENT".to_owned()
        };
        writeln!(
            out,
            "server      {} at {} on {}: {up}",
            server.node, server.address, server.host
        )?;
        for device in &server.devices {
            let up = if device.up {
                "up".to_owned()
            } else {
                format!("DOWN: {}", device.reason)
            };
            writeln!(
                out,
                "  device    {} {}, {} of {} bytes, {} corrupt shards: {up}",
                device.id, device.place, device.used_bytes, device.total_bytes, device.corrupt_shards
            )?;
        }
    }
    Ok(())
}
