//! `cairn cluster`: making a cluster, letting nodes in and out, and what a running server does as a node.
//!
//! Invariant: what proves who a node is comes into its directory whole or not at all, and only its owner may read the keys.

mod authority;
mod contacts;
mod directory;
mod explain;
mod keeper;
mod layout;
mod member;
mod metrics;
mod node;
mod operator;
mod recovery;
mod reports;
mod safekeeping;
mod state;
mod tolerance;
mod upkeep;
mod verify;
mod way;
mod whoami;

use std::process::ExitCode;

use crate::cli::ClusterCommand;

pub(crate) use contacts::Contacts;
pub(crate) use directory::ClusterDir;
pub(crate) use explain::explain;
pub(crate) use metrics::ClusterMetrics;
pub(crate) use node::{ClusterListener, ClusterNode};
pub(crate) use operator::Operator;
pub(crate) use reports::{ReportWay, Reports, whereabouts};
pub(crate) use way::{Refused, Way};

pub(crate) fn run(command: ClusterCommand) -> anyhow::Result<ExitCode> {
    match command {
        ClusterCommand::Init(args) => authority::init(&args)?,
        ClusterCommand::Token(args) => authority::token(&args)?,
        ClusterCommand::Members(args) => authority::members(&args)?,
        ClusterCommand::Revoke(args) => authority::revoke(&args)?,
        ClusterCommand::RecoveryKey(args) => recovery::new_key(&args)?,
        ClusterCommand::RecoverAuthority(args) => recovery::recover(&args)?,
        ClusterCommand::Join(args) => member::join(&args)?,
        ClusterCommand::Node(args) => whoami::tell(&args)?,
        ClusterCommand::Ping(args) => member::ping(&args)?,
        ClusterCommand::Renew(args) => member::renew(&args)?,
        ClusterCommand::Status(args) => state::status(&args)?,
        ClusterCommand::Plan(args) => layout::plan(&args)?,
        ClusterCommand::Apply(args) => layout::apply(&args)?,
        ClusterCommand::Pause(args) => upkeep::pause(&args, true)?,
        ClusterCommand::Resume(args) => upkeep::pause(&args, false)?,
        ClusterCommand::Wait(args) => return upkeep::wait(&args),
        ClusterCommand::Verify(args) => return verify::verify(&args),
    }
    Ok(ExitCode::SUCCESS)
}
