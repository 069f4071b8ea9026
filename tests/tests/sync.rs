//! Whole trees and large files through real clients: what goes up comes down, byte by byte.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use cairn_tests::clients::{self, Clients};
use cairn_tests::s3::Request;
use cairn_tests::server::Server;
use cairn_tests::{content, place, process};

/// Folders of the documentation that together have over 5,000 files of all kinds in 150 MB.
const QUICK_PARTS: &[&str] = &["std", "search.index", "error_codes"];

/// Few but awkward: names that clients and servers like to mangle, empty and hidden files.
const AWKWARD: &[(&str, u64)] = &[
    ("with space.txt", 10),
    ("plus+and%25percent.txt", 11),
    ("ünï/cödé/日本語.bin", 5_000),
    ("empty", 0),
    (".hidden/.file", 1),
    ("deep/a/b/c/d/e/f/g/h", 70_000),
    ("exactly-a-chunk", 8 << 20),
    ("one-more", (8 << 20) + 1),
    ("(paren) & 'quote' [x]{y}$.txt", 4_096),
    ("inline-border", 4_097),
];

fn tree(folder: &Path) -> Result<usize> {
    let parts = if place::is_long() { None } else { Some(QUICK_PARTS) };
    let count = content::documentation_tree(folder, parts)?;
    ensure!(count >= 5_000, "the tree has only {count} files");
    awkward_tree(folder)?;
    Ok(count + AWKWARD.len())
}

fn awkward_tree(folder: &Path) -> Result<()> {
    for (index, (name, length)) in AWKWARD.iter().enumerate() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        content::write_file(&path, index as u64, *length)?;
    }
    Ok(())
}

#[test]
fn aws_syncs_a_tree_of_five_thousand_files_up_and_down() -> Result<()> {
    let server = Server::start("sync-tree")?;
    let clients = Clients::ready()?;
    let (up, down) = (server.folder().join("up"), server.folder().join("down"));
    let count = tree(&up)?;
    let sync = |from: &Path, to: &str| -> Result<String> {
        let mut aws = clients.aws(&server)?;
        aws.args(["s3", "sync", "--no-progress"]).arg(from).arg(to);
        Ok(process::run(&mut aws)?.stdout)
    };
    process::run(clients.aws(&server)?.args(["s3", "mb", "s3://tree"]))?;
    let uploaded = sync(&up, "s3://tree/docs")?
        .lines()
        .filter(|line| line.starts_with("upload"))
        .count();
    assert_eq!(uploaded, count);
    sync(Path::new("s3://tree/docs"), &down.to_string_lossy())?;
    content::assert_same_trees(&up, &down)?;

    // A second sync finds nothing to do, which rests on sizes and times of the listing.
    let again = sync(&up, "s3://tree/docs")?;
    ensure!(
        again.trim().is_empty(),
        "the second sync still found something:\n{again}"
    );
    Ok(())
}

#[test]
fn a_large_file_round_trips_by_multipart() -> Result<()> {
    let length: u64 = if place::is_long() { 2 << 30 } else { 96 << 20 };
    let server = Server::start("sync-large")?;
    let clients = Clients::ready()?;
    let (up, down) = (server.folder().join("up.bin"), server.folder().join("down.bin"));
    content::write_file(&up, 3, length + 17)?;
    process::run(clients.aws(&server)?.args(["s3", "mb", "s3://large"]))?;
    process::run(
        clients
            .aws(&server)?
            .args(["s3", "cp", "--no-progress"])
            .arg(&up)
            .arg("s3://large/file"),
    )?;
    process::run(
        clients
            .aws(&server)?
            .args(["s3", "cp", "--no-progress", "s3://large/file"])
            .arg(&down),
    )?;
    content::assert_same_trees(&up, &down)?;

    let head = server
        .client()?
        .send(&Request::object("HEAD", "large", "file"))?
        .success()?;
    let tag = head.header("etag").unwrap_or_default();
    ensure!(tag.contains('-'), "an object of parts has a dash in its ETag: {tag}");
    Ok(())
}

#[test]
fn rclone_copies_checks_and_purges() -> Result<()> {
    let server = Server::start("sync-rclone")?;
    let (up, down) = (server.folder().join("up"), server.folder().join("down"));
    awkward_tree(&up)?;
    content::write_file(&up.join("large.bin"), 5, 25 << 20)?;
    process::run(
        clients::rclone(&server)?
            .args(["copy", "--s3-upload-cutoff=8M", "--s3-chunk-size=5M"])
            .arg(&up)
            .arg("cairn:rclone"),
    )?;
    process::run(clients::rclone(&server)?.arg("check").arg(&up).arg("cairn:rclone"))?;
    process::run(clients::rclone(&server)?.args(["copy", "cairn:rclone"]).arg(&down))?;
    content::assert_same_trees(&up, &down)?;

    let listed = process::run(clients::rclone(&server)?.args(["lsf", "-R", "--files-only", "cairn:rclone"]))?.stdout;
    assert_eq!(listed.lines().count(), AWKWARD.len() + 1, "{listed}");
    process::run(clients::rclone(&server)?.args(["moveto", "cairn:rclone/large.bin", "cairn:rclone/moved/large.bin"]))?;
    process::run(clients::rclone(&server)?.args(["purge", "cairn:rclone"]))?;
    let gone = server.client()?.send(&Request::bucket("HEAD", "rclone"))?;
    assert_eq!(gone.status, 404, "purge removes the bucket");
    Ok(())
}

#[test]
fn s3cmd_puts_lists_gets_and_removes() -> Result<()> {
    let server = Server::start("sync-s3cmd")?;
    let clients = Clients::ready()?;
    let (up, down) = (server.folder().join("up"), server.folder().join("down"));
    awkward_tree(&up)?;
    content::write_file(&up.join("large.bin"), 5, 21 << 20)?;
    let up_files = format!("{}/", up.display());
    process::run(clients.s3cmd(&server)?.args(["mb", "s3://s3cmd"]))?;
    process::run(
        clients
            .s3cmd(&server)?
            .args(["sync", "--multipart-chunk-size-mb=5", &up_files, "s3://s3cmd/tree/"]),
    )?;
    fs::create_dir_all(&down)?;
    process::run(
        clients
            .s3cmd(&server)?
            .args(["sync", "s3://s3cmd/tree/"])
            .arg(format!("{}/", down.display())),
    )?;
    content::assert_same_trees(&up, &down)?;

    let listed = process::run(clients.s3cmd(&server)?.args(["ls", "--recursive", "s3://s3cmd"]))?.stdout;
    assert_eq!(listed.lines().count(), AWKWARD.len() + 1, "{listed}");
    process::run(
        clients
            .s3cmd(&server)?
            .args(["cp", "s3://s3cmd/tree/large.bin", "s3://s3cmd/copy.bin"]),
    )?;
    process::run(clients.s3cmd(&server)?.args(["info", "s3://s3cmd/copy.bin"]))?;
    process::run(
        clients
            .s3cmd(&server)?
            .args(["del", "--recursive", "--force", "s3://s3cmd"]),
    )?;
    process::run(clients.s3cmd(&server)?.args(["rb", "s3://s3cmd"]))?;
    Ok(())
}

#[test]
fn aws_copies_moves_streams_and_removes() -> Result<()> {
    let server = Server::start("sync-aws")?;
    let clients = Clients::ready()?;
    let file = server.folder().join("file.bin");
    content::write_file(&file, 9, 12 << 20)?;
    let aws =
        |arguments: &[&str]| -> Result<String> { Ok(process::run(clients.aws(&server)?.args(arguments))?.stdout) };
    let local = file.to_string_lossy().into_owned();
    aws(&["s3", "mb", "s3://aws-cli"])?;
    aws(&["s3", "cp", "--no-progress", &local, "s3://aws-cli/a/file.bin"])?;
    aws(&[
        "s3",
        "cp",
        "--no-progress",
        "s3://aws-cli/a/file.bin",
        "s3://aws-cli/b/copy of file.bin",
    ])?;
    aws(&[
        "s3",
        "mv",
        "--no-progress",
        "s3://aws-cli/a/file.bin",
        "s3://aws-cli/c/moved.bin",
    ])?;
    let listed = aws(&["s3", "ls", "--recursive", "s3://aws-cli"])?;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    ensure!(
        aws(&["s3", "ls", "s3://aws-cli"])?.contains("PRE b/"),
        "prefixes are listed"
    );

    let output = clients
        .aws(&server)?
        .args(["s3", "cp", "s3://aws-cli/c/moved.bin", "-"])
        .output()?;
    ensure!(
        output.status.success() && output.stdout == fs::read(&file)?,
        "streamed to standard output"
    );
    let script = "exec \"$@\" <\"$0\"";
    let mut stream = std::process::Command::new("sh");
    let upload = clients.aws(&server)?;
    stream
        .env_clear()
        .envs(upload.get_envs().filter_map(|(name, value)| Some((name, value?))));
    stream
        .args(["-c", script])
        .arg(&file)
        .arg(upload.get_program())
        .args(upload.get_args());
    process::run(stream.args(["s3", "cp", "-", "s3://aws-cli/streamed.bin"]))?;
    ensure!(
        server.client()?.get("aws-cli", "streamed.bin")? == fs::read(&file)?,
        "streamed from standard input"
    );

    aws(&["s3", "rm", "--recursive", "s3://aws-cli"])?;
    aws(&["s3", "rb", "s3://aws-cli"])?;
    Ok(())
}
