//! Memory stays bounded, whatever clients do at once.

use std::thread;

use anyhow::{Context, Result, ensure};
use cairn_tests::s3::{Client, Request, Upload};
use cairn_tests::server::Server;
use cairn_tests::{content, process};

const BUCKET: &str = "limits";
const UPLOADS: usize = 32;
const LENGTH: usize = 64 << 20;
const PIECE: usize = 1 << 20;
const RESIDENT_MAX: u64 = 600 << 20;

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
    assert_bounded(&server, "uploads")?;

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
    assert_bounded(&server, "downloads")
}

fn assert_bounded(server: &Server, what: &str) -> Result<()> {
    let peak = process::peak_resident_bytes(server.pid()?)?;
    ensure!(
        peak <= RESIDENT_MAX,
        "{} MiB were resident under {UPLOADS} {what} of 64 MiB",
        peak >> 20
    );
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
