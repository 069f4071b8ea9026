//! The command line of `cairn cluster` that is about nodes' directories, devices and where data lies.

use std::{path::PathBuf, time::Duration};

use cairn_common::{cluster_map::DomainLevel, redundancy::Redundancy};
use clap::Args;

use super::{DataArgs, parse_duration};

/// Devices that chunkservers have told of are taken in, unless they were put out; what else is to change stands in the flags.
#[derive(Args, Clone, Debug)]
pub(crate) struct LayoutArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Redundancy of new buckets: a number of copies, or data+parity such as 4+2 [default: as before; at first 3, or as many
    /// as there are failure domains].
    #[arg(long, value_name = "SCHEME")]
    pub(crate) redundancy: Option<Redundancy>,
    /// Further redundancies that buckets may have; several with commas.
    #[arg(long, value_name = "SCHEME", value_delimiter = ',')]
    pub(crate) also: Vec<Redundancy>,
    /// What shards are kept apart by: device, disk, host, rack or zone [default: as before; at first host].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) domain: Option<DomainLevel>,
    /// Devices that are to hold nothing any more; several with commas.
    #[arg(long = "out", value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) put_out: Vec<u32>,
    /// Devices that were put out and are to hold data again; several with commas.
    #[arg(long = "in", value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) take_in: Vec<u32>,
    /// Devices that are out, hold nothing any more and are to be forgotten; several with commas.
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) remove: Vec<u32>,
    /// MiB a second that each chunkserver may read for repairs and moves [default: as before; at first 128].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) rate: Option<u32>,
    /// How long a device stays down before it is put out by itself, such as 10m or 2h; `never` is possible [default: as before; at
    /// first 10m].
    #[arg(long, value_name = "TIME", value_parser = parse_out_after)]
    pub(crate) out_after: Option<OutAfter>,
}

/// When a device that stays down is put out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutAfter(Option<Duration>);

impl OutAfter {
    /// In seconds; 0 is never.
    pub(crate) fn seconds(self) -> u32 {
        let after = self.0.map_or(0, |after| after.as_secs().max(1));
        u32::try_from(after).unwrap_or(u32::MAX)
    }
}

fn parse_out_after(text: &str) -> Result<OutAfter, String> {
    if text == "never" {
        return Ok(OutAfter(None));
    }
    let after = parse_duration(text).map_err(|error| format!("{error}, or `never`"))?;
    Ok(OutAfter(Some(after)))
}

/// Waits until nothing is left to be repaired or moved, and shows how far it is.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterWaitArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// How long to wait, such as 30m or 12h; ends with 1 where it takes longer.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "7d")]
    pub(crate) at_most: Duration,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterStatusArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterNodeArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterVerifyArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Findings printed at most; all are counted.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) show: u64,
    /// Directory for a copy of the metadata, removed at the end [default: that for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The object, as s3://BUCKET/KEY.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: String,
    /// Chunks printed at most; what may fail is told of all.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) chunks: usize,
    /// Prints JSON, with all chunks.
    #[arg(long)]
    pub(crate) json: bool,
}
