//! Metadata backed up while the server runs, restored into a new data folder over the old devices, and proven by reading
//! the objects back; no data is deleted before an operator says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_tests::server::{Options, Server};
use cairn_tests::{content, place, wait};
use serde_json::Value;

const BUCKET: &str = "backup";
const LENGTHS: &[usize] = &[0, 900, 50_000, 400_000, (9 << 20) + 1];

#[test]
fn a_restored_store_reads_back_and_deletes_nothing_until_told() -> Result<()> {
    let devices = place::scratch("backup-devices")?;
    let mut options = Options::bare()
        .argument("--redundancy=2+1")
        .environment("CAIRN_ROOT_ACCESS_KEY", cairn_tests::server::ACCESS_KEY)
        .environment("CAIRN_ROOT_SECRET_KEY", cairn_tests::server::SECRET_KEY);
    for index in 0..3 {
        options = options.argument(format!("--device={}", devices.path().join(index.to_string()).display()));
    }
    let mut server = Server::start_with("backup", options)?;
    let mut client = server.client()?;
    client.make_bucket(BUCKET)?;
    let mut objects = BTreeMap::new();
    for (index, length) in LENGTHS.iter().enumerate() {
        let key = format!("d{}/object {index}", index % 2);
        let body = content::bytes(index as u64, *length);
        objects.insert(key.clone(), content::sha256(&body));
        client.put(BUCKET, &key, body)?;
    }
    let file = server.folder().join("backup.cairn");
    let made = succeed(metadata(&server.data(), "backup").arg(&file))?;
    ensure!(made.contains("applied"), "{made}");

    // What comes after the backup: it is not to come back, and its shards look like garbage to the restored store.
    client.put(BUCKET, "later", content::bytes(77, 3 << 20))?;
    client.delete(BUCKET, "d0/object 0")?;
    let live = succeed(metadata(&server.data(), "verify").arg("--live"))?;
    ensure!(live.contains("findings    0"), "{live}");
    let refused = metadata(&server.data(), "verify").output()?;
    ensure!(text_of(&refused).contains("--live"), "{}", text_of(&refused));
    server.kill()?;
    for source in [server.data(), file.clone()] {
        let verified = succeed(metadata_command("verify").arg(&source))?;
        ensure!(verified.contains("findings    0"), "{}: {verified}", source.display());
    }

    fs::rename(server.data(), server.folder().join("lost"))?;
    let restored = succeed(metadata(&server.data(), "restore").arg(&file))?;
    ensure!(restored.contains("generation  "), "{restored}");
    let again = metadata(&server.data(), "restore").arg(&file).output()?;
    ensure!(
        !again.status.success() && text_of(&again).contains("already"),
        "{}",
        text_of(&again)
    );
    server.start_again()?;
    let mut client = server.client()?;
    for (key, hash) in &objects {
        let body = client.get(BUCKET, key).with_context(|| format!("reading {key}"))?;
        ensure!(content::sha256(&body) == *hash, "{key} differs");
    }
    ensure!(
        !client.keys(BUCKET)?.contains(&"later".to_owned()),
        "what came later is not there"
    );

    // An object is deleted, and the later one is an orphan: both keep their shards.
    client.delete(BUCKET, "d0/object 4")?;
    let pending = || {
        let status: Value = serde_json::from_slice(&server.admin("/status")?.success()?.body)?;
        status["release_pending"].as_u64().context("a number")
    };
    ensure!(pending()? > 0, "the deleted object is queued");
    let deleted = || server.metric("cairn_chunkserver_deleted_shards_total");
    ensure!(deleted()? == 0.0, "shards were deleted");
    succeed(&mut metadata(&server.data(), "release-deletion"))?;
    wait::until("the deleted object's shards are gone", Duration::from_secs(120), || {
        Ok((pending()? == 0 && deleted()? > 0.0).then_some(()))
    })
}

fn metadata(data: &Path, command: &str) -> Command {
    let mut built = metadata_command(command);
    built.arg("--data").arg(data);
    built
}

fn metadata_command(command: &str) -> Command {
    let mut built = Command::new(place::cairn_binary().expect("the binary was built"));
    built.args(["metadata", command]);
    built
}

fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", text_of(&output));
    Ok(text_of(&output))
}

fn text_of(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}
