//! Verifies that a state is what it should be: every record readable, and all of them in agreement.
//!
//! ```text
//! buckets → queue → names → inodes with extents and attributes → uploads → parts → chunks → repairs → sessions → holds
//! → locks → accounts → feeds → counters → log
//! ```
//!
//! Each pass walks families in the order of their keys, two or more side by side where their orders agree. What has to be
//! compared in another order (names by the inode they lead to, references by the chunk they are of) is sorted outside of
//! memory. So memory is bounded by the sorters' buffers (32 MiB each, three of them), 16 bytes for each directory of the
//! bucket at hand, and the buckets; 10 million objects take about 200 MiB. Invariant: nothing is changed, and every finding
//! names the record.

mod accounts;
mod bodies;
mod check;
mod chunks;
mod counters;
mod feeds;
mod holds;
mod leading;
mod locks;
mod log;
mod names;
mod queue;
mod rows;
mod sessions;
mod sort;
mod tree;
mod uploads;
mod xattrs;

use std::{path::Path, time::Duration};

use cairn_common::{
    checksum::Hash,
    ids::NodeId,
    wire::{
        checkpoint::{BackUp, BackUpReply},
        kind::RequestKind,
    },
};
use cairn_transport::{Body, Transport, call};

use self::{
    check::{Check, Gathered},
    sort::Sorter,
};
use super::{
    error::{MaintenanceError, io_error},
    source::Source,
};
use crate::store::{CheckpointName, Progress, fetch_checkpoint};

pub use self::check::Finding;

/// How long the server may take to make a checkpoint, or to let it go.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(120);

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records looked at.
    pub records: u64,
    /// What is wrong.
    pub findings: u64,
    /// Log index of the newest entry in the state.
    pub applied_index: u64,
    /// The chained hash there: the same on every server.
    pub chain: Hash,
}

/// Verifies a source. Each finding goes to `report`, the pass and the number of its records so far to `progress`. Files that
/// are needed meanwhile, of about 50 bytes for each object, are made under `scratch`.
pub fn verify(
    source: &Source,
    scratch: &Path,
    report: &mut dyn FnMut(&Finding),
    progress: &mut dyn FnMut(&'static str, u64),
) -> Result<Verified, MaintenanceError> {
    let opened = source.open(scratch)?;
    let failed = io_error(scratch);
    let mut check = Check::new(&opened.state, report, progress);
    let mut gathered = Gathered::new(scratch);
    counters::buckets(&mut check, &mut gathered)?;
    queue::pass(&mut check, &mut gathered)?;
    names::pass(&mut check, &mut gathered)?;
    let links = std::mem::replace(&mut gathered.links, Sorter::new(scratch));
    tree::pass(&mut check, &mut gathered, links.finish().map_err(&failed)?)?;
    uploads::pass(&mut check, &mut gathered)?;
    let claims = std::mem::replace(&mut gathered.claims, Sorter::new(scratch));
    uploads::parts(&mut check, &mut gathered, claims.finish().map_err(&failed)?)?;
    let references = std::mem::replace(&mut gathered.references, Sorter::new(scratch));
    chunks::pass(&mut check, &mut gathered, references.finish().map_err(&failed)?)?;
    chunks::repairs(&mut check)?;
    sessions::pass(&mut check)?;
    holds::pass(&mut check)?;
    locks::pass(&mut check, &gathered)?;
    accounts::pass(&mut check)?;
    feeds::pass(&mut check, &gathered)?;
    counters::totals(&mut check, &gathered)?;
    if let Some(log) = &opened.log {
        log::pass(&mut check, log)?;
    }
    let applied = opened.state.applied()?;
    Ok(Verified {
        records: check.records,
        findings: check.findings,
        applied_index: applied.index(),
        chain: applied.chain_hash()?,
    })
}

/// Fetches the state of the running server `from` into the directory `into`, to be verified there.
pub async fn fetch_live(
    transport: &dyn Transport,
    from: NodeId,
    into: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Source, MaintenanceError> {
    let ask = async |message: BackUp| {
        let kind = RequestKind::BackUp;
        let answer = call(transport, from, kind, &message, Body::empty(), CHECKPOINT_DEADLINE).await;
        answer.map(|(reply, _): (BackUpReply, _)| reply.number)
    };
    let number = ask(BackUp { done_with: None }).await?;
    let name = CheckpointName { number, backup: true };
    let fetched = fetch_checkpoint(transport, from, name, into, progress).await;
    ask(BackUp {
        done_with: Some(number),
    })
    .await?;
    Ok(Source::Checkpoint(fetched?.path))
}
