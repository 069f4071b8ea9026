//! What is large must cost no more than what is small: a file of 100 GiB deleted, a directory of a million entries renamed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use cairn_common::ids::{ChunkId, InodeId, SessionId};
use cairn_common::wire::command::{Command, CompleteUpload, CreateUpload, DeleteObject, Outcome, PutPart};
use cairn_common::wire::file::{FileAction, FileCommand, Rename, RenameMode};
use cairn_common::wire::object::{Body, Chunk, Extent, ObjectAttributes, PartSize};

use crate::client::{BUCKET, CROWD, Session};
use crate::report::{Report, progress};

const PARTS: u32 = 20;
const PART_CHUNKS: u64 = 640;
const CHUNK_BYTES: u32 = 8 << 20;
const KEY: &str = "large/file";

/// Makes large things and measures their end.
///
/// # Errors
/// When the service refuses.
pub(crate) async fn run(session: &Session, report: &mut Report) -> Result<()> {
    progress("a file of 100 GiB");
    put_large(session).await?;
    let start = Instant::now();
    session
        .run(Command::DeleteObject(DeleteObject {
            bucket: BUCKET.to_owned(),
            key: Bytes::from(KEY),
            condition: None,
        }))
        .await?;
    report.add(
        "metadata_scale_delete_100gib",
        start.elapsed().as_secs_f64() * 1e3,
        "ms",
    );
    progress("a directory of many entries");
    let bucket = session.bucket().await?;
    let mut slowest = Duration::ZERO;
    for (name, new_name) in [(CROWD, "moved"), ("moved", "moved again"), ("moved again", CROWD)] {
        let start = Instant::now();
        let rename = Rename {
            parent: InodeId::ROOT.value(),
            name: Bytes::from(name),
            new_parent: InodeId::ROOT.value(),
            new_name: Bytes::from(new_name),
            mode: RenameMode::NoReplace.into(),
        };
        let action = Some(FileAction::Rename(rename));
        session.run(Command::File(FileCommand { bucket, action })).await?;
        slowest = slowest.max(start.elapsed());
    }
    report.add("metadata_scale_rename_crowd", slowest.as_secs_f64() * 1e3, "ms");
    Ok(())
}

async fn put_large(session: &Session) -> Result<()> {
    let create = CreateUpload {
        bucket: BUCKET.to_owned(),
        key: Bytes::from(KEY),
        attributes: Some(ObjectAttributes::default()),
    };
    let Outcome::Upload(upload) = session.run(Command::CreateUpload(create)).await? else {
        bail!("no upload was started")
    };
    for number in 1..=PARTS {
        let put = PutPart {
            bucket: BUCKET.to_owned(),
            key: Bytes::from(KEY),
            upload,
            number,
            etag: "etag".to_owned(),
            checksums: Vec::new(),
            body: Some(part_body(session.id(), number)),
        };
        session.run(Command::PutPart(put)).await?;
    }
    let part = |number| PartSize {
        number,
        size: PART_CHUNKS * u64::from(CHUNK_BYTES),
    };
    let complete = CompleteUpload {
        bucket: BUCKET.to_owned(),
        key: Bytes::from(KEY),
        upload,
        revision: u64::from(PARTS),
        parts: (1..=PARTS).map(part).collect(),
        etag: "etag-20".to_owned(),
        checksums: Vec::new(),
        condition: None,
    };
    session.run(Command::CompleteUpload(complete)).await?;
    Ok(())
}

fn part_body(session: u64, part: u32) -> Body {
    let extent = |number: u64| {
        let id = ChunkId {
            session: SessionId::new(session),
            counter: u64::from(part) * PART_CHUNKS + number + 1,
        };
        let chunk = Chunk {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards: 1,
            parity_shards: 2,
            length: CHUNK_BYTES,
            hash: Bytes::from(vec![7; 32]),
            explicit_devices: Vec::new(),
            epoch: 1,
            ..Chunk::default()
        };
        Extent {
            file_offset: number * u64::from(CHUNK_BYTES),
            length: CHUNK_BYTES.into(),
            chunk: Some(chunk),
            ..Extent::default()
        }
    };
    Body {
        size: PART_CHUNKS * u64::from(CHUNK_BYTES),
        inline: Bytes::new(),
        extents: (0..PART_CHUNKS).map(extent).collect(),
    }
}
