//! The command line of `cairn gateway`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::TlsArgs;
use crate::logging::LogFormat;

/// Serves the S3 endpoint of a cluster in a process of its own. Any number of them serve the same buckets.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct GatewayArgs {
    /// Directory of the node, made by `cairn cluster join` with a token of the role client.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,
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
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Memory for data on its way to the devices, in MiB; reads take half as much again [default: 256].
    #[arg(long, env = "CAIRN_MEMORY_BUDGET_MIB", value_name = "MIB")]
    pub(crate) memory_budget_mib: Option<usize>,
    /// How log lines look.
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged, for example `info` or `cairn_gateway=debug,info` [default: info,openraft=error,s3s=off].
    #[arg(long, env = "CAIRN_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}
