//! A device's store: its speed beside fio on the same disk, what reaches the disk for what is stored, and its start after a kill.
//!
//! The store is asked as its server is. `CAIRN_BENCH_DIR` says where (beside the program unless told otherwise: never on a
//! file system in memory, where a sync costs nothing), `CAIRN_BENCH_PARTS` which parts run (disk,speed,amplification,start),
//! `CAIRN_BENCH_SECONDS` how long each turn of the first takes (3), `CAIRN_BENCH_SHARDS` how many shards the last one has
//! (1,000,000). Without fio in the path its lines are left out.

mod amplification;
mod disk;
mod fio;
mod speed;
mod start;
mod store;

use std::path::PathBuf;

use anyhow::{Context, Result};

/// What the program itself runs with.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(Ok(usual), |text| text.parse::<u64>());
    let (seconds, shards) = (
        number("CAIRN_BENCH_SECONDS", 3)?,
        number("CAIRN_BENCH_SHARDS", 1_000_000)?,
    );
    let parent = match std::env::var_os("CAIRN_BENCH_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let program = std::env::current_exe()?;
            program.parent().context("a program in no folder")?.to_owned()
        }
    };
    let runtime = tokio::runtime::Runtime::new()?;
    if let Ok(what) = std::env::var(start::CHILD) {
        return runtime.block_on(start::child(&what, &parent, shards));
    }
    let parts = std::env::var("CAIRN_BENCH_PARTS").unwrap_or_else(|_| "disk,speed,amplification,start".to_owned());
    for part in parts.split(',') {
        let folder = tempfile::Builder::new().prefix("bench-store-").tempdir_in(&parent)?;
        match part {
            "disk" => disk::run(folder.path(), seconds)?,
            "speed" => runtime.block_on(speed::run(folder.path(), seconds))?,
            "amplification" => runtime.block_on(amplification::run(folder.path()))?,
            "start" => start::run(folder.path(), shards)?,
            other => anyhow::bail!("no part is called {other}: disk, speed, amplification, start"),
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the results are the program's output")]
fn report(name: &str, value: f64, unit: &str) {
    println!("BENCH {name} {value:.3} {unit}");
}
