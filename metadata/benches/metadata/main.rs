//! The metadata service measured: alone, as a group beside etcd on the same disk, and with many objects.
//!
//! Owns: the order of things. Members, drivers and etcd are processes of their own; this one starts them, tells them when
//! to begin, and counts their CPU time.
//!
//! `CAIRN_BENCH_PARTS` (`single,group,scale`; `members` is the group without etcd beside it) chooses, `CAIRN_BENCH_ROUNDS` (3) and `CAIRN_BENCH_SECONDS` (3: one turn)
//! change the length, `CAIRN_BENCH_MEMBERS` (3) the group, `CAIRN_BENCH_OBJECTS` (1,000,000) the scale, and
//! `CAIRN_BENCH_DIR` says where the stores lie: never on a file system in memory, where a sync costs nothing.
//!
//! Invariant: nothing is left behind, neither a process nor a folder, however the benchmark ends short of SIGKILL.

mod client;
mod etcd;
mod group;
mod large;
mod process;
mod report;
mod scale;
mod single;
mod turn;
mod workload;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::etcd::Etcd;
use crate::group::Group;
use crate::report::{Report, progress};

/// What is done before anything is measured: until the files of a log are written again in place of new ones.
const WARM_UP: Duration = Duration::from_secs(10);

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["member", number, directory, address] => {
            group::run_member(number.parse()?, Path::new(directory), address.parse()?)
        }
        ["drive", directory, fresh, addresses] => group::run_driver(Path::new(directory), fresh, addresses),
        ["load", directory, objects] => scale::run_load(Path::new(directory), objects.parse()?),
        ["crowd", directory] => scale::run_crowd(Path::new(directory)),
        ["compact", directory] => scale::run_compact(Path::new(directory)),
        // Whatever cargo passes.
        _ => run_all(),
    }
}

/// All parts that are asked for, or until someone wants us gone. They run on a thread of their own, which starts all
/// children and waits for their answers; the children end with it.
fn run_all() -> Result<()> {
    let plan = Plan::from_environment()?;
    let directory = plan.directory()?;
    let path = directory.path().to_owned();
    let (done, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let measured = Runtime::new().map_err(Into::into);
        // Nobody waits any more where the benchmark was interrupted.
        let _ = done.send(measured.and_then(|runtime| runtime.block_on(measure(&path, &plan))));
    });
    Runtime::new()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            measured = ended => measured.context("the benchmark has died")?,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    })
}

async fn measure(directory: &Path, plan: &Plan) -> Result<()> {
    let mut report = Report::default();
    let measured = run_parts(directory, plan, &mut report).await;
    // What was measured before a failure is worth reading too.
    report.print()?;
    measured
}

async fn run_parts(directory: &Path, plan: &Plan, report: &mut Report) -> Result<()> {
    for part in plan.parts.split(',') {
        let directory = directory.join(part);
        std::fs::create_dir(&directory)?;
        match part {
            "single" => single::run(&directory, plan.rounds, plan.time, report).await?,
            "group" => beside_etcd(&directory, plan, report).await?,
            "members" => members_alone(&directory, plan, report)?,
            "scale" => scale::run(&directory, plan.objects, report).await?,
            other => bail!("no such part: {other:?}; there are single, members, group and scale"),
        }
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

/// Cairn and etcd in turns, each round beginning with the other one.
async fn beside_etcd(directory: &Path, plan: &Plan, report: &mut Report) -> Result<()> {
    let etcd = Etcd::start(directory).await?;
    let group = Group::start(directory, plan.members)?;
    let mut theirs = etcd.drive(&plan.etcd_driver).await?;
    let mut ours = group.drive(directory, true)?;
    progress("beside etcd: warming up");
    theirs.turn("creates", WARM_UP, &etcd.ids())?;
    ours.turn("creates", WARM_UP, &group.ids())?;
    for round in 0..plan.rounds {
        progress(&format!("beside etcd: round {} of {}", round + 1, plan.rounds));
        for what in ["creates", "lookups"] {
            for turn in 0..2 {
                if (turn + round) % 2 == 0 {
                    let figures = theirs.turn(what, plan.time, &etcd.ids())?;
                    report.add_figures(&format!("metadata_etcd_{what}"), &figures);
                } else {
                    let figures = ours.turn(what, plan.time, &group.ids())?;
                    report.add_figures(&format!("metadata_group_{what}"), &figures);
                }
            }
        }
        ours.turn("heartbeat", Duration::ZERO, &[])?;
    }
    for what in ["creates", "lookups"] {
        for figure in ["rate", "server_cpu", "p99"] {
            let name = |who: &str| format!("metadata_{who}_{what}_{figure}");
            report.add_ratio(&format!("{}_to_etcd", name("group")), &name("group"), &name("etcd"));
        }
    }
    Ok(())
}

/// The group by itself: for whoever looks for what it costs.
fn members_alone(directory: &Path, plan: &Plan, report: &mut Report) -> Result<()> {
    let group = Group::start(directory, plan.members)?;
    let mut driver = group.drive(directory, true)?;
    driver.turn("creates", WARM_UP, &group.ids())?;
    for round in 0..plan.rounds {
        progress(&format!("members: round {} of {}", round + 1, plan.rounds));
        for what in ["creates", "lookups"] {
            let figures = driver.turn(what, plan.time, &group.ids())?;
            report.add_figures(&format!("metadata_members_{what}"), &figures);
        }
        driver.turn("heartbeat", Duration::ZERO, &[])?;
    }
    Ok(())
}

/// What is measured, and for how long.
struct Plan {
    parts: String,
    rounds: usize,
    time: Duration,
    members: u64,
    objects: u64,
    parent: Option<String>,
    etcd_driver: String,
}

impl Plan {
    fn from_environment() -> Result<Self> {
        let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let number = |name: &str, default: &str| {
            let text = text(name, default);
            text.parse::<u64>()
                .with_context(|| format!("{name} is not a number: {text:?}"))
        };
        Ok(Self {
            parts: text("CAIRN_BENCH_PARTS", "single,group,scale"),
            rounds: usize::try_from(number("CAIRN_BENCH_ROUNDS", "3")?.max(1))?,
            time: Duration::from_secs(number("CAIRN_BENCH_SECONDS", "3")?.max(1)),
            members: number("CAIRN_BENCH_MEMBERS", "3")?,
            objects: number("CAIRN_BENCH_OBJECTS", "1000000")?,
            parent: std::env::var("CAIRN_BENCH_DIR").ok(),
            etcd_driver: text("CAIRN_BENCH_ETCD_DRIVER", "cairn-etcd-bench"),
        })
    }

    /// A folder for all parts, beside the program unless told otherwise: the target folder is on a disk.
    fn directory(&self) -> Result<TempDir> {
        let program = std::env::current_exe()?;
        let beside = program.parent().context("a program in no folder")?;
        let parent = self.parent.as_ref().map_or(beside, Path::new);
        Ok(tempfile::Builder::new().prefix("bench-metadata-").tempdir_in(parent)?)
    }
}
