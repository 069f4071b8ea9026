//! Values of the messages of [`crate::wire::lease`], and of the fields that carry leases elsewhere.

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::{
    command::{Done, Outcome, WriteReply, WriteRequest},
    file::{FileAttributes, FileId},
    lease::{LeaseNews, LeasePoll, OwnChange},
    query::{MapQuery, Query, ReadReply, ReadRequest},
};

pub(super) fn samples() -> Vec<Sample> {
    let poll = LeasePoll {
        session: 9,
        term: 4,
        released: 17,
        group: 1,
        begun: 2,
    };
    let news = LeaseNews {
        term: 4,
        length_ms: 5000,
        recalled: vec![FileId { bucket: 2, inode: 33 }],
        newest: 18,
    };
    let change = OwnChange {
        inode: 33,
        name: Bytes::from_static(b"name"),
        attributes: None,
    };
    let changed = OwnChange {
        inode: 33,
        name: Bytes::new(),
        attributes: Some(FileAttributes {
            inode: 33,
            mode: 0o644,
            ..FileAttributes::default()
        }),
    };
    let request = ReadRequest {
        query: Some(Query::Map(MapQuery::default())),
        group: 1,
        lease_session: 9,
    };
    let answer = ReadReply {
        log_index: 70_000,
        answer: None,
        lease_term: 4,
    };
    let reply = WriteReply {
        log_index: 70_000,
        outcome: Some(Outcome::Done(Done {})),
        lease_term: 4,
        changed: vec![change.clone()],
        alone: vec![],
    };
    let alone = WriteReply {
        alone: vec![33],
        ..reply.clone()
    };
    let settling = WriteRequest {
        session: 9,
        settles: true,
        ..WriteRequest::default()
    };
    vec![
        sample("LeasePoll", poll),
        sample("LeaseNews", news),
        sample("OwnChange", change),
        sample("OwnChange/attributes", changed),
        sample("ReadRequest/lease", request),
        sample("ReadReply/lease", answer),
        sample("WriteReply/lease", reply),
        sample("WriteReply/alone", alone),
        sample("WriteRequest/settles", settling),
    ]
}
