//! A mount as its operator sees it: behind a command or a line of /etc/fstab, its status and metrics, and what it tells of files.
//! Needs root and /dev/fuse.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::http::{self, Response};
use cairn_tests::mount::{BUCKET, Store};
use cairn_tests::process::run;
use cairn_tests::s3::Request;
use cairn_tests::server::host_of;
use cairn_tests::{content, place, wait};
use rustix::fs::{getxattr, lgetxattr, listxattr};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A mount that no process of this test waits for, ended with its value.
struct Behind {
    data: PathBuf,
    directory: PathBuf,
}

impl Behind {
    fn told(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.data.join("server.json"))?)?)
    }

    fn process(&self) -> Result<Pid> {
        let pid = self.told()?["pid"].as_i64().context("a pid")?;
        Pid::from_raw(i32::try_from(pid)?).context("a pid")
    }

    fn admin(&self, path: &str) -> Result<Response> {
        let told = self.told()?;
        http::get(host_of(told["admin"].as_str().context("an address")?), path)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        // Errors say that it is gone.
        let _ = unmount(&self.directory, UnmountFlags::DETACH);
        if let Ok(process) = self.process() {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

#[test]
fn a_line_of_fstab_mounts_behind_and_tells_how_it_is() -> Result<()> {
    let store = Store::start("mount-behind")?;
    let (helper, directory) = (
        store.server.folder().join("mount.cairn"),
        store.server.folder().join("mnt"),
    );
    symlink(place::cairn_binary()?, &helper)?;
    fs::create_dir_all(&directory)?;
    let data = store.client_node("mnt")?;
    let behind = Behind {
        data: data.clone(),
        directory: directory.clone(),
    };
    let call = |source: &str| {
        let mut command = Command::new(&helper);
        command.arg(source).arg(&directory);
        command.args(["-n", "-o", &format!("rw,_netdev,data={}", data.display())]);
        command
    };
    let refused = call("no-such-bucket").output()?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && why.contains("no-such-bucket"), "{why}");

    run(&mut call(BUCKET))?;
    let body = content::bytes(1, 100_000);
    fs::write(directory.join("file"), &body)?;
    ensure!(
        store.client()?.get(BUCKET, "file")? == body,
        "what was written is there"
    );

    let mut status = Command::new(place::cairn_binary()?);
    status.args(["mount", "status", "--json", "--data"]).arg(&data);
    let status: Value = serde_json::from_str(&run(&mut status)?.stdout)?;
    ensure!(status["health"] == "good" && status["mounted"] == BUCKET, "{status}");
    let list = run(Command::new(place::cairn_binary()?).args(["mount", "status"]))?.stdout;
    ensure!(list.contains(&format!("{BUCKET} on {}", directory.display())), "{list}");
    let metrics = behind.admin("/metrics")?.success()?.text();
    for counted in [
        "cairn_mount_written_bytes_total 100000",
        "cairn_mount_requests_total{operation=\"create\"} 1",
    ] {
        ensure!(metrics.contains(counted), "{counted} in {metrics}");
    }
    ensure!(behind.admin("/health/ready")?.status == 200, "it is ready");

    let process = behind.process()?;
    unmount(&directory, UnmountFlags::empty())?;
    wait::until("its process ends with the mount", PATIENCE, || {
        Ok(test_kill_process(process).is_err().then_some(()))
    })
}

fn attribute(path: &Path, name: &str) -> Result<String> {
    let mut value = vec![0; 1 << 16];
    let length = getxattr(path, name, &mut value[..]).with_context(|| format!("{name} of {}", path.display()))?;
    value.truncate(length);
    Ok(String::from_utf8(value)?)
}

#[test]
fn a_file_tells_how_it_is_stored() -> Result<()> {
    let store = Store::start("mount-layout")?;
    let mounted = store.mount("mnt", "")?;
    for (name, size) in [("empty", 0), ("small", 100), ("large", 9 << 20)] {
        store.client()?.put(BUCKET, name, content::bytes(1, size))?.success()?;
    }
    ensure!(
        attribute(&mounted.path("empty"), "cairn.redundancy")? == "empty",
        "an empty file"
    );
    ensure!(
        attribute(&mounted.path("small"), "cairn.redundancy")? == "inline",
        "a small file"
    );
    ensure!(
        attribute(&mounted.path("small"), "cairn.chunks")?.is_empty(),
        "a small file"
    );
    let large = mounted.path("large");
    ensure!(attribute(&large, "cairn.redundancy")? == "2+1", "a large file");
    let chunks = attribute(&large, "cairn.chunks")?;
    ensure!(
        chunks.lines().count() == 2 && chunks.lines().all(|line| line.contains(" 2+1 ")),
        "{chunks}"
    );
    let before = attribute(&large, "cairn.version")?;
    fs::write(&large, "other")?;
    ensure!(attribute(&large, "cairn.version")? != before, "another version");
    let mut names = vec![0; 1 << 10];
    let length = listxattr(&large, &mut names[..])?;
    ensure!(length == 0, "{names:?}");
    ensure!(
        attribute(&large, "cairn.nothing").is_err(),
        "an attribute that there is not"
    );
    ensure!(
        attribute(mounted.directory(), "cairn.chunks").is_err(),
        "of a directory"
    );
    Ok(())
}

#[test]
fn a_file_tells_what_s3_does() -> Result<()> {
    let store = Store::start("mount-object")?;
    let mounted = store.mount("mnt", "")?;
    let put = Request::object("PUT", BUCKET, "page")
        .body("<p>")
        .header("content-type", "text/html")
        .header("cache-control", "max-age=60")
        .header("x-amz-meta-author", "someone");
    let etag = store.client()?.send(&put)?.success()?;
    let etag = etag.header("etag").context("an entity tag")?;

    let page = mounted.path("page");
    for (name, value) in [
        ("cairn.s3.etag", etag),
        ("cairn.s3.content-type", "text/html"),
        ("cairn.s3.x-amz-meta-author", "someone"),
    ] {
        ensure!(attribute(&page, name)? == value, "{name}");
    }
    let all = attribute(&page, "cairn.s3")?;
    for line in ["cache-control: max-age=60", "content-type: text/html"] {
        ensure!(all.lines().any(|told| told == line), "{line} in {all}");
    }
    ensure!(
        attribute(&page, "cairn.s3.expires").is_err(),
        "a header that it has not"
    );
    symlink("page", mounted.path("link"))?;
    let of_link = lgetxattr(mounted.path("link"), "cairn.s3", &mut [0; 1 << 10][..]);
    ensure!(of_link == Err(Errno::NODATA), "a link is no object: {of_link:?}");

    for (key, body) in [("implicit/file", "x"), ("put/", "")] {
        let put = Request::object("PUT", BUCKET, key).body(body);
        let put = put.header("content-type", "text/x-of-a-directory");
        store.client()?.send(&put)?.success()?;
    }
    ensure!(
        attribute(&mounted.path("put"), "cairn.s3.content-type")? == "text/x-of-a-directory",
        "of its key"
    );
    ensure!(attribute(&mounted.path("implicit"), "cairn.s3").is_err(), "no object");
    fs::create_dir(mounted.path("made"))?;
    ensure!(
        attribute(&mounted.path("made"), "cairn.s3")?.starts_with("etag: "),
        "made by the mount"
    );

    fs::write(&page, "other")?;
    let told = store
        .client()?
        .send(&Request::object("HEAD", BUCKET, "page"))?
        .success()?;
    let etag = told.header("etag").context("an entity tag")?;
    ensure!(
        attribute(&page, "cairn.s3.etag")? == etag,
        "after a change by the mount"
    );
    Ok(())
}

#[test]
fn owners_are_mapped_between_machine_and_store() -> Result<()> {
    let store = Store::start("mount-owners")?;
    let plain = store.mount("plain", "")?;
    let mapped = store.mount("mapped", "map_uid=0:4000,map_uid=1000:5000:10,map_gid=0:4000")?;
    let owner = |path: PathBuf| fs::symlink_metadata(path).map(|of| (of.uid(), of.gid()));

    fs::write(mapped.path("file"), "by root")?;
    fs::create_dir(mapped.path("directory"))?;
    symlink("file", mapped.path("link"))?;
    for name in ["file", "directory", "link"] {
        ensure!(owner(mapped.path(name))? == (0, 0), "{name} here");
        ensure!(owner(plain.path(name))? == (4000, 4000), "{name} in the store");
    }
    chown(mapped.path("file"), Some(1003), Some(7))?;
    ensure!(owner(mapped.path("file"))? == (1003, 7), "after a change, here");
    ensure!(owner(plain.path("file"))? == (5003, 7), "after a change, in the store");
    let refused = chown(mapped.path("file"), Some(5003), None);
    let refused = refused.err().and_then(|error| error.raw_os_error());
    ensure!(
        refused == Some(Errno::OVERFLOW.raw_os_error()),
        "the store's own number: {refused:?}"
    );

    // Root's files of the plain mount are those of an owner that the mapped one has no number for.
    fs::write(plain.path("other"), "by another root")?;
    ensure!(owner(mapped.path("other"))? == (65_534, 65_534), "who stands for two");
    Ok(())
}
