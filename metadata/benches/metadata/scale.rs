//! Many objects: bytes on disk, memory, restarts, and what large things cost.
//!
//! Owns: the load, made through a real server so that its snapshots and compactions are those of a store in use, and the
//! order of what is measured on it. Each step is a process of its own, so that memory is counted of the server alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_common::wire::query::{ObjectQuery, Query};
use rocksdb::{DB, Env, Options};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::client::{BUCKET, Client, Metadata, Session, key, mix};
use crate::group::Group;
use crate::large;
use crate::process::{self, Talker, resident_bytes, tell_parent};
use crate::report::{Report, progress};
use crate::single;
use crate::turn::{self, Figures, Stopwatch};
use crate::workload::CLIENTS;

/// Sessions that load, each with one command under way; as many directories.
const LOADERS: usize = 1500;
/// Time of each turn.
const TURN: Duration = Duration::from_secs(5);
/// Commands between the restart's last snapshot and the crash, at least.
const CRASH_COMMANDS: u64 = 60_000;

/// Entries of the directory that is renamed.
const CROWD: u64 = 1_000_000;

/// What is loaded.
#[derive(Clone, Copy)]
enum Load {
    /// Objects of one chunk, in a directory for each loader.
    Objects,
    /// Empty objects, all in one directory.
    Crowd,
}

/// Loads `objects` objects, and measures on them.
///
/// # Errors
/// When a step fails.
pub(crate) async fn run(directory: &Path, objects: u64, report: &mut Report) -> Result<()> {
    let store = directory.join("1");
    let store_name = store.to_str().context("a folder of a strange name")?;
    progress(&format!("loading {objects} objects"));
    let seconds: f64 = Talker::this_program(&["load", store_name, &objects.to_string()])?
        .hear()?
        .parse()?;
    report.add("metadata_scale_load_rate", objects as f64 / seconds, "objects/s");
    progress("compacting");
    let mut compaction = Talker::this_program(&["compact", store_name])?;
    let mut total = 0;
    loop {
        let line = compaction.hear()?;
        let Some((family, bytes)) = line.split_once(' ') else {
            break;
        };
        let bytes: u64 = bytes.parse()?;
        total += bytes;
        let name = format!("metadata_scale_disk_{family}");
        report.add(name, bytes as f64 / objects as f64, "bytes/object");
    }
    report.add("metadata_scale_disk_all", total as f64 / objects as f64, "bytes/object");
    drop(compaction);
    progress(&format!("a directory of {CROWD} entries"));
    Talker::this_program(&["crowd", store_name])?.hear()?;
    serve(directory, objects, report).await
}

async fn serve(directory: &Path, objects: u64, report: &mut Report) -> Result<()> {
    progress("serving");
    let (mut group, metadata) = restart(directory, objects, "metadata_scale_restart", report).await?;
    let figures = lookups(&metadata, objects).await?;
    report.add("metadata_scale_lookup_rate", figures.rate(), "ops/s");
    report.add("metadata_scale_lookup_p99", figures.p99.as_secs_f64() * 1e6, "us");
    report.add("metadata_scale_list_rate", list(&metadata).await?, "entries/s");
    let session = Session::open(&metadata).await?;
    large::run(&session, report).await?;
    creates(&metadata).await?;
    for id in group.ids() {
        let (now, most) = resident_bytes(id)?;
        report.add("metadata_scale_resident", now as f64 / f64::from(1 << 20), "MiB");
        report.add("metadata_scale_resident_most", most as f64 / f64::from(1 << 20), "MiB");
    }
    group.kill();
    let (group, _metadata) = restart(directory, objects, "metadata_scale_restart_after_crash", report).await?;
    drop(group);
    Ok(())
}

/// Starts the server and waits for its first answer.
async fn restart(directory: &Path, objects: u64, name: &str, report: &mut Report) -> Result<(Group, Arc<Metadata>)> {
    let start = Instant::now();
    let group = Group::start(directory, 1)?;
    let metadata = group.connect(directory)?;
    look_up(&metadata, 0, objects).await?;
    report.add(name, start.elapsed().as_secs_f64(), "s");
    Ok((group, metadata))
}

async fn look_up(metadata: &Metadata, number: u64, objects: u64) -> Result<()> {
    let (client, number) = object_of(mix(number) % objects);
    let query = ObjectQuery {
        bucket: BUCKET.to_owned(),
        key: Bytes::from(key(client, number)),
        with_plan: true,
        plan_from: 0,
    };
    metadata.ask(Query::Object(query)).await?;
    Ok(())
}

/// The loader and the number of an object.
const fn object_of(object: u64) -> (usize, u64) {
    (object as usize % LOADERS, object / LOADERS as u64)
}

async fn lookups(metadata: &Arc<Metadata>, objects: u64) -> Result<Figures> {
    let next = Arc::new(AtomicU64::new(0));
    turn::run(CLIENTS, TURN, |_, deadline| {
        let (metadata, next) = (Arc::clone(metadata), Arc::clone(&next));
        async move {
            let mut watch = Stopwatch::until(deadline);
            while watch.begin() {
                look_up(&metadata, next.fetch_add(1, Ordering::Relaxed), objects).await?;
                watch.end();
            }
            Ok(watch.latencies())
        }
    })
    .await
}

/// Entries a second of a walk over the bucket.
async fn list(metadata: &Metadata) -> Result<f64> {
    let (start, mut entries, mut from) = (Instant::now(), 0, Bytes::new());
    while start.elapsed() < TURN {
        let page = metadata.list("", from).await?;
        ensure!(!page.entries.is_empty(), "an empty page");
        entries += page.entries.len();
        from = page.next_from;
    }
    Ok(entries as f64 / start.elapsed().as_secs_f64())
}

/// As many commands as a restart may have to replay.
async fn creates(metadata: &Arc<Metadata>) -> Result<()> {
    let mut running = JoinSet::new();
    for client in 0..CLIENTS {
        let metadata = Arc::clone(metadata);
        running.spawn(async move {
            let mut client = Client::new(Session::open(&metadata).await?, LOADERS + 1 + client);
            for _ in 0..CRASH_COMMANDS / CLIENTS as u64 {
                client.create().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// The process that loads: says how many seconds it took.
///
/// # Errors
/// When the server fails.
pub(crate) fn run_load(directory: &Path, objects: u64) -> Result<()> {
    process::settle_child()?;
    Runtime::new()?.block_on(async {
        let (server, metadata) = single::start(directory).await?;
        metadata.prepare().await?;
        let start = Instant::now();
        load(&metadata, Load::Objects, objects).await?;
        let seconds = start.elapsed().as_secs_f64();
        server.shutdown().await?;
        tell_parent(&seconds.to_string())
    })
}

/// The process that fills one directory with empty objects.
///
/// # Errors
/// When the server fails.
pub(crate) fn run_crowd(directory: &Path) -> Result<()> {
    process::settle_child()?;
    Runtime::new()?.block_on(async {
        let (server, metadata) = single::start(directory).await?;
        load(&metadata, Load::Crowd, CROWD).await?;
        server.shutdown().await?;
        tell_parent("full")
    })
}

async fn load(metadata: &Arc<Metadata>, what: Load, objects: u64) -> Result<()> {
    let mut running = JoinSet::new();
    for loader in 0..LOADERS {
        let metadata = Arc::clone(metadata);
        let count = (objects + LOADERS as u64 - 1 - loader as u64) / LOADERS as u64;
        running.spawn(async move {
            let mut client = Client::new(Session::open(&metadata).await?, loader);
            for _ in 0..count {
                match what {
                    Load::Objects => client.create().await?,
                    Load::Crowd => client.join_crowd().await?,
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// The process that compacts a stopped store's state, and says how large each family is then.
///
/// # Errors
/// When the database cannot be opened.
pub(crate) fn run_compact(directory: &Path) -> Result<()> {
    process::settle_child()?;
    let state = newest_generation(directory)?;
    let cache = rocksdb::Cache::new_lru_cache(64 << 20);
    let (options, families) = Options::load_latest(&state, Env::new()?, true, cache)?;
    let names: Vec<String> = families.iter().map(|family| family.name().to_owned()).collect();
    let db = DB::open_cf_descriptors(&options, &state, families)?;
    for name in names {
        let family = db.cf_handle(&name).context("a family that was opened")?;
        db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        let bytes = db.property_int_value_cf(family, "rocksdb.live-sst-files-size")?;
        tell_parent(&format!("{name} {}", bytes.unwrap_or(0)))?;
    }
    tell_parent("end")
}

fn newest_generation(directory: &Path) -> Result<PathBuf> {
    let mut generations: Vec<PathBuf> = std::fs::read_dir(directory.join("state"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    generations.sort();
    generations.pop().context("a store without a state")
}
