//! Small requests on the control connection while 1,000 bulk streams share the other one at four fifths of its speed.
//!
//! Owns: this scenario. A node that is busy, yet not beyond its means, must not look dead: what counts is the p99.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::contender::{Contender, Entry};
use crate::pacer::Pacer;
use crate::process::{Server, cpu_time};
use crate::report::{Report, percentile_us, progress};
use crate::workload::{Direction, bulk};

/// Bulk streams open at a time.
const STREAMS: usize = 1_000;
/// What a stream sends at each of its turns, and how often: bodies of 1 MiB.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS: usize = 16;
/// Part of the speed of bulk alone that the paced load offers.
const LOAD: f64 = 0.8;
/// Between two small requests, as a heartbeat would pause.
const PAUSE: Duration = Duration::from_millis(2);
/// Until all streams are open and the load is even.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures one contender once.
///
/// # Errors
/// When a request fails, or the server ends.
pub(crate) async fn run(
    path: &str,
    entry: &Entry,
    server: &mut Server,
    time: Duration,
    report: &mut Report,
) -> Result<()> {
    let name = entry.name;
    progress(&format!("{path}: heartbeat of {name}"));
    let full = bulk(&entry.bulk, Direction::Up, time / 4, server).await?;
    let pacer = Arc::new(Pacer::new(full.bytes_per_second * LOAD));
    let stop = Arc::new(AtomicBool::new(false));
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        streams.spawn(stream(Arc::clone(&entry.bulk), Arc::clone(&pacer), Arc::clone(&stop)));
    }
    tokio::time::sleep(SETTLE).await;
    let cpu_before = cpu_time() + server.cpu_time()?;
    let (granted_before, start) = (pacer.granted_bytes(), Instant::now());
    let contender = Arc::clone(&entry.control);
    let mut beats = entry
        .control_runtime
        .spawn(async move { beat(&contender, start + time).await })
        .await??;
    let elapsed = start.elapsed();
    let granted = pacer.granted_bytes() - granted_before;
    let cpu = (cpu_time() + server.cpu_time()?).saturating_sub(cpu_before);
    stop.store(true, Ordering::Relaxed);
    while let Some(stream) = streams.join_next().await {
        stream??;
    }
    let offered = granted as f64 / elapsed.as_secs_f64();
    report.add(
        format!("transport_heartbeat_p50_{path}_{name}"),
        percentile_us(&mut beats, 0.50),
        "us",
    );
    report.add(
        format!("transport_heartbeat_p99_{path}_{name}"),
        percentile_us(&mut beats, 0.99),
        "us",
    );
    report.add(
        format!("transport_heartbeat_load_{path}_{name}"),
        offered / full.bytes_per_second,
        "of full speed",
    );
    report.add(
        format!("transport_heartbeat_cpu_{path}_{name}"),
        cpu.as_secs_f64() / elapsed.as_secs_f64(),
        "cores",
    );
    Ok(())
}

/// One upload after the other, until told to stop.
async fn stream(contender: Arc<dyn Contender>, pacer: Arc<Pacer>, stop: Arc<AtomicBool>) -> Result<()> {
    let chunk = Bytes::from(vec![5; CHUNK_BYTES]);
    while !stop.load(Ordering::Relaxed) {
        contender.paced_upload(chunk.clone(), CHUNKS, &pacer).await?;
    }
    Ok(())
}

async fn beat(contender: &Arc<dyn Contender>, deadline: Instant) -> Result<Vec<Duration>> {
    let mut beats = Vec::new();
    while Instant::now() < deadline {
        let start = Instant::now();
        contender.small_request().await?;
        beats.push(start.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(beats)
}
