//! A cluster of machines, as processes: written through one gateway and read through another, a server that dies, devices
//! that are put out and taken in, shards that are lost.

use anyhow::{Result, ensure};
use cairn_tests::content;
use cairn_tests::machines::{Machines, devices};

const BUCKET: &str = "cluster";

/// Inline, copies, coded, and several chunks.
const SIZES: [usize; 4] = [1000, 50_000, 700_000, 18 << 20];

fn put_all(machines: &Machines, round: u64) -> Result<()> {
    let mut client = machines.client(0);
    for (at, size) in SIZES.iter().enumerate() {
        let body = content::bytes(round * 100 + at as u64, *size);
        client.put(BUCKET, format!("{round}/{at}"), body)?.success()?;
    }
    Ok(())
}

fn check_all(machines: &Machines, round: u64) -> Result<()> {
    let mut client = machines.client(1);
    for (at, size) in SIZES.iter().enumerate() {
        let read = client.get(BUCKET, format!("{round}/{at}"))?;
        let expected = content::bytes(round * 100 + at as u64, *size);
        ensure!(
            read == expected,
            "object {round}/{at} is read otherwise than it was written"
        );
    }
    Ok(())
}

#[test]
fn a_dead_server_is_put_out_and_what_it_held_is_made_again() -> Result<()> {
    let mut machines = Machines::start("dead-server", 1, 4, 2, "2+1")?;
    machines.client(0).make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    check_all(&machines, 1)?;

    machines.kill(1);
    check_all(&machines, 1)?;
    put_all(&machines, 2)?;
    check_all(&machines, 2)?;
    let dead = machines.device(1);
    machines.await_status("the dead server is found out", |status| {
        devices(status).any(|device| device["id"] == dead && device["up"] == false)
    })?;
    let dead = dead.to_string();
    let plan = machines.command(&["plan", "--out", &dead])?;
    ensure!(plan.contains("put out"), "{plan}");
    ensure!(machines.status()?["epoch"] == 1, "a plan changes nothing");
    machines.command(&["apply", "--out", &dead])?;
    machines.await_redundancy()?;

    // Only now can another go.
    machines.kill(2);
    for round in [1, 2] {
        check_all(&machines, round)?;
    }
    Ok(())
}

#[test]
fn a_new_server_takes_over_its_share_and_the_data_stays_readable() -> Result<()> {
    let mut machines = Machines::start("new-server", 1, 3, 2, "2+1")?;
    machines.client(0).make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    machines.add_chunkserver()?;
    let new = machines.device(3);
    machines.await_status("the new server has told of its device", |status| {
        devices(status).any(|device| device["id"] == new && device["place"] == "new" && device["up"] == true)
    })?;
    machines.command(&["apply"])?;
    put_all(&machines, 2)?;
    machines.await_redundancy()?;
    for round in [1, 2] {
        check_all(&machines, round)?;
    }
    let status = machines.status()?;
    let holds = devices(&status).any(|device| device["id"] == new && device["used_bytes"].as_u64() > Some(1 << 20));
    ensure!(holds, "the new device holds next to nothing: {status:#}");
    let again = machines.command(&["apply"])?;
    ensure!(again.contains("nothing"), "a second apply changes something: {again}");
    Ok(())
}
