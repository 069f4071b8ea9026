//! `cairn metadata feature-level`: what the members may use of what they understand.
//!
//! Invariant: a level is asked for only where every member has just said that it understands it; the leader looks again.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cairn_common::wire::{
    command::{Command, Outcome, RaiseFeatureLevel, WriteRequest},
    group::{GroupStatus, GroupStatusRequest},
    kind::RequestKind,
};
use serde::Serialize;

use crate::{alone::alone, cli::FeatureLevelArgs, cluster::Way};

/// How long one question may take.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// The levels of a group.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Levels {
    in_force: u32,
    /// The newest that a member understands.
    newest: u32,
    members: Vec<MemberLevel>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct MemberLevel {
    node: u64,
    /// None where it does not answer.
    understands: Option<u32>,
}

pub(super) fn run(args: &FeatureLevelArgs) -> anyhow::Result<()> {
    let levels = alone(async {
        let mut way = Way::to_service(&args.data.data).await?;
        let asked = ask(&mut way, args.raise).await;
        way.close().await;
        asked
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&levels).context("writing JSON")?;
        writeln!(out, "{text}")?;
    } else {
        print(&mut out, &levels).context("writing to standard output")?;
    }
    Ok(())
}

async fn ask(way: &mut Way, raise: bool) -> anyhow::Result<Levels> {
    let mut levels = Levels::of(&leaders_status(way).await?);
    if !raise || levels.in_force >= levels.newest {
        return Ok(levels);
    }
    levels.check_all_understand()?;
    let request = WriteRequest {
        command: Some(Command::RaiseFeatureLevel(RaiseFeatureLevel { level: levels.newest })),
        ..WriteRequest::default()
    };
    let outcome = way.command(&request).await.context("raising the feature level")?;
    ensure!(
        matches!(outcome, Outcome::Done(_)),
        "the metadata service answered something else than that it is done"
    );
    levels.in_force = levels.newest;
    Ok(levels)
}

/// The group as its leader knows it: only that hears what the others understand.
async fn leaders_status(way: &mut Way) -> anyhow::Result<GroupStatus> {
    let request = GroupStatusRequest::default();
    let told: GroupStatus = way.ask(RequestKind::GroupStatus, &request, STATUS_TIMEOUT).await?;
    let leader = told.members.iter().find(|member| member.node == told.leader);
    let leader = leader.context("the metadata service has no leader: a majority of its members must be running")?;
    if !way.turn(leader.node, &leader.address) {
        return Ok(told);
    }
    Ok(way.ask(RequestKind::GroupStatus, &request, STATUS_TIMEOUT).await?)
}

impl Levels {
    fn of(status: &GroupStatus) -> Self {
        let members: Vec<_> = (status.members.iter())
            .map(|member| MemberLevel {
                node: member.node,
                understands: member.report.as_ref().map(|report| report.understands),
            })
            .collect();
        let newest = members.iter().filter_map(|member| member.understands).max();
        Self {
            in_force: status.feature_level,
            newest: newest.unwrap_or(status.feature_level),
            members,
        }
    }

    fn check_all_understand(&self) -> anyhow::Result<()> {
        for member in &self.members {
            let node = member.node;
            let understands = member.understands;
            let understands = understands
                .with_context(|| format!("metadata server {node} does not answer: start it, or remove it"))?;
            ensure!(
                understands >= self.newest,
                "metadata server {node} understands feature level {understands}, not {}: upgrade it, or remove it",
                self.newest
            );
        }
        Ok(())
    }
}

fn print(out: &mut impl io::Write, levels: &Levels) -> io::Result<()> {
    writeln!(out, "in force    level {}", levels.in_force)?;
    for member in &levels.members {
        match member.understands {
            Some(level) => writeln!(out, "node {:<6} understands level {level}", member.node)?,
            None => writeln!(out, "node {:<6} silent", member.node)?,
        }
    }
    if levels.in_force < levels.newest {
        writeln!(
            out,
            "note        `--raise` puts level {} in force, once all servers of the cluster are upgraded",
            levels.newest
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(members: [Option<u32>; 3]) -> Levels {
        let members: Vec<_> = (1..)
            .zip(members)
            .map(|(node, understands)| MemberLevel { node, understands })
            .collect();
        Levels {
            in_force: 1,
            newest: members
                .iter()
                .filter_map(|member| member.understands)
                .max()
                .unwrap_or(1),
            members,
        }
    }

    #[test]
    fn a_member_that_is_silent_or_behind_stands_against_a_raise() {
        assert!(levels([Some(2), Some(2), Some(2)]).check_all_understand().is_ok());
        for (members, named) in [
            ([Some(2), Some(1), Some(2)], "server 2 understands"),
            ([Some(2), Some(2), None], "server 3 does not answer"),
        ] {
            let error = levels(members).check_all_understand().expect_err("not all understand");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
