//! The processes of a cluster, and what can be done to them while they run.
//!
//! Invariant: what was asked is done to all named processes or refused before the first, but for what the system itself refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    control::{Answer, Request, Signalled},
    names::{Kind, PartName, parse_all},
    network::Network,
    part::{Part, State},
    program::{Program, words},
    report::{PartStatus, Status, tell},
    shape::Shape,
};
use crate::{cluster::ClusterDir, credentials::RootCredentials};

/// How long a process may take to be ready. It may replay a log, on a machine that a dozen others load.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(90);

/// How long a process may take to stop: a gateway lets requests under way go on for 30 s.
const STOP_DEADLINE: Duration = Duration::from_secs(45);

/// How long giving a device a new life may take.
const WIPE_DEADLINE: Duration = Duration::from_secs(60);

/// How often it is looked whether processes have stopped.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Sizes for many processes on one machine, in MiB: the caches of a metadata server, the buffers of a gateway, segments.
const METADATA_MEMORY_MIB: &str = "128";
const GATEWAY_MEMORY_MIB: &str = "128";
const SEGMENT_MIB: &str = "16";

/// A cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    // Fields drop in this order: the processes before their network.
    pub(super) parts: BTreeMap<PartName, Part>,
    network: Option<Network>,
    /// Those that are cut off from each other, each pair once, the lesser name first.
    cuts: BTreeSet<(PartName, PartName)>,
    pub(super) root: PathBuf,
    pub(super) shape: Shape,
    pub(super) program: Program,
}

impl Cluster {
    /// The cluster of the directory `root`, not started yet.
    pub(super) fn new(root: &Path, shape: Shape, credentials: &RootCredentials) -> anyhow::Result<Self> {
        let network = Network::make(&shape)?;
        let part = |name: PartName| Part {
            name,
            root: root.join(name.to_string()),
            arguments: arguments(root, &shape, name),
            environment: environment(name, credentials),
            namespace: network.as_ref().map(|network| network.namespace(name)),
            state: State::NotStarted,
        };
        Ok(Self {
            parts: shape.parts().into_iter().map(|name| (name, part(name))).collect(),
            network,
            cuts: BTreeSet::new(),
            root: root.to_owned(),
            program: Program::this()?,
            shape,
        })
    }

    /// A process; it is one of the shape.
    pub(super) fn part(&mut self, name: PartName) -> anyhow::Result<&mut Part> {
        self.parts
            .get_mut(&name)
            .with_context(|| format!("there is no {name} here"))
    }

    /// The processes of a kind.
    pub(super) fn of_kind(&self, kind: Kind) -> Vec<PartName> {
        self.parts.keys().copied().filter(|name| name.kind == kind).collect()
    }

    /// Starts processes at once, then waits for each.
    pub(super) async fn start_parts(&mut self, names: &[PartName]) -> anyhow::Result<()> {
        for name in names {
            let program = self.program.clone();
            self.part(*name)?.spawn(&program)?;
        }
        for name in names {
            let begun = Instant::now();
            self.part(*name)?.await_ready(START_DEADLINE).await?;
            tell(format_args!("{name} is ready ({:.1} s)", begun.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Says which processes have ended by themselves.
    pub(super) fn tell_ended(&mut self) {
        for part in self.parts.values_mut() {
            if let Some(how) = part.reap() {
                tell(format_args!(
                    "{} has ended by itself: {how}\n{}",
                    part.name,
                    part.log_end()
                ));
            }
        }
    }

    /// Does what is asked.
    pub(super) async fn handle(&mut self, request: Request) -> Answer {
        let done = match request {
            Request::Status => return Answer::Status(Box::new(self.status())),
            Request::Signal(signal, names) => self.signal(signal, &names),
            Request::Start(names) => self.start_named(&names).await,
            Request::Wipe(names) => self.wipe(&names).await,
            Request::Partition { names, from } => self.partition(&names, &from),
            Request::Heal(names) => self.heal(&names),
        };
        match done {
            Ok(lines) => {
                lines.iter().for_each(tell);
                Answer::Done(lines)
            }
            Err(error) => Answer::Refused(format!("{error:#}")),
        }
    }

    fn named(&self, names: &[String]) -> anyhow::Result<Vec<PartName>> {
        parse_all(names, |name| self.shape.has(name))
    }

    fn signal(&mut self, signal: Signalled, names: &[String]) -> anyhow::Result<Vec<String>> {
        let names = self.named(names)?;
        for name in &names {
            let part = self.part(*name)?;
            part.reap();
            ensure!(part.pid().is_some(), "{name} does not run");
        }
        let mut lines = Vec::new();
        for name in names {
            let part = self.part(name)?;
            let done = match signal {
                Signalled::Kill => part.kill().map(|()| "is killed"),
                Signalled::Stop => part.halt().map(|()| "is halted"),
                Signalled::Continue => part.proceed().map(|()| "goes on"),
            };
            lines.push(format!("{name} {}", done?));
        }
        Ok(lines)
    }

    async fn start_named(&mut self, names: &[String]) -> anyhow::Result<Vec<String>> {
        let names = self.named(names)?;
        for name in &names {
            let part = self.part(*name)?;
            part.reap();
            ensure!(part.pid().is_none(), "{name} runs already");
        }
        self.start_parts(&names).await?;
        Ok(names.iter().map(|name| format!("{name} runs")).collect())
    }

    /// Empties devices and gives each a new life, as whoever exchanges a disk does.
    async fn wipe(&mut self, names: &[String]) -> anyhow::Result<Vec<String>> {
        let names = self.named(names)?;
        for name in &names {
            ensure!(
                name.kind == Kind::Chunkserver,
                "{name} has no devices: only chunkservers do"
            );
            let part = self.part(*name)?;
            part.reap();
            ensure!(
                part.pid().is_none(),
                "{name} runs: `cairn dev-cluster kill {name}` first"
            );
        }
        let mut lines = Vec::new();
        for name in names {
            for device in device_folders(&self.root, &self.shape, name) {
                empty(&device).with_context(|| format!("emptying {}", device.display()))?;
                let node = self.root.join(name.to_string());
                let replace = words([&"chunkserver", &"replace-device", &"--data", &node, &device]);
                self.program.run(&replace, "", WIPE_DEADLINE).await?;
            }
            lines.push(format!("{name} is wiped: its devices are in a new life"));
        }
        Ok(lines)
    }

    fn partition(&mut self, names: &[String], from: &[String]) -> anyhow::Result<Vec<String>> {
        let (names, mut from) = (self.named(names)?, self.named(from)?);
        if from.is_empty() {
            from = self
                .parts
                .keys()
                .copied()
                .filter(|name| !names.contains(name))
                .collect();
        }
        if let Some(both) = names.iter().find(|name| from.contains(name)) {
            bail!("{both} is on both sides");
        }
        let others = |name: &PartName| from.iter().map(|other| ordered(*name, *other)).collect::<Vec<_>>();
        let pairs: Vec<_> = names.iter().flat_map(others).collect();
        self.network()?.cut(&pairs)?;
        self.cuts.extend(pairs);
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let line = |name: &PartName| format!("{name} is cut off from {}", from.join(" "));
        Ok(names.iter().map(line).collect())
    }

    fn heal(&mut self, names: &[String]) -> anyhow::Result<Vec<String>> {
        let names = self.named(names)?;
        let concerns =
            |pair: &&(PartName, PartName)| names.is_empty() || names.contains(&pair.0) || names.contains(&pair.1);
        let pairs: Vec<_> = self.cuts.iter().filter(concerns).copied().collect();
        self.network()?.heal(&pairs)?;
        self.cuts.retain(|pair| !pairs.contains(pair));
        Ok(vec![match pairs.len() {
            0 => "nothing was cut".to_owned(),
            1 => "the cut between two processes is mended".to_owned(),
            count => format!("the cuts between {count} pairs of processes are mended"),
        }])
    }

    fn network(&self) -> anyhow::Result<&Network> {
        self.network.as_ref().context(
            "processes on one address cannot be cut off from each other: make the cluster with --namespaces, as root",
        )
    }

    fn status(&mut self) -> Status {
        self.tell_ended();
        Status {
            directory: self.root.display().to_string(),
            redundancy: self.shape.redundancy.clone(),
            namespaces: self.shape.uses_namespaces(),
            parts: self.parts.values().map(|part| self.part_status(part)).collect(),
        }
    }

    fn part_status(&self, part: &Part) -> PartStatus {
        let name = part.name;
        let (state, reason) = match &part.state {
            State::NotStarted => ("not started", String::new()),
            State::Running(_) => ("running", String::new()),
            State::Halted(_) => ("halted", String::new()),
            State::Ended(how) => ("ended", how.clone()),
        };
        let is_gateway = name.kind == Kind::Gateway;
        let other = |pair: &(PartName, PartName)| match pair {
            (own, other) | (other, own) if *own == name => Some(other.to_string()),
            _ => None,
        };
        PartStatus {
            name: name.to_string(),
            node: ClusterDir::of(&part.root)
                .identity()
                .map_or(0, |own| own.peer().node.value()),
            state: state.to_owned(),
            reason,
            pid: part.pid().unwrap_or_default(),
            address: if is_gateway {
                String::new()
            } else {
                self.shape.cluster_address(name).to_string()
            },
            admin: format!("http://{}", self.shape.admin_address(name)),
            endpoint: if is_gateway { self.endpoint(name) } else { String::new() },
            data: part.root.display().to_string(),
            log: part.log().display().to_string(),
            cut_off_from: self.cuts.iter().filter_map(other).collect(),
        }
    }

    /// The URL of a gateway's S3 endpoint.
    pub(super) fn endpoint(&self, gateway: PartName) -> String {
        format!("http://{}", self.shape.s3_address(gateway))
    }

    /// Stops everything, gateways first, metadata last. What does not stop in time is killed.
    pub(super) async fn stop(&mut self) {
        if !self.cuts.is_empty()
            && let Err(error) = self.heal(&[])
        {
            tell(format_args!("mending the cuts: {error:#}"));
        }
        for kind in Kind::ALL.into_iter().rev() {
            let names = self.of_kind(kind);
            for name in &names {
                if let Some(part) = self.parts.get_mut(name)
                    && let Err(error) = part.terminate()
                {
                    tell(format_args!("{error:#}"));
                }
            }
            self.await_stopped(&names).await;
        }
    }

    async fn await_stopped(&mut self, names: &[PartName]) {
        let begun = Instant::now();
        for name in names {
            let Some(part) = self.parts.get_mut(name) else {
                continue;
            };
            while part.pid().is_some() {
                if let Some(how) = part.reap() {
                    tell(format_args!("{name} has stopped: {how}"));
                } else if begun.elapsed() > STOP_DEADLINE {
                    tell(format_args!(
                        "{name} has not stopped in {STOP_DEADLINE:?} and is killed; {}",
                        part.log_end()
                    ));
                    let _ = part.kill();
                } else {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        }
    }
}

/// A pair as it is kept.
fn ordered(a: PartName, b: PartName) -> (PartName, PartName) {
    if a < b { (a, b) } else { (b, a) }
}

/// The devices of a chunkserver.
fn device_folders(root: &Path, shape: &Shape, name: PartName) -> Vec<PathBuf> {
    let devices = root.join(name.to_string()).join("devices");
    (1..=shape.devices_per_server)
        .map(|number| devices.join(number.to_string()))
        .collect()
}

/// Removes what is in a folder, and not the folder, as if another disk were mounted there.
fn empty(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn arguments(root: &Path, shape: &Shape, name: PartName) -> Vec<OsString> {
    let (data, admin) = (root.join(name.to_string()), shape.admin_address(name).to_string());
    let mut arguments = words([&name.kind.word(), &"--data", &data, &"--admin", &admin]);
    let cluster = shape.cluster_address(name).to_string();
    match name.kind {
        Kind::Metadata => {
            arguments.extend(words([
                &"--cluster-listen",
                &cluster,
                &"--memory-mib",
                &METADATA_MEMORY_MIB,
            ]));
        }
        Kind::Chunkserver => {
            arguments.extend(words([&"--cluster-listen", &cluster, &"--segment-mib", &SEGMENT_MIB]));
            arguments.extend(words([&"--host", &name.to_string()]));
            for device in device_folders(root, shape, name) {
                arguments.extend(words([&"--device", &device]));
            }
        }
        Kind::Gateway => {
            let listen = shape.s3_address(name).to_string();
            arguments.extend(words([
                &"--listen",
                &listen,
                &"--memory-budget-mib",
                &GATEWAY_MEMORY_MIB,
            ]));
        }
    }
    arguments
}

fn environment(name: PartName, credentials: &RootCredentials) -> Vec<(&'static str, String)> {
    match name.kind {
        Kind::Metadata | Kind::Chunkserver => Vec::new(),
        Kind::Gateway => credentials.environment().into(),
    }
}
