//! The command line of `cairn metadata`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use super::DataArgs;
use crate::logging::LogFormat;

/// Runs one member of the metadata service, or does what the subcommand says.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct MetadataArgs {
    #[command(subcommand)]
    pub(crate) command: Option<MetadataCommand>,
    #[command(flatten)]
    pub(crate) server: MetadataServerArgs,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct MetadataServerArgs {
    /// Directory of the node, made by `cairn cluster init` or `cairn cluster join`.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address, UDP, for other nodes; the next port takes their bulk bytes [default: 127.0.0.1:9002].
    #[arg(long, env = "CAIRN_CLUSTER_LISTEN", value_name = "ADDR")]
    pub(crate) cluster_listen: Option<SocketAddr>,
    /// Under which HOST:PORT other nodes reach it [default: what --cluster-listen says].
    #[arg(long, env = "CAIRN_CLUSTER_ADDRESS", value_name = "ADDR")]
    pub(crate) cluster_address: Option<String>,
    /// Address of metrics, health and status; anyone who reaches it may read it [default: 127.0.0.1:9001].
    #[arg(long, env = "CAIRN_ADMIN", value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Memory for the databases' caches and buffers, in MiB [default: 512].
    #[arg(long, env = "CAIRN_METADATA_MEMORY_MIB", value_name = "MIB")]
    pub(crate) memory_mib: Option<usize>,
    /// Commands, in MiB, after which a snapshot is taken and the log cut: less is a shorter restart and a smaller log, more lets a
    /// member be away longer without fetching a snapshot [default: 64].
    #[arg(long, env = "CAIRN_METADATA_SNAPSHOT_MIB", value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) snapshot_mib: Option<u64>,
    /// How log lines look.
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, for example `info` or `cairn_metadata=debug,info` [default: info,openraft=error,s3s=off].
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What can be done with a metadata store, or a group of metadata servers.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MetadataCommand {
    /// Tells who the group's members are and how they do.
    Status(GroupStatusArgs),
    /// Adds a server that runs and waits: brings it up to date, then gives it a vote.
    Add(AddArgs),
    /// Gives a learner a vote once it has caught up.
    Promote(MemberArgs),
    /// Takes a member out of the group, dead or alive.
    Remove(MemberArgs),
    /// Puts a new server in the place of a dead one.
    Replace(ReplaceArgs),
    /// Hands leadership to another voter.
    Transfer(TransferArgs),
    /// Tells the feature level in force and what each member understands; raises it as the last step of an upgrade.
    FeatureLevel(FeatureLevelArgs),
    /// Prints records, one a line, of a stopped or running store, a checkpoint or a backup.
    Inspect(Box<InspectArgs>),
    /// Verifies every record and how all of them agree; ends with 1 where something is wrong.
    Verify(VerifyArgs),
    /// Backs the metadata of the running store up into a new file.
    Backup(BackupArgs),
    /// Makes the metadata of a store out of a backup, with all deletion of data held.
    Restore(RestoreArgs),
    /// Lets data be deleted again after a restore.
    ReleaseDeletion(DataArgs),
}

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub(crate) struct SourceArgs {
    /// A backup file, a checkpoint's directory or a metadata directory, in place of --data.
    #[arg(value_name = "PATH", conflicts_with = "live")]
    pub(crate) path: Option<PathBuf>,
    /// Directory of the store.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", required_unless_present = "path")]
    pub(crate) data: Option<PathBuf>,
    /// Looks at the state of the running server on --data, as it is now.
    #[arg(long)]
    pub(crate) live: bool,
    /// Where files are put that are needed meanwhile [default: the system's place for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Prints counts and positions in place of records.
    #[arg(long)]
    pub(crate) summary: bool,
    /// Records of this family only, or `log` for the entries of the Raft log.
    #[arg(long, value_name = "FAMILY")]
    pub(crate) family: Option<String>,
    /// Records of this bucket only, by name or number.
    #[arg(long, value_name = "BUCKET")]
    pub(crate) bucket: Option<String>,
    /// Records whose key begins so, in hexadecimal digits behind `0x`, or whose name (component, object key, bucket) does.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) key_prefix: Option<String>,
    /// Records at most.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Prints JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Findings printed at most; all are counted.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) show: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The backup; nothing may be there yet.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The backup.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The number of the metadata server that is to run on it [default: that of the cluster's node which the directory is, or 1].
    #[arg(long, value_name = "NODE")]
    pub(crate) server: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct GroupStatusArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Asks only the server of this directory, and waits for it no longer than a moment.
    #[arg(long)]
    pub(crate) local: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct FeatureLevelArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Raises it to the newest that a member understands; refused while any member does not answer or does not understand it.
    /// There is no way back: programs that understand less can no longer be members.
    #[arg(long)]
    pub(crate) raise: bool,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MemberArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The member's node, as `cairn cluster members` numbers it.
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    pub(crate) member: MemberArgs,
    /// Where the others reach it, HOST:PORT.
    #[arg(value_name = "ADDR")]
    pub(crate) address: String,
    /// Leaves it without a vote.
    #[arg(long)]
    pub(crate) learner: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ReplaceArgs {
    /// The dead member.
    #[arg(value_name = "DEAD")]
    pub(crate) dead: u64,
    #[command(flatten)]
    pub(crate) member: MemberArgs,
    /// Where the others reach the new one, HOST:PORT.
    #[arg(value_name = "ADDR")]
    pub(crate) address: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The voter [default: whichever is furthest].
    #[arg(value_name = "NODE")]
    pub(crate) to: Option<u64>,
}
