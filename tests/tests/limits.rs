//! Memory stays bounded, whatever clients do at once.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_tests::s3::{Client, Request, Upload};
use cairn_tests::server::{Options, Server};
use cairn_tests::{content, process};

const BUCKET: &str = "limits";
const UPLOADS: usize = 32;
const LENGTH: usize = 64 << 20;
const PIECE: usize = 1 << 20;
const RESIDENT_MAX: u64 = 600 << 20;
/// More than what sockets hold of it.
const PAUSED_LENGTH: usize = 16 << 20;
const PAUSED: usize = 40;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn resident_memory_is_bounded_under_concurrent_clients() -> Result<()> {
    let mut server = Server::start("limits-memory")?;
    server.client()?.make_bucket(BUCKET)?;
    // All heads first, so that all uploads are open at the same time.
    let uploads: Vec<Upload> = (0..UPLOADS)
        .map(|index| {
            server
                .client()?
                .begin(&Request::object("PUT", BUCKET, format!("object{index}")), LENGTH as u64)
        })
        .collect::<Result<_>>()?;
    let threads: Vec<_> = uploads
        .into_iter()
        .enumerate()
        .map(|(index, upload)| thread::spawn(move || send(upload, index)))
        .collect();
    for thread in threads {
        thread.join().expect("a client does not panic")?;
    }
    assert_bounded(&server, "concurrent uploads")?;

    // As many downloads, measured from a fresh start because a peak never goes down.
    server.stop()?;
    server.start_again()?;
    let threads: Vec<_> = (0..UPLOADS)
        .map(|index| {
            let client = server.client()?;
            Ok(thread::spawn(move || receive(&client, index)))
        })
        .collect::<Result<_>>()?;
    for thread in threads {
        thread.join().expect("a client does not panic")?;
    }
    assert_bounded(&server, "concurrent downloads")
}

#[test]
fn downloads_that_pause_hold_up_no_other() -> Result<()> {
    // The least there may be: those who pause take it all.
    let options = Options::new(1, "1").argument("--memory-budget-mib=64");
    let server = Server::start_with("limits-paused", options)?;
    let mut client = server.client()?;
    client.make_bucket(BUCKET)?;
    let body = Arc::new(content::bytes(5, PAUSED_LENGTH));
    client.put(BUCKET, "object", body.to_vec())?;

    let (paused, pausing) = mpsc::channel();
    let (goes_on, threads): (Vec<_>, Vec<_>) = (0..PAUSED)
        .map(|_| {
            let client = server.client()?;
            let (go_on, going_on) = mpsc::channel::<()>();
            let (body, paused) = (Arc::clone(&body), paused.clone());
            let thread = thread::spawn(move || receive_with_a_pause(&client, &body, &paused, &going_on));
            Ok((go_on, thread))
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    for _ in 0..PAUSED {
        pausing.recv_timeout(PATIENCE).context("a download does not begin")?;
    }
    for _ in 0..3 {
        let read = server.client()?.get(BUCKET, "object")?;
        ensure!(read == *body, "it differs while others pause");
    }
    let short = server.metric("cairn_datapath_reads_short_of_memory_total")?;
    ensure!(short > 0.0, "the others left memory for whole pieces");
    drop(goes_on);
    for thread in threads {
        thread.join().expect("a client does not panic")?;
    }
    assert_bounded(&server, "downloads that paused")
}

/// Reads the object, and waits after its first bytes until `going_on` is closed.
fn receive_with_a_pause(client: &Client, body: &[u8], paused: &Sender<()>, going_on: &Receiver<()>) -> Result<()> {
    let mut read = 0;
    client.stream(BUCKET, "object", |bytes| {
        if read == 0 {
            paused.send(())?;
            // Nothing is sent: it ends when it is closed.
            let _closed = going_on.recv();
        }
        ensure!(body[read..].starts_with(bytes), "it differs after a pause");
        read += bytes.len();
        Ok(())
    })?;
    ensure!(read == body.len(), "it ends after {read} bytes");
    Ok(())
}

fn assert_bounded(server: &Server, what: &str) -> Result<()> {
    let peak = process::peak_resident_bytes(server.pid()?)?;
    ensure!(peak <= RESIDENT_MAX, "{} MiB were resident under {what}", peak >> 20);
    Ok(())
}

fn send(mut upload: Upload, index: usize) -> Result<()> {
    let mut piece = content::bytes(index as u64, PIECE);
    for number in 0..LENGTH / PIECE {
        stamp(&mut piece, number);
        upload
            .send(&piece)
            .with_context(|| format!("upload {index}, MiB {number}"))?;
    }
    upload.finish()?.success()?;
    Ok(())
}

/// Reads an object and compares it as it comes: 32 whole ones would be too much for the test.
fn receive(client: &Client, index: usize) -> Result<()> {
    let mut expected = content::bytes(index as u64, PIECE);
    let mut read = 0;
    client.stream(BUCKET, &format!("object{index}"), |mut bytes| {
        while !bytes.is_empty() {
            let (number, offset) = (read / PIECE, read % PIECE);
            stamp(&mut expected, number);
            let length = bytes.len().min(PIECE - offset);
            ensure!(
                bytes[..length] == expected[offset..offset + length],
                "MiB {number} of object {index} differs"
            );
            bytes = &bytes[length..];
            read += length;
        }
        Ok(())
    })?;
    ensure!(read == LENGTH, "object {index} has {read} bytes");
    Ok(())
}

/// Makes each piece of an object another one.
fn stamp(piece: &mut [u8], number: usize) {
    piece[..8].copy_from_slice(&(number as u64).to_le_bytes());
}
