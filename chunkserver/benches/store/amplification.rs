//! Bytes that reach the disk for each byte stored: index, headers, padding and compaction together.
//!
//! Counted by the kernel, for this process (`write_bytes` in /proc/self/io), and held against the payloads.

use std::{path::Path, sync::Mutex};

use anyhow::{Context, Result};
use cairn_chunkserver::DeviceSettings;

use crate::{
    report,
    store::{Live, Store, Until},
};

const CAPACITY_BYTES: u64 = 6 << 30;
const SEGMENT_BYTES: u32 = 16 << 20;
const CHURNED_LEN: usize = 64 << 10;

pub(crate) async fn run(folder: &Path) -> Result<()> {
    for (name, len, writers, count) in [
        ("write_amplification_1m_q8", 1 << 20, 8, 2 << 10),
        ("write_amplification_4k_w64", 4 << 10, 64, 400_000_u64),
    ] {
        let path = folder.join(name);
        let store = Store::open(&path, DeviceSettings::default()).await?;
        let before = written_bytes()?;
        store.write(len, writers, Until::Count(count)).await?;
        // What the index holds in memory still has to go there: it does when the store ends.
        drop(store);
        let payload = count * len as u64;
        report(name, (written_bytes()? - before) as f64 / payload as f64, "ratio");
        std::fs::remove_dir_all(path)?;
    }
    churn(folder).await
}

/// A device that is 80 % full of shards that are deleted at random, each replaced by a new one.
async fn churn(folder: &Path) -> Result<()> {
    let path = folder.join("churned");
    let settings = DeviceSettings {
        capacity_bytes: Some(CAPACITY_BYTES),
        segment_bytes: Some(SEGMENT_BYTES),
        ..DeviceSettings::default()
    };
    let store = Store::open(&path, settings).await?;
    let full = CAPACITY_BYTES / 10 * 8 / CHURNED_LEN as u64;
    store.write(CHURNED_LEN, 32, Until::Count(full)).await?;
    // Until compaction is in its stride.
    let live = Live::new(Mutex::new((1..store.next()).collect()));
    store.churn(&live, CHURNED_LEN, 32, full).await?;
    let status = store.status().await?;
    report(
        "churn_full",
        status.used_bytes as f64 / CAPACITY_BYTES as f64,
        "of the device",
    );
    let before = written_bytes()?;
    let rate = store.churn(&live, CHURNED_LEN, 32, full).await?;
    let payload = full * CHURNED_LEN as u64;
    report("churn_64k_w32", rate, "shards/s");
    report(
        "write_amplification_churn",
        (written_bytes()? - before) as f64 / payload as f64,
        "ratio",
    );
    drop(store);
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn written_bytes() -> Result<u64> {
    let counts = std::fs::read_to_string("/proc/self/io")?;
    let line = counts.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|value| value.trim().parse().ok())
        .context("no write_bytes in /proc/self/io")
}
