//! `cairn cluster pause`, `resume` and `wait`: what the cluster does by itself, held up and watched.
//!
//! Invariant: pausing holds up moves alone; what lost a shard is repaired meanwhile.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;
use cairn_common::{
    cluster_map::{ClusterMap, Upkeep},
    ids::Epoch,
    wire::query::{Answer, MapQuery, Query},
};

use super::{
    Way,
    layout::install,
    state::{recoding, waiting},
};
use crate::{
    alone::alone,
    cli::{ClusterWaitArgs, DataArgs},
    progress::Progress,
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `cairn cluster pause` and `resume`
pub(super) fn pause(args: &DataArgs, is_paused: bool) -> anyhow::Result<()> {
    let changed = alone(async {
        let mut way = Way::to_service(&args.data).await?;
        let changed = set_paused(&mut way, is_paused).await;
        way.close().await;
        changed
    })?;
    let moves = if is_paused { "paused" } else { "going on" };
    let was = if changed { "" } else { ", as before" };
    writeln!(io::stdout().lock(), "moves       {moves}{was}")?;
    Ok(())
}

/// Whether that was news.
async fn set_paused(way: &mut Way, is_paused: bool) -> anyhow::Result<bool> {
    let Answer::Map(map) = way.query(Query::Map(MapQuery::default())).await? else {
        bail!("the metadata service gave no map");
    };
    let map = ClusterMap::try_from(map)?;
    if map.epoch == Epoch::new(0) {
        bail!("no cluster map is in force yet: `cairn cluster apply` makes the first");
    }
    if map.upkeep.moves_paused == is_paused {
        return Ok(false);
    }
    let next = ClusterMap {
        epoch: Epoch::new(map.epoch.value() + 1),
        upkeep: Upkeep {
            moves_paused: is_paused,
            ..map.upkeep
        },
        ..map
    };
    install(way, &next).await?;
    Ok(true)
}

/// `cairn cluster wait`
pub(super) fn wait(args: &ClusterWaitArgs) -> anyhow::Result<ExitCode> {
    let left = alone(async {
        let mut way = Way::to_service(&args.data.data).await?;
        let left = wait_until_done(&mut way, args.at_most).await;
        way.close().await;
        left
    })?;
    let mut out = io::stdout().lock();
    if left == 0 {
        writeln!(out, "repair      nothing waits, nothing moves")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "repair      {left} chunks, groups, devices and buckets are left: `cairn cluster status` tells more"
    )?;
    Ok(ExitCode::FAILURE)
}

/// Chunks to be repaired or moved, groups and devices to be looked at, and buckets to be coded anew, that are left at the end.
async fn wait_until_done(way: &mut Way, at_most: Duration) -> anyhow::Result<u64> {
    let started = Instant::now();
    let progress = Progress::new("repairs and moves");
    let mut most = 0;
    loop {
        let left = waiting(way).await? + recoding(way).await?.len() as u64;
        most = left.max(most);
        if left == 0 || started.elapsed() >= at_most {
            return Ok(left);
        }
        progress.parts(most - left, most);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
