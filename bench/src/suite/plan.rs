//! The file of a suite: workloads and targets, each a name and flags of `cairn bench`, so that there is one vocabulary only.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde::Deserialize;

use crate::args::{RunArgs, SuiteArgs};
use crate::limits::MAX_SUITE_BYTES;

/// What is to be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuitePlan {
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) rounds: u32,
    #[serde(rename = "workload")]
    pub(super) workloads: Vec<Workload>,
    #[serde(rename = "target", default)]
    pub(super) targets: Vec<Target>,
}

/// What is done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) name: String,
    flags: Flags,
}

/// What it is done to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    pub(super) name: String,
    flags: Flags,
}

/// A line, parted at spaces, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Flags {
    Line(String),
    List(Vec<String>),
}

#[derive(Parser)]
#[command(name = "cairn bench", no_binary_name = true)]
struct Line {
    #[command(flatten)]
    run: RunArgs,
}

impl SuitePlan {
    /// # Errors
    /// A file that is no suite, flags that `cairn bench` does not take, names that are given twice.
    pub(super) fn load(args: &SuiteArgs) -> Result<Self> {
        let shown = args.file.display();
        let length = fs::metadata(&args.file)
            .with_context(|| format!("cannot read {shown}"))?
            .len();
        ensure!(length <= MAX_SUITE_BYTES, "{shown} is longer than any suite");
        let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {shown}"))?;
        let mut plan: Self = toml::from_str(&text).with_context(|| format!("{shown} is no suite"))?;
        for target in &args.targets {
            let (name, flags) = target
                .split_once('=')
                // What it is may be a secret.
                .context("a --target is not NAME=FLAGS")?;
            plan.targets.push(Target {
                name: name.to_owned(),
                flags: Flags::Line(flags.to_owned()),
            });
        }
        plan.rounds = args.rounds.unwrap_or(plan.rounds).max(1);
        let known: BTreeSet<_> = plan.workloads.iter().map(|workload| workload.name.clone()).collect();
        if let Some(unknown) = args.only.iter().find(|name| !known.contains(*name)) {
            bail!("{shown} has no workload {unknown}");
        }
        ensure!(
            known.len() == plan.workloads.len(),
            "{shown} has two workloads of one name"
        );
        if !args.only.is_empty() {
            plan.workloads.retain(|workload| args.only.contains(&workload.name));
        }
        plan.check()?;
        Ok(plan)
    }

    /// The targets, beginning with another one each round.
    pub(super) fn targets_in_turn(&self, round: u32) -> impl Iterator<Item = &Target> {
        let first = round as usize % self.targets.len();
        self.targets[first..].iter().chain(&self.targets[..first])
    }

    /// Everything is parsed before anything is run.
    fn check(&self) -> Result<()> {
        ensure!(!self.workloads.is_empty(), "the suite has no workload");
        ensure!(
            !self.targets.is_empty(),
            "no target: give one by --target 'NAME=--s3 http://HOST:PORT'"
        );
        let names: BTreeSet<_> = self.targets.iter().map(|target| &target.name).collect();
        ensure!(names.len() == self.targets.len(), "two targets have one name");
        for workload in &self.workloads {
            for target in &self.targets {
                run_args(workload, target)?;
            }
        }
        Ok(())
    }
}

/// The flags of both, the workload's name for its figures.
///
/// # Errors
/// Flags that `cairn bench` does not take.
pub(super) fn run_args(workload: &Workload, target: &Target) -> Result<RunArgs> {
    let flags = target.flags.words().chain(workload.flags.words());
    let line = Line::try_parse_from(flags)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(|| format!("workload {} on target {}", workload.name, target.name))?;
    let mut args = line.run;
    ensure!(
        args.output.json.is_none() && args.output.csv.is_none() && !args.work.cleanup,
        "workload {} on target {}: a suite writes its results itself and cleans up",
        workload.name,
        target.name
    );
    args.output.name = Some(workload.name.clone());
    Ok(args)
}

impl Flags {
    fn words(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Self::Line(line) => Box::new(line.split_whitespace().map(str::to_owned)),
            Self::List(list) => Box::new(list.iter().cloned()),
        }
    }
}

fn one() -> u32 {
    1
}
