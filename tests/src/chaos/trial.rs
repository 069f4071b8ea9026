//! A trial: a cluster, clients that load it, a schedule of faults, and the judgement at the end.
//!
//! *Invariant*: what fails says from which seed, and keeps the cluster's directory with all logs.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use super::schedule::{Fault, Hit, Options, Round, Schedule};
use super::worker::{BUCKET, Shared, Worker};
use crate::dev_cluster::DevCluster;
use crate::machines::devices;
use crate::wait;

const CLIENTS: u64 = 8;

/// After the last fault of a round all servers are known to live within this.
const RECOVERY_BOUND: Duration = Duration::from_secs(60);

/// After the last fault everything has its redundancy within this.
const REDUNDANCY_BOUND: Duration = Duration::from_secs(180);

/// So long nothing may wait for repair before that counts: readers report what they find every 5 s.
const QUIET: Duration = Duration::from_secs(7);

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    pub name: &'static str,
    pub metadata: u64,
    pub chunkservers: u64,
    pub gateways: u64,
    pub redundancy: &'static str,
    pub seed: u64,
    /// How long faults are injected.
    pub length: Duration,
    /// Each process has a network of its own, so that partitions are among the faults; needs root.
    pub may_partition: bool,
    pub may_wipe: bool,
}

/// One that runs.
#[derive(Debug)]
struct Trial {
    chaos: Chaos,
    // Before the cluster, whose folder goes with it.
    shared: Arc<Shared>,
    cluster: DevCluster,
}

impl Chaos {
    /// Does all of it.
    ///
    /// # Errors
    /// An acknowledged object is lost or wrong, an operation does not succeed in its bound, or redundancy does not come back.
    pub fn run(self) -> Result<()> {
        let mut trial = Trial::start(self)?;
        let judged = trial.judge();
        for line in trial.shared.measures.lines() {
            say(self.name, &line);
        }
        if judged.is_err() {
            let kept = trial.cluster.keep();
            say(self.name, &format!("FAILED; logs are in {}", kept.display()));
        }
        judged.with_context(|| format!("{} with CAIRN_CHAOS_SEED={}", self.name, self.seed))
    }
}

impl Trial {
    fn start(chaos: Chaos) -> Result<Self> {
        let mut cluster = DevCluster::prepare(chaos.name)?;
        let counts = [
            ("--metadata", chaos.metadata),
            ("--chunkservers", chaos.chunkservers),
            ("--gateways", chaos.gateways),
        ];
        let mut flags: Vec<String> = counts
            .iter()
            .flat_map(|(flag, count)| [(*flag).to_owned(), count.to_string()])
            .collect();
        flags.extend(["--redundancy".to_owned(), chaos.redundancy.to_owned()]);
        if chaos.may_partition {
            flags.push("--namespaces".to_owned());
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        cluster.start(&flags)?;
        cluster.client(1)?.make_bucket(BUCKET)?;
        let gateways = (1..=chaos.gateways).map(|number| cluster.gateway(usize::try_from(number)?));
        let shared = Shared::new(gateways.collect::<Result<_>>()?);
        Ok(Self {
            chaos,
            shared: Arc::new(shared),
            cluster,
        })
    }

    fn judge(&mut self) -> Result<()> {
        say(
            self.chaos.name,
            &format!("seed {}, {:?} of faults", self.chaos.seed, self.chaos.length),
        );
        let workers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let worker = Worker::new(Arc::clone(&self.shared), number, self.chaos.seed);
                thread::spawn(move || worker.run())
            })
            .collect();
        let injected = self.inject();
        self.shared.stop();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow!("a client panicked")));
        let workers: Vec<Worker> = joined.collect::<Result<_>>()?;
        injected?;
        self.shared.check()?;
        let healed = Instant::now();
        self.await_redundancy()?;
        self.shared
            .measures
            .full_redundancy(healed.elapsed().saturating_sub(QUIET));
        let workers = self.verify(workers)?;
        // What says that nothing is missing is taken at its word.
        let dead = ["chunkserver-1", "chunkserver-2"];
        self.cluster.tell(&["kill", dead[0], dead[1]])?;
        self.verify(workers).with_context(|| format!("with {dead:?} killed"))?;
        self.cluster.stop()
    }

    /// Rounds of faults until the time is over.
    fn inject(&self) -> Result<()> {
        let options = Options {
            metadata: self.chaos.metadata,
            chunkservers: self.chaos.chunkservers,
            may_partition: self.chaos.may_partition,
            may_wipe: self.chaos.may_wipe,
        };
        let end = Instant::now() + self.chaos.length;
        self.pass(Duration::from_secs(3))?;
        for round in Schedule::new(self.chaos.seed, options) {
            if Instant::now() >= end {
                break;
            }
            self.play(&round).with_context(|| format!("{round:?}"))?;
        }
        Ok(())
    }

    fn play(&self, round: &Round) -> Result<()> {
        if round.wipes() {
            // Who wipes two devices while others lack shards loses data by right.
            self.await_redundancy()?;
        }
        for hit in &round.hits {
            let at = self.shared.measures.now().as_secs_f64();
            say(self.chaos.name, &format!("{at:7.1} s  {hit}"));
            self.shared.measures.fault(hit.to_string());
            self.hit(hit)?;
            self.pass(round.stagger)?;
        }
        self.pass(round.hold)?;
        for hit in &round.hits {
            self.undo(hit)?;
            self.pass(round.stagger)?;
        }
        let at = self.shared.measures.now().as_secs_f64();
        say(self.chaos.name, &format!("{at:7.1} s  undone"));
        self.await_servers()?;
        if round.wipes() {
            self.await_redundancy()?;
        }
        self.pass(round.calm)
    }

    fn hit(&self, hit: &Hit) -> Result<()> {
        let name = hit.name.as_str();
        match hit.fault {
            Fault::Kill => self.cluster.tell(&["kill", name])?,
            Fault::Stop => self.cluster.tell(&["stop", name])?,
            Fault::Partition => self.cluster.tell(&["partition", name])?,
            Fault::Wipe => {
                self.cluster.tell(&["kill", name])?;
                self.cluster.tell(&["wipe", name])?
            }
        };
        Ok(())
    }

    fn undo(&self, hit: &Hit) -> Result<()> {
        let name = hit.name.as_str();
        let command = match hit.fault {
            Fault::Kill | Fault::Wipe => "start",
            Fault::Stop => "cont",
            Fault::Partition => "heal",
        };
        self.cluster.tell(&[command, name])?;
        Ok(())
    }

    /// Lets the load go on for a while.
    fn pass(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        wait::until("time passes", time + RECOVERY_BOUND, || {
            self.shared.check()?;
            Ok((Instant::now() >= until).then_some(()))
        })
    }

    /// Waits until all servers and devices are known to live.
    fn await_servers(&self) -> Result<()> {
        let all = self.chaos.chunkservers;
        self.await_status("all devices are up", RECOVERY_BOUND, |status| {
            devices(status).filter(|device| device["up"] == true).count() as u64 == all
        })
    }

    /// Waits until nothing has waited for repair for a while.
    fn await_redundancy(&self) -> Result<()> {
        let mut quiet_since = None;
        self.await_status("everything has its redundancy again", REDUNDANCY_BOUND, |status| {
            if !crate::machines::nothing_waits(status) {
                quiet_since = None;
                return false;
            }
            quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET
        })
    }

    fn await_status(&self, what: &str, bound: Duration, mut holds: impl FnMut(&Value) -> bool) -> Result<()> {
        let mut last = String::new();
        let waited = wait::until(what, bound, || {
            self.shared.check()?;
            // While a leader is elected nobody knows.
            let status = match self.cluster.cluster_status("metadata-1") {
                Ok(status) => status,
                Err(error) => {
                    last = format!("{error:#}");
                    return Ok(None);
                }
            };
            let is_so = holds(&status);
            last = status.to_string();
            Ok(is_so.then_some(()))
        });
        waited.with_context(|| format!("what was told last: {last}"))
    }

    /// Has every client read everything.
    fn verify(&self, workers: Vec<Worker>) -> Result<Vec<Worker>> {
        let begun = Instant::now();
        let verified: Vec<_> = workers
            .into_iter()
            .map(|mut worker| thread::spawn(move || worker.verify().map(|count| (worker, count))))
            .collect();
        let mut workers = Vec::new();
        let mut objects = 0;
        for thread in verified {
            let (worker, count) = thread.join().map_err(|_| anyhow!("a client panicked"))??;
            objects += count;
            workers.push(worker);
        }
        ensure!(objects > 0, "nothing was written");
        say(
            self.chaos.name,
            &format!("{objects} keys verified in {:.1?}", begun.elapsed()),
        );
        Ok(workers)
    }
}

#[expect(clippy::print_stderr, reason = "a long run says where it is")]
fn say(name: &str, line: &str) {
    eprintln!("CHAOS {name}: {line}");
}
