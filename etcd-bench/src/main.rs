//! Drives etcd as the metadata benchmark drives Cairn: so many clients, each with one request under way.
//!
//! Owns: the loop against etcd and its clock. It is told what to do on standard input, one turn a line, and answers each
//! with a line of numbers; `turn.rs` of the benchmark reads them.
//!
//! Invariant: it ends when its standard input does, so it never outlives the benchmark.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Client, KvClient};
use tokio::task::JoinSet;

/// One client: its own keys, and the number of those it has put.
struct Driver {
    number: usize,
    kv: KvClient,
    put: u64,
}

/// What a turn came to.
#[derive(Default)]
struct Turn {
    latencies: Vec<Duration>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, clients, connections, value_bytes] = arguments.as_slice() else {
        bail!("usage: cairn-etcd-bench ENDPOINT CLIENTS CONNECTIONS VALUE_BYTES");
    };
    let (clients, connections): (usize, usize) = (clients.parse()?, connections.parse()?);
    let value = vec![b'v'; value_bytes.parse()?];
    let mut channels = Vec::new();
    for _ in 0..connections {
        let client = Client::connect([endpoint], None).await.context("connect to etcd")?;
        channels.push(client.kv_client());
    }
    let mut drivers: Vec<Driver> = (0..clients)
        .map(|number| Driver { number, kv: channels[number % connections].clone(), put: 0 })
        .collect();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some((what, millis)) = line.split_once(' ') else { bail!("not a turn: {line:?}") };
        let time = Duration::from_millis(millis.parse()?);
        let answer = turn(&mut drivers, what, time, &value).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

async fn turn(drivers: &mut Vec<Driver>, what: &str, time: Duration, value: &[u8]) -> Result<String> {
    let (start, cpu) = (Instant::now(), cpu_time()?);
    let mut running = JoinSet::new();
    for driver in drivers.drain(..) {
        match what {
            "creates" => running.spawn(puts(driver, start + time, value.to_vec())),
            "lookups" => running.spawn(gets(driver, start + time)),
            other => bail!("no such turn: {other:?}"),
        };
    }
    let mut latencies = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (driver, turn) = ended??;
        latencies.extend(turn.latencies);
        drivers.push(driver);
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_time()? - cpu);
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * share) as usize;
        latencies.get(index).map_or(0, Duration::as_nanos)
    };
    let (count, p50, p99) = (latencies.len(), at(0.50), at(0.99));
    Ok(format!("{count} {} {} {p50} {p99}", elapsed.as_nanos(), cpu.as_nanos()))
}

async fn puts(mut driver: Driver, deadline: Instant, value: Vec<u8>) -> Result<(Driver, Turn)> {
    let mut turn = Turn::default();
    while Instant::now() < deadline {
        let (start, key) = (Instant::now(), key(driver.number, driver.put));
        driver.kv.put(key, value.clone(), None).await?;
        driver.put += 1;
        turn.latencies.push(start.elapsed());
    }
    Ok((driver, turn))
}

async fn gets(mut driver: Driver, deadline: Instant) -> Result<(Driver, Turn)> {
    let mut turn = Turn::default();
    let mut number = 0;
    while Instant::now() < deadline {
        let (start, key) = (Instant::now(), key(driver.number, mix(number) % driver.put.max(1)));
        let found = driver.kv.get(key, None).await?;
        ensure!(found.count() == 1, "a key that was put is not there");
        number += 1;
        turn.latencies.push(start.elapsed());
    }
    Ok((driver, turn))
}

/// 40 bytes, as the benchmark's own keys.
fn key(client: usize, number: u64) -> String {
    let name = u128::from(mix(number)) << 64 | u128::from(mix(!number));
    format!("{client:03x}/obj-{name:032x}")
}

/// A number that looks random (the finaliser of splitmix64).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// CPU time of this process, in user mode and in the kernel.
fn cpu_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').context("a line of the kernel's")?;
    let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    // The kernel tells hundredths of a second, whatever its own clock does.
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}
