//! Settings of buckets: quotas, documents, abandoned uploads; and conditions on deletes.

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        command::{
            Command, DeleteBucket, DeleteObject, ErrorCode, ExpireUploads, Outcome, PutBucketDocument,
            RedundancyMessage, UpdateBucket, WriteCondition,
        },
        query::{Answer, BucketInfo, BucketQuery, BucketUsage, DocumentQuery, DocumentsQuery, Query},
    },
};

use super::{
    harness::{BUCKET, Machine},
    release::{collect, count},
};
use crate::core::{buckets_to_expire, view::Family};

const DAY_MS: u64 = 24 * 3600 * 1000;

impl Machine {
    pub(super) fn update(&mut self, update: UpdateBucket) -> Result<Outcome, ErrorCode> {
        let name = BUCKET.to_owned();
        self.run(Command::UpdateBucket(UpdateBucket { name, ..update }))
    }

    fn info(&self) -> BucketInfo {
        let name = BUCKET.to_owned();
        match self.ask(Query::Bucket(BucketQuery { name })) {
            Answer::Bucket(info) => info,
            other => panic!("no bucket: {other:?}"),
        }
    }

    fn usage(&self) -> BucketUsage {
        self.info().usage.expect("a usage")
    }

    fn document(&mut self, name: &str, content: Option<&'static [u8]>) -> Result<Outcome, ErrorCode> {
        self.run(Command::PutBucketDocument(PutBucketDocument {
            bucket: BUCKET.to_owned(),
            name: name.to_owned(),
            content: content.map(Bytes::from_static),
        }))
    }

    fn expire(&mut self, limit: u32) -> u64 {
        let command = Command::ExpireUploads(ExpireUploads { bucket_id: 1, limit });
        match self.send(0, 0, 0, command).outcome {
            Some(Outcome::UploadsExpired(count)) => count,
            other => panic!("no count: {other:?}"),
        }
    }
}

#[test]
fn a_quota_of_bytes_holds_for_objects_and_parts_and_deletes_always_work() {
    let mut machine = Machine::new();
    machine.put(b"a", 3).expect("a put");
    let quota = UpdateBucket {
        quota_bytes: Some(500),
        ..UpdateBucket::default()
    };
    machine.update(quota).expect("an update");
    assert_eq!(machine.put(b"b", 3), Err(ErrorCode::QuotaExceeded));
    assert!(machine.object(b"b").is_none());
    machine.put(b"b", 2).expect("a put up to the quota");
    assert_eq!(machine.put(b"b", 3), Err(ErrorCode::QuotaExceeded));
    machine.put(b"b", 1).expect("a smaller one in its place");
    let upload = machine.start(b"multi");
    machine.part(b"multi", upload, 1, 1).expect("a part");
    assert_eq!(machine.part(b"multi", upload, 2, 1), Err(ErrorCode::QuotaExceeded));
    machine
        .part(b"multi", upload, 1, 1)
        .expect("a part in place of another");
    let usage = machine.usage();
    assert_eq!((usage.object_bytes, usage.upload_bytes, usage.uploads), (400, 100, 1));
    machine
        .complete(b"multi", upload, &[1])
        .expect("completed: it adds no bytes");
    let usage = machine.usage();
    assert_eq!((usage.objects, usage.object_bytes, usage.upload_bytes), (3, 500, 0));
    let lower = UpdateBucket {
        quota_bytes: Some(1),
        ..UpdateBucket::default()
    };
    machine.update(lower).expect("a quota below what is there");
    machine.delete(b"a").expect("a delete");
    machine.put(b"b", 1).expect("as much in its place");
    assert_eq!(machine.put(b"c", 1), Err(ErrorCode::QuotaExceeded));
}

#[test]
fn a_quota_of_objects_lets_replace_and_delete() {
    let mut machine = Machine::new();
    let quota = UpdateBucket {
        quota_objects: Some(1),
        ..UpdateBucket::default()
    };
    machine.update(quota).expect("an update");
    machine.put(b"a", 0).expect("a put");
    assert_eq!(machine.put(b"b", 0), Err(ErrorCode::QuotaExceeded));
    machine.put(b"a", 1).expect("a put in its place");
    machine.delete(b"a").expect("a delete");
    machine.put(b"b", 0).expect("a put");
}

#[test]
fn settings_change_apart_and_within_bounds() {
    let mut machine = Machine::new();
    let before = machine.info();
    assert_eq!(
        before.settings.expect("settings").abandoned_uploads_days,
        limits::ABANDONED_UPLOADS_DAYS
    );
    let redundancy = |data_shards, parity_shards| UpdateBucket {
        redundancy: Some(RedundancyMessage {
            data_shards,
            parity_shards,
        }),
        ..UpdateBucket::default()
    };
    machine.update(redundancy(1, 2)).expect("three copies");
    assert_eq!(machine.update(redundancy(7, 2)), Err(ErrorCode::LimitExceeded));
    let small = UpdateBucket {
        chunk_size_bytes: Some(1),
        missing_shards_max: Some(1),
        ..UpdateBucket::default()
    };
    machine.update(small).expect("an update");
    let info = machine.info();
    assert_eq!((info.data_shards, info.parity_shards), (1, 2));
    assert_eq!(info.chunk_size_bytes as usize, limits::BLOCK_SIZE_BYTES);
    assert_eq!(info.settings.map(|settings| settings.missing_shards_max), Some(1));
    let endless = UpdateBucket {
        feed_entries_max: Some(u64::MAX),
        ..UpdateBucket::default()
    };
    assert_eq!(machine.update(endless), Err(ErrorCode::LimitExceeded));
}

#[test]
fn documents_are_kept_by_name_and_go_with_the_bucket() {
    let mut machine = Machine::new();
    for number in 0..limits::BUCKET_DOCUMENTS_MAX {
        machine
            .document(&format!("n{number:02}"), Some(b"{}"))
            .expect("a document");
    }
    assert_eq!(machine.document("more", Some(b"{}")), Err(ErrorCode::LimitExceeded));
    machine.document("n03", Some(b"[]")).expect("one in place of another");
    machine.document("n04", None).expect("removed");
    machine.document("n04", None).expect("removed again");
    assert_eq!(machine.document("", Some(b"")), Err(ErrorCode::Malformed));
    let bucket = BUCKET.to_owned();
    let Answer::Documents(names) = machine.ask(Query::Documents(DocumentsQuery { bucket })) else {
        panic!("no names")
    };
    assert_eq!(names.names.len(), limits::BUCKET_DOCUMENTS_MAX - 1);
    let read = |machine: &Machine, name: &str| {
        machine.ask(Query::Document(DocumentQuery {
            bucket: BUCKET.to_owned(),
            name: name.to_owned(),
        }))
    };
    assert!(matches!(read(&machine, "n03"), Answer::Document(found) if found.content == "[]"));
    assert!(matches!(read(&machine, "n04"), Answer::Refused(refusal) if refusal.code() == ErrorCode::NoSuchDocument));
    let name = BUCKET.to_owned();
    machine
        .run(Command::DeleteBucket(DeleteBucket { name }))
        .expect("an empty bucket");
    assert_eq!(count(&machine, Family::Bucket), 0);
}

#[test]
fn uploads_are_given_up_when_their_last_part_is_old_enough() {
    let mut machine = Machine::new();
    let days = u64::from(limits::ABANDONED_UPLOADS_DAYS);
    let first = machine.start(b"first");
    machine.part(b"first", first, 1, 2).expect("a part");
    machine.start(b"second");
    let third = machine.start(b"third");
    machine.time_ms += days * DAY_MS / 2;
    machine.part(b"third", third, 1, 1).expect("a part");
    machine.start(b"fourth");
    assert_eq!(machine.expire(10), 0);
    assert_eq!(
        buckets_to_expire(&machine.view, machine.time_ms, 0, 10),
        Ok((vec![], None))
    );
    machine.time_ms += days * DAY_MS / 2;
    assert_eq!(
        buckets_to_expire(&machine.view, machine.time_ms, 0, 1),
        Ok((vec![1], Some(1)))
    );
    assert_eq!(machine.expire(1), 1);
    assert_eq!(machine.expire(10), 1);
    let usage = machine.usage();
    assert_eq!((usage.uploads, usage.upload_bytes), (2, 100));
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!((count(&machine, Family::Part), count(&machine, Family::Chunk)), (1, 1));
    let never = UpdateBucket {
        abandoned_uploads_days: Some(0),
        ..UpdateBucket::default()
    };
    machine.update(never).expect("an update");
    machine.time_ms += 100 * days * DAY_MS;
    assert_eq!(machine.expire(10), 0);
    assert_eq!(
        count(&machine, Family::Upload),
        4,
        "two uploads, each with its place in the order"
    );
}

#[test]
fn a_delete_may_ask_for_tag_size_and_time() {
    let mut machine = Machine::new();
    machine.put(b"a", 2).expect("a put");
    let second = machine
        .object(b"a")
        .expect("an object")
        .info
        .expect("an info")
        .modified_ms
        / 1000;
    let mut delete = |condition: WriteCondition| {
        machine.run(Command::DeleteObject(DeleteObject {
            bucket: BUCKET.to_owned(),
            key: Bytes::from_static(b"a"),
            condition: Some(condition),
        }))
    };
    let none = WriteCondition::default();
    let refused = [
        WriteCondition {
            etag: "x".to_owned(),
            ..none.clone()
        },
        WriteCondition {
            size: Some(1),
            ..none.clone()
        },
        WriteCondition {
            modified_s: Some(second + 1),
            ..none.clone()
        },
        WriteCondition {
            etag: "*".to_owned(),
            size: Some(1),
            ..none.clone()
        },
    ];
    for condition in refused {
        assert_eq!(delete(condition), Err(ErrorCode::PreconditionFailed));
    }
    let holds = WriteCondition {
        must_be_absent: false,
        etag: "tag-2".to_owned(),
        size: Some(200),
        modified_s: Some(second),
    };
    assert!(delete(holds).is_ok());
    assert!(
        delete(WriteCondition {
            size: Some(1),
            ..none.clone()
        })
        .is_ok(),
        "nothing is there"
    );
    assert_eq!(
        delete(WriteCondition {
            etag: "*".to_owned(),
            ..none
        }),
        Err(ErrorCode::NoSuchKey)
    );
}
