//! The command line of `cairn mount`.

use std::path::PathBuf;

use clap::Args;

use crate::logging::LogFormat;

/// Mounts a bucket, or a directory of one, and serves it until it is unmounted or told to end. Several mounts, each with a node
/// of its own, may show the same bucket.
#[derive(Args, Clone, Debug)]
pub(crate) struct MountArgs {
    /// Directory of the node, made by `cairn cluster join` with a token of the role client; also `-o data=DIR`.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// What is mounted: a bucket, or a directory in it.
    #[arg(value_name = "BUCKET[/PATH]")]
    pub(crate) source: String,
    /// Where: a directory.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Options, with commas between them: ro, allow_other, suid, dev, noexec; timeout=SECONDS (how long to wait for the store before a
    /// program gets EIO; 60), cache=SECONDS (how long the kernel may go by names and attributes that others change; 0),
    /// data=DIR.
    #[arg(short, env = "CAIRN_MOUNT_OPTIONS", value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
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
