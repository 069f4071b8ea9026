//! The node that holds the cluster's authority is lost: another metadata server goes on in its place, or it is made again from
//! a backup, with nothing but the recovery key.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::daemon::field;
use cairn_tests::metadata_group::MetadataGroup;
use cairn_tests::process::{run, run_any};
use cairn_tests::{place, wait};

const BOUND: Duration = Duration::from_secs(60);

/// A new recovery key of the group's authority; the service has what it opens when it is told.
fn recovery_key(group: &mut MetadataGroup) -> Result<String> {
    let told = cluster(&data(group, 0), &["recovery-key"])?;
    let key = told.split_whitespace().find(|word| word.starts_with("cairn-recovery-"));
    Ok(key.context("a recovery key")?.to_owned())
}

#[test]
fn another_metadata_server_takes_the_authority_over() -> Result<()> {
    let mut group = MetadataGroup::start("authority-over", 3)?;
    let key = recovery_key(&mut group)?;
    let (first, second, third) = (data(&mut group, 0), data(&mut group, 1), data(&mut group, 2));
    let shut_out = group.folder().join("shut-out");
    let node = group.join(&shut_out, "client")?;
    cluster(&first, &["revoke", &node.to_string()])?;
    group.member(0).kill();
    group.settle()?;

    let wrong = refusal(&second, &["recover-authority", "--recovery-key", "cairn-join-1.x"])?;
    ensure!(wrong.contains("not a recovery key"), "{wrong}");
    let foreign = run(&mut cairn(&["cluster", "init"], &group.folder().join("foreign"))?)?.stdout;
    let foreign = foreign
        .split_whitespace()
        .find(|word| word.starts_with("cairn-recovery-"));
    let wrong = refusal(
        &second,
        &["recover-authority", "--recovery-key", foreign.context("a key")?],
    )?;
    ensure!(wrong.contains("does not open"), "{wrong}");
    ensure!(
        !second.join("cluster/authority").exists(),
        "a refused node holds no authority"
    );

    let taken = cluster(&second, &["recover-authority", "--recovery-key", &key])?;
    ensure!(taken.contains("from node 1 by node 2"), "{taken}");
    group.member(1).stop()?;
    group.member(1).start()?;
    group.settle()?;
    // It lets nodes in, renews the others, and knows who was shut out.
    let address = group.member(1).address().to_owned();
    let token = cluster(&second, &["token", "--roles", "client", "--address", &address])?;
    let newcomer = group.folder().join("newcomer");
    let joined = cluster(&newcomer, &["join", token.trim()])?;
    let number: u64 = field(&joined, "node")?.parse()?;
    ensure!(
        number > 1000,
        "what the lost node may have given out is not given out again: {number}"
    );
    cluster(&third, &["renew"])?;
    ensure!(
        cluster(&second, &["members"])?.contains("revoked"),
        "the revoked node is forgotten"
    );

    // The first node comes back with what it held.
    group.member(0).start()?;
    wait::until("the first node gives its authority up", BOUND, || {
        Ok((!first.join("cluster/authority").exists()).then_some(()))
    })?;
    let refused = refusal(&first, &["token", "--address", "127.0.0.1:1"])?;
    ensure!(refused.contains("does not hold"), "{refused}");
    group.member(0).stop()?;
    group.member(0).start()?;
    cluster(&first, &["renew"])?;
    let status = cluster(&first, &["status"])?;
    ensure!(status.contains("authority   node 2"), "{status}");
    group.settle()
}

#[test]
fn the_first_node_is_made_again_from_a_backup() -> Result<()> {
    let mut group = MetadataGroup::start("authority-backup", 1)?;
    let first = data(&mut group, 0);
    let client = group.folder().join("client");
    group.join(&client, "client")?;
    let key = recovery_key(&mut group)?;
    let file = group.folder().join("backup");
    run(cairn(&["metadata", "backup"], &first)?.arg(&file))?;
    let before = cluster(&first, &["members"])?;
    group.member(0).kill();
    fs::rename(&first, group.folder().join("lost"))?;

    let backup = file.display().to_string();
    let made = cluster(
        &first,
        &["recover-authority", "--recovery-key", &key, "--from-backup", &backup],
    )?;
    ensure!(made.contains("node        1"), "{made}");
    let again = refusal(
        &first,
        &["recover-authority", "--recovery-key", &key, "--from-backup", &backup],
    )?;
    ensure!(again.contains("already"), "{again}");
    let refused = group.start_refused(&first)?;
    ensure!(refused.contains("metadata restore"), "{refused}");
    run(cairn(&["metadata", "restore"], &first)?.arg(&file))?;
    group.member(0).start()?;
    group.ready(0)?;
    let after = cluster(&first, &["members"])?;
    ensure!(before.lines().count() == after.lines().count(), "{before}\n{after}");
    group.join(&group.folder().join("newcomer"), "client")?;
    // Who was let in before finds the same cluster.
    cluster(&client, &["ping"])?;
    Ok(())
}

fn data(group: &mut MetadataGroup, index: usize) -> std::path::PathBuf {
    group.member(index).data().to_owned()
}

fn cluster(data: &Path, arguments: &[&str]) -> Result<String> {
    Ok(run(&mut cairn(&[&["cluster"], arguments].concat(), data)?)?.stdout)
}

fn refusal(data: &Path, arguments: &[&str]) -> Result<String> {
    let (succeeded, printed) = run_any(&mut cairn(&[&["cluster"], arguments].concat(), data)?)?;
    ensure!(!succeeded, "{arguments:?} succeeded:\n{}", printed.stdout);
    Ok(printed.stderr)
}

fn cairn(arguments: &[&str], data: &Path) -> Result<Command> {
    let mut command = Command::new(place::cairn_binary()?);
    command.args(arguments).arg("--data").arg(data);
    Ok(command)
}
