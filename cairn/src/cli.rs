//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use cairn_bench::BenchArgs;
use cairn_common::{
    redundancy::Redundancy,
    wire::role::{Role, Roles},
};
use clap::{Args, Parser, Subcommand};

use crate::logging::LogFormat;

mod bucket;
mod chunkserver;
mod cluster;
mod describe;
mod dev_cluster;
mod gateway;
mod key;
mod labels;
mod metadata;
mod mount;
mod tls;

pub(crate) use bucket::{BucketCommand, BucketListArgs, CreateBucketArgs, SetBucketArgs};
pub(crate) use chunkserver::{
    ChunkserverArgs, ChunkserverCommand, ChunkserverServerArgs, DEVICE_MEMORY_MIB_MIN, InspectDeviceArgs,
    RebuildIndexArgs, ReplaceDeviceArgs, VerifyDeviceArgs,
};
pub(crate) use cluster::{
    ClusterNodeArgs, ClusterStatusArgs, ClusterVerifyArgs, ClusterWaitArgs, ExplainArgs, LayoutArgs, OutAfter,
};
pub(crate) use describe::{CompletionsArgs, ManArgs};
pub(crate) use dev_cluster::{
    DevClusterArgs, DevClusterCommand, DevClusterStatusArgs, PartProcessArgs, RunDevClusterArgs,
};
pub(crate) use gateway::GatewayArgs;
pub(crate) use key::{AllowArgs, BucketRights, CreateKeyArgs, DenyArgs, KeyArgs, KeyCommand, KeyListArgs, ShowKeyArgs};
pub(crate) use labels::LabelArgs;
pub(crate) use metadata::{
    AddArgs, BackupArgs, FeatureLevelArgs, GroupStatusArgs, InspectArgs, MemberArgs, MetadataArgs, MetadataCommand,
    MetadataServerArgs, RecoverStoreArgs, ReplaceArgs, RestoreArgs, SourceArgs, TransferArgs, VerifyArgs,
};
pub(crate) use mount::{MountArgs, MountCommand, MountSettingsArgs, MountStatusArgs};
pub(crate) use tls::TlsArgs;

/// Cairn, a distributed object and file store.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a store in one process: metadata, devices and S3 gateway.
    Server(Box<ServerArgs>),
    /// Prints shell exports for S3 clients of a store.
    Env(DataArgs),
    /// Tells health, devices and space of a store.
    Status(StatusArgs),
    /// Runs a metadata server in a process of its own; its subcommands change who the members of the group are, look into a
    /// store's metadata, verify it, back it up and restore it.
    Metadata(Box<MetadataArgs>),
    /// Serves the devices of a node in a process of its own; its subcommands look into a device that no process uses, verify it,
    /// and make its index anew.
    Chunkserver(Box<ChunkserverArgs>),
    /// Serves the S3 endpoint of a cluster in a process of its own.
    Gateway(Box<GatewayArgs>),
    /// Mounts a bucket, or a directory of one, as a file system of this machine.
    Mount(Box<MountArgs>),
    /// Makes, shows, changes and deletes the access keys of S3 clients, and says what they may do in which bucket.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Makes a cluster of nodes that trust each other, and lets nodes in and out.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Makes buckets with a redundancy of their own, and changes settings that S3 does not know.
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// Tells where the bytes of an object lie, on which devices, and what may fail without loss.
    Explain(ExplainArgs),
    /// Runs a whole cluster of local processes, for trying out and for tests, and injects faults into it.
    DevCluster(Box<DevClusterArgs>),
    /// Measures an S3 endpoint, a mount or a cluster by its native client, and verifies what it reads; runs suites, compares results.
    Bench(Box<BenchArgs>),
    /// Prints what makes a shell complete this program's command line.
    Completions(CompletionsArgs),
    /// Writes the manual pages of this program and its subcommands into a directory.
    Man(ManArgs),
}

/// Every setting may also stand in the file given by --config, under the flag's name with `_` for `-`. A flag wins over the
/// environment, the environment over the file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    /// Directory of the store; made at the first start.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Number of device directories to make within the data directory, at the first start.
    #[arg(long, env = "CAIRN_DEVICES", value_name = "N", conflicts_with = "device")]
    pub(crate) devices: Option<u32>,
    /// A device directory, best on a disk of its own; may be repeated. Empty or absent at the first start.
    #[arg(long, env = "CAIRN_DEVICE", value_name = "PATH", value_delimiter = ',')]
    pub(crate) device: Vec<PathBuf>,
    /// Redundancy of new buckets: a number of copies, or data+parity such as 4+2 [default: by the number of devices].
    #[arg(long, env = "CAIRN_REDUNDANCY", value_name = "SCHEME")]
    pub(crate) redundancy: Option<Redundancy>,
    /// Address of the S3 endpoint [default: 127.0.0.1:9000].
    #[arg(long, env = "CAIRN_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address of metrics, health and status; anyone who reaches it may read it [default: 127.0.0.1:9001].
    #[arg(long, env = "CAIRN_ADMIN", value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Address, UDP, for other nodes of the cluster; the next port takes their bulk bytes. Used once `cairn cluster init` was
    /// run [default: 127.0.0.1:9002].
    #[arg(long, env = "CAIRN_CLUSTER_LISTEN", value_name = "ADDR")]
    pub(crate) cluster_listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
    /// Region that buckets are said to be in [default: us-east-1].
    #[arg(long, env = "CAIRN_REGION", value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// Domain under which BUCKET.DOMAIN names a bucket; may be repeated [default: localhost].
    #[arg(
        long,
        env = "CAIRN_VIRTUAL_HOST_DOMAIN",
        value_name = "DOMAIN",
        value_delimiter = ','
    )]
    pub(crate) virtual_host_domain: Vec<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Memory for data on its way to the devices, in MiB; reads take half as much again [default: 256].
    #[arg(long, env = "CAIRN_MEMORY_BUDGET_MIB", value_name = "MIB")]
    pub(crate) memory_budget_mib: Option<usize>,
    /// Memory of each device, in MiB: half for its index, half for data on its way [default: 64].
    #[arg(long, env = "CAIRN_DEVICE_MEMORY_MIB", value_name = "MIB", value_parser = chunkserver::memory_mib)]
    pub(crate) device_memory_mib: Option<usize>,
    /// How log lines look.
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, for example `info` or `cairn_gateway=debug,info` [default: info,openraft=error,s3s=off].
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// TOML file with settings.
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What can be done about a cluster. The first node holds the authority that signs certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Makes this directory's store the first node of a cluster: its id, its authority, its certificate.
    Init(DataArgs),
    /// Makes a token that lets one node join; on the first node. Whoever has it can join: keep it secret.
    Token(TokenArgs),
    /// Joins a cluster with a token: gets this node its id and certificate.
    Join(JoinArgs),
    /// Tells which node a directory is, by its certificate: its cluster, number, roles, and when the certificate ends.
    Node(ClusterNodeArgs),
    /// Greets the node that admitted this one, and tells its version and how long the answer took.
    Ping(PingArgs),
    /// Lists the nodes that were let in; on the first node.
    Members(DataArgs),
    /// Gets this node a new certificate and key; a running server takes them up by itself.
    Renew(DataArgs),
    /// Shuts a node out: its certificates no longer hold, also on connections that it has; on the first node.
    Revoke(RevokeArgs),
    /// Makes a new recovery key of the authority, in place of the one before, and tells it this once; on the first node.
    RecoveryKey(DataArgs),
    /// Makes this node, a metadata server, hold the authority in place of one that is gone for good; or, with --from-backup, makes
    /// the node that held it again in an empty directory.
    RecoverAuthority(RecoverArgs),
    /// Tells servers, devices, the cluster map in force, and what is still to be repaired or moved.
    Status(ClusterStatusArgs),
    /// Tells what the next cluster map would change: devices, bytes to move and the time that takes, how full they become.
    Plan(LayoutArgs),
    /// Puts the map in force that `plan` tells of, with the same flags.
    Apply(LayoutArgs),
    /// Lets shards that only have to move stay where they are, until `resume`. Missing ones are made again all the same.
    Pause(DataArgs),
    /// Goes on with moves.
    Resume(DataArgs),
    /// Waits until nothing is left to be repaired or moved, and shows how far it is.
    Wait(ClusterWaitArgs),
    /// Holds what every device has against the metadata, and changes nothing; ends with 1 where something is not as it should be.
    Verify(ClusterVerifyArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// What the node may be: metadata, chunkserver, client, operator; several with commas.
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = parse_role, default_value = "client")]
    pub(crate) roles: Vec<Role>,
    /// How long the token may be used, such as 30m, 12h or 7d.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
    pub(crate) valid: Duration,
    /// Where the new node reaches this one, HOST:PORT; may be repeated [default: where the running server listens, unless that is every address].
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub(crate) address: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The token; `-` reads it from standard input, where no other user of this machine sees it.
    #[arg(value_name = "TOKEN")]
    pub(crate) token: String,
    /// Where the admitting node is reached, HOST:PORT, instead of what the token says.
    #[arg(long, value_name = "ADDR")]
    pub(crate) address: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// How many greetings are sent.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u32,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The node, as `cairn cluster members` numbers it.
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The recovery key; `-` reads it from standard input, where no other user of this machine sees it.
    #[arg(long, env = "CAIRN_RECOVERY_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) recovery_key: String,
    /// A backup of the metadata, where no metadata server is left.
    #[arg(long, value_name = "FILE")]
    pub(crate) from_backup: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DataArgs {
    /// Directory of the store.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_role(text: &str) -> Result<Role, String> {
    let role = Role::from_name(text).filter(|role| Roles::MEMBER.has(*role));
    role.ok_or_else(|| format!("no role; choose of {}", Roles::MEMBER))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a number with its unit, such as 90s, 30m, 12h or 7d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds <= 365 * 86_400);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "at most 365d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("30m", 1_800),
            ("12h", 43_200),
            ("365d", 31_536_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "7", "-1h", "1.5h", "366d", "1w", "ü", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_joiner_is_no_role_to_be_had() {
        assert_eq!(parse_role("chunkserver"), Ok(Role::Chunkserver));
        assert!(parse_role("joiner").is_err() && parse_role("root").is_err());
    }
}
