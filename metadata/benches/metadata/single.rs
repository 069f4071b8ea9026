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
use crate::workload::Workload;

const NODE: NodeId = NodeId::new(1);

/// Measures creates, lookups and listings, in turns.
///
/// # Errors
/// When the server fails.
pub(crate) async fn run(directory: &Path, rounds: usize, time: Duration, report: &mut Report) -> Result<()> {
    let (server, metadata) = start(directory).await?;
    metadata.prepare().await?;
    let workload = Workload::open(&[metadata]).await?;
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
