//! Stores that earlier programs made are read by this one: `tests/samples/store-*.tar.gz`, one for each release that changed anything on
//! disk. They are only added.
//!
//! A new one is made by the program that is to be released:
//! `CAIRN_TEST_SAMPLE=store-X.Y.Z cargo test -p cairn-tests --test frozen -- --ignored`

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::content::{bytes, sha256};
use cairn_tests::place;
use cairn_tests::process::run;
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server};

const BUCKET: &str = "sample";

/// What is in a sample beside the store's directory: a line for each object, `SHA-256 key`.
const OBJECTS: &str = "objects.txt";

/// A backup of the sample's metadata.
const BACKUP: &str = "backup";

fn samples() -> PathBuf {
    place::sources().join("samples")
}

fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(samples())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".tar.gz").map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// A server on what was unpacked of a sample, not started yet.
fn unpacked(name: &str) -> Result<Server> {
    let server = Server::prepare(name, Options::bare())?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(samples().join(format!("{name}.tar.gz")));
    run(tar.arg("-C").arg(server.folder()))?;
    Ok(server)
}

fn check_objects(server: &Server) -> Result<()> {
    let mut client = server.client()?;
    let listed = fs::read_to_string(server.folder().join(OBJECTS))?;
    ensure!(listed.lines().count() > 5, "{listed}");
    for line in listed.lines() {
        let (hash, key) = line.split_once(' ').context("a hash and a key")?;
        let read = client.get(BUCKET, key)?;
        ensure!(sha256(&read) == hash, "{key} is read otherwise than it was written");
    }
    Ok(())
}

fn metadata_command(server: &Server, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(place::cairn_binary()?);
    command.arg("metadata").args(arguments).arg("--data").arg(server.data());
    Ok(run(&mut command)?.stdout)
}

#[test]
fn stores_of_earlier_programs_are_read_verified_and_written() -> Result<()> {
    let names = names()?;
    ensure!(!names.is_empty(), "no samples in {}", samples().display());
    for name in names {
        let mut server = unpacked(&name)?;
        metadata_command(&server, &["verify"])?;
        server.start_again()?;
        check_objects(&server)?;
        let mut client = server.client()?;
        let tagged = client.send(&Request::object("HEAD", BUCKET, "described"))?.success()?;
        ensure!(
            tagged.header("x-amz-meta-made") == Some("by a release"),
            "{name}: {tagged:?}"
        );
        client.put(BUCKET, "small", "another")?.success()?;
        ensure!(
            client.get(BUCKET, "small")? == b"another",
            "{name}: it can be overwritten"
        );
        server.stop()?;
        metadata_command(&server, &["verify"])?;
    }
    Ok(())
}

#[test]
fn backups_of_earlier_programs_are_restored() -> Result<()> {
    for name in names()? {
        let mut server = unpacked(&name)?;
        fs::remove_dir_all(server.data().join("metadata"))?;
        let backup = server.folder().join(BACKUP).to_string_lossy().into_owned();
        metadata_command(&server, &["restore", &backup])?;
        server.start_again()?;
        check_objects(&server)?;
    }
    Ok(())
}

/// Inline, copies, coded, of parts, and more than one chunk.
fn fill(client: &mut Client) -> Result<Vec<(String, Vec<u8>)>> {
    client.make_bucket(BUCKET)?.success()?;
    let mut objects: Vec<(String, Vec<u8>)> = [0, 1, 1000, 4097, 20_000, 140_000]
        .into_iter()
        .map(|size| (format!("sized/{size}"), bytes(size as u64, size)))
        .collect();
    objects.push(("small".to_owned(), b"small".to_vec()));
    objects.push(("described".to_owned(), b"with metadata".to_vec()));
    objects.push(("folder/".to_owned(), Vec::new()));
    objects.push(("a//b/\u{e4}".to_owned(), bytes(1, 200)));
    // Chunks of zeros are small in the sample.
    objects.push(("chunks".to_owned(), vec![0; (9 << 20) + 1]));
    for (key, body) in &objects {
        let mut request = Request::object("PUT", BUCKET, key).body(body.clone());
        if key == "described" {
            request = request.header("x-amz-meta-made", "by a release");
        }
        client.send(&request)?.success()?;
    }
    let parts = [vec![0; 5 << 20], bytes(2, 3000)];
    client.put_parts(BUCKET, "parts", &parts)?.success()?;
    objects.push(("parts".to_owned(), parts.concat()));
    client.put(BUCKET, "deleted", bytes(3, 20_000))?.success()?;
    client.delete(BUCKET, "deleted")?.success()?;
    client.create_upload(BUCKET, "unfinished")?;
    Ok(objects)
}

#[test]
#[ignore = "makes a sample, once for each release"]
fn make_a_sample() -> Result<()> {
    let name = std::env::var("CAIRN_TEST_SAMPLE").context("CAIRN_TEST_SAMPLE names the sample")?;
    let mut server = Server::prepare("make-sample", Options::new(4, "2+1"))?;
    server.start_again()?;
    let objects = fill(&mut server.client()?)?;
    let lines = objects.iter().map(|(key, body)| format!("{} {key}\n", sha256(body)));
    fs::write(server.folder().join(OBJECTS), lines.collect::<String>())?;
    let backup = server.folder().join(BACKUP).to_string_lossy().into_owned();
    metadata_command(&server, &["backup", &backup])?;
    server.stop()?;
    fs::create_dir_all(samples())?;
    let mut tar = Command::new("tar");
    tar.args(["--sparse", "--owner=0", "--group=0", "--numeric-owner", "-czf"]);
    tar.arg(samples().join(format!("{name}.tar.gz")));
    tar.arg("-C").arg(server.folder());
    // What RocksDB says of itself is nothing that it reads, and names the folders of who makes the sample.
    tar.args(["control.sock", "LOG", "OPTIONS-*"].map(|name| format!("--exclude={name}")));
    run(tar.args(["data", OBJECTS, BACKUP]))?;
    Ok(())
}
