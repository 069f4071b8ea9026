//! What is measured: bulk both ways, and small requests one at a time and many at a time.
//!
//! Owns: the loops and their clocks. It must never know which contender it drives.
//!
//! Invariant: contenders take turns within each round, and each round begins with another one, so that what else the
//! machine does falls on all of them alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::contender::{Contender, Entry};
use crate::process::{Server, cpu_time};
use crate::report::{Report, percentile_us, progress};

/// Length of one bulk body.
const BODY_BYTES: usize = 1 << 20;
/// Bulk bodies under way at once.
const BULK_IN_FLIGHT: usize = 16;
/// Small requests under way at once, for the rate.
const SMALL_IN_FLIGHT: usize = 64;
/// Before each bulk measurement: connections open, congestion windows and path MTU find their level.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// For one contender in one round: half of it goes up and half of it down.
    pub(crate) per_turn: Duration,
}

/// Which way the bulk bytes go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What a bulk load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk {
    pub(crate) bytes_per_second: f64,
    pub(crate) cpu_seconds_per_gb: f64,
}

/// Runs every workload against every contender; `path` goes into the names.
///
/// # Errors
/// When a contender fails a request, or the server ends.
pub(crate) async fn run(
    path: &str,
    entries: &[Entry],
    server: &mut Server,
    plan: Plan,
    report: &mut Report,
) -> Result<()> {
    for round in 0..plan.rounds {
        progress(&format!("{path}: round {} of {}", round + 1, plan.rounds));
        for turn in 0..entries.len() {
            let entry = &entries[(turn + round) % entries.len()];
            for (direction, suffix) in [(Direction::Up, "upload"), (Direction::Down, "download")] {
                let bulk = bulk(&entry.bulk, direction, plan.per_turn / 2, server).await?;
                let name = entry.name;
                report.add(
                    format!("transport_{suffix}_{path}_{name}"),
                    bulk.bytes_per_second / 1e9,
                    "GB/s",
                );
                report.add(
                    format!("transport_{suffix}_cpu_{path}_{name}"),
                    bulk.cpu_seconds_per_gb,
                    "CPU-s/GB",
                );
            }
            small(path, entry, plan.per_turn / 4, report).await?;
        }
    }
    for entry in entries {
        combine_directions(path, entry.name, report);
    }
    Ok(())
}

/// Bulk bodies one way for `time`, after a warm-up.
///
/// # Errors
/// When a request fails, or the server ends.
pub(crate) async fn bulk(
    contender: &Arc<dyn Contender>,
    direction: Direction,
    time: Duration,
    server: &mut Server,
) -> Result<Bulk> {
    let body = Bytes::from(vec![3; BODY_BYTES]);
    let done = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + WARM_UP + time;
    let mut senders = JoinSet::new();
    for _ in 0..BULK_IN_FLIGHT {
        let (contender, body, done) = (Arc::clone(contender), body.clone(), Arc::clone(&done));
        senders.spawn(async move {
            while Instant::now() < deadline {
                match direction {
                    Direction::Up => contender.upload(body.clone()).await?,
                    Direction::Down => contender.download(body.len()).await?,
                }
                done.fetch_add(body.len() as u64, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let cpu_before = cpu_time() + server.cpu_time()?;
    let (before, start) = (done.load(Ordering::Relaxed), Instant::now());
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    let elapsed = start.elapsed();
    let cpu = (cpu_time() + server.cpu_time()?).saturating_sub(cpu_before);
    let bytes = (done.load(Ordering::Relaxed) - before) as f64;
    Ok(Bulk {
        bytes_per_second: bytes / elapsed.as_secs_f64(),
        cpu_seconds_per_gb: cpu.as_secs_f64() / (bytes / 1e9),
    })
}

async fn small(path: &str, entry: &Entry, time: Duration, report: &mut Report) -> Result<()> {
    let name = entry.name;
    let deadline = Instant::now() + time;
    let contender = Arc::clone(&entry.control);
    let mut alone = entry
        .control_runtime
        .spawn(async move { latencies(&contender, deadline).await })
        .await??;
    report.add(
        format!("transport_small_p50_{path}_{name}"),
        percentile_us(&mut alone, 0.50),
        "us",
    );
    report.add(
        format!("transport_small_p99_{path}_{name}"),
        percentile_us(&mut alone, 0.99),
        "us",
    );
    let start = Instant::now();
    let mut askers = JoinSet::new();
    for _ in 0..SMALL_IN_FLIGHT {
        let contender = Arc::clone(&entry.control);
        askers.spawn_on(
            async move { latencies(&contender, start + time).await },
            &entry.control_runtime,
        );
    }
    let mut answers = 0;
    while let Some(asker) = askers.join_next().await {
        answers += asker??.len();
    }
    let rate = answers as f64 / start.elapsed().as_secs_f64();
    report.add(format!("transport_small_rate_{path}_{name}"), rate, "requests/s");
    Ok(())
}

/// Small requests one after the other until `deadline`, with the time that each took.
async fn latencies(contender: &Arc<dyn Contender>, deadline: Instant) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let start = Instant::now();
        if start >= deadline {
            return Ok(latencies);
        }
        contender.small_request().await?;
        latencies.push(start.elapsed());
    }
}

/// One figure for both directions, from their medians: as many bytes up as down, one after the other.
fn combine_directions(path: &str, name: &str, report: &mut Report) {
    let both = |kind: &str| {
        let up = report.median(&format!("transport_upload{kind}_{path}_{name}"))?;
        let down = report.median(&format!("transport_download{kind}_{path}_{name}"))?;
        Some((up, down))
    };
    let (rates, cpu) = (both(""), both("_cpu"));
    if let Some((up, down)) = rates {
        report.add(
            format!("transport_bulk_{path}_{name}"),
            2.0 / (1.0 / up + 1.0 / down),
            "GB/s",
        );
    }
    if let Some((up, down)) = cpu {
        report.add(
            format!("transport_bulk_cpu_{path}_{name}"),
            (up + down) / 2.0,
            "CPU-s/GB",
        );
    }
}
