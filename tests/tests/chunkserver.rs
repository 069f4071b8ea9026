//! Devices served by a process of their own: kills, lost and added devices, wrong roles and rubbish; and what an operator does
//! with a device that is stopped.

use std::fs;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::chunkserver::{Chunkserver, ShardClient};

/// Roles that may do all that is tested here.
const ALL: &str = "client,operator,metadata";

/// The number of a node's `count`-th device.
fn device(server: &Chunkserver, count: u32) -> Result<u32> {
    Ok(u32::try_from(server.node)? * 256 + count)
}

fn bytes_of(counter: u64, len: usize) -> Vec<u8> {
    (0..len).map(|index| (index as u64 / 5 + counter) as u8).collect()
}

/// Shards of different lengths.
const LENS: [usize; 4] = [1, 5000, 200_000, 3 << 20];

fn fill(client: &ShardClient, device: u32) -> Result<()> {
    for (counter, len) in (0..).zip(LENS) {
        client.put(device, counter, &bytes_of(counter, len))?;
    }
    Ok(())
}

fn is_whole(client: &ShardClient, device: u32) -> Result<()> {
    for (counter, len) in (0..).zip(LENS) {
        ensure!(
            client.get(device, counter)? == bytes_of(counter, len),
            "shard {counter}"
        );
    }
    Ok(())
}

#[test]
fn acknowledged_shards_survive_a_kill_and_deleted_ones_do_not_come_back() -> Result<()> {
    let mut server = Chunkserver::prepare("chunkserver-kill", "chunkserver")?;
    server.start(&["one", "two"])?;
    let devices = [device(&server, 1)?, device(&server, 2)?];
    let client = server.client(ALL)?;
    for device in devices {
        fill(&client, device)?;
        client.put(device, 99, b"to be deleted")?;
        client.delete(device, 99)?;
    }
    server.kill();
    server.start(&[])?;
    let client = server.client(ALL)?;
    for device in devices {
        is_whole(&client, device)?;
        ensure!(client.get(device, 99).is_err(), "it was deleted");
        ensure!(client.count(device)? == LENS.len());
    }
    server.stop()
}

#[test]
fn a_stop_leaves_the_next_start_nothing_to_read_again() -> Result<()> {
    let mut server = Chunkserver::prepare("chunkserver-stop", "chunkserver")?;
    server.start(&["one"])?;
    let number = device(&server, 1)?;
    // Still connected when the server stops.
    let client = server.client(ALL)?;
    fill(&client, number)?;
    server.stop()?;
    server.start(&[])?;
    let log = server.log_end();
    let opened = log.lines().rfind(|line| line.contains("the device is open"));
    let opened = opened.with_context(|| format!("no device was opened:\n{log}"))?;
    ensure!(opened.contains(" records=0 "), "{opened}");
    is_whole(&server.client(ALL)?, number)
}

#[test]
fn a_client_stores_and_reads_and_deletes_nothing() -> Result<()> {
    let mut server = Chunkserver::prepare("chunkserver-roles", "chunkserver")?;
    server.start(&["one"])?;
    let client = server.client("client")?;
    let device = device(&server, 1)?;
    fill(&client, device)?;
    is_whole(&client, device)?;
    let refused = client.delete(device, 0).err().context("a client deletes no shard")?;
    ensure!(client.count(device).is_err(), "a client lists no shards");
    is_whole(&client, device)?;
    ensure!(refused.to_string().contains("role"), "{refused}");
    Ok(())
}

#[test]
fn a_device_is_added_at_a_restart_and_one_that_is_gone_stays_down() -> Result<()> {
    let mut server = Chunkserver::prepare("chunkserver-devices", "chunkserver")?;
    server.start(&["one", "two"])?;
    let client = server.client(ALL)?;
    fill(&client, device(&server, 2)?)?;
    server.stop()?;

    fs::rename(server.device("one"), server.device("away"))?;
    server.start(&["three"])?;
    let (succeeded, status) = server.status()?;
    ensure!(succeeded && status["health"] == "degraded", "{status}");
    let up: Vec<_> = status["devices"]
        .as_array()
        .context("devices")?
        .iter()
        .map(|device| &device["up"])
        .collect();
    ensure!(up == [false, true, true], "{status}");
    ensure!(server.printed().contains("DOWN: "), "{}", server.printed());
    let client = server.client(ALL)?;
    is_whole(&client, device(&server, 2)?)?;
    fill(&client, device(&server, 3)?)?;
    ensure!(client.put(device(&server, 1)?, 1, b"lost").is_err());
    server.stop()?;

    // An empty directory in its place is no device either; the device itself is.
    fs::create_dir(server.device("one"))?;
    server.start(&["one"])?;
    ensure!(
        server.status()?.1["devices"][0]["up"] == false,
        "it was formatted again"
    );
    server.stop()?;
    fs::remove_dir(server.device("one"))?;
    fs::rename(server.device("away"), server.device("one"))?;
    server.start(&[])?;
    ensure!(server.status()?.1["health"] == "good");
    Ok(())
}

#[test]
fn what_must_not_start_says_what_to_do() -> Result<()> {
    let other = Chunkserver::prepare("chunkserver-role", "client")?;
    let said = other.start_refused(&["one"])?;
    ensure!(said.contains("cairn cluster token --roles chunkserver"), "{said}");

    let mut server = Chunkserver::prepare("chunkserver-refused", "chunkserver")?;
    let said = server.start_refused(&[])?;
    ensure!(said.contains("--device"), "{said}");
    fs::create_dir_all(server.device("photos/of-a-summer"))?;
    let said = server.start_refused(&["photos"])?;
    ensure!(said.contains("not empty"), "{said}");

    server.start(&["one"])?;
    let said = server.start_refused(&[])?;
    ensure!(said.contains("in use"), "{said}");
    let (succeeded, printed) = server.maintain(&["verify"], "one")?;
    ensure!(
        !succeeded && printed.stderr.contains("another process"),
        "{}",
        printed.stderr
    );
    server.stop()?;

    fs::write(server.data().join("chunkserver.toml"), "rubbish")?;
    let said = server.start_refused(&[])?;
    ensure!(said.contains("chunkserver.toml is damaged: restore it"), "{said}");
    Ok(())
}

#[test]
fn a_stopped_device_is_looked_into_verified_and_given_a_new_index() -> Result<()> {
    let mut server = Chunkserver::prepare("chunkserver-tools", "chunkserver")?;
    server.start(&["one"])?;
    let client = server.client(ALL)?;
    let number = device(&server, 1)?;
    fill(&client, number)?;
    // Without the last flush of its index.
    server.kill();

    let clean = server.maintained(&["verify"], "one")?;
    ensure!(
        clean.contains("shards      4") && clean.contains("findings    0"),
        "{clean}"
    );
    let segments = server.maintained(&["inspect"], "one")?;
    ensure!(
        segments.contains(&format!("device      {number} in life 1")),
        "{segments}"
    );
    let records = server.maintained(&["inspect", "--records", "--json"], "one")?;
    let records: Vec<serde_json::Value> = records.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(records.len() == LENS.len(), "{records:?}");

    // The last byte of the second shard.
    let record = records
        .iter()
        .find(|record| record["shard_len"] == 5000)
        .context("a record")?;
    let number_of = |name: &str| record[name].as_u64().context("a number");
    let segment = server
        .device("one")
        .join(format!("segments/{:020}.segment", number_of("segment")?));
    let file = fs::File::options().read(true).write(true).open(segment)?;
    let at = number_of("offset")? + number_of("record_len")? - 64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    let (succeeded, found) = server.maintain(&["verify"], "one")?;
    ensure!(!succeeded && found.stdout.contains("findings    1"), "{}", found.stdout);
    file.write_all_at(&byte, at)?;

    fs::remove_dir_all(server.device("one").join("index"))?;
    let rebuilt = server.maintained(&["rebuild-index"], "one")?;
    ensure!(rebuilt.contains("records     4"), "{rebuilt}");
    server.start(&[])?;
    is_whole(&server.client(ALL)?, number)
}
