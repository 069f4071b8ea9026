//! Multipart uploads.

use bytes::Bytes;
use cairn_common::wire::{
    command::{AbortUpload, Command, CompleteUpload, CreateUpload, ErrorCode, Outcome, PutPart},
    object::{Body, PartSize},
    query::{Answer, PartsPage, PartsQuery, Query, UploadsQuery},
};

use super::{
    harness::{BUCKET, Machine, attributes},
    release::{collect, count},
};
use crate::core::view::Family;

impl Machine {
    pub(super) fn start(&mut self, key: &'static [u8]) -> u64 {
        let key = Bytes::from_static(key);
        let create = CreateUpload {
            bucket: BUCKET.to_owned(),
            key,
            attributes: Some(attributes("")),
        };
        match self.run(Command::CreateUpload(create)) {
            Ok(Outcome::Upload(id)) => id,
            other => panic!("no upload: {other:?}"),
        }
    }

    pub(super) fn part(
        &mut self,
        key: &'static [u8],
        upload: u64,
        number: u32,
        chunks: u64,
    ) -> Result<Outcome, ErrorCode> {
        let body = if chunks == 0 {
            Body {
                size: 4,
                inline: Bytes::from_static(b"tail"),
                ..Body::default()
            }
        } else {
            self.body(chunks)
        };
        let etag = format!("part-{number}");
        let (bucket, key) = (BUCKET.to_owned(), Bytes::from_static(key));
        self.run(Command::PutPart(PutPart {
            bucket,
            key,
            upload,
            number,
            etag,
            checksums: vec![],
            body: Some(body),
        }))
    }

    fn parts(&self, key: &'static [u8], upload: u64) -> PartsPage {
        let (bucket, key) = (BUCKET.to_owned(), Bytes::from_static(key));
        match self.ask(Query::Parts(PartsQuery {
            bucket,
            key,
            upload,
            after: 0,
            limit: 1000,
        })) {
            Answer::Parts(page) => page,
            other => panic!("no parts: {other:?}"),
        }
    }

    pub(super) fn complete(&mut self, key: &'static [u8], upload: u64, numbers: &[u32]) -> Result<Outcome, ErrorCode> {
        let page = self.parts(key, upload);
        let chosen = page.parts.iter().filter(|part| numbers.contains(&part.number));
        let parts = chosen
            .map(|part| PartSize {
                number: part.number,
                size: part.size,
            })
            .collect();
        self.run(Command::CompleteUpload(CompleteUpload {
            bucket: BUCKET.to_owned(),
            key: Bytes::from_static(key),
            upload,
            revision: page.revision,
            parts,
            etag: "whole-2".to_owned(),
            checksums: vec![],
            condition: None,
        }))
    }
}

impl Machine {
    /// An object of a part of 600 bytes and one of 4.
    pub(super) fn upload_of_two_parts(&mut self, key: &'static [u8]) {
        let upload = self.start(key);
        self.part(key, upload, 1, 6).expect("a part");
        self.part(key, upload, 2, 0).expect("a part");
        self.complete(key, upload, &[1, 2]).expect("completed");
    }
}

#[test]
fn chosen_parts_become_the_object_and_the_others_garbage() {
    let mut machine = Machine::new();
    let upload = machine.start(b"k/multi");
    for (number, chunks) in [(7, 0), (2, 3), (5, 1), (3, 2)] {
        machine.part(b"k/multi", upload, number, chunks).expect("a part");
    }
    machine
        .part(b"k/multi", upload, 2, 4)
        .expect("a part in place of another");
    assert!(machine.object(b"k/multi").is_none());
    machine.complete(b"k/multi", upload, &[2, 5, 7]).expect("completed");
    let object = machine.object(b"k/multi").expect("the object");
    assert_eq!(object.info.as_ref().expect("an info").size, 504);
    let mut offset = 0;
    for extent in object.plan.expect("a plan").extents {
        assert_eq!(extent.file_offset, offset);
        assert_eq!(extent.chunk.is_none(), !extent.inline.is_empty());
        offset += extent.length;
    }
    assert_eq!(offset, 504);
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!((count(&machine, Family::Chunk), count(&machine, Family::Part)), (5, 3));
    machine.delete(b"k/multi").expect("a delete");
    machine.heartbeat(0, machine.log_index + 1);
    collect(&mut machine);
    assert_eq!((count(&machine, Family::Chunk), count(&machine, Family::Part)), (0, 0));
    assert_eq!(
        (count(&machine, Family::Extent), count(&machine, Family::Garbage)),
        (0, 0)
    );
}

#[test]
fn a_part_put_after_the_parts_were_read_refuses_completion() {
    let mut machine = Machine::new();
    let upload = machine.start(b"k");
    machine.part(b"k", upload, 1, 1).expect("a part");
    let revision = machine.parts(b"k", upload).revision;
    machine.part(b"k", upload, 1, 1).expect("a part");
    let stale = CompleteUpload {
        bucket: BUCKET.to_owned(),
        key: Bytes::from_static(b"k"),
        upload,
        revision,
        parts: vec![PartSize { number: 1, size: 100 }],
        ..CompleteUpload::default()
    };
    assert_eq!(
        machine.run(Command::CompleteUpload(stale)),
        Err(ErrorCode::UploadChanged)
    );
    assert!(machine.complete(b"k", upload, &[1]).is_ok());
    let gone = PartsQuery {
        bucket: BUCKET.to_owned(),
        key: Bytes::from_static(b"k"),
        upload,
        after: 0,
        limit: 1,
    };
    assert!(
        matches!(machine.ask(Query::Parts(gone)), Answer::Refused(refusal) if refusal.code() == ErrorCode::NoSuchUpload)
    );
}

#[test]
fn an_aborted_upload_is_released() {
    let mut machine = Machine::new();
    let upload = machine.start(b"k");
    machine.part(b"k", upload, 1, 20).expect("a part");
    machine.part(b"k", upload, 10_000, 1).expect("a part");
    assert_eq!(machine.part(b"k", upload, 10_001, 1), Err(ErrorCode::Malformed));
    let abort = AbortUpload {
        bucket: BUCKET.to_owned(),
        key: Bytes::from_static(b"k"),
        upload,
    };
    assert!(machine.run(Command::AbortUpload(abort.clone())).is_ok());
    assert_eq!(machine.run(Command::AbortUpload(abort)), Err(ErrorCode::NoSuchUpload));
    assert_eq!(machine.part(b"k", upload, 2, 1), Err(ErrorCode::NoSuchUpload));
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!((count(&machine, Family::Chunk), count(&machine, Family::Part)), (0, 0));
}

#[test]
fn uploads_are_listed_by_key_and_number() {
    let mut machine = Machine::new();
    let keys: [&'static [u8]; 5] = [b"b", b"a", b"a\0", b"a", b"ab"];
    for key in keys {
        machine.start(key);
    }
    let page = |prefix: &'static [u8], after_key: &'static [u8], after_upload, limit| {
        let (bucket, prefix, after_key) = (
            BUCKET.to_owned(),
            Bytes::from_static(prefix),
            Bytes::from_static(after_key),
        );
        match machine.ask(Query::Uploads(UploadsQuery {
            bucket,
            prefix,
            after_key,
            after_upload,
            limit,
        })) {
            Answer::Uploads(page) => (
                page.uploads.iter().map(|upload| upload.upload).collect::<Vec<_>>(),
                page.more,
            ),
            other => panic!("no uploads: {other:?}"),
        }
    };
    assert_eq!(page(b"", b"", 0, 10), (vec![2, 4, 3, 5, 1], false));
    assert_eq!(page(b"a", b"", 0, 10), (vec![2, 4, 3, 5], false));
    assert_eq!(page(b"a", b"a", 2, 2), (vec![4, 3], true));
    assert_eq!(page(b"", b"a", u64::MAX, 10), (vec![3, 5, 1], false));
}
