//! A device of many shards after a kill: how long it takes to serve, and the memory that it takes meanwhile.
//!
//! A child of this program fills the device and is killed while it writes; another opens it, reads at random, and tells.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cairn_chunkserver::DeviceSettings;

use crate::{
    report,
    store::{Store, Until},
};

/// What a child does: `fill` or `open`.
pub(crate) const CHILD: &str = "CAIRN_BENCH_CHILD";
const LEN: usize = 1 << 10;
const WRITERS: usize = 256;
/// Shards beyond those, before it is killed.
const MORE: u64 = 5000;

pub(crate) fn run(folder: &Path, shards: u64) -> Result<()> {
    let program = std::env::current_exe()?;
    let child = |what: &str| {
        let mut command = Command::new(&program);
        command
            .env(CHILD, what)
            .env("CAIRN_BENCH_DIR", folder)
            .env("CAIRN_BENCH_SHARDS", shards.to_string());
        command
    };
    let mut filling = child("fill").stdout(Stdio::piped()).spawn()?;
    let told = filling.stdout.take().context("a pipe")?;
    let mut told = BufReader::new(told);
    let (mut resident, mut more) = (String::new(), String::new());
    told.read_line(&mut resident)?;
    // It goes on writing until it is killed.
    told.read_line(&mut more)?;
    filling.kill()?;
    filling.wait()?;
    report("fill_resident", resident.trim().parse::<f64>()? / 1e6, "MB");
    ensure!(child("open").status()?.success(), "the device does not open");
    Ok(())
}

/// What the child does.
pub(crate) async fn child(what: &str, folder: &Path, shards: u64) -> Result<()> {
    let path = folder.join("device");
    let bare = resident_bytes()?;
    let started = Instant::now();
    let store = Store::open(&path, DeviceSettings::default()).await?;
    if what == "fill" {
        store.write(LEN, WRITERS, Until::Count(shards)).await?;
        tell(resident_bytes()?);
        store.write(LEN, WRITERS, Until::Count(MORE)).await?;
        tell(resident_bytes()?);
        store.write(LEN, WRITERS, Until::Time(Duration::from_secs(600))).await?;
        return Ok(());
    }
    report("start_after_kill", started.elapsed().as_secs_f64(), "s");
    ensure!(store.status().await?.up, "the device is down");
    report("start_resident", resident_bytes()? as f64 / 1e6, "MB");
    let rate = store.read(1..shards, 16, Until::Count(shards)).await?;
    report("get_1k_of_all", rate, "shards/s");
    let grown = resident_bytes()?.saturating_sub(bare);
    report("device_resident", grown as f64 / 1e6, "MB");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn tell(bytes: u64) {
    println!("{bytes}");
}

/// The most memory that this process had resident.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.context("no VmHWM in /proc/self/status")? << 10)
}
