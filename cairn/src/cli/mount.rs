//! The command line of `cairn mount`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use crate::logging::LogFormat;

/// Mounts a bucket, or a directory of one, and serves it until it is unmounted or told to end. Several mounts, each with a node
/// of its own, may show the same bucket.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct MountArgs {
    #[command(subcommand)]
    pub(crate) command: Option<MountCommand>,
    /// What is mounted: a bucket, or a directory in it. (The bucket of the name `status` is `status/`.)
    #[arg(value_name = "BUCKET[/PATH]", required = true)]
    pub(crate) source: Option<String>,
    /// Where: a directory.
    #[arg(value_name = "DIR", required = true)]
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: MountSettingsArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MountSettingsArgs {
    /// Directory of the node, made by `cairn cluster join` with a token of the role client; also `-o data=DIR`.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Options, with commas between them: ro, allow_other, suid, dev, noexec; timeout=SECONDS (how long to wait for the store before a
    /// program gets EIO; 60), cache=SECONDS (how long the kernel may go by names and attributes that others change; 0),
    /// data=DIR, admin=ADDR.
    #[arg(short, env = "CAIRN_MOUNT_OPTIONS", value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
    /// Returns once it is mounted, and goes on behind; what it has to say is in `mount.log` in the node's directory.
    #[arg(long)]
    pub(crate) background: bool,
    /// Set by a mount that starts another one behind it.
    #[arg(long, hide = true, conflicts_with = "background")]
    pub(crate) detached: bool,
    /// Address of metrics, health and status; anyone who reaches it may read it [default: a free port of 127.0.0.1, told in `server.json`
    /// in the node's directory].
    #[arg(long, env = "CAIRN_ADMIN", value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Memory for data on its way, in MiB [default: 256].
    #[arg(long, env = "CAIRN_MEMORY_BUDGET_MIB", value_name = "MIB")]
    pub(crate) memory_budget_mib: Option<usize>,
    /// How log lines look.
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, for example `info` or `cairn_fuse_client=debug,info` [default: info,openraft=error,s3s=off].
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MountCommand {
    /// Tells how the mount of a node is; without --data, which mounts this machine has.
    Status(MountStatusArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MountStatusArgs {
    /// Directory of the mount's node.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
