//! The command line of `cairn dev-cluster`.

use std::path::PathBuf;

use cairn_common::redundancy::Redundancy;
use clap::{Args, Subcommand};

/// Runs a cluster of local processes in the foreground, for trying out and for tests, or does what the subcommand says to the
/// one that runs.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevClusterArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevClusterCommand>,
    #[command(flatten)]
    pub(crate) run: RunDevClusterArgs,
}

/// A directory that holds a cluster is started again as it was made: give --data alone.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunDevClusterArgs {
    #[command(flatten)]
    pub(crate) data: DevClusterDataArgs,
    /// Metadata servers: 1, 3 or 5 [default: 3].
    #[arg(long, value_name = "N", value_parser = odd_group)]
    pub(crate) metadata: Option<u32>,
    /// Chunkservers, each as on a machine of its own [default: 6].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) chunkservers: Option<u32>,
    /// S3 gateways [default: 2].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(crate) gateways: Option<u32>,
    /// Devices of each chunkserver [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) devices_per_server: Option<u32>,
    /// Redundancy of new buckets: a number of copies, or data+parity such as 4+2 [default: by the number of chunkservers, as
    /// `cairn server` does by devices].
    #[arg(long, value_name = "SCHEME")]
    pub(crate) redundancy: Option<Redundancy>,
    /// First of the ports on 127.0.0.1, four for each process [default: free ones].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..), conflicts_with = "namespaces")]
    pub(crate) port_base: Option<u16>,
    /// Gives each process a network namespace and an address of its own, so that `partition` can cut them off from each other;
    /// needs root and `ip` (iproute2).
    #[arg(long)]
    pub(crate) namespaces: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DevClusterDataArgs {
    /// Directory of the cluster; made at the first start.
    #[arg(long, value_name = "DIR", default_value = "./cairn-dev-cluster")]
    pub(crate) data: PathBuf,
}

/// What can be done to a cluster that runs. Processes are named metadata-1, chunkserver-3, gateway-2.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DevClusterCommand {
    /// Tells which processes run, where, and who is cut off from whom.
    Status(DevClusterStatusArgs),
    /// Ends processes as a power cut would (SIGKILL).
    Kill(PartsArgs),
    /// Halts processes where they are (SIGSTOP): they neither answer nor close anything.
    #[command(visible_alias = "pause")]
    Stop(PartsArgs),
    /// Lets processes go on that were halted (SIGCONT).
    #[command(visible_alias = "resume")]
    Cont(PartsArgs),
    /// Starts processes that have ended, and waits until they are ready.
    Start(PartsArgs),
    /// Empties the devices of chunkservers that have ended, as new disks would be.
    Wipe(PartsArgs),
    /// Cuts processes off from the others, without a word to either side; needs a cluster with --namespaces.
    Partition(PartitionArgs),
    /// Mends what `partition` cut: what concerns these processes, or everything.
    Heal(HealArgs),
    /// Runs one process of the cluster, which ends when the cluster's does.
    #[command(hide = true)]
    Part(PartProcessArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DevClusterStatusArgs {
    #[command(flatten)]
    pub(crate) data: DevClusterDataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PartsArgs {
    /// The processes.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DevClusterDataArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PartitionArgs {
    /// The processes on one side; they still reach each other.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// The processes on the other side [default: all others].
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DevClusterDataArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct HealArgs {
    /// The processes [default: all].
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DevClusterDataArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PartProcessArgs {
    /// The process with whose end this one ends.
    #[arg(long)]
    pub(crate) parent: u32,
    /// The network namespace that it runs in.
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// What `cairn` is to do.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// A Raft group has an odd number of members.
fn odd_group(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("1, 3 or 5".to_owned()),
    }
}
