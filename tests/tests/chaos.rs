//! A cluster under load while processes are killed, stopped, cut off and wiped: `make test-chaos`.
//!
//! `CAIRN_CHAOS_SECONDS` says how long faults are injected into each cluster (600), `CAIRN_CHAOS_SEED` replays a schedule, and
//! `CAIRN_CHAOS_WIPE=0` leaves out that devices are emptied and given a new life. Partitions need root.

use std::env;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use cairn_tests::chaos::Chaos;

const SECONDS: &str = "CAIRN_CHAOS_SECONDS";
const SEED: &str = "CAIRN_CHAOS_SEED";
const WIPE: &str = "CAIRN_CHAOS_WIPE";

fn setting<T: FromStr>(name: &str) -> Result<Option<T>> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    let value = text.parse().ok();
    Ok(Some(value.with_context(|| format!("{name}={text} is no number"))?))
}

fn chaos(name: &'static str, chunkservers: u64) -> Result<Chaos> {
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs());
    Ok(Chaos {
        name,
        metadata: 3,
        chunkservers,
        gateways: 2,
        redundancy: "4+2",
        seed: setting(SEED)?.unwrap_or_else(now),
        length: Duration::from_secs(setting(SECONDS)?.unwrap_or(600)),
        may_partition: rustix::process::geteuid().is_root(),
        may_wipe: setting::<u8>(WIPE)?.is_none_or(|value| value == 1),
    })
}

#[test]
#[ignore = "takes many minutes: `make test-chaos`"]
fn eight_chunkservers_bear_the_loss_of_two_at_a_time() -> Result<()> {
    chaos("chaos-8", 8)?.run()
}

#[test]
#[ignore = "takes many minutes: `make test-chaos`"]
fn six_chunkservers_at_4_2_bear_the_loss_of_two_at_a_time() -> Result<()> {
    chaos("chaos-6", 6)?.run()
}
