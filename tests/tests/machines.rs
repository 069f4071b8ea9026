//! A cluster of machines, as processes: written through one gateway and read through another, a server that dies, devices
//! that are put out and taken in, shards that are lost.

use std::process::Command;

use anyhow::{Result, ensure};
use cairn_tests::content;
use cairn_tests::machines::{Machines, device, devices};
use cairn_tests::process::run;
use cairn_tests::s3::Request;
use serde_json::Value;

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
    await_used(&machines, new, 1 << 20)?;
    // What moved there goes from where it was: all devices together hold what was written, and its parity.
    let written: usize = SIZES.iter().sum::<usize>() * 2;
    machines.await_status("what was moved leaves its old devices", |status| {
        let held = devices(status).filter_map(|device| device["used_bytes"].as_u64());
        held.sum::<u64>() < written as u64 * 17 / 10
    })?;
    for round in [1, 2] {
        check_all(&machines, round)?;
    }
    let again = machines.command(&["apply"])?;
    ensure!(again.contains("nothing"), "a second apply changes something: {again}");
    Ok(())
}

#[test]
fn a_device_that_was_lost_is_replaced_and_filled_again() -> Result<()> {
    let mut machines = Machines::start("replaced", 1, 3, 2, "2+1")?;
    machines.client(0).make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    machines.kill(1);
    std::fs::remove_dir_all(machines.device_folder(1))?;
    machines.start_again(1)?;
    let lost = machines.device(1);
    machines.await_status("the empty device is not served", |status| {
        device(status, lost).is_ok_and(|device| {
            device["up"] == false
                && device["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains("directory"))
        })
    })?;
    check_all(&machines, 1)?;
    machines.kill(1);
    let replaced = machines.replace_device(1)?;
    ensure!(replaced.contains("life 2"), "{replaced}");
    machines.start_again(1)?;
    machines.await_status("the device is filled again", |status| {
        device(status, lost).is_ok_and(|device| device["used_bytes"].as_u64() > Some(8 << 20))
    })?;
    machines.await_redundancy()?;
    // Only now can another go.
    machines.kill(2);
    check_all(&machines, 1)
}

#[test]
fn an_old_copy_of_a_device_and_a_copy_of_a_server_are_refused() -> Result<()> {
    let mut machines = Machines::start("old-copy", 1, 3, 2, "2+1")?;
    machines.client(0).make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    machines.kill(1);
    let (folder, copy) = (
        machines.device_folder(1),
        machines.device_folder(1).with_extension("copy"),
    );
    run(Command::new("cp").arg("-a").arg(&folder).arg(&copy))?;
    let own = machines.device(1);
    let is_up = |status: &Value, up: bool| device(status, own).is_ok_and(|device| device["up"] == up);
    // Otherwise what was heard of it before the kill would be taken for what is heard after the start.
    machines.await_status("the device is down", |status| is_up(status, false))?;
    machines.start_again(1)?;
    machines.await_status("the device is served again", |status| is_up(status, true))?;
    put_all(&machines, 2)?;

    machines.kill(1);
    std::fs::remove_dir_all(&folder)?;
    std::fs::rename(&copy, &folder)?;
    machines.start_again(1)?;
    machines.await_status("the old copy is refused", |status| {
        let reason = device(status, own).map(|device| device["reason"].to_string());
        is_up(status, false) && reason.is_ok_and(|reason| reason.contains("old copy"))
    })?;
    for round in [1, 2] {
        check_all(&machines, round)?;
    }
    Ok(())
}

#[test]
fn a_server_that_stays_down_is_put_out_by_itself_and_taken_in_when_it_is_back() -> Result<()> {
    let mut machines = Machines::start("given-up", 1, 4, 2, "2+1")?;
    machines.command(&["apply", "--out-after", "8s"])?;
    machines.client(0).make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    machines.kill(1);
    let own = machines.device(1);
    let place = |status: &Value, place: &str| device(status, own).is_ok_and(|device| device["place"] == place);
    machines.await_status("the device is given up", |status| place(status, "given up"))?;
    let waited = machines.command(&["wait", "--at-most", "60s"])?;
    ensure!(waited.contains("nothing"), "{waited}");
    machines.kill(2);
    check_all(&machines, 1)?;
    machines.start_again(2)?;
    machines.start_again(1)?;
    machines.await_status("the device is taken in again", |status| place(status, "in"))?;
    machines.await_redundancy()?;
    check_all(&machines, 1)
}

#[test]
fn moves_that_are_paused_wait_and_repairs_do_not() -> Result<()> {
    let mut machines = Machines::start("paused", 1, 3, 2, "2+1")?;
    machines.client(0).make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    machines.command(&["pause"])?;
    machines.add_chunkserver()?;
    let new = machines.device(3);
    machines.await_status("the new server has told of its device", |status| {
        device(status, new).is_ok_and(|device| device["up"] == true)
    })?;
    machines.command(&["apply"])?;
    machines.kill(1);
    std::fs::remove_dir_all(machines.device_folder(1))?;
    machines.replace_device(1)?;
    machines.start_again(1)?;
    machines.await_status("what was lost is made again", |status| {
        device(status, machines.device(1)).is_ok_and(|device| device["used_bytes"].as_u64() > Some(4 << 20))
    })?;
    let status = machines.status()?;
    ensure!(
        status["moving_groups"].as_u64() > Some(0) && status["moves_paused"] == true,
        "{status:#}"
    );
    machines.command(&["resume"])?;
    machines.await_redundancy()?;
    await_used(&machines, new, 1 << 20)?;
    check_all(&machines, 1)
}

#[test]
fn a_bucket_that_wants_another_redundancy_is_coded_anew_while_it_is_read() -> Result<()> {
    let mut machines = Machines::start("recoded", 1, 4, 2, "2+1")?;
    let mut client = machines.client(0);
    client.make_bucket(BUCKET)?.success()?;
    put_all(&machines, 1)?;
    let parts = [content::bytes(7, 6 << 20), content::bytes(8, 1 << 20)];
    client.put_parts(BUCKET, "parts", &parts)?.success()?;
    // It shares the chunks of the largest, and is to share them afterwards.
    let copy = Request::object("PUT", BUCKET, "copy").header("x-amz-copy-source", format!("/{BUCKET}/1/3"));
    client.send(&copy)?.success()?;
    let written = SIZES.iter().chain([&(7 << 20)]).sum::<usize>() as f64;
    let takes = |status: &Value, least: f64, most: f64| {
        let held = devices(status).filter_map(|device| device["used_bytes"].as_u64());
        let times = held.sum::<u64>() as f64 / written;
        status["recoding"] == serde_json::json!([]) && (least..most).contains(&times)
    };
    for (redundancy, least, most) in [("2", 1.9, 2.2), ("2+1", 1.4, 1.7)] {
        machines.bucket(&["set", BUCKET, "--redundancy", redundancy])?;
        ensure!(
            machines.status()?["recoding"] == serde_json::json!([BUCKET]),
            "it is marked"
        );
        check_all(&machines, 1)?;
        machines.command(&["wait", "--at-most", "60s"])?;
        machines.await_status("the former chunks are gone", |status| takes(status, least, most))?;
        check_all(&machines, 1)?;
        let mut client = machines.client(1);
        ensure!(client.get(BUCKET, "parts")? == parts.concat(), "the parts are others");
        ensure!(
            client.get(BUCKET, "copy")? == content::bytes(103, SIZES[3]),
            "the copy is another"
        );
    }
    machines.command(&["verify"])?;
    machines.kill(3);
    check_all(&machines, 1)
}

/// Waits until a device says that it holds more than that: it says so once a second.
fn await_used(machines: &Machines, id: u64, bytes: u64) -> Result<()> {
    machines.await_status("the device says what it holds", |status| {
        device(status, id).is_ok_and(|device| device["used_bytes"].as_u64() > Some(bytes))
    })?;
    Ok(())
}
