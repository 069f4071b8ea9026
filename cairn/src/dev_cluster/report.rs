//! What is told of a cluster: its state for `cairn dev-cluster status`, and what happens, a line each, on standard error.

use std::{
    fmt,
    io::{self, Write as _},
};

use serde::{Deserialize, Serialize};

/// The state of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) directory: String,
    pub(super) redundancy: String,
    /// Whether each process has a network namespace of its own.
    pub(super) namespaces: bool,
    pub(super) parts: Vec<PartStatus>,
}

/// The state of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartStatus {
    pub(super) name: String,
    /// As `cairn cluster members` numbers it; 0 where it has not joined yet.
    pub(super) node: u64,
    /// `running`, `halted`, `ended` or `not started`.
    pub(super) state: String,
    /// How it ended; empty where it has not.
    pub(super) reason: String,
    /// 0 where it does not run.
    pub(super) pid: u32,
    /// Where other nodes reach it, UDP; empty of gateways.
    pub(super) address: String,
    pub(super) admin: String,
    /// URL of its S3 endpoint; empty where it serves none.
    pub(super) endpoint: String,
    pub(super) data: String,
    pub(super) log: String,
    /// The processes that it cannot reach, as `partition` has cut.
    pub(super) cut_off_from: Vec<String>,
}

impl Status {
    pub(super) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(out, "directory   {}", self.directory)?;
        writeln!(out, "redundancy  {}", self.redundancy)?;
        for part in &self.parts {
            let state = match (part.state.as_str(), part.reason.as_str()) {
                (state, "") => state.to_owned(),
                (_, reason) => format!("ENDED: {reason}"),
            };
            let place = if part.endpoint.is_empty() {
                &part.address
            } else {
                &part.endpoint
            };
            write!(out, "{:<16} node {:<3} {place:<28} {state}", part.name, part.node)?;
            if part.pid != 0 {
                write!(out, ", process {}", part.pid)?;
            }
            if !part.cut_off_from.is_empty() {
                write!(out, ", cut off from {}", part.cut_off_from.join(" "))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Says on standard error what happens.
pub(super) fn tell(line: impl fmt::Display) {
    // What cannot be said is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "cairn: {line}");
}
