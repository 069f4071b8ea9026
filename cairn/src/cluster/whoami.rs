//! `cairn cluster node`: which node a directory is, by its certificate alone. Nothing is asked, and nothing need run.

use std::{
    io::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::ClusterDir;
use crate::cli::ClusterNodeArgs;

/// The node that a directory is.
#[derive(Debug, Serialize)]
struct NodeState {
    cluster: String,
    node: u64,
    roles: Vec<String>,
    /// When its certificate ends, in milliseconds since 1970.
    certificate_ends_ms: u64,
    /// Whether the cluster's authority is here.
    holds_authority: bool,
}

/// `cairn cluster node`
pub(super) fn tell(args: &ClusterNodeArgs) -> anyhow::Result<()> {
    let directory = ClusterDir::of(&args.data.data);
    let identity = directory.identity()?;
    let (peer, ends) = (identity.peer(), identity.certificate_expires());
    let mut out = io::stdout().lock();
    if args.json {
        let state = NodeState {
            cluster: identity.cluster().to_string(),
            node: peer.node.value(),
            roles: peer.roles.to_string().split(',').map(str::to_owned).collect(),
            certificate_ends_ms: milliseconds(ends)?,
            holds_authority: directory.has_authority(),
        };
        let text = serde_json::to_string_pretty(&state).context("writing JSON")?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    let authority = if directory.has_authority() {
        "held here"
    } else {
        "elsewhere"
    };
    let ends = OffsetDateTime::from(ends).replace_nanosecond(0).context("a time")?;
    writeln!(out, "cluster     {}", identity.cluster())?;
    writeln!(out, "node        {}", peer.node)?;
    writeln!(out, "roles       {}", peer.roles)?;
    writeln!(out, "certificate ends {}", ends.format(&Rfc3339).context("a time")?)?;
    writeln!(out, "authority   {authority}")?;
    Ok(())
}

fn milliseconds(time: SystemTime) -> anyhow::Result<u64> {
    let since = time
        .duration_since(UNIX_EPOCH)
        .context("a certificate that ended before 1970")?;
    u64::try_from(since.as_millis()).context("a time")
}
