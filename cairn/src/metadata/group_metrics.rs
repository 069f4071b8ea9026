//! How a metadata server and its group are, as metrics: read from what is at hand when somebody asks.
//!
//! Invariant: what only the leader knows of the others only the leader tells, so that no stale figure stands beside a fresh one.

use std::{fmt, path::PathBuf};

use cairn_common::wire::group::{GroupStatus, MemberReport, MemberRole, MemberStatus};
use cairn_metadata::MetadataServer;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use crate::gauges::{family, gauge, truth};

/// What is looked at.
pub(crate) struct GroupMetrics {
    server: MetadataServer,
    /// Where its store lies.
    path: PathBuf,
}

impl GroupMetrics {
    /// Tells of `server`, whose store lies at `path`.
    pub(crate) fn register(registry: &mut Registry, server: MetadataServer, path: PathBuf) {
        registry.register_collector(Box::new(Self { server, path }));
    }
}

impl fmt::Debug for GroupMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupMetrics").field("path", &self.path).finish()
    }
}

impl Collector for GroupMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.server.status();
        if let Some(own) = &status.own {
            encode_own(&mut encoder, own, &status)?;
            encode_others(&mut encoder, own, &status)?;
        }
        let Ok(space) = rustix::fs::statvfs(&self.path) else {
            return Ok(());
        };
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize) as f64;
        gauge(
            &mut encoder,
            "cairn_metadata_disk_free_bytes",
            "Bytes free on the file system of the metadata store",
            bytes(space.f_bavail),
        )?;
        gauge(
            &mut encoder,
            "cairn_metadata_disk_total_bytes",
            "Bytes of the file system of the metadata store",
            bytes(space.f_blocks),
        )
    }
}

/// What every member knows.
fn encode_own(encoder: &mut DescriptorEncoder<'_>, own: &MemberReport, status: &GroupStatus) -> fmt::Result {
    let count = |role| status.members.iter().filter(|member| member.role() == role).count() as f64;
    let gauges = [
        (
            "is_leader",
            "Whether this member leads",
            truth(status.leader == own.node),
        ),
        (
            "has_leader",
            "Whether this member knows a leader",
            truth(status.leader != 0),
        ),
        (
            "ready",
            "Whether this member answers reads and writes",
            truth(own.is_ready),
        ),
        (
            "failed",
            "Whether this member has stopped for good: its store is damaged or differs from the others'",
            truth(!own.failure.is_empty()),
        ),
        (
            "low_on_space",
            "Whether this member's disk has too little room for more data",
            truth(own.is_low_on_space),
        ),
        ("term", "Raft term of this member", own.term as f64),
        (
            "last_index",
            "Index of the newest entry of its log",
            own.last_index as f64,
        ),
        ("voters", "Voters of the group", count(MemberRole::Voter)),
        ("learners", "Members without a vote", count(MemberRole::Learner)),
        (
            "feature_level",
            "Feature level in force",
            f64::from(status.feature_level),
        ),
        (
            "feature_level_understood",
            "Newest feature level that this member's program understands",
            f64::from(own.understands),
        ),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, &format!("cairn_metadata_{name}"), help, value)?;
    }
    Ok(())
}

/// What the leader knows of the others.
fn encode_others(encoder: &mut DescriptorEncoder<'_>, own: &MemberReport, status: &GroupStatus) -> fmt::Result {
    let others: Vec<_> = (status.members.iter())
        .filter(|member| status.leader == own.node && member.node != own.node)
        .collect();
    let values = |value: fn(&MemberStatus) -> f64| {
        let labelled = |member: &&MemberStatus| (vec![("member", member.node.to_string())], value(member));
        others.iter().map(labelled).collect::<Vec<_>>()
    };
    family(
        encoder,
        "cairn_metadata_member_lag_entries",
        "Entries that another member's log is behind the leader's",
        values(|member| member.lag as f64),
    )?;
    family(
        encoder,
        "cairn_metadata_member_silent_seconds",
        "Time since another member last answered the leader",
        values(|member| {
            if member.silent_ms == u64::MAX {
                f64::INFINITY
            } else {
                member.silent_ms as f64 / 1e3
            }
        }),
    )?;
    family(
        encoder,
        "cairn_metadata_member_clock_skew_seconds",
        "How far another member's wall clock is ahead of the leader's",
        values(|member| member.skew_ms as f64 / 1e3),
    )
}
