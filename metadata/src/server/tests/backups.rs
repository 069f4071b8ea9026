//! Backups of a running server: made, verified, looked into, restored; checkpoints fetched with interruptions.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    envelope::open,
    ids::NodeId,
    wire::{
        checkpoint::{BackUp, BackUpReply, ReadCheckpoint},
        command::{Command, CompleteUpload, CreateUpload, ErrorCode, HoldDeletion, Outcome, PutPart},
        kind::RequestKind,
        object::{Body as ObjectBody, PartSize},
        query::Answer,
    },
};
use cairn_transport::{Body, CallError, Request, Response, Transport, call};
use parking_lot::Mutex;
use prost::Message;

use super::{
    breakages::BREAKAGES,
    support::{BUCKET, DEADLINE, METADATA, Rig, delete_command, is_done},
};
use crate::{
    FetchError, Progress,
    core::view::{Family, ViewError},
    maintenance::{
        About, Filter, Finding, Source, back_up, fetch_live, inspect, restore, restore_at, summarize, verify,
    },
    record::system::{STORE_KEY, StoreRecord},
    store::{CheckpointName, SharedCache, StateStore, fetch_checkpoint, tests::copy_tree},
};

/// Something of each kind: inline and chunked objects, directories, an upload, a multipart object, garbage.
async fn filled() -> Rig {
    let rig = Rig::new().await;
    for key in ["a", "d/", "d/e/f", "d/g", "x//y"] {
        rig.put_inline(key).await;
    }
    rig.put_chunk("c").await;
    rig.put_chunk("d/c").await;
    let under_way = create_upload(&rig, "m1").await;
    put_part(&rig, "m1", under_way, 1).await;
    let completed = create_upload(&rig, "m2").await;
    put_part(&rig, "m2", completed, 1).await;
    put_part(&rig, "m2", completed, 2).await;
    let complete = CompleteUpload {
        bucket: BUCKET.to_owned(),
        key: Bytes::from_static(b"m2"),
        upload: completed,
        revision: 2,
        parts: vec![PartSize { number: 1, size: 4 }, PartSize { number: 2, size: 4 }],
        etag: "etag".to_owned(),
        ..CompleteUpload::default()
    };
    let reply = rig.run(Command::CompleteUpload(complete)).await;
    assert!(matches!(reply.outcome, Some(Outcome::CommittedMs(_))), "{reply:?}");
    rig.live().await;
    rig
}

async fn create_upload(rig: &Rig, key: &'static str) -> u64 {
    let create = CreateUpload {
        bucket: BUCKET.to_owned(),
        key: Bytes::from_static(key.as_bytes()),
        ..CreateUpload::default()
    };
    let reply = rig.run(Command::CreateUpload(create)).await;
    let Some(Outcome::Upload(upload)) = reply.outcome else {
        panic!("no upload: {reply:?}")
    };
    upload
}

async fn put_part(rig: &Rig, key: &'static str, upload: u64, number: u32) {
    let body = ObjectBody {
        size: 4,
        inline: Bytes::from_static(b"part"),
        extents: Vec::new(),
    };
    let put = PutPart {
        bucket: BUCKET.to_owned(),
        key: Bytes::from_static(key.as_bytes()),
        upload,
        number,
        body: Some(body),
        ..PutPart::default()
    };
    let reply = rig.run(Command::PutPart(put)).await;
    assert!(matches!(reply.outcome, Some(Outcome::CommittedMs(_))), "{reply:?}");
}

fn findings(source: &Source) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut found = Vec::new();
    let mut report = |finding: &Finding| found.push(format!("{} {}: {}", finding.family, finding.record, finding.what));
    let verified = verify(source, scratch.path(), &mut report, &mut |_, _| {}).expect("verified");
    assert_eq!(verified.findings, found.len() as u64);
    assert!(verified.records > 0);
    found
}

const NO_FINDINGS: [&str; 0] = [];

#[tokio::test]
async fn a_restored_backup_has_what_was_acknowledged_and_deletes_nothing_until_told() {
    let rig = filled().await;
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("backup");
    let about = About {
        store: "the store".to_owned(),
        settings: "its settings".to_owned(),
    };
    let progress = Mutex::new(Progress::default());
    let show = |now: Progress| *progress.lock() = now;
    let info = back_up(&rig.carrier, METADATA, &file, about, &show)
        .await
        .expect("backed up");
    let progress = *progress.lock();
    assert_eq!(
        (progress.bytes_done, progress.files_done),
        (progress.bytes_total, progress.files_total)
    );
    assert_eq!(info.bytes, progress.bytes_total);
    assert!(
        !rig.directory
            .path()
            .join("backups")
            .read_dir()
            .expect("a listing")
            .any(|_| true)
    );
    let again = back_up(&rig.carrier, METADATA, &file, About::default(), &|_| {}).await;
    assert!(again.expect_err("nothing is replaced").to_string().contains("already"));

    rig.put_inline("later").await;
    assert!(is_done(&rig.delete("a").await));
    rig.server.shutdown().await.expect("stopped");
    assert_eq!(findings(&Source::find(&file).expect("a backup")), NO_FINDINGS);
    assert_eq!(
        findings(&Source::find(rig.directory.path()).expect("a store")),
        NO_FINDINGS
    );

    let target = place.path().join("restored");
    let before = records_of(rig.directory.path());
    let restored = restore(&file, &target, METADATA).expect("restored");
    assert_eq!(restored.backup, info);
    restored_anew(&before, &records_of(&target), restored.generation);
    assert!(restore(&file, &target, METADATA).is_err(), "a store is never replaced");
    assert_eq!(findings(&Source::Store(target.clone())), NO_FINDINGS);
    // Each restore begins another generation, whatever the clock says.
    let (again, at) = (place.path().join("again"), restored.generation + 1);
    let other = restore_at(&file, &again, METADATA, at).expect("restored again");
    assert_eq!(other.generation, at);
    let early = place.path().join("early");
    let other = restore_at(&file, &early, METADATA, 0).expect("restored with a clock that is wrong");
    assert_eq!(other.generation, 1);
    serve_restored(&target, &rig, restored.generation).await;
}

/// The records of the families that a restore changes, and the store's own.
fn records_of(directory: &Path) -> (StoreRecord, Vec<(Family, usize)>) {
    let state = StateStore::open(directory, &SharedCache::new(64 << 20), Arc::default()).expect("opened");
    let read: Result<_, ViewError> = state.read(|view, _| {
        let store = view.get(Family::System, STORE_KEY)?.expect("the store's record");
        let mut counts = Vec::new();
        for family in [Family::Session, Family::Reply, Family::Hold, Family::Lock] {
            let mut count = 0;
            view.scan(family, &[], &mut |_, _| {
                count += 1;
                true
            })?;
            counts.push((family, count));
        }
        Ok((open(&store).expect("a sound record"), counts))
    });
    state.close().expect("closed");
    read.expect("read")
}

/// No session is left of the old store, and generation and epoch are new.
fn restored_anew(
    (old, had): &(StoreRecord, Vec<(Family, usize)>),
    (new, has): &(StoreRecord, Vec<(Family, usize)>),
    generation: u32,
) {
    assert!(had.iter().all(|(_, count)| *count > 0), "{had:?}");
    assert!(has.iter().all(|(_, count)| *count == 0), "{has:?}");
    assert_eq!((old.sessions, old.mounts), (2, 1));
    assert_eq!((new.sessions, new.mounts, new.generation), (0, 0, generation));
    assert!(new.deletion_held);
    let epoch = new.map.as_ref().map_or(0, |map| map.epoch);
    assert_eq!(epoch, u64::from(generation) << 32);
    assert_eq!(new.map.as_ref().map(|map| map.first_epoch), Some(epoch));
}

async fn serve_restored(target: &Path, old: &Rig, generation: u32) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::remove_dir(directory.path()).expect("an empty directory");
    std::fs::rename(target, directory.path()).expect("moved");
    let mut rig = Rig::on(directory, Arc::clone(&old.chunkserver), |_| {})
        .await
        .expect("a start");
    assert!(
        matches!(rig.object("a").await, Answer::Object(_)),
        "what was deleted after the backup is back"
    );
    assert!(
        !matches!(rig.object("later").await, Answer::Object(_)),
        "what was put after the backup is not there"
    );
    let session = rig.open_session().await;
    assert_eq!(
        session >> 40,
        u64::from(generation),
        "the generation of session ids is a new one"
    );
    let late = rig
        .send(old.session, 77, Command::DeleteObject(delete_command("d/g")))
        .await;
    let is_refused =
        matches!(&late.outcome, Some(Outcome::Refused(refusal)) if refusal.code() == ErrorCode::SessionEnded);
    assert!(
        is_refused,
        "what was under way when the old store ended is refused: {late:?}"
    );
    let pending = rig.summary().await.release_pending;
    rig.go_on_with(session, 1);
    let written_before = rig.put_chunk_under("under an old map", 1).await;
    let is_refused = matches!(&written_before.outcome, Some(Outcome::Refused(refusal)) if refusal.code() == ErrorCode::EpochMismatch);
    assert!(
        is_refused,
        "a map of the time that is undone is refused: {written_before:?}"
    );
    assert!(is_done(&rig.delete("d/c").await));
    // No session reads what was deleted, so it could go.
    let before = rig.summary_index().await;
    rig.heartbeat(session, before).await;
    for _ in 0..20 {
        assert_eq!(rig.summary().await.release_pending, pending + 1, "nothing is released");
    }
    assert_eq!(rig.chunkserver.deletes.load(Ordering::SeqCst), 0);
    assert!(rig.summary().await.deletion_held);
    let release = HoldDeletion {
        held: false,
        generation: 0,
    };
    assert!(is_done(&rig.send(0, 0, Command::HoldDeletion(release)).await));
    rig.eventually("the deleted object is released", |summary| summary.release_pending == 0)
        .await;
    while rig.chunkserver.deletes.load(Ordering::SeqCst) == 0 {
        rig.summary().await;
    }
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let rig = filled().await;
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("backup");
    back_up(&rig.carrier, METADATA, &file, About::default(), &|_| {})
        .await
        .expect("backed up");
    let good = std::fs::read(&file).expect("read");
    let target = place.path().join("restored");
    let flips = (0..good.len()).step_by(997).chain([good.len() - 1]);
    for at in flips {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).expect("written");
        assert!(restore(&file, &target, METADATA).is_err(), "byte {at}");
        assert!(!target.exists(), "byte {at}");
    }
    for length in [0, 11, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&file, &good[..length]).expect("written");
        assert!(restore(&file, &target, METADATA).is_err(), "{length} bytes");
    }
    std::fs::write(&file, good).expect("written");
    assert!(restore(&file, &target, METADATA).is_ok());
}

#[tokio::test]
async fn records_are_shown_and_filtered() {
    let rig = filled().await;
    let place = tempfile::tempdir().expect("a directory");
    let source = fetch_live(&rig.carrier, METADATA, &place.path().join("live"), &|_| {})
        .await
        .expect("fetched");
    let shown = |filter: Filter| {
        let mut lines = Vec::new();
        let damaged = inspect(&source, place.path(), &filter, &mut |line| {
            lines.push(format!(
                "{} {} {}",
                line.family,
                line.key,
                line.value.expect("undamaged")
            ));
            true
        });
        assert_eq!(damaged.expect("inspected"), 0);
        lines
    };
    let all = shown(Filter::default());
    for family in Family::ALL.iter().filter(|family| **family != Family::Garbage) {
        assert!(
            all.iter().any(|line| line.starts_with(family.name())),
            "{}",
            family.name()
        );
    }
    let named = shown(Filter {
        family: Some("dentry".to_owned()),
        bucket: Some(BUCKET.to_owned()),
        name_prefix: b"d".to_vec(),
        ..Filter::default()
    });
    assert_eq!(
        named,
        ["dentry bucket=1 parent=1 component=\"d/\" DentryRecord { inode: 4, kind: Unspecified }"]
    );
    let limit = Some(3);
    assert_eq!(
        shown(Filter {
            limit,
            ..Filter::default()
        })
        .len(),
        3
    );
    let summary = summarize(&source, place.path()).expect("a summary");
    assert_eq!(
        summary.families.iter().map(|family| family.records).sum::<u64>(),
        all.len() as u64
    );
    assert_eq!(summary.members, [METADATA.value()]);
}

#[tokio::test]
async fn every_broken_rule_is_found() {
    let rig = filled().await;
    rig.server.shutdown().await.expect("stopped");
    assert_eq!(findings(&Source::Store(rig.directory.path().to_owned())), NO_FINDINGS);
    let mut missed = Vec::new();
    for (expected, writes) in BREAKAGES {
        let copy = tempfile::tempdir().expect("a directory");
        copy_tree(rig.directory.path(), copy.path());
        let state = StateStore::open(copy.path(), &SharedCache::new(64 << 20), Arc::default()).expect("opened");
        let members = state.membership().expect("members");
        state.begin_anew(&writes(), &members).expect("written");
        state.close().expect("closed");
        let found = findings(&Source::Store(copy.path().to_owned()));
        if !found.iter().any(|finding| finding.contains(expected)) {
            missed.push((expected, found));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Cuts the bodies of some answers, and counts the bytes that came.
struct Cutting {
    inner: Arc<dyn Transport>,
    /// Bytes until the next cut.
    cut_every: u64,
    asked: Mutex<Vec<(String, u64)>>,
    bytes: AtomicU64,
}

#[async_trait]
impl Transport for Cutting {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        if request.kind != RequestKind::ReadCheckpoint {
            return self.inner.send(node, request).await;
        }
        let asked = ReadCheckpoint::decode(request.header.clone()).expect("a message");
        let is_manifest = asked.file.is_empty();
        self.asked.lock().push((asked.file, asked.offset));
        let mut response = self.inner.send(node, request).await?;
        if is_manifest {
            return Ok(response);
        }
        let (sender, body) = Body::channel(1000);
        let mut left = self.cut_every;
        while let Some(piece) = response.body.next().await {
            let piece = piece.expect("a piece");
            let part = piece.slice(..piece.len().min(usize::try_from(left).expect("few bytes")));
            left -= part.len() as u64;
            self.bytes.fetch_add(part.len() as u64, Ordering::SeqCst);
            let is_cut = part.len() < piece.len();
            sender.send(part).await.expect("room");
            if is_cut {
                response.body = body;
                return Ok(response);
            }
        }
        sender.finish();
        response.body = body;
        Ok(response)
    }
}

#[tokio::test]
async fn an_interrupted_fetch_goes_on_where_it_was() {
    let rig = filled().await;
    for number in 0..300 {
        rig.put_inline(&format!("many/{number}")).await;
    }
    let cutting = |cut_every| Cutting {
        inner: Arc::new(rig.carrier.clone()),
        cut_every,
        asked: Mutex::default(),
        bytes: AtomicU64::new(0),
    };
    let place = tempfile::tempdir().expect("a directory");
    let into = place.path().join("fetched");
    let kind = RequestKind::BackUp;
    let asking = call(
        &rig.carrier,
        METADATA,
        kind,
        &BackUp { done_with: None },
        Body::empty(),
        DEADLINE,
    );
    let (made, _): (BackUpReply, _) = asking.await.expect("made");
    let name = CheckpointName {
        number: made.number,
        backup: true,
    };

    // Every request brings a few KiB only; each next one goes on from there, and nothing comes twice.
    let cut = cutting(6_000);
    let total = AtomicU64::new(0);
    let show = |now: Progress| total.store(now.bytes_total, Ordering::SeqCst);
    let fetched = fetch_checkpoint(&cut, METADATA, name, &into, &show)
        .await
        .expect("fetched");
    assert_eq!(cut.bytes.load(Ordering::SeqCst), total.load(Ordering::SeqCst));
    assert!(cut.asked.lock().iter().any(|(_, offset)| *offset > 0));
    assert_eq!(findings(&Source::Checkpoint(fetched.path)), NO_FINDINGS);

    // What is there is not fetched again, but for what was damaged meanwhile; what is none of it goes.
    let again = cutting(u64::MAX);
    std::fs::write(into.join("CURRENT"), "rubbish").expect("written");
    std::fs::write(into.join("999999.sst"), "of another checkpoint").expect("written");
    fetch_checkpoint(&again, METADATA, name, &into, &|_| {})
        .await
        .expect("fetched");
    let files: Vec<_> = again.asked.lock().iter().map(|(file, _)| file.clone()).collect();
    assert_eq!(files, ["", "CURRENT"]);
    assert!(!into.join("999999.sst").exists());

    // One that is not there is told from one that cannot be reached.
    let name = CheckpointName {
        number: made.number + 1,
        ..name
    };
    let gone = fetch_checkpoint(&again, METADATA, name, &into, &|_| {}).await;
    assert!(matches!(gone, Err(FetchError::Gone(_))), "{gone:?}");
}
