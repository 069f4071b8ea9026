//! What an operator asks of a metadata group: how it is, and who its members are to be.
//!
//! Invariant: a change is sent to the leader until it says that it has come about, or why it cannot.

use std::{
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use cairn_common::wire::{
    group::{
        AddLearner, GroupChange, GroupChangeReply, GroupStatus, GroupStatusRequest, MemberChange, MemberReport,
        MemberRole, MemberStatus, PromoteLearner, RemoveMember, ReplaceMember, TransferLeadership,
    },
    kind::RequestKind,
};
use serde::Serialize;

use crate::{
    alone::alone,
    cli::{AddArgs, GroupStatusArgs, MemberArgs, ReplaceArgs, TransferArgs},
    cluster::Way,
};

/// How long one question may take.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one that is asked of this machine's own server may take.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(2);

/// `cairn metadata add`
pub(super) fn add(args: &AddArgs) -> anyhow::Result<()> {
    let change = MemberChange::AddLearner(AddLearner {
        node: args.member.node,
        address: args.address.clone(),
    });
    change_members(&args.member.data.data, change)?;
    if args.learner {
        return Ok(());
    }
    promote(&args.member)
}

/// `cairn metadata promote`
pub(super) fn promote(args: &MemberArgs) -> anyhow::Result<()> {
    change_members(
        &args.data.data,
        MemberChange::Promote(PromoteLearner { node: args.node }),
    )
}

/// `cairn metadata remove`
pub(super) fn remove(args: &MemberArgs) -> anyhow::Result<()> {
    change_members(&args.data.data, MemberChange::Remove(RemoveMember { node: args.node }))
}

/// `cairn metadata replace`
pub(super) fn replace(args: &ReplaceArgs) -> anyhow::Result<()> {
    let change = MemberChange::Replace(ReplaceMember {
        dead: args.dead,
        node: args.member.node,
        address: args.address.clone(),
    });
    change_members(&args.member.data.data, change)
}

/// `cairn metadata transfer`
pub(super) fn transfer(args: &TransferArgs) -> anyhow::Result<()> {
    let to = args.to.unwrap_or_default();
    change_members(&args.data.data, MemberChange::Transfer(TransferLeadership { to }))
}

/// `cairn metadata status`
pub(super) fn status(args: &GroupStatusArgs) -> anyhow::Result<()> {
    let status = alone(async {
        let mut way = Way::to_service(&args.data.data).await?;
        let request = GroupStatusRequest::default();
        let timeout = if args.local { LOCAL_TIMEOUT } else { STATUS_TIMEOUT };
        // Any member tells; the leader tells more.
        let told: GroupStatus = way.ask(RequestKind::GroupStatus, &request, timeout).await?;
        let leader = told.members.iter().find(|member| member.node == told.leader);
        let better = match leader {
            Some(leader) if !args.local && way.turn(leader.node, &leader.address) => {
                way.ask(RequestKind::GroupStatus, &request, STATUS_TIMEOUT).await.ok()
            }
            _ => None,
        };
        way.close().await;
        Ok(better.unwrap_or(told))
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&state(&status)).context("writing JSON")?;
        writeln!(out, "{text}")?;
        return Ok(());
    }
    print(&mut out, &state(&status)).context("writing to standard output")
}

/// A group as it is told to people and programs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GroupState {
    group: u32,
    /// 0 where none is known.
    leader: u64,
    feature_level: u32,
    members: Vec<MemberState>,
    /// What a person should know.
    notes: Vec<String>,
}

/// A member as the answering one knows it.
#[derive(Clone, Debug, Serialize)]
struct MemberState {
    node: u64,
    address: String,
    role: &'static str,
    /// What it said of itself; none where it did not answer.
    report: Option<ReportState>,
}

#[derive(Clone, Debug, Serialize)]
struct ReportState {
    ready: bool,
    term: u64,
    last_index: u64,
    applied_index: u64,
    purged_index: u64,
    chained_hash: String,
    lag: u64,
    skew_ms: i64,
    silent_ms: u64,
    low_on_space: bool,
    snapshot_bytes_done: u64,
    snapshot_bytes: u64,
    /// Why it has stopped for good; empty where it has not.
    failure: String,
}

/// What of a group's status is told.
pub(super) fn state(status: &GroupStatus) -> GroupState {
    let own = status.own.as_ref();
    let member = |member: &MemberStatus| {
        // A member that does not lead hears nothing of the others, but knows itself.
        let own = own.filter(|own| own.node == member.node);
        MemberState {
            node: member.node,
            address: member.address.clone(),
            role: role_name(member.role()),
            report: member
                .report
                .as_ref()
                .or(own)
                .map(|report| report_state(member, report)),
        }
    };
    let mut members: Vec<_> = status.members.iter().map(member).collect();
    // It waits to be added, was removed, or has not heard of its own place yet.
    if let Some(outsider) = own.filter(|own| status.members.iter().all(|member| member.node != own.node)) {
        members.push(MemberState {
            node: outsider.node,
            address: String::new(),
            role: "outside",
            report: Some(report_state(&MemberStatus::default(), outsider)),
        });
    }
    GroupState {
        group: status.group,
        leader: status.leader,
        feature_level: status.feature_level,
        members,
        notes: status.notes.clone(),
    }
}

fn report_state(member: &MemberStatus, report: &MemberReport) -> ReportState {
    ReportState {
        ready: report.is_ready,
        term: report.term,
        last_index: report.last_index,
        applied_index: report.applied_index,
        purged_index: report.purged_index,
        chained_hash: hex::encode(&report.chain),
        lag: member.lag,
        skew_ms: member.skew_ms,
        silent_ms: member.silent_ms,
        low_on_space: report.is_low_on_space,
        snapshot_bytes_done: report.snapshot_bytes_done,
        snapshot_bytes: report.snapshot_bytes,
        failure: report.failure.clone(),
    }
}

const fn role_name(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Unspecified => "unknown",
        MemberRole::Learner => "learner",
        MemberRole::Voter => "voter",
        MemberRole::Changing => "changing",
    }
}

fn print(out: &mut impl io::Write, state: &GroupState) -> io::Result<()> {
    let leader = if state.leader == 0 {
        "none".to_owned()
    } else {
        format!("node {}", state.leader)
    };
    writeln!(out, "leader      {leader}")?;
    writeln!(out, "features    level {}", state.feature_level)?;
    for note in &state.notes {
        writeln!(out, "note        {note}")?;
    }
    writeln!(
        out,
        "{:<6} {:<24} {:<9} {:<7} {:>6} {:>12} {:>9} {:>9}  hash",
        "node", "address", "role", "state", "term", "applied", "behind", "skew ms"
    )?;
    for member in &state.members {
        write!(out, "{:<6} {:<24} {:<9} ", member.node, member.address, member.role)?;
        match &member.report {
            None => writeln!(out, "silent")?,
            Some(report) if !report.failure.is_empty() => writeln!(out, "FAILED: {}", report.failure)?,
            Some(report) => {
                let ready = if report.ready { "ready" } else { "behind" };
                let hash = report.chained_hash.get(..12).unwrap_or_default();
                writeln!(
                    out,
                    "{ready:<7} {:>6} {:>12} {:>9} {:>9}  {hash}",
                    report.term, report.applied_index, report.lag, report.skew_ms
                )?;
            }
        }
    }
    Ok(())
}

fn change_members(data: &Path, change: MemberChange) -> anyhow::Result<()> {
    let request = GroupChange {
        group: 0,
        change: Some(change),
    };
    let reply: GroupChangeReply = alone(async {
        let mut way = Way::from(data).await?;
        let reply = way.ask_leader(RequestKind::GroupChange, &request).await;
        way.close().await;
        reply
    })?;
    let status = reply.status.context("the group answered without its state")?;
    print(&mut io::stdout().lock(), &state(&status)).context("writing to standard output")
}
