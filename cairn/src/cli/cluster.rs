//! The command line of `cairn cluster` that is about devices and where data lies.

use cairn_common::{cluster_map::DomainLevel, redundancy::Redundancy};
use clap::Args;

use super::DataArgs;

/// Devices that chunkservers have told of are taken in, unless they were put out; what else is to change stands in the flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct LayoutArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Redundancy of new buckets: a number of copies, or data+parity such as 4+2 [default: as before; at first 3, or as many
    /// as there are failure domains].
    #[arg(long, value_name = "SCHEME")]
    pub(crate) redundancy: Option<Redundancy>,
    /// What shards are kept apart by: device, disk, host, rack or zone [default: as before; at first host].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) domain: Option<DomainLevel>,
    /// Devices that are to hold nothing any more; several with commas.
    #[arg(long = "out", value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) put_out: Vec<u32>,
    /// Devices that were put out and are to hold data again; several with commas.
    #[arg(long = "in", value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) take_in: Vec<u32>,
    /// Rate that each device moves data at, in MiB a second, for the time that is foretold.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterStatusArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
