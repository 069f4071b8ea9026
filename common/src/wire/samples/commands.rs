//! Values of the messages of [`crate::wire::command`].

use bytes::Bytes;

use super::{
    Sample,
    files::{file_command, file_id, file_outcome, orphans_page},
    objects::{attributes, body, checksum, map, part_size},
    sample,
};
use crate::wire::command::{
    AbortUpload, Command, CompleteUpload, CreateBucket, CreateUpload, DeleteBucket, DeleteObject, Done, EndSession,
    EntryBatch, ErrorCode, ForgetChunks, Heartbeat, InstallMap, OpenSession, Outcome, PutObject, PutPart,
    RaiseFeatureLevel, Refusal, ReleaseStep, WriteCondition, WriteReply, WriteRequest,
};

pub(super) fn samples() -> Vec<Sample> {
    vec![
        sample("OpenSession", OpenSession::default()),
        sample("OpenSession/mount", OpenSession { mounts: true }),
        sample("Heartbeat", heartbeat()),
        sample("Heartbeat/mount", mount_heartbeat()),
        sample("EndSession", EndSession { session: 2 }),
        sample("InstallMap", InstallMap { map: Some(map()) }),
        sample("CreateBucket", create_bucket()),
        sample("DeleteBucket", delete_bucket()),
        sample("WriteCondition", condition()),
        sample("PutObject", put_object()),
        sample("DeleteObject", delete_object()),
        sample("CreateUpload", create_upload()),
        sample("PutPart", put_part()),
        sample("CompleteUpload", complete_upload()),
        sample("AbortUpload", abort_upload()),
        sample("ReleaseStep", ReleaseStep { steps: 128 }),
        sample("ForgetChunks", forget_chunks()),
        sample("RaiseFeatureLevel", RaiseFeatureLevel { level: 2 }),
        sample("EntryBatch", entry_batch()),
        sample("Done", Done {}),
        sample("Refusal", refusal()),
    ]
}

pub(super) fn requests() -> Vec<Sample> {
    let in_group = WriteRequest {
        group: 3,
        ..request(Command::OpenSession(OpenSession::default()))
    };
    let open = Command::OpenSession(OpenSession::default());
    let end = Command::EndSession(EndSession { session: 2 });
    let install = Command::InstallMap(InstallMap { map: Some(map()) });
    let release = Command::ReleaseStep(ReleaseStep { steps: 128 });
    let raise = Command::RaiseFeatureLevel(RaiseFeatureLevel { level: 2 });
    vec![
        sample("WriteRequest/group", in_group),
        sample("WriteRequest/OpenSession", request(open)),
        sample("WriteRequest/Heartbeat", request(Command::Heartbeat(heartbeat()))),
        sample("WriteRequest/EndSession", request(end)),
        sample("WriteRequest/InstallMap", request(install)),
        sample(
            "WriteRequest/CreateBucket",
            request(Command::CreateBucket(create_bucket())),
        ),
        sample(
            "WriteRequest/DeleteBucket",
            request(Command::DeleteBucket(delete_bucket())),
        ),
        sample("WriteRequest/PutObject", request(Command::PutObject(put_object()))),
        sample(
            "WriteRequest/DeleteObject",
            request(Command::DeleteObject(delete_object())),
        ),
        sample(
            "WriteRequest/CreateUpload",
            request(Command::CreateUpload(create_upload())),
        ),
        sample("WriteRequest/PutPart", request(Command::PutPart(put_part()))),
        sample(
            "WriteRequest/CompleteUpload",
            request(Command::CompleteUpload(complete_upload())),
        ),
        sample(
            "WriteRequest/AbortUpload",
            request(Command::AbortUpload(abort_upload())),
        ),
        sample("WriteRequest/ReleaseStep", request(release)),
        sample(
            "WriteRequest/ForgetChunks",
            request(Command::ForgetChunks(forget_chunks())),
        ),
        sample("WriteRequest/RaiseFeatureLevel", request(raise)),
        sample("WriteRequest/File", request(Command::File(file_command()))),
    ]
}

pub(super) fn replies() -> Vec<Sample> {
    vec![
        sample("WriteReply/Refused", reply(Outcome::Refused(refusal()))),
        sample("WriteReply/Done", reply(Outcome::Done(Done {}))),
        sample("WriteReply/Session", reply(Outcome::Session(2))),
        sample("WriteReply/Upload", reply(Outcome::Upload(3))),
        sample("WriteReply/CommittedMs", reply(Outcome::CommittedMs(1_700_000_000_000))),
        sample("WriteReply/ReleaseLeft", reply(Outcome::ReleaseLeft(0))),
        sample("WriteReply/File", reply(Outcome::File(file_outcome()))),
        sample("WriteReply/Orphans", reply(Outcome::Orphans(orphans_page()))),
    ]
}

pub(super) fn refusal() -> Refusal {
    Refusal {
        code: ErrorCode::Storage.into(),
        detail: "why".to_owned(),
    }
}

fn request(command: Command) -> WriteRequest {
    WriteRequest {
        session: 2,
        sequence: 300,
        answered_below: 299,
        group: 0,
        resent: false,
        settles: false,
        command: Some(command),
    }
}

fn reply(outcome: Outcome) -> WriteReply {
    WriteReply {
        log_index: 70_000,
        outcome: Some(outcome),
        ..WriteReply::default()
    }
}

fn entry_batch() -> EntryBatch {
    let end = Command::EndSession(EndSession { session: 2 });
    EntryBatch {
        time_ms: 1_700_000_000_000,
        requests: vec![request(end), request(Command::OpenSession(OpenSession::default()))],
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        settled_below: 3,
        reads_from: 4,
        ..Heartbeat::default()
    }
}

fn mount_heartbeat() -> Heartbeat {
    Heartbeat {
        orphans_seen: 5,
        held: vec![file_id()],
        ..heartbeat()
    }
}

fn create_bucket() -> CreateBucket {
    CreateBucket {
        name: "bucket".to_owned(),
        data_shards: 4,
        parity_shards: 2,
        chunk_size_bytes: 8 << 20,
        owner_key: String::new(),
    }
}

fn delete_bucket() -> DeleteBucket {
    DeleteBucket {
        name: "bucket".to_owned(),
    }
}

fn condition() -> WriteCondition {
    WriteCondition {
        must_be_absent: true,
        etag: "*".to_owned(),
        ..WriteCondition::default()
    }
}

fn key() -> Bytes {
    Bytes::from_static(b"a/b\xff")
}

fn put_object() -> PutObject {
    PutObject {
        bucket: "bucket".to_owned(),
        key: key(),
        attributes: Some(attributes()),
        body: Some(body()),
        condition: Some(condition()),
    }
}

fn delete_object() -> DeleteObject {
    DeleteObject {
        bucket: "bucket".to_owned(),
        key: key(),
        condition: Some(condition()),
    }
}

fn create_upload() -> CreateUpload {
    CreateUpload {
        bucket: "bucket".to_owned(),
        key: key(),
        attributes: Some(attributes()),
    }
}

fn put_part() -> PutPart {
    PutPart {
        bucket: "bucket".to_owned(),
        key: key(),
        upload: 3,
        number: 7,
        etag: "abc".to_owned(),
        checksums: vec![checksum()],
        body: Some(body()),
    }
}

fn complete_upload() -> CompleteUpload {
    CompleteUpload {
        bucket: "bucket".to_owned(),
        key: key(),
        upload: 3,
        revision: 2,
        parts: vec![part_size()],
        etag: "abc-1".to_owned(),
        checksums: vec![checksum()],
        condition: Some(condition()),
    }
}

fn abort_upload() -> AbortUpload {
    AbortUpload {
        bucket: "bucket".to_owned(),
        key: key(),
        upload: 3,
    }
}

fn forget_chunks() -> ForgetChunks {
    ForgetChunks {
        chunk_ids: vec![Bytes::from_static(b"0123456789abcdef"); 2],
    }
}
