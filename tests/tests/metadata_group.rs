//! The metadata service as three real processes under load: leaders that are killed, stopped or asked to go, and members that change.
//!
//! Each test judges the whole history of what clients were told: it is linearizable, no acknowledged append is lost, none is there
//! twice, and in the end all members hold the same state. How long a fault is felt is printed, never asserted: it is a measure of the
//! machine too. (`make test-long` does it for five minutes.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cairn_tests::history::{Action, Bounds, KeyCall, KeyReply, ObjectKeys, Operation, Verdict, check};
use cairn_tests::load::{Fault, GroupClient, GroupWay, Length, Load, Plan, Summary, outages};
use cairn_tests::metadata_group::MetadataGroup;
use cairn_tests::{place, wait};
use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

/// After a fault the group goes on within this, however busy the machine.
const RECOVERY_BOUND: Duration = Duration::from_secs(30);
/// A load that nobody ends is ended.
const LOAD_BOUND: Duration = Duration::from_secs(400);

const PLAN: Plan = Plan {
    groups: 4,
    keys_per_group: 6,
    ledger_clients: 3,
    pace: Duration::from_millis(20),
    length: Length::Duration(LOAD_BOUND),
    seed: 4,
};
const CLIENTS: usize = 12;

/// A group under load, and what was done to it.
struct Trial {
    name: &'static str,
    // Fields drop in this order: nothing of the load outlives the group's folder.
    runtime: Runtime,
    group: MetadataGroup,
    way: Arc<GroupWay>,
    load: Arc<Load>,
    running: Option<JoinHandle<Result<()>>>,
    faults: Vec<Fault>,
}

impl Trial {
    fn start(name: &'static str) -> Result<Self> {
        Self::of(name, MetadataGroup::start(name, 3)?)
    }

    fn of(name: &'static str, group: MetadataGroup) -> Result<Self> {
        let runtime = Runtime::new()?;
        let folder = group.folder().join("client");
        std::fs::create_dir_all(&folder)?;
        group.join(&folder, "client,operator")?;
        let leader = group.members()[group.leader()?].node;
        let way = {
            let _within = runtime.enter();
            Arc::new(GroupWay::open(&folder, &group.addresses())?)
        };
        runtime.block_on(way.prepare(leader))?;
        let load = Load::new(PLAN);
        let clients = runtime.block_on(async {
            let mut clients: Vec<Arc<GroupClient>> = Vec::new();
            for _ in 0..CLIENTS {
                clients.push(Arc::new(way.client().await?));
            }
            anyhow::Ok(clients)
        })?;
        let running = {
            let load = Arc::clone(&load);
            runtime.spawn(async move { load.run(&clients).await })
        };
        let trial = Self {
            name,
            runtime,
            group,
            way,
            load,
            running: Some(running),
            faults: Vec::new(),
        };
        trial.goes_on()?;
        Ok(trial)
    }

    /// Waits until writes that began after this call are acknowledged.
    fn goes_on(&self) -> Result<()> {
        let begun = self.load.history.count();
        let is_done = |operation: &Operation<KeyCall, KeyReply>| {
            operation.call.action != Action::Get && operation.answer().is_some()
        };
        wait::until("writes are acknowledged again", RECOVERY_BOUND, || {
            Ok((self.load.history.count_since(begun, is_done) >= 50).then_some(()))
        })
    }

    fn note(&mut self, name: &str) {
        let at_ns = self.load.history.now_ns();
        self.faults.push(Fault {
            name: name.to_owned(),
            at_ns,
        });
    }

    /// Kills the leader, waits until the others go on, and starts it again.
    fn kill_leader(&mut self) -> Result<()> {
        let leader = self.group.leader()?;
        self.note("kill -9");
        self.group.member(leader).kill();
        self.goes_on()?;
        self.group.member(leader).start()?;
        self.group.ready(leader)
    }

    /// Ends the load and judges all that was recorded.
    fn judge(mut self) -> Result<()> {
        let end_ns = self.load.history.now_ns();
        self.load.stop();
        let running = self.running.take().context("the load runs")?;
        self.runtime.block_on(running)??;
        let appended = self.runtime.block_on(async {
            let reader = self.way.client().await?;
            self.load.finish(&reader).await
        })?;
        ensure!(appended > 0, "nothing was appended to the ledger");
        let history = self.load.history.history();
        let is_write = |call: &KeyCall| call.action != Action::Get;
        let outages = outages(&history, &self.faults, end_ns, is_write);
        let summary = Summary::of(&history, Duration::from_nanos(end_ns));
        for line in summary.lines(self.name, &outages) {
            report(&line);
        }
        for outage in &outages {
            report(&format!(
                "{} at {} ms: {:?}",
                outage.fault.name,
                outage.fault.at_ns / 1_000_000,
                outage.length
            ));
        }
        if let Some(longest) = outages.iter().map(|outage| outage.length).max() {
            report(&format!("BENCH {}_outage_max_ms {}", self.name, longest.as_millis()));
        }
        let unfinished = outages.iter().find(|outage| !outage.is_over);
        ensure!(unfinished.is_none(), "nothing was acknowledged after {unfinished:?}");
        match check(&ObjectKeys, &history, Bounds::default()) {
            Verdict::Linearizable => {}
            Verdict::Violated(violation) => bail!("{violation}"),
            Verdict::Undecided(bound) => bail!("the checker gave up: {bound}"),
        }
        self.group.settle()
    }
}

#[expect(clippy::print_stderr, reason = "numbers of this run, shown with the test's output")]
fn report(line: &str) {
    eprintln!("{line}");
}

#[test]
fn killed_leaders_lose_and_double_nothing() -> Result<()> {
    let mut trial = Trial::start("metadata_kill")?;
    for _ in 0..3 {
        trial.kill_leader()?;
    }
    trial.judge()
}

#[test]
fn leaders_killed_for_five_minutes_lose_and_double_nothing() -> Result<()> {
    if !place::is_long() {
        return Ok(());
    }
    let mut trial = Trial::start("metadata_kill_long")?;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(300) {
        let round = Instant::now();
        trial.kill_leader()?;
        wait::until("a few seconds between two kills", RECOVERY_BOUND, || {
            Ok((round.elapsed() >= Duration::from_secs(5)).then_some(()))
        })?;
    }
    trial.judge()
}

#[test]
fn a_deposed_leader_serves_nothing_stale() -> Result<()> {
    let mut trial = Trial::start("metadata_deposed")?;
    let stopped = trial.group.leader()?;
    let node = trial.group.members()[stopped].node;
    let reader = {
        let (way, load) = (Arc::clone(&trial.way), Arc::clone(&trial.load));
        trial
            .runtime
            .spawn(async move { read_at_one_member(&way, &load, node).await })
    };
    trial.goes_on()?;
    trial.note("SIGSTOP");
    trial.group.member(stopped).signal(Signal::STOP)?;
    trial.goes_on()?;
    // Reads wait at its socket now, sent after what the others have acknowledged.
    trial.group.member(stopped).signal(Signal::CONT)?;
    let begun = trial.load.history.count();
    wait::until("the deposed leader answers again", RECOVERY_BOUND, || {
        let is_read =
            |operation: &Operation<KeyCall, KeyReply>| operation.process == PINNED && operation.answer().is_some();
        Ok((trial.load.history.count_since(begun, is_read) >= 20).then_some(()))
    })?;
    reader.abort();
    trial.judge()
}

/// The process of a client that asks one member alone.
const PINNED: usize = usize::MAX - 1;

/// Reads keys at one member, several at once, until it is ended. What is refused is not done.
async fn read_at_one_member(way: &Arc<GroupWay>, load: &Arc<Load>, member: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let mut reads = JoinSet::new();
    for number in 0.. {
        ticks.tick().await;
        let (way, load) = (Arc::clone(way), Arc::clone(load));
        let key = load.key(number % (PLAN.groups * PLAN.keys_per_group));
        reads.spawn(async move {
            let call = KeyCall {
                key: Arc::from(key.as_str()),
                action: Action::Get,
            };
            let invocation = load.history.invoke(PINNED, call);
            match way.read_at(member, &key).await {
                Ok(reply) => load.history.answered(invocation, reply),
                Err(_) => load.history.failed(invocation),
            }
        });
    }
}

#[test]
fn a_new_server_takes_the_place_of_a_dead_one() -> Result<()> {
    let mut trial = Trial::start("metadata_replace")?;
    // The first node lets others in, so it stays.
    let dead = match trial.group.leader()? {
        0 => 1,
        other => other,
    };
    trial.note("kill -9 for good");
    trial.group.member(dead).kill();
    trial.goes_on()?;
    let new = trial.group.join_member()?;
    let (dead, node) = (trial.group.members()[dead].node, trial.group.members()[new].node);
    let address = trial.group.members()[new].address().to_owned();
    trial
        .group
        .command(&["replace", &dead.to_string(), &node.to_string(), &address])?;
    trial.goes_on()?;
    // With the dead one gone for good, the new one's vote is needed once another goes.
    trial.group.command(&["transfer", &node.to_string()])?;
    trial.goes_on()?;
    ensure!(trial.group.leader()? == new, "the new server was to lead");
    trial.judge()
}

#[test]
fn leadership_moves_under_load() -> Result<()> {
    let mut trial = Trial::start("metadata_transfer")?;
    for _ in 0..3 {
        for node in ["1", "2", "3"] {
            trial.note("transfer");
            trial.group.command(&["transfer", node])?;
            trial.goes_on()?;
        }
    }
    let leader = trial.group.leader()?;
    trial.note("SIGTERM");
    trial.group.member(leader).stop()?;
    trial.goes_on()?;
    trial.group.member(leader).start()?;
    trial.judge()
}

#[test]
fn a_learner_gets_what_the_log_no_longer_holds() -> Result<()> {
    let group = MetadataGroup::start_with("metadata_snapshot", 3, &["--snapshot-mib", "1"])?;
    let mut trial = Trial::of("metadata_snapshot", group)?;
    let leader = trial.group.leader()?;
    trial
        .runtime
        .block_on(async { trial.way.client().await?.fill(400).await })?;
    let purged = wait::until("the log is cut", RECOVERY_BOUND * 2, || {
        let purged = trial.group.report(leader)?["purged_index"].as_u64().unwrap_or(0);
        Ok((purged > 0).then_some(purged))
    })?;
    let new = trial.group.join_member()?;
    trial.note("add");
    trial.group.add_last()?;
    trial.goes_on()?;
    let held = trial.group.report(new)?["purged_index"].as_u64().unwrap_or(0);
    ensure!(
        held >= purged,
        "the new server's log begins at {held}, that of the leader began at {purged}"
    );
    trial.judge()
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_do() -> Result<()> {
    let mut group = MetadataGroup::start("metadata_refusals", 1)?;
    let new = group.join_member()?;
    let (node, address) = (
        group.members()[new].node.to_string(),
        group.members()[new].address().to_owned(),
    );
    group.command(&["add", "--learner", &node, &address])?;
    for (arguments, expected) in [
        (vec!["transfer", &node], "is no voter"),
        (vec!["promote", "99"], "add it first"),
        (vec!["add", "99", "127.0.0.1:1"], "does not answer"),
        (vec!["replace", "98", "99", "127.0.0.1:1"], "98"),
        (vec!["remove", "1"], "voter"),
        (vec!["add", "99"], "ADDR"),
    ] {
        let said = group.refusal(&arguments)?;
        ensure!(said.contains(expected), "{arguments:?}: {said}");
    }
    // Asking again for what is done already is no error.
    group.command(&["promote", &node])?;
    group.command(&["promote", &node])?;
    group.command(&["transfer", &node])?;
    group.member(new).stop()?;
    ensure!(group.leader()? == 0, "leadership was to move before its holder stopped");

    let data = group.members()[new].data().to_owned();
    std::fs::remove_dir_all(data.join("metadata"))?;
    let said = group.start_refused(&data)?;
    ensure!(said.contains("join a new node"), "{said}");
    let client = group.folder().join("client");
    std::fs::create_dir_all(&client)?;
    group.join(&client, "client")?;
    let said = group.start_refused(&client)?;
    ensure!(said.contains("--roles metadata"), "{said}");
    let nobody = group.folder().join("nobody");
    std::fs::create_dir_all(&nobody)?;
    let said = group.start_refused(&nobody)?;
    ensure!(said.contains("cairn cluster join"), "{said}");
    Ok(())
}
