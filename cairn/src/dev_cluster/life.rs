//! One process of the cluster before it becomes what it is to be: it binds its life to that of the process that started it, enters
//! its network namespace, and then executes `cairn` anew.
//!
//! Invariant: there is no moment at which the starter can end and leave this process behind: the kernel is told first, and then it
//! is looked whether the starter is still there.

use std::{
    fs::File,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    process::{Pid, Signal, getppid, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::network;
use crate::cli::PartProcessArgs;

pub(super) fn run(args: &PartProcessArgs) -> anyhow::Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("binding this process to the dev-cluster's")?;
    let parent = getppid().map(Pid::as_raw_nonzero);
    let is_there = parent.is_some_and(|parent| u32::try_from(parent.get()).is_ok_and(|pid| pid == args.parent));
    ensure!(is_there, "the dev-cluster has ended");
    if let Some(namespace) = &args.namespace {
        enter(&network::namespace_file(namespace))?;
    }
    let program = std::env::current_exe().context("the path of this program")?;
    let error = Command::new(program).args(&args.command).exec();
    bail!("starting {:?}: {error}", args.command)
}

/// Only this thread, which is the only one until `exec`.
fn enter(namespace: &Path) -> anyhow::Result<()> {
    let file = File::open(namespace).with_context(|| format!("opening {}", namespace.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("entering {}", namespace.display()))
}
