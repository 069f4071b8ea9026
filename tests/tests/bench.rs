//! `cairn bench` as its users run it: on a server that tells what it is, interrupted from the keyboard, and on a cluster by the
//! native client.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::daemon::field;
use cairn_tests::dev_cluster::DevCluster;
use cairn_tests::isolation::SmallDisk;
use cairn_tests::place;
use cairn_tests::process::run;
use cairn_tests::server::{ACCESS_KEY, Options, SECRET_KEY, Server};
use cairn_tests::wait;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(60);

/// `cairn bench`, without what this process's environment says of endpoints and keys.
fn bench(arguments: &str) -> Result<Command> {
    Ok(bench_by(Command::new(place::cairn_binary()?), arguments))
}

/// The same by a command that runs the program in a place of its own.
fn bench_by(mut command: Command, arguments: &str) -> Command {
    command.arg("bench").args(arguments.split(' ')).stdin(Stdio::null());
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"] {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
    command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command.env("AWS_REGION", "us-east-1");
    command
}

fn report(file: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

fn keys(server: &Server) -> Result<Vec<String>> {
    server.client()?.keys("cairn-bench")
}

#[test]
fn a_server_tells_what_figures_are_to_be_read_by() -> Result<()> {
    let server = Server::start("bench-facts")?;
    let admin = field(&server.printed(), "admin")?;
    let file = server.folder().join("results.json");
    let address = server.address()?;
    let load = "--op mixed --mix get=4,range-get=2,stat=2,list=1,put=3,overwrite=2,copy=1,multipart=1,delete=2";
    let arguments = format!(
        "--s3 http://{address} --admin {admin} {load} --size 1-200KiB --part-size 5MiB --objects 30 --count 400 --keys zipf \
         --read-back --json {}",
        file.display()
    );
    run(&mut bench(&arguments)?)?;
    let report = report(&file)?;
    let told = |fact: &str| report["target"][fact]["told_by"] == "server";
    ensure!(told("version") && told("redundancy") && told("sync_mode"), "{report:#}");
    let phase = &report["phases"][1];
    ensure!(
        phase["ops"] == 400 && phase["by_op"].as_object().is_some_and(|ops| ops.len() == 9),
        "{phase:#}"
    );
    // Its own word is of now, and not of what it had at most.
    ensure!(phase["server"]["rss_peak_bytes"].is_null(), "{phase:#}");
    ensure!(
        report["target"]["redundancy"]["value"]
            .as_str()
            .is_some_and(|value| value.ends_with(" (of new buckets)")),
        "{report:#}"
    );
    let server_memory = phase["server"]["rss_bytes"].as_u64();
    ensure!(server_memory.is_some_and(|bytes| bytes > 1 << 20), "{phase:#}");
    ensure!(
        phase["server"]["cpu"]["cpu_s"].as_f64().is_some_and(|cpu| cpu > 0.0),
        "{phase:#}"
    );
    let left = keys(&server)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn an_interrupt_prints_what_was_measured_and_cleans_up() -> Result<()> {
    let server = Server::start("bench-interrupt")?;
    let arguments = format!("--s3 http://{} --op put --size 10KiB --duration 600", server.address()?);
    let mut command = bench(&arguments)?;
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id")?;
    wait::until("objects are written", BOUND, || {
        // There is no bucket at first.
        Ok(keys(&server).is_ok_and(|keys| keys.len() > 20).then_some(()))
    })?;
    kill_process(pid, Signal::INT)?;
    let output = child.wait_with_output()?;
    let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(
        output.status.code() == Some(1) && stderr.contains("interrupted"),
        "{stderr}"
    );
    ensure!(
        stdout.contains(", interrupted\n") && stdout.contains("BENCH put_10KiB_c8_p99 "),
        "{stdout}"
    );
    let left = keys(&server)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// A run that met a full target: it failed, said why, and left in `file` what it had measured before.
fn assert_full(output: &Output, file: &Path, why: &[&str], kinds: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && why.iter().any(|why| said.contains(why)),
        "{said}"
    );
    ensure!(!said.contains("not deleted"), "{said}");
    let report = report(file)?;
    let phase = &report["phases"][0];
    ensure!(phase["ops"].as_u64().is_some_and(|ops| ops > 2), "{phase:#}");
    ensure!(
        kinds
            .iter()
            .any(|kind| phase["errors"][*kind]["count"].as_u64() > Some(0)),
        "{phase:#}"
    );
    Ok(())
}

#[test]
fn a_mount_that_is_full_ends_the_run_with_what_was_measured() -> Result<()> {
    let folder = place::scratch("bench-full")?;
    let mount = folder.path().join("mount");
    std::fs::create_dir(&mount)?;
    let disk = SmallDisk::new(8);
    disk.mount(&mount)?;
    let file = folder.path().join("results.json");
    let run = |arguments: &str| -> Result<Output> {
        let arguments = format!(
            "--mount {} --concurrency 2 --json {} {arguments}",
            mount.display(),
            file.display()
        );
        Ok(bench_by(disk.command(&place::cairn_binary()?)?, &arguments).output()?)
    };
    for load in [
        "--op seq-write --size 3MiB --block-size 256KiB",
        "--op untar --size 100KiB",
    ] {
        let full = run(&format!("{load} --duration 600"))?;
        assert_full(&full, &file, &["No space left on device"], &["no_space"])?;
        // All of it was deleted.
        let fits = run(&format!("{load} --count 20"))?;
        ensure!(fits.status.success(), "{}", String::from_utf8_lossy(&fits.stderr));
    }
    Ok(())
}

#[test]
fn a_store_that_is_full_ends_the_run_with_what_was_measured() -> Result<()> {
    let options = Options::new(3, "2+1").small_disk(SmallDisk::new(256));
    let server = Server::start_with("bench-full-store", options)?;
    let file = server.folder().join("results.json");
    let arguments = format!(
        "--s3 http://{} --op put --size 4MiB --duration 600 --json {}",
        server.address()?,
        file.display()
    );
    let full = bench(&arguments)?.output()?;
    assert_full(
        &full,
        &file,
        &["no room left", "overloaded or not ready"],
        &["no_space", "slow_down"],
    )?;
    let left = keys(&server)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn a_cluster_is_measured_by_the_native_client() -> Result<()> {
    let mut cluster = DevCluster::prepare("bench-native")?;
    let shape = [
        "--metadata",
        "1",
        "--chunkservers",
        "3",
        "--gateways",
        "0",
        "--redundancy",
        "2+1",
    ];
    cluster.start(&shape)?;
    let first = cluster.data().join("metadata-1");
    let node = cluster.folder().join("node");
    let cairn = |arguments: &[&str], data: &Path| -> Result<String> {
        let mut command = Command::new(place::cairn_binary()?);
        Ok(run(command.args(arguments).arg("--data").arg(data))?.stdout)
    };
    let token = cairn(&["cluster", "token", "--roles", "client"], &first)?;
    let token = token.split_whitespace().find(|word| word.starts_with("cairn-join-"));
    cairn(&["cluster", "join", token.context("a token")?], &node)?;
    let file = cluster.folder().join("results.json");
    let load = "--op mixed --mix get=4,range-get=2,stat=1,list=1,put=2,overwrite=1,copy=1,delete=1";
    let arguments = format!(
        "--native {} {load} --size 1-300KiB --objects 20 --count 200 --read-back --json {}",
        node.display(),
        file.display()
    );
    run(&mut bench(&arguments)?)?;
    let report = report(&file)?;
    let redundancy = &report["target"]["redundancy"];
    ensure!(
        redundancy["value"] == "2+1" && redundancy["told_by"] == "server",
        "{report:#}"
    );
    ensure!(report["phases"][1]["ops"] == 200, "{report:#}");
    // A directory that is no node is said to be none.
    let nowhere = cluster.folder().join("nowhere");
    std::fs::create_dir(&nowhere)?;
    let output = bench(&format!("--native {} --op put", nowhere.display()))?.output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        !output.status.success() && said.contains("no node of a cluster"),
        "{said}"
    );
    cluster.stop()
}
