//! Commands that the feature level in force does not hold, kept out of the log.
//!
//! Invariant: a level is raised only while every member has just said that it understands it.

use std::sync::{Arc, atomic::Ordering};

use cairn_common::{
    limits::FEATURE_LEVEL,
    wire::{
        command::{Command, ErrorCode, Outcome, Refusal, WriteReply},
        failure::Failure,
    },
};
use tokio::time::Instant;

use super::service::Inner;
use crate::core::{refused_at, required_level};

impl Inner {
    /// Whether the state must be asked about a command's level: one that was once in force is never taken back.
    pub(super) fn may_be_above_level(&self, command: &Command) -> bool {
        matches!(command, Command::RaiseFeatureLevel(_))
            || required_level(command) > self.level_seen.load(Ordering::Relaxed)
    }

    /// What a command is told that the feature level in force does not hold, or that would raise it above what every member
    /// is known to understand. It never enters the log: a member that does not know it could not even refuse it.
    pub(super) async fn above_level(self: &Arc<Self>, command: &Command) -> Result<Option<WriteReply>, Failure> {
        let detail = match command {
            Command::RaiseFeatureLevel(raise) => self.not_understood(raise.level).await,
            other => {
                let level = self.node.state().read(|view, _| self.machine.feature_level(view));
                let level = level.map_err(|error| self.read_failure(&error))?;
                self.level_seen.fetch_max(level, Ordering::Relaxed);
                refused_at(level, required_level(other))
            }
        };
        Ok(detail.map(|detail| WriteReply {
            log_index: self.node.state().applied().index(),
            outcome: Some(Outcome::Refused(Refusal {
                code: ErrorCode::NotSupportedYet.into(),
                detail,
            })),
            ..WriteReply::default()
        }))
    }

    /// Which member is not known to understand `level`; none where all do.
    async fn not_understood(self: &Arc<Self>, level: u32) -> Option<String> {
        if level > FEATURE_LEVEL {
            return Some(format!(
                "this server understands feature level {FEATURE_LEVEL}: upgrade it"
            ));
        }
        let asked = Instant::now();
        self.probe().await;
        let understands = |member| {
            let seen = self.members.seen(member);
            seen.is_some_and(|seen| seen.at >= asked && seen.report.understands >= level)
        };
        let member = self.others().into_iter().find(|member| !understands(*member))?;
        Some(format!(
            "metadata server {member} does not answer, or does not understand feature level {level}: upgrade it, or remove it"
        ))
    }
}
