//! The process in the foreground: it starts the cluster, stays and watches, answers the subcommands, and stops everything.
//!
//! Invariant: it works on one thread, the main one, with whose end the kernel ends the processes that it has started.

use std::{
    fs::{File, TryLockError},
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use super::{
    cluster::Cluster,
    control::{Asked, Listener},
    names::Kind,
    report::tell,
    shape::Shape,
};
use crate::{
    alone::alone,
    cli::RunDevClusterArgs,
    credentials::{self, RootCredentials},
    data_dir,
};

/// How often it is looked whether a process has ended by itself.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(args: &RunDevClusterArgs) -> anyhow::Result<ExitCode> {
    let root = std::path::absolute(&args.data.data).context("the cluster's directory")?;
    std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    let _lock = lock(&root)?;
    let shape = Shape::load_or_make(&root, args)?;
    let credentials = credentials::load_or_make(&data_dir::credentials_file(&root))?;
    tell(format_args!("starting {} in {}", shape.described(), root.display()));
    let cluster = Cluster::new(&root, shape, &credentials)?;
    alone(serve(cluster, &credentials))
}

async fn serve(mut cluster: Cluster, credentials: &RootCredentials) -> anyhow::Result<ExitCode> {
    let mut ends = Ends::new()?;
    let started = tokio::select! {
        started = cluster.start() => Some(started),
        () = ends.asked() => None,
    };
    let served = match started {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(())) => watch(&mut cluster, credentials, &mut ends).await,
    };
    tell("stopping; once more and everything is killed");
    tokio::select! {
        () = cluster.stop() => tell("all processes have stopped"),
        () = ends.asked() => tell("killing what still runs"),
    }
    served.map(|()| ExitCode::SUCCESS)
}

/// Answers and watches until it is asked to end.
async fn watch(cluster: &mut Cluster, credentials: &RootCredentials, ends: &mut Ends) -> anyhow::Result<()> {
    let (_listener, mut requests) = Listener::start(&cluster.root)?;
    announce(cluster, credentials).context("writing to standard output")?;
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ends.asked() => return Ok(()),
            _ = ticks.tick() => cluster.tell_ended(),
            Some(asked) = requests.recv() => tokio::select! {
                () = answer(cluster, asked) => {}
                () = ends.asked() => return Ok(()),
            },
        }
    }
}

async fn answer(cluster: &mut Cluster, asked: Asked) {
    let answer = cluster.handle(asked.request).await;
    // Whoever does not wait for it does not need it.
    let _ = asked.answer.send(answer);
}

fn announce(cluster: &Cluster, credentials: &RootCredentials) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let root = cluster.root.display();
    writeln!(out, "directory   {root}")?;
    writeln!(out, "redundancy  {} for new buckets", cluster.shape.redundancy)?;
    let gateways = cluster.of_kind(Kind::Gateway);
    for gateway in &gateways {
        writeln!(out, "endpoint    {}", cluster.endpoint(*gateway))?;
    }
    writeln!(out, "access key  {}", credentials.access_key)?;
    writeln!(out, "secret key  {}", credentials.secret_key)?;
    if let Some(gateway) = gateways.first() {
        writeln!(
            out,
            "use         eval \"$(cairn env --data {root}/{gateway})\"; aws s3 mb s3://photos"
        )?;
    }
    writeln!(out, "state       cairn cluster status --data {root}/metadata-1")?;
    writeln!(out, "processes   cairn dev-cluster status --data {root}")?;
    writeln!(
        out,
        "faults      cairn dev-cluster kill chunkserver-1 --data {root}; and start, stop, cont, wipe, partition, heal"
    )?;
    writeln!(out, "ready")?;
    out.flush()
}

/// Two processes on one directory would start everything twice.
fn lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join("dev-cluster.lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "a dev-cluster runs on {0} already: `cairn dev-cluster status --data {0}` shows it",
            root.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// The signals that ask it to end.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
