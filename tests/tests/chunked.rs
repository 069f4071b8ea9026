//! Bodies in the `aws-chunked` framing, as SDKs send them when they do not know the checksum before the body: signed
//! and unsigned chunks, trailers, and each way in which they can be wrong.

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::chunked::Chunked;
use cairn_tests::content;
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server};

const BUCKET: &str = "chunked";

fn started() -> Result<(Server, Client)> {
    let server = Server::start_with("chunked", Options::new(1, "1"))?;
    let mut client = server.client()?;
    client.make_bucket(BUCKET)?;
    Ok((server, client))
}

fn pieces(length: usize, piece: usize) -> Vec<Vec<u8>> {
    content::bytes(length as u64, length)
        .chunks(piece)
        .map(<[u8]>::to_vec)
        .collect()
}

fn checksum(pieces: &[Vec<u8>]) -> (String, String) {
    let sum = pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece));
    ("x-amz-checksum-crc32c".to_owned(), STANDARD.encode(sum.to_be_bytes()))
}

/// Each of the three framings that SDKs use.
fn framings(pieces: &[Vec<u8>]) -> [Chunked; 3] {
    let trailer = Some(checksum(pieces));
    let pieces = pieces.to_vec();
    [
        Chunked {
            pieces: pieces.clone(),
            is_signed: true,
            ..Chunked::default()
        },
        Chunked {
            pieces: pieces.clone(),
            is_signed: true,
            trailer: trailer.clone(),
            ..Chunked::default()
        },
        Chunked {
            pieces,
            is_signed: false,
            trailer,
            ..Chunked::default()
        },
    ]
}

fn put(chunked: &Chunked) -> Request {
    Request::object("PUT", BUCKET, "key").chunked(chunked.clone())
}

#[test]
fn every_framing_stores_the_decoded_body() -> Result<()> {
    let (_server, mut client) = started()?;
    for (length, piece) in [
        (0, 1),
        (1, 1),
        (100_000, 8192),
        (100_000, 70_001),
        (3 << 20, 64 << 10),
        (17 << 20, 1 << 20),
    ] {
        let pieces = pieces(length, piece);
        for framing in framings(&pieces) {
            let stored = client.send(&put(&framing))?.success()?;
            if let Some((name, value)) = &framing.trailer {
                assert_eq!(stored.header(name), Some(value.as_str()), "the checksum is returned");
            }
            let request = Request::object("GET", BUCKET, "key").header("x-amz-checksum-mode", "ENABLED");
            let got = client.send(&request)?.success()?;
            let what = format!("{} of {length} bytes", framing.payload_hash());
            ensure!(got.body == pieces.concat(), "{what}: the body differs");
            assert_eq!(
                got.header("content-encoding").unwrap_or_default(),
                "",
                "{what}: the framing is not stored"
            );
            if let Some((name, value)) = &framing.trailer {
                assert_eq!(got.header(name), Some(value.as_str()), "{what}: the checksum is stored");
            }
        }
    }
    Ok(())
}

#[test]
fn parts_may_be_framed_too() -> Result<()> {
    let (_server, mut client) = started()?;
    let upload = client.create_upload(BUCKET, "key")?;
    let pieces = pieces(6 << 20, 300_000);
    let mut tags = Vec::new();
    for (number, framing) in (1..).zip(framings(&pieces)) {
        let request = put(&framing).query("partNumber", number).query("uploadId", &upload);
        let response = client.send(&request)?.success()?;
        tags.push((number, response.header("etag").unwrap_or_default().to_owned()));
    }
    client
        .send(&cairn_tests::s3::complete_request(BUCKET, "key", &upload, &tags))?
        .success()?;
    ensure!(
        client.get(BUCKET, "key")? == pieces.concat().repeat(3),
        "the body differs"
    );
    Ok(())
}

#[test]
fn a_content_encoding_beside_the_framing_is_kept() -> Result<()> {
    let (_server, mut client) = started()?;
    let framing = Chunked {
        pieces: pieces(1000, 300),
        is_signed: true,
        ..Chunked::default()
    };
    let request = put(&framing).header("content-encoding", "gzip");
    // Two headers of one name are one list, as a client library would send it.
    let joined = request.joined("content-encoding");
    client.send(&joined)?.success()?;
    let head = client.send(&Request::object("HEAD", BUCKET, "key"))?;
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    Ok(())
}

#[test]
fn wrong_bodies_are_refused_and_store_nothing() -> Result<()> {
    let (_server, mut client) = started()?;
    client.put(BUCKET, "key", "old")?;
    for length in [1_000, 300_000, 9 << 20] {
        let pieces = pieces(length, length / 3 + 1);
        let [signed, signed_trailer, unsigned] = framings(&pieces);
        let wrong_sum = Some(checksum(&[b"another body".to_vec()]));
        let cases = [
            (
                "403 SignatureDoesNotMatch",
                Chunked {
                    tampered: Some(0),
                    ..signed.clone()
                },
            ),
            (
                "403 SignatureDoesNotMatch",
                Chunked {
                    tampered: Some(2),
                    ..signed
                },
            ),
            (
                "403 SignatureDoesNotMatch",
                Chunked {
                    tampered: Some(1),
                    ..signed_trailer.clone()
                },
            ),
            (
                "400 BadDigest",
                Chunked {
                    tampered: Some(1),
                    ..unsigned.clone()
                },
            ),
            (
                "400 BadDigest",
                Chunked {
                    trailer: wrong_sum.clone(),
                    ..signed_trailer
                },
            ),
            (
                "400 BadDigest",
                Chunked {
                    trailer: wrong_sum,
                    ..unsigned
                },
            ),
        ];
        for (expected, framing) in cases {
            let response = client.send(&put(&framing))?;
            assert_eq!(
                response.verdict(),
                expected,
                "{} {length}: {}",
                framing.payload_hash(),
                response.text()
            );
            ensure!(client.get(BUCKET, "key")? == b"old", "a refused body was stored");
        }
    }
    assert_eq!(client.keys(BUCKET)?, ["key"]);
    Ok(())
}

#[test]
fn a_framed_body_that_stops_in_the_middle_stores_nothing() -> Result<()> {
    let (_server, mut client) = started()?;
    client.put(BUCKET, "key", "old")?;
    let pieces = pieces(2 << 20, 64 << 10);
    for framing in framings(&pieces) {
        for part in [10, 2] {
            let response = client.send_part(&put(&framing), part)?;
            if let Some(response) = response {
                assert_eq!(response.verdict(), "400 IncompleteBody");
            }
            ensure!(client.get(BUCKET, "key")? == b"old", "half of a body was stored");
        }
        // Whole frames, and yet fewer bytes than promised.
        let short = Chunked {
            pieces: framing.pieces[1..].to_vec(),
            ..framing.clone()
        };
        let request = put(&short).replaced("x-amz-decoded-content-length", framing.decoded_length());
        let response = client.send(&request)?;
        ensure!(response.status == 400, "{}: {}", response.verdict(), response.text());
        ensure!(client.get(BUCKET, "key")? == b"old", "a short body was stored");
    }
    Ok(())
}
