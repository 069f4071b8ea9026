//! `cairn dev-cluster`: started, used with a real client, hurt, stopped, and started again with what it holds; and what it leaves
//! behind when it is killed, which is nothing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use cairn_tests::clients::Clients;
use cairn_tests::dev_cluster::DevCluster;
use cairn_tests::machines::devices;
use cairn_tests::process::run;
use cairn_tests::{content, wait};
use serde_json::Value;

const SMALL: [&str; 8] = [
    "--metadata",
    "1",
    "--chunkservers",
    "3",
    "--gateways",
    "1",
    "--redundancy",
    "2+1",
];

/// The cluster notices silence after 5 s; the rest is for a loaded machine.
const NOTICE_BOUND: Duration = Duration::from_secs(60);

/// Whether a process is gone, or waits for its parent to hear of its end.
fn is_gone(pid: u64) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The name in brackets may hold anything.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

fn await_gone(pids: &[u64]) -> Result<()> {
    wait::until("all processes are gone", NOTICE_BOUND, || {
        Ok(pids.iter().all(|pid| is_gone(*pid)).then_some(()))
    })
}

/// Waits until the cluster knows that so many of its devices live.
fn await_devices(cluster: &DevCluster, count: usize) -> Result<()> {
    let up = |status: &Value| devices(status).filter(|device| device["up"] == true).count();
    wait::until("the cluster knows which devices live", NOTICE_BOUND, || {
        let status = cluster.cluster_status("metadata-1").ok();
        Ok(status.is_some_and(|status| up(&status) == count).then_some(()))
    })
}

#[test]
fn a_cluster_is_used_hurt_stopped_and_started_again_with_its_data() -> Result<()> {
    let clients = Clients::ready()?;
    let mut cluster = DevCluster::prepare("dev-cluster")?;
    cluster.start(&SMALL)?;
    let file = cluster.folder().join("picture");
    content::write_file(&file, 1, 3 << 20)?;
    let aws = || clients.aws_at(&cluster.gateway(1)?, cluster.folder());
    run(aws()?.args(["s3", "mb", "s3://photos"]))?;
    run(aws()?.args(["s3", "cp"]).arg(&file).arg("s3://photos/2026/picture"))?;

    cluster.tell(&["kill", "chunkserver-2"])?;
    let killed = cluster.part("chunkserver-2")?;
    ensure!(killed["state"] == "ended" && killed["reason"] == "killed", "{killed:#}");
    let back = cluster.folder().join("back");
    run(aws()?.args(["s3", "cp", "s3://photos/2026/picture"]).arg(&back))?;
    ensure!(
        fs::read(&back)? == fs::read(&file)?,
        "two of three chunkservers give other bytes"
    );
    await_devices(&cluster, 2)?;
    cluster.tell(&["start", "chunkserver-2"])?;
    ensure!(
        cluster.part("chunkserver-2")?["state"] == "running",
        "a started process runs"
    );
    await_devices(&cluster, 3)?;

    let refused = cluster.refusal(&["wipe", "chunkserver-1"])?;
    ensure!(refused.contains("runs"), "{refused}");
    let refused = cluster.refusal(&["partition", "chunkserver-1"])?;
    ensure!(refused.contains("--namespaces"), "{refused}");
    let refused = cluster.refusal(&["kill", "chunkserver-9"])?;
    ensure!(refused.contains("no chunkserver-9"), "{refused}");

    let processes = cluster.processes()?;
    ensure!(processes.len() == 5, "{processes:?}");
    cluster.stop()?;
    ensure!(processes.iter().all(|pid| is_gone(*pid)), "a process is left");
    let refused = cluster.refusal(&["status"])?;
    ensure!(refused.contains("no dev-cluster runs"), "{refused}");

    cluster.start(&[])?;
    let read = cluster.client(1)?.get("photos", "2026/picture")?;
    ensure!(read == fs::read(&file)?, "a start from the directory gives other bytes");
    Ok(())
}

#[test]
fn a_killed_one_leaves_no_process_and_its_directory_can_be_started() -> Result<()> {
    let mut cluster = DevCluster::prepare("dev-cluster-killed")?;
    cluster.start(&SMALL)?;
    cluster.client(1)?.make_bucket("kept")?;
    cluster.client(1)?.put("kept", "key", content::bytes(1, 300_000))?;
    // One that is halted goes too.
    cluster.tell(&["stop", "chunkserver-3"])?;
    ensure!(cluster.part("chunkserver-3")?["state"] == "halted", "SIGSTOP halts");
    let processes = cluster.processes()?;
    cluster.kill();
    await_gone(&processes)?;
    cluster.start(&[])?;
    ensure!(
        cluster.client(1)?.get("kept", "key")? == content::bytes(1, 300_000),
        "other bytes"
    );

    // One that ends by itself is said so, and stays where it is.
    let gateway = cluster.part("gateway-1")?["pid"].to_string();
    run(Command::new("kill").args(["-9", &gateway]))?;
    wait::until("the end of the gateway is told", NOTICE_BOUND, || {
        Ok(cluster
            .log()
            .contains("gateway-1 has ended by itself: killed")
            .then_some(()))
    })?;
    ensure!(
        cluster.part("gateway-1")?["state"] == "ended",
        "nothing starts it again"
    );
    cluster.stop()
}

#[test]
fn a_gateway_comes_back_while_the_server_that_let_it_in_is_dead() -> Result<()> {
    let mut cluster = DevCluster::prepare("dev-cluster-gateway")?;
    cluster.start(&["--metadata", "3", "--chunkservers", "1", "--gateways", "1"])?;
    let known = cluster.data().join("gateway-1/cluster/metadata.toml");
    wait::until("the gateway knows all metadata servers", NOTICE_BOUND, || {
        let known = fs::read_to_string(&known).unwrap_or_default();
        Ok((known.matches("node").count() == 3).then_some(()))
    })?;
    cluster.tell(&["kill", "metadata-1", "gateway-1"])?;
    cluster.tell(&["start", "gateway-1"])?;
    let mut client = cluster.client(1)?;
    client.make_bucket("back")?;
    client.put("back", "key", content::bytes(1, 1000))?;
    ensure!(client.get("back", "key")? == content::bytes(1, 1000), "other bytes");
    cluster.stop()
}

#[test]
fn processes_in_namespaces_are_cut_off_and_nothing_of_it_is_left() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skipped("network namespaces are for root to make");
        return Ok(());
    }
    let mut cluster = DevCluster::prepare("dev-cluster-namespaces")?;
    cluster.start(&[&SMALL[..], &["--namespaces"]].concat())?;
    let mut client = cluster.client(1)?;
    client.make_bucket("cut")?;
    client.put("cut", "before", content::bytes(1, 500_000))?;

    cluster.tell(&["partition", "chunkserver-1"])?;
    ensure!(
        cluster.part("chunkserver-1")?["cut_off_from"]
            .as_array()
            .is_some_and(|cut| cut.len() == 4),
        "all others"
    );
    ensure!(
        client.get("cut", "before")? == content::bytes(1, 500_000),
        "two of three give other bytes"
    );
    client.put("cut", "during", content::bytes(2, 500_000))?;
    await_devices(&cluster, 2)?;
    cluster.tell(&["heal", "chunkserver-1"])?;
    await_devices(&cluster, 3)?;

    // From the gateway alone: the metadata service still hears of it.
    cluster.tell(&["partition", "chunkserver-2", "--from", "gateway-1"])?;
    ensure!(
        client.get("cut", "during")? == content::bytes(2, 500_000),
        "other bytes"
    );
    await_devices(&cluster, 3)?;

    // A killed run leaves its network, which the next one removes, and the last leaves none.
    let processes = cluster.processes()?;
    cluster.kill();
    await_gone(&processes)?;
    cluster.start(&[])?;
    ensure!(
        cluster.client(1)?.get("cut", "before")? == content::bytes(1, 500_000),
        "other bytes"
    );
    let id = identity(&cluster)?;
    let prefix = format!("cairn-{id}-");
    ensure!(namespaces()?.contains(&prefix), "the cluster has namespaces");
    cluster.stop()?;
    ensure!(!namespaces()?.contains(&prefix), "namespaces are left");
    let links = run(Command::new("ip").args(["-oneline", "link", "show"]))?.stdout;
    ensure!(!links.contains(&format!("cairn{id}")), "links are left: {links}");
    Ok(())
}

/// What the names of its namespaces and links hold.
fn identity(cluster: &DevCluster) -> Result<String> {
    let shape: toml::Table = toml::from_str(&fs::read_to_string(cluster.data().join("dev-cluster.toml"))?)?;
    let id = shape["id"].as_str().unwrap_or_default();
    ensure!(id.len() == 4, "{shape:?}");
    Ok(id.to_owned())
}

fn namespaces() -> Result<String> {
    Ok(run(Command::new("ip").args(["netns", "list"]))?.stdout)
}

#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
