//! The command line of `cairn bucket`.

use cairn_common::redundancy::Redundancy;
use clap::{Args, Subcommand};

use super::DataArgs;

/// What an operator can do about buckets beyond S3, on the directory of a running store or of a node that is one of the cluster's
/// metadata servers.
#[derive(Debug, Subcommand)]
pub(crate) enum BucketCommand {
    /// Makes a bucket, with a redundancy of its own.
    Create(CreateBucketArgs),
    /// Changes a bucket's settings. Another redundancy counts for what is written from then on; what is there is coded anew by and by.
    Set(SetBucketArgs),
    /// Lists the buckets, with what they hold.
    List(BucketListArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateBucketArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Name of the bucket, by the rules of S3.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A number of copies, or data+parity such as 4+2 [default: that of the cluster map].
    #[arg(long, value_name = "SCHEME")]
    pub(crate) redundancy: Option<Redundancy>,
}

#[derive(Args, Clone, Debug)]
#[group(id = "settings", required = true, multiple = true, args = ["redundancy", "quota_bytes", "quota_objects"])]
pub(crate) struct SetBucketArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The bucket.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A number of copies, or data+parity such as 4+2.
    #[arg(long, value_name = "SCHEME")]
    pub(crate) redundancy: Option<Redundancy>,
    /// Most bytes of its objects and uploads, redundancy not counted; 0 is no bound.
    #[arg(long, value_name = "BYTES")]
    pub(crate) quota_bytes: Option<u64>,
    /// Most objects; 0 is no bound.
    #[arg(long, value_name = "N")]
    pub(crate) quota_objects: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BucketListArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
