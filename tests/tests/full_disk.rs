//! A disk that fills up: writes are refused in time with an error that says so, everything acknowledged stays readable,
//! and deleting makes room again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use cairn_tests::isolation::SmallDisk;
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server};
use cairn_tests::{content, wait};
use serde_json::Value;

const BUCKET: &str = "full";
const DISK_MIB: u64 = 256;
/// More than fits, whatever is kept back.
const OBJECTS: usize = 64;
/// What a full store answers: AWS has no full disks, so its "try again later" codes, or the status HTTP has for it.
const FULL: &[&str] = &["503 SlowDown", "503 ServiceUnavailable", "507 InsufficientStorage"];

#[test]
fn large_objects_fill_the_disk() -> Result<()> {
    fill(4 << 20)
}

/// Inlined in the metadata, whose log and tables are on the same disk.
#[test]
fn small_objects_fill_the_disk() -> Result<()> {
    fill(2_000)
}

fn fill(length: usize) -> Result<()> {
    let options = Options::new(3, "2+1").small_disk(SmallDisk::new(DISK_MIB));
    let mut server = Server::start_with("full-disk", options)?;
    let mut client = server.client()?;
    client.make_bucket(BUCKET)?;
    // Small objects meet a disk that is nearly full already, or this would take a million of them.
    let ballast = if length < 1 << 20 {
        fill_with_ballast(&mut client)?
    } else {
        0
    };
    let stored = fill_until_refused(&mut client, length)?;
    ensure!(ballast + stored.len() > 4, "only {} objects fit", stored.len());
    assert_stored(&mut client, &stored)?;

    // The full store starts again, knows everything, and still says that it is full or takes more; it loses nothing.
    server.kill()?;
    server.start_again()?;
    let mut client = server.client()?;
    assert_stored(&mut client, &stored)?;

    // Deleting is possible on a full disk and makes room.
    let keys: Vec<String> = client.keys(BUCKET)?;
    for key in keys
        .iter()
        .filter(|key| key.starts_with("ballast") || key.ends_with('0'))
    {
        client.delete(BUCKET, key)?;
    }
    wait::until("deleted bodies are released", Duration::from_secs(120), || {
        let status: Value = serde_json::from_slice(&server.admin("/status")?.success()?.body)?;
        Ok((status["release_pending"] == 0).then_some(()))
    })?;
    // The devices give the room back once they have compacted, and are asked again once they are no longer avoided.
    wait::until("there is room again", Duration::from_secs(60), || {
        let request = Request::object("PUT", BUCKET, "after").body(content::bytes(9, length));
        let response = client.send(&request)?;
        ensure!(
            response.status == 200 || FULL.contains(&response.verdict().as_str()),
            "{}: {}",
            response.verdict(),
            response.text()
        );
        Ok((response.status == 200).then_some(()))
    })?;
    let kept = stored
        .iter()
        .filter(|(key, _)| !key.ends_with('0'))
        .map(|(key, hash)| (key.clone(), hash.clone()));
    assert_stored(&mut client, &kept.collect())
}

/// Large objects until there is no room for another: their number.
fn fill_with_ballast(client: &mut Client) -> Result<usize> {
    for index in 0..OBJECTS {
        let request = Request::object("PUT", BUCKET, format!("ballast{index}")).body(content::bytes(5, 4 << 20));
        if client.send(&request)?.status != 200 {
            return Ok(index);
        }
    }
    anyhow::bail!("{OBJECTS} objects of 4 MiB fit on {DISK_MIB} MiB");
}

/// (key, hash) of what was acknowledged until the first refusal.
fn fill_until_refused(client: &mut Client, length: usize) -> Result<BTreeMap<String, String>> {
    let mut stored = BTreeMap::new();
    let bound = (DISK_MIB << 20) as usize / length + OBJECTS;
    for index in 0..bound {
        let body = content::bytes(index as u64, length);
        let hash = content::sha256(&body);
        let key = format!("object{index:05}");
        let response = client.send(&Request::object("PUT", BUCKET, &key).body(body))?;
        if response.status == 200 {
            stored.insert(key, hash);
            continue;
        }
        ensure!(
            FULL.contains(&response.verdict().as_str()),
            "{}: {}",
            response.verdict(),
            response.text()
        );
        let head = client.send(&Request::object("HEAD", BUCKET, &key))?;
        ensure!(head.status == 404, "what was refused is visible: {}", head.verdict());
        return Ok(stored);
    }
    anyhow::bail!("{bound} objects of {length} bytes fit on {DISK_MIB} MiB")
}

fn assert_stored(client: &mut Client, stored: &BTreeMap<String, String>) -> Result<()> {
    for (key, hash) in stored {
        ensure!(content::sha256(&client.get(BUCKET, key)?) == *hash, "{key} differs");
    }
    Ok(())
}
