//! A store of one process on several disks: any of them may be lost, that of the store's own directory included.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::content;
use cairn_tests::daemon::{Daemon, Output, field};
use cairn_tests::http::{self, Response};
use cairn_tests::isolation::Disks;
use cairn_tests::place;
use cairn_tests::process::run;
use cairn_tests::s3::Client;
use cairn_tests::server::{ACCESS_KEY, SECRET_KEY, credentials, host_of};
use cairn_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

const BUCKET: &str = "disks";
const DISKS: [&str; 3] = ["disk-1", "disk-2", "disk-3"];
const DISK_MIB: u64 = 512;
const PATIENCE: Duration = Duration::from_secs(90);

/// Inline, copies, coded, and several chunks.
const SIZES: [usize; 4] = [1000, 50_000, 700_000, 18 << 20];

/// A store with a device on each disk, its directory on the first.
struct Store {
    process: Option<Daemon>,
    disks: Disks,
    folder: TempDir,
}

impl Store {
    fn make(name: &str) -> Result<Self> {
        let folder = place::scratch(name)?;
        let disks = Disks::mount(folder.path(), &DISKS, DISK_MIB)?;
        let mut store = Self {
            process: None,
            disks,
            folder,
        };
        let devices: Vec<String> = DISKS
            .iter()
            .map(|disk| format!("--device={}", store.device(disk).display()))
            .collect();
        let mut arguments: Vec<&str> = devices.iter().map(String::as_str).collect();
        arguments.extend(["--redundancy", "2+1"]);
        store.start(&arguments)?;
        store.client()?.make_bucket(BUCKET)?;
        Ok(store)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join(DISKS[0]).join("store")
    }

    fn device(&self, disk: &str) -> PathBuf {
        self.folder.path().join(disk).join("device")
    }

    fn start(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = self.disks.command(&place::cairn_binary()?);
        command.arg("server").arg("--data").arg(self.data()).args(arguments);
        for address in ["--listen", "--admin", "--cluster-listen"] {
            command.args([address, "127.0.0.1:0"]);
        }
        command.env("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY);
        command.env("CAIRN_ROOT_SECRET_KEY", SECRET_KEY);
        self.process = Some(self.output().start(&mut command)?);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.process.take().context("it runs")?.stop()
    }

    fn kill(&mut self) {
        drop(self.process.take());
    }

    fn output(&self) -> Output {
        Output::in_folder(self.folder.path(), "server")
    }

    /// `cairn` with these arguments, where the disks are seen.
    fn cairn(&self, arguments: &[&str]) -> Result<String> {
        Ok(run(self.disks.command(&place::cairn_binary()?).args(arguments))?.stdout)
    }

    fn replace_device(&self, disk: &str) -> Result<()> {
        let (data, device) = (self.data(), self.device(disk));
        let (data, device) = (data.to_string_lossy(), device.to_string_lossy());
        self.cairn(&["chunkserver", "replace-device", "--data", &data, &device])?;
        Ok(())
    }

    fn client(&self) -> Result<Client> {
        let endpoint = field(&self.output().printed(), "endpoint")?;
        Ok(Client::new(host_of(&endpoint), credentials()))
    }

    fn admin(&self, path: &str) -> Result<Response> {
        let url = field(&self.output().printed(), "admin")?;
        http::get(host_of(&url), path)
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.admin("/status")?.success()?.body)?)
    }

    fn await_voters(&self, count: u64) -> Result<()> {
        wait::until("the metadata voters are there", PATIENCE, || {
            Ok((self.status()?["metadata_voters"] == count).then_some(()))
        })
    }

    fn put(&self, round: u64) -> Result<()> {
        let mut client = self.client()?;
        for (at, size) in SIZES.iter().enumerate() {
            let body = content::bytes(round * 100 + at as u64, *size);
            client.put(BUCKET, format!("{round}/{at}"), body)?.success()?;
        }
        Ok(())
    }

    fn check(&self, rounds: std::ops::RangeInclusive<u64>) -> Result<()> {
        let mut client = self.client()?;
        for round in rounds {
            for (at, size) in SIZES.iter().enumerate() {
                let read = client.get(BUCKET, format!("{round}/{at}"))?;
                let is_same = read == content::bytes(round * 100 + at as u64, *size);
                ensure!(is_same, "object {round}/{at} is read otherwise than it was written");
            }
        }
        Ok(())
    }

    /// Waits until every chunk has all its shards.
    fn await_repaired(&self) -> Result<()> {
        let data = self.data();
        let data = data.to_string_lossy();
        self.cairn(&["cluster", "wait", "--at-most", "90s", "--data", &data])?;
        for at in 1..SIZES.len() {
            let object = format!("s3://{BUCKET}/1/{at}");
            let explained = self.cairn(&["explain", &object, "--data", &data])?;
            ensure!(!explained.contains("missing"), "{explained}");
        }
        Ok(())
    }
}

#[test]
fn any_disk_may_be_lost_that_of_the_metadata_included() -> Result<()> {
    let mut store = Store::make("disks-lost")?;
    store.await_voters(3)?;
    store.put(1)?;
    store.kill();
    store.start(&[])?;
    store.await_voters(3)?;
    store.check(1..=1)?;

    // One that holds a device and a voter: served without it, and made whole once there is another disk.
    store.stop()?;
    store.disks.lose(DISKS[1])?;
    store.start(&[])?;
    let status = store.status()?;
    ensure!(status["health"] == "degraded", "{status}");
    ensure!(status["remarks"].to_string().contains("metadata voter"), "{status}");
    store.check(1..=1)?;
    store.put(2)?;
    store.stop()?;
    store.disks.insert(DISKS[1])?;
    store.replace_device(DISKS[1])?;
    store.start(&[])?;
    store.await_voters(3)?;
    store.await_repaired()?;
    store.check(1..=2)?;

    // That of the store's own directory.
    store.stop()?;
    store.disks.lose(DISKS[0])?;
    store.disks.insert(DISKS[0])?;
    let data = store.data().to_string_lossy().into_owned();
    let device = store.device(DISKS[2]).to_string_lossy().into_owned();
    store.cairn(&["metadata", "recover", "--data", &data, &device])?;
    store.replace_device(DISKS[0])?;
    store.start(&[])?;
    store.await_voters(3)?;
    store.put(3)?;
    store.await_repaired()?;
    store.check(1..=3)?;

    // The last that saw it all from the beginning: what was made again is as good.
    store.stop()?;
    store.disks.lose(DISKS[2])?;
    store.start(&[])?;
    store.check(1..=3)
}

#[test]
fn a_store_with_voters_on_its_disks_becomes_a_node_with_one() -> Result<()> {
    let mut store = Store::make("disks-cluster")?;
    store.await_voters(3)?;
    store.put(1)?;
    store.stop()?;
    let data = store.data().to_string_lossy().into_owned();
    store.cairn(&["cluster", "init", "--data", &data])?;
    store.start(&[])?;
    store.await_voters(1)?;
    store.check(1..=1)?;
    let members: Value = serde_json::from_str(&store.cairn(&["metadata", "status", "--json", "--data", &data])?)?;
    let members = members["members"].as_array().context("members")?;
    ensure!(members.len() == 1, "{members:?}");
    store.stop()?;
    store.start(&[])?;
    store.check(1..=1)
}

#[test]
fn without_a_majority_of_its_voters_nothing_is_made() -> Result<()> {
    let mut store = Store::make("disks-minority")?;
    store.await_voters(3)?;
    store.stop()?;
    let data = store.data().to_string_lossy().into_owned();
    let device = store.device(DISKS[2]).to_string_lossy().into_owned();
    // A new store is not made over what another one holds.
    let other = store.folder.path().join("other");
    let binary = place::cairn_binary()?;
    let mut command = store.disks.command(&binary);
    command.arg("server").arg("--data").arg(&other);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--device", &device]);
    let (_, printed) = Output::in_folder(store.folder.path(), "other").start_refused(&mut command)?;
    ensure!(printed.contains("cairn metadata recover"), "{printed}");

    store.disks.lose(DISKS[0])?;
    store.disks.lose(DISKS[1])?;
    store.disks.insert(DISKS[0])?;
    let mut command = store.disks.command(&binary);
    command.args(["metadata", "recover", "--data", &data, &device]);
    let refused = command.output()?;
    let text = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && text.contains("no majority"), "{text}");
    Ok(())
}

/// The directory of a store with all that is in it, as an image of a disk has it.
fn copy(from: &Path, to: &Path, store: &Store) -> Result<()> {
    let mut command = store.disks.command(Path::new("cp"));
    run(command.arg("-a").arg(from).arg(to)).map(|_| ())
}

#[test]
fn an_old_copy_of_the_directory_and_a_cut_recovery_lose_nothing() -> Result<()> {
    let mut store = Store::make("disks-old")?;
    store.await_voters(3)?;
    store.put(1)?;
    store.stop()?;
    let (data, image) = (store.data(), store.folder.path().join("image"));
    copy(&data, &image, &store)?;
    store.start(&[])?;
    store.put(2)?;
    store.stop()?;

    // The old copy does not know what came since, and says so instead of voting against it.
    let aside = store.folder.path().join(DISKS[0]).join("newer");
    run(store.disks.command(Path::new("mv")).arg(&data).arg(&aside))?;
    copy(&image, &data, &store)?;
    let mut command = store.disks.command(&place::cairn_binary()?);
    command.arg("server").arg("--data").arg(&data);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let (_, printed) = Output::in_folder(store.folder.path(), "old").start_refused(&mut command)?;
    ensure!(printed.contains("is older than what"), "{printed}");

    // Made again from the others; killed at once, perhaps before its own metadata was up to date.
    run(store.disks.command(Path::new("rm")).arg("-r").arg(&data).arg(&aside))?;
    let device = store.device(DISKS[2]).to_string_lossy().into_owned();
    store.cairn(&["metadata", "recover", "--data", &data.to_string_lossy(), &device])?;
    let list = data.join("voters.toml");
    let read_list =
        |store: &Store| -> Result<String> { Ok(run(store.disks.command(Path::new("cat")).arg(&list))?.stdout) };
    let lost = read_list(&store)?;
    ensure!(lost.contains("is_own_lost = true"), "{lost}");
    store.start(&[])?;
    store.kill();
    // As if the mark had not been taken away before the kill.
    let text = lost.replace("is_own_lost = true", "is_own_lost = true\n# again");
    let revision = |text: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix("revision = ")?.parse().ok())
    };
    let (now, then) = (
        revision(&read_list(&store)?).context("a revision")?,
        revision(&lost).context("a revision")?,
    );
    let text = text.replace(&format!("revision = {then}"), &format!("revision = {}", now + 1));
    let source = store.folder.path().join("voters.toml");
    std::fs::write(&source, text)?;
    run(store.disks.command(Path::new("cp")).arg(&source).arg(&list))?;
    store.start(&[])?;
    store.await_voters(3)?;
    let status = store.status()?;
    ensure!(status["health"] == "good", "{status}");
    store.check(1..=2)?;
    store.put(3)?;
    store.check(1..=3)
}
