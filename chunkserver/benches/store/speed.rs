//! How fast shards are stored and read, beside what fio does with the same sizes, depths and syncs on the same disk.

use std::{path::Path, time::Duration};

use anyhow::Result;
use cairn_chunkserver::DeviceSettings;

use crate::{
    fio, report,
    store::{Store, Until},
};

const SMALL: usize = 4 << 10;
const LARGE: usize = 1 << 20;
const LARGE_DEPTH: usize = 8;
const SMALL_WRITERS: usize = 64;
const READERS: usize = 16;
/// Times that each side is measured, in turns: the disk is shared, and one turn says little.
const ROUNDS: usize = 5;
/// Small shards that are read from the page cache.
const CACHED: u64 = 5000;

pub(crate) async fn run(folder: &Path, seconds: u64) -> Result<()> {
    let time = Until::Time(Duration::from_secs(seconds));
    let store = Store::open(&folder.join("device"), DeviceSettings::default()).await?;

    let bare = [
        "--ioengine=psync",
        "--rw=write",
        "--bs=1m",
        "--direct=1",
        "--fdatasync=1",
    ];
    let large = beside(folder, seconds, (&bare, 8), async || {
        store.write(LARGE, LARGE_DEPTH, time).await
    })
    .await?;
    large.report("put_1m_q8", LARGE);

    let first_small = store.next();
    let bare = ["--ioengine=psync", "--rw=write", "--bs=4k", "--fdatasync=1"];
    let small = beside(folder, seconds, (&bare, 1), async || {
        store.write(SMALL, SMALL_WRITERS, time).await
    })
    .await?;
    small.report("put_4k_w64", SMALL);
    report("put_4k_w1", store.write(SMALL, 1, time).await?, "shards/s");

    let larges = 1..first_small.max(2);
    let bare = ["--ioengine=psync", "--rw=randread", "--bs=1m", "--direct=1"];
    let reads = beside(folder, seconds, (&bare, 8), async || {
        store.read(larges.clone(), LARGE_DEPTH, time).await
    })
    .await?;
    reads.report("get_1m_q8", LARGE);

    let few = first_small..(first_small + CACHED).min(store.next());
    // Once for the page cache.
    store.read(few.clone(), READERS, Until::Count(10 * CACHED)).await?;
    report("get_4k_cached", store.read(few, READERS, time).await?, "shards/s");
    Ok(())
}

/// What the store did and what fio did, operations a second: the middle one of all rounds.
struct Pair {
    ours: f64,
    bare: Option<f64>,
    ratio: Option<f64>,
}

impl Pair {
    fn report(&self, name: &str, len: usize) {
        report(&format!("store_{name}"), self.ours, "ops/s");
        report(&format!("store_{name}_bandwidth"), self.ours * len as f64 / 1e6, "MB/s");
        if let (Some(bare), Some(ratio)) = (self.bare, self.ratio) {
            report(&format!("fio_{name}"), bare, "ops/s");
            report(&format!("{name}_to_fio"), ratio, "ratio");
        }
    }
}

/// Measures ours, and fio with arguments and a number of jobs, in turns.
async fn beside(
    folder: &Path,
    seconds: u64,
    (bare, jobs): (&[&str], u32),
    ours: impl AsyncFn() -> Result<f64>,
) -> Result<Pair> {
    let (mut our_rates, mut bare_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let rate = ours().await?;
        our_rates.push(rate);
        if let Some(bare) = fio::run(folder, bare, jobs, seconds)? {
            bare_rates.push(bare.rate);
            ratios.push(rate / bare.rate);
        }
    }
    Ok(Pair {
        ours: middle(our_rates).unwrap_or_default(),
        bare: middle(bare_rates),
        ratio: middle(ratios),
    })
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
