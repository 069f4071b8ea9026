//! The command line of `cairn chunkserver`.

use std::{net::SocketAddr, path::PathBuf};

use cairn_chunkserver::DeviceSettings;
use clap::{Args, Subcommand};

use super::LabelArgs;
use crate::logging::LogFormat;

/// Smallest memory of a device.
pub(crate) const DEVICE_MEMORY_MIB_MIN: usize = DeviceSettings::MEMORY_BYTES_MIN >> 20;

/// Serves the devices of one node, or does what the subcommand says.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ChunkserverArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ChunkserverCommand>,
    #[command(flatten)]
    pub(crate) server: ChunkserverServerArgs,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ChunkserverServerArgs {
    /// Directory of the node, made by `cairn cluster init` or `cairn cluster join`.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A device directory, best on a disk of its own; may be repeated. One that is new, empty or absent, is formatted and from
    /// then on known; known ones need not be given.
    #[arg(long, env = "CAIRN_DEVICE", value_name = "PATH", value_delimiter = ',')]
    pub(crate) device: Vec<PathBuf>,
    /// Address, UDP, for other nodes; the next port takes their bulk bytes [default: 127.0.0.1:9002].
    #[arg(long, env = "CAIRN_CLUSTER_LISTEN", value_name = "ADDR")]
    pub(crate) cluster_listen: Option<SocketAddr>,
    /// Under which HOST:PORT other nodes reach it [default: what --cluster-listen says].
    #[arg(long, env = "CAIRN_CLUSTER_ADDRESS", value_name = "ADDR")]
    pub(crate) cluster_address: Option<String>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Address of metrics, health and status; anyone who reaches it may read it [default: 127.0.0.1:9001].
    #[arg(long, env = "CAIRN_ADMIN", value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Memory of each device, in MiB: half for its index, half for data on its way [default: 64].
    #[arg(long, env = "CAIRN_DEVICE_MEMORY_MIB", value_name = "MIB", value_parser = memory_mib)]
    pub(crate) device_memory_mib: Option<usize>,
    /// Size of new segments, in MiB [default: by the size of the disk, 16 to 256].
    #[arg(long, env = "CAIRN_SEGMENT_MIB", value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..=1024))]
    pub(crate) segment_mib: Option<u32>,
    /// Room on each device that new data never takes, in MiB: deletes and compaction need it [default: 64].
    #[arg(long, env = "CAIRN_RESERVE_MIB", value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..=1 << 30))]
    pub(crate) reserve_mib: Option<u64>,
    /// How log lines look.
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, for example `info` or `cairn_chunkserver=debug,info` [default: info,openraft=error,s3s=off].
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// A device's memory, in MiB.
pub(super) fn memory_mib(text: &str) -> Result<usize, String> {
    let sizes = DEVICE_MEMORY_MIB_MIN..=1 << 20;
    let parsed = text.parse().ok().filter(|mib| sizes.contains(mib));
    parsed.ok_or_else(|| format!("a number from {} to {}", sizes.start(), sizes.end()))
}

/// What can be done with a device that no process uses.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ChunkserverCommand {
    /// Prints the segments of a stopped device, or its records, one a line.
    Inspect(InspectDeviceArgs),
    /// Verifies every byte of a stopped device, and its index against its segments; changes nothing, and ends with 1 where
    /// something is wrong.
    Verify(VerifyDeviceArgs),
    /// Makes the index of a stopped device anew from its segments.
    RebuildIndex(RebuildIndexArgs),
    /// Gives a device whose disk was lost or exchanged a new, empty life: its number stays, and what it held is made again from
    /// the other devices. The server must be stopped, and the directory empty or absent.
    ReplaceDevice(ReplaceDeviceArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ReplaceDeviceArgs {
    /// Directory of the node.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The device: its directory, as it was given to --device, or its number.
    #[arg(value_name = "DEVICE")]
    pub(crate) device: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct InspectDeviceArgs {
    /// Directory of the device.
    #[arg(value_name = "DEVICE")]
    pub(crate) device: PathBuf,
    /// Prints records in place of segments.
    #[arg(long)]
    pub(crate) records: bool,
    /// Records of this segment only.
    #[arg(long, value_name = "N")]
    pub(crate) segment: Option<u64>,
    /// Records of this chunk only, named as they are printed.
    #[arg(long, value_name = "CHUNK")]
    pub(crate) chunk: Option<String>,
    /// Records at most.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Prints JSON; of records one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

impl InspectDeviceArgs {
    /// Whether records are wanted, or segments.
    pub(crate) fn shows_records(&self) -> bool {
        self.records || self.segment.is_some() || self.chunk.is_some() || self.limit.is_some()
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyDeviceArgs {
    /// Directory of the device.
    #[arg(value_name = "DEVICE")]
    pub(crate) device: PathBuf,
    /// Where files are put that are needed meanwhile: about 200 bytes for each shard [default: the system's place for temporary
    /// files].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Findings printed at most; all are counted.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) show: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RebuildIndexArgs {
    /// Directory of the device.
    #[arg(value_name = "DEVICE")]
    pub(crate) device: PathBuf,
}
