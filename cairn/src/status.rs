//! The state of a store: gathered by the server, shown by `cairn status`.

use std::{
    io::{self, Read as _, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cairn_common::wire::shard::DeviceStatus;
use serde::{Deserialize, Serialize};

use crate::{cli::StatusArgs, running::Running};

/// How long the status command waits for the server.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Longest answer that it takes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// There is one mode only, so that no figure can be had without it.
pub(crate) const SYNC_MODE: &str = "every write synced before it is acknowledged";

/// The state of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Whether reads and writes are served with full redundancy.
    pub(crate) health: Health,
    /// What a person should know, worst first.
    pub(crate) remarks: Vec<String>,
    pub(crate) version: String,
    pub(crate) endpoint: String,
    /// Redundancy of new buckets.
    pub(crate) redundancy: String,
    /// What is durable when a write is acknowledged.
    #[serde(default)]
    pub(crate) sync_mode: String,
    /// Devices that may be lost without loss of data written with it.
    pub(crate) tolerance: usize,
    /// Disks that the devices lie on, as far as it can be told.
    pub(crate) disks: usize,
    pub(crate) buckets: u64,
    pub(crate) objects: u64,
    pub(crate) object_bytes: u64,
    /// Metadata servers of the process that work, each on a disk of its own.
    #[serde(default)]
    pub(crate) metadata_voters: usize,
    /// Deleted bodies still to be released.
    pub(crate) release_pending: u64,
    /// Damaged shards found by readers since the start.
    pub(crate) corrupt_shards: u64,
    /// Reads that had to do without a shard since the start.
    pub(crate) degraded_reads: u64,
    pub(crate) devices: Vec<DeviceState>,
}

/// How a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// All is well.
    Good,
    /// Everything is served, with less in reserve.
    Degraded,
    /// Some data may not be readable now.
    Failed,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Degraded => "degraded",
            Self::Failed => "FAILED",
        }
    }
}

/// One device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceState {
    pub(crate) id: u32,
    pub(crate) path: String,
    pub(crate) up: bool,
    /// Why it is down.
    pub(crate) reason: String,
    pub(crate) total_bytes: u64,
    pub(crate) free_bytes: u64,
    /// Bytes of shards that it holds.
    pub(crate) used_bytes: u64,
}

/// The state of a chunkserver in a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkserverStatus {
    /// Whether all devices serve.
    pub(crate) health: Health,
    pub(crate) version: String,
    pub(crate) node: u64,
    pub(crate) devices: Vec<DeviceState>,
}

/// The state of a mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MountStatus {
    /// Whether the store answers.
    pub(crate) health: Health,
    pub(crate) remarks: Vec<String>,
    pub(crate) version: String,
    /// The bucket, or the directory of one.
    pub(crate) mounted: String,
    pub(crate) directory: PathBuf,
    pub(crate) open_files: usize,
    /// What programs wrote and is not stored yet.
    pub(crate) dirty_bytes: u64,
    pub(crate) dirty_bytes_max: u64,
}

/// What a running server may tell of.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Told {
    Store(Box<Status>),
    Chunkserver(ChunkserverStatus),
    Mount(MountStatus),
}

impl ChunkserverStatus {
    pub(crate) fn new(node: u64, devices: Vec<DeviceState>) -> Self {
        let down = devices.iter().filter(|device| !device.up).count();
        let health = match down {
            0 => Health::Good,
            down if down < devices.len() => Health::Degraded,
            _ => Health::Failed,
        };
        Self {
            health,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node,
            devices,
        }
    }
}

pub(crate) fn device_state(device: DeviceStatus) -> DeviceState {
    DeviceState {
        id: device.device,
        path: device.path,
        up: device.up,
        reason: device.reason,
        total_bytes: device.total_bytes,
        free_bytes: device.free_bytes,
        used_bytes: device.used_bytes,
    }
}

pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    show(&args.data.data, args.json)
}

/// Shows the state of what runs on a directory; ends with 1 where that has failed.
pub(crate) fn show(data: &Path, is_json: bool) -> anyhow::Result<ExitCode> {
    let body = fetch(data)?;
    let told: Told = serde_json::from_str(&body).context(
        "the answer is of no store, chunkserver or mount: `cairn metadata status` tells of metadata servers",
    )?;
    let mut out = io::stdout().lock();
    if is_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&told).context("writing JSON")?)?;
    } else {
        match &told {
            Told::Store(status) => print(&mut out, status)?,
            Told::Chunkserver(status) => print_chunkserver(&mut out, status)?,
            Told::Mount(status) => print_mount(&mut out, status)?,
        }
    }
    let health = match &told {
        Told::Store(status) => status.health,
        Told::Chunkserver(status) => status.health,
        Told::Mount(status) => status.health,
    };
    Ok(if health == Health::Failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Asks the running server of a store.
fn fetch(data: &Path) -> anyhow::Result<String> {
    let running = Running::load(data)?;
    let address = running
        .admin
        .strip_prefix("http://")
        .context("the admin address in server.json")?;
    let stopped = || {
        format!(
            "no cairn server answers on {address}: it is stopped (it ran last with pid {})",
            running.pid
        )
    };
    let mut stream = TcpStream::connect(address).with_context(stopped)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
    write!(stream, "GET /status HTTP/1.0\r\nhost: {address}\r\n\r\n").with_context(stopped)?;
    let mut answer = String::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .context("reading the server's answer")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the server's answer is no HTTP")?;
    let line = head.lines().next().unwrap_or_default();
    if !line.contains(" 200 ") {
        bail!("the server answered {line}: {body}");
    }
    Ok(body.to_owned())
}

fn print(out: &mut impl Write, status: &Status) -> io::Result<()> {
    writeln!(out, "health      {}", status.health.name())?;
    for remark in &status.remarks {
        writeln!(out, "            {remark}")?;
    }
    writeln!(out, "endpoint    {}", status.endpoint)?;
    writeln!(out, "version     {}", status.version)?;
    writeln!(
        out,
        "redundancy  {} (survives the loss of {} devices)",
        status.redundancy, status.tolerance
    )?;
    writeln!(
        out,
        "objects     {} in {} buckets, {}",
        status.objects,
        status.buckets,
        bytes(status.object_bytes)
    )?;
    if status.metadata_voters > 1 {
        writeln!(
            out,
            "metadata    {} voters, each on a disk of its own",
            status.metadata_voters
        )?;
    }
    if status.release_pending > 0 {
        writeln!(out, "releasing   {} deleted bodies", status.release_pending)?;
    }
    writeln!(
        out,
        "damage      {} corrupt shards, {} degraded reads",
        status.corrupt_shards, status.degraded_reads
    )?;
    writeln!(out, "devices     {} on {} disks", status.devices.len(), status.disks)?;
    print_devices(out, &status.devices)
}

fn print_chunkserver(out: &mut impl Write, status: &ChunkserverStatus) -> io::Result<()> {
    writeln!(out, "health      {}", status.health.name())?;
    writeln!(out, "node        {}", status.node)?;
    writeln!(out, "version     {}", status.version)?;
    writeln!(out, "devices     {}", status.devices.len())?;
    print_devices(out, &status.devices)
}

fn print_mount(out: &mut impl Write, status: &MountStatus) -> io::Result<()> {
    writeln!(out, "health      {}", status.health.name())?;
    for remark in &status.remarks {
        writeln!(out, "            {remark}")?;
    }
    writeln!(out, "mounted     {} on {}", status.mounted, status.directory.display())?;
    writeln!(out, "version     {}", status.version)?;
    writeln!(out, "open files  {}", status.open_files)?;
    writeln!(
        out,
        "to store    {} of at most {}",
        bytes(status.dirty_bytes),
        bytes(status.dirty_bytes_max)
    )
}

fn print_devices(out: &mut impl Write, devices: &[DeviceState]) -> io::Result<()> {
    for device in devices {
        let state = if device.up {
            "up".to_owned()
        } else {
            format!("DOWN: {}", device.reason)
        };
        writeln!(
            out,
            "  {:>4}      {:>10} used  {:>10} free of {:>10}  {}  {state}",
            device.id,
            bytes(device.used_bytes),
            bytes(device.free_bytes),
            bytes(device.total_bytes),
            device.path
        )?;
    }
    Ok(())
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = units
        .iter()
        .enumerate()
        .rev()
        .find(|(power, _)| count >> (10 * power) > 0)
        .map_or(0, |(power, _)| power);
    let scaled = count as f64 / (1_u64 << (10 * unit)) as f64;
    let name = units[unit];
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{scaled:.1} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_are_readable() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3 << 29, "1.5 GiB"),
            (1 << 51, "2.0 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
