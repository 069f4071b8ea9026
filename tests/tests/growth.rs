//! A store of one process that grows into a cluster of machines in place: nothing is copied by hand, and it serves all the while.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::content;
use cairn_tests::daemon::{Daemon, Output};
use cairn_tests::machines::{device, devices, nothing_waits};
use cairn_tests::place;
use cairn_tests::process::run;
use cairn_tests::server::{Options, Server};
use cairn_tests::wait;
use serde_json::Value;

const BUCKET: &str = "grows";
const PATIENCE: Duration = Duration::from_secs(90);

/// Inline, copies, coded, and several chunks.
const SIZES: [usize; 4] = [1000, 50_000, 700_000, 18 << 20];

/// `cairn cluster …` on the data directory `data`.
fn cluster(data: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(place::cairn_binary()?);
    command.arg("cluster").args(arguments).arg("--data").arg(data);
    Ok(run(&mut command)?.stdout)
}

fn await_status(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
    wait::until(what, PATIENCE, || {
        let status = serde_json::from_str(&cluster(&server.data(), &["status", "--json"])?)?;
        Ok(holds(&status).then_some(()))
    })
}

fn put_all(server: &Server, round: u64) -> Result<()> {
    let mut client = server.client()?;
    for (at, size) in SIZES.iter().enumerate() {
        let body = content::bytes(round * 100 + at as u64, *size);
        client.put(BUCKET, format!("{round}/{at}"), body)?.success()?;
    }
    Ok(())
}

fn check_all(server: &Server, rounds: &[u64]) -> Result<()> {
    let mut client = server.client()?;
    for round in rounds {
        for (at, size) in SIZES.iter().enumerate() {
            let read = client.get(BUCKET, format!("{round}/{at}"))?;
            let is_same = read == content::bytes(round * 100 + at as u64, *size);
            ensure!(is_same, "object {round}/{at} is read otherwise than it was written");
        }
    }
    Ok(())
}

/// A chunkserver on a machine of that name that joins the cluster of `server`.
fn join(server: &Server, name: &str) -> Result<(Daemon, u64)> {
    let data = server.folder().join(name);
    fs::create_dir_all(&data)?;
    let token = cluster(&server.data(), &["token", "--roles", "chunkserver"])?;
    let joined = cluster(&data, &["join", token.trim()])?;
    let node = joined.lines().find_map(|line| line.strip_prefix("node "));
    let node: u64 = node.context("a node's number")?.trim().parse()?;
    let mut command = Command::new(place::cairn_binary()?);
    command.arg("chunkserver").arg("--data").arg(&data);
    command.arg("--device").arg(data.join("device"));
    command.args(["--cluster-listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--host", name, "--segment-mib", "16"]);
    let process = Output::in_folder(server.folder(), name).start(&mut command)?;
    Ok((process, node * 256 + 1))
}

#[test]
fn a_store_of_one_process_becomes_three_machines_and_bears_the_loss_of_one() -> Result<()> {
    let options = Options::new(3, "2+1")
        .argument("--cluster-listen")
        .argument("127.0.0.1:0");
    let mut server = Server::start_with("growth", options)?;
    server.client()?.make_bucket(BUCKET)?;
    put_all(&server, 1)?;
    server.stop()?;
    cluster(&server.data(), &["init"])?;
    server.start_again()?;
    check_all(&server, &[1])?;

    let (second, second_device) = join(&server, "second")?;
    let (_third, third_device) = join(&server, "third")?;
    await_status(&server, "all devices are told of", |status| {
        devices(status).filter(|device| device["up"] == true).count() == 5
    })?;
    let plan = cluster(&server.data(), &["plan", "--domain", "host"])?;
    ensure!(plan.contains("3 of level host"), "{plan}");
    cluster(&server.data(), &["apply", "--domain", "host"])?;
    put_all(&server, 2)?;
    check_all(&server, &[1, 2])?;
    await_status(&server, "all shards are where they belong", nothing_waits)?;
    await_status(&server, "the new devices hold their shares", |status| {
        [second_device, third_device]
            .into_iter()
            .all(|id| device(status, id).is_ok_and(|device| device["used_bytes"].as_u64() > Some(16 << 20)))
    })?;

    // One machine may fail now, and the data is still there and is still written.
    drop(second);
    check_all(&server, &[1, 2])?;
    put_all(&server, 3)?;
    check_all(&server, &[1, 2, 3])
}

/// A metadata server that joins the cluster of `server` as a voter, on an address that it has again when it is started again.
fn join_metadata(server: &Server, name: &str, address: &str) -> Result<(Command, Daemon)> {
    let data = server.folder().join(name);
    fs::create_dir_all(&data)?;
    let token = cluster(&server.data(), &["token", "--roles", "metadata"])?;
    let joined = cluster(&data, &["join", token.trim()])?;
    let node = joined.lines().find_map(|line| line.strip_prefix("node "));
    let node = node.context("a node's number")?.trim();
    let mut command = Command::new(place::cairn_binary()?);
    command.arg("metadata").arg("--data").arg(&data);
    command.args(["--cluster-listen", address, "--admin", "127.0.0.1:0"]);
    let process = Output::in_folder(server.folder(), name).start(&mut command)?;
    let mut add = Command::new(place::cairn_binary()?);
    add.args(["metadata", "add", node, address, "--data"])
        .arg(server.data());
    run(&mut add)?;
    Ok((command, process))
}

/// A loopback address of this process's own.
fn own_address(last: u8) -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{last}:9002", 1 + (pid >> 8) % 254, pid % 256)
}

#[test]
fn the_first_node_comes_back_beside_other_metadata_servers_and_with_them() -> Result<()> {
    let own = own_address(1);
    let options = Options::new(3, "2+1").argument("--cluster-listen").argument(&own);
    let mut server = Server::start_with("growth-metadata", options)?;
    server.client()?.make_bucket(BUCKET)?;
    put_all(&server, 1)?;
    server.stop()?;
    cluster(&server.data(), &["init"])?;
    server.start_again()?;
    let (mut second, second_runs) = join_metadata(&server, "second", &own_address(2))?;
    let (mut third, third_runs) = join_metadata(&server, "third", &own_address(3))?;

    // The others lead while it is away.
    server.kill()?;
    server.start_again()?;
    check_all(&server, &[1])?;
    put_all(&server, 2)?;

    // Nobody leads until another is back too.
    drop((second_runs, third_runs));
    server.kill()?;
    let outputs = [
        Output::in_folder(server.folder(), "second"),
        Output::in_folder(server.folder(), "third"),
    ];
    let starting =
        thread::spawn(move || -> Result<_> { Ok([outputs[0].start(&mut second)?, outputs[1].start(&mut third)?]) });
    server.start_again()?;
    let _others = starting
        .join()
        .map_err(|_| anyhow::anyhow!("starting the others panicked"))??;
    check_all(&server, &[1, 2])
}
