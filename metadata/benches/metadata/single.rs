//! One server in this very process: what the metadata service costs without a network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use cairn_common::ids::NodeId;
use cairn_metadata::{CLIENT_KINDS, MetadataConfig, MetadataServer, Surroundings};
use cairn_transport::InProcess;

use crate::client::Metadata;
use crate::group::IN_FLIGHT_MAX;
use crate::report::{Report, progress};
use crate::workload::{CLIENTS, Workload};

/// Clients of a second kind of turn: how many creates a second there are is a matter of the disk's syncs with few clients, and
/// of the processor with many.
const CROWD: usize = 256;

const NODE: NodeId = NodeId::new(1);

/// Measures creates, lookups and listings, in turns.
///
/// # Errors
/// When the server fails.
pub(crate) async fn run(directory: &Path, rounds: usize, time: Duration, report: &mut Report) -> Result<()> {
    let (server, metadata) = start(directory).await?;
    metadata.prepare().await?;
    let workload = Workload::open(&[Arc::clone(&metadata)], 0..CLIENTS).await?;
    let crowd = Workload::open(&[metadata], CLIENTS..CLIENTS + CROWD).await?;
    let crowd_creates = format!("metadata_single_creates_of_{CROWD}");
    for round in 0..rounds {
        progress(&format!("one server: round {} of {rounds}", round + 1));
        for what in ["creates", "lookups", "list"] {
            let proposed = server.metrics().proposals.get();
            let entries = server.metrics().applied_index.get();
            let figures = workload.turn(what, time).await?;
            report.add_figures(&format!("metadata_single_{what}"), &figures);
            if what == "creates" {
                let entries = (server.metrics().applied_index.get() - entries) as f64;
                let commands = (server.metrics().proposals.get() - proposed) as f64;
                report.add("metadata_single_commands_per_entry", commands / entries, "commands");
            }
        }
        report.add_figures(&crowd_creates, &crowd.turn("creates", time).await?);
    }
    server.shutdown().await?;
    Ok(())
}

/// A server with its store under `directory`, and the way to it.
///
/// # Errors
/// When it does not start.
pub(crate) async fn start(directory: &Path) -> Result<(MetadataServer, Arc<Metadata>)> {
    let config = MetadataConfig::new(directory, NODE);
    let server = MetadataServer::start(config, Surroundings::new(Arc::new(InProcess::new()))).await?;
    let carrier = InProcess::new().with_service(NODE, CLIENT_KINDS, Arc::new(server.clone()), IN_FLIGHT_MAX);
    Ok((server, Metadata::new(Arc::new(carrier), vec![NODE])))
}
