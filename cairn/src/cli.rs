//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use cairn_bench::BenchArgs;
use cairn_common::redundancy::Redundancy;
use clap::{Args, Parser, Subcommand};

use crate::logging::LogFormat;

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
    /// Measures an S3 endpoint and verifies what it reads.
    Bench(Box<BenchArgs>),
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
    /// Memory for data on its way to the devices, in MiB [default: 256].
    #[arg(long, env = "CAIRN_MEMORY_BUDGET_MIB", value_name = "MIB")]
    pub(crate) memory_budget_mib: Option<usize>,
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
