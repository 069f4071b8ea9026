//! Buckets that want another redundancy: what is found, and how another chunk takes the place of one.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::{
    ids::{ChunkId, SessionId},
    limits::INODE_EXTENTS_MAX,
    wire::{
        chunk::{ChunkChange, ChunkCommand, ChunkQuestion, ChunkReply},
        command::{Command, ErrorCode, Outcome, RedundancyMessage, UpdateBucket},
        object::Chunk,
        recode::{ChunkRecoded, MarksQuery, Recode, RecodeMark, RecodesQuery},
    },
};

use super::{
    harness::Machine,
    release::{collect, count},
};
use crate::core::view::Family;

impl Machine {
    /// Wants `data_shards` and `parity_shards` of the bucket's chunks from now on.
    fn want(&mut self, data_shards: u32, parity_shards: u32) {
        let redundancy = Some(RedundancyMessage {
            data_shards,
            parity_shards,
        });
        let update = UpdateBucket {
            redundancy,
            ..UpdateBucket::default()
        };
        self.update(update).expect("an update");
    }

    fn marks(&self) -> Vec<RecodeMark> {
        match self.chunk_answer(ChunkQuestion::Marks(MarksQuery {})) {
            ChunkReply::Marks(marks) => marks.marks,
            other => panic!("no marks: {other:?}"),
        }
    }

    fn recodes(&self) -> Vec<Recode> {
        let (mut all, mut from) = (Vec::new(), Bytes::new());
        loop {
            let query = RecodesQuery {
                bucket: 1,
                from,
                limit: 2,
            };
            let ChunkReply::Recodes(page) = self.chunk_answer(ChunkQuestion::Recodes(query)) else {
                panic!("no page")
            };
            all.extend(page.recodes);
            if page.next_from.is_empty() {
                return all;
            }
            from = page.next_from;
        }
    }

    /// Another chunk of the session with the same bytes.
    fn stored_as(&mut self, old: &Chunk, data_shards: u32, parity_shards: u32) -> Chunk {
        self.chunk_counter += 1;
        let id = ChunkId {
            session: SessionId::new(self.session),
            counter: self.chunk_counter,
        };
        Chunk {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards,
            parity_shards,
            ..old.clone()
        }
    }

    fn recoded(&mut self, recode: &Recode, new: &Chunk) -> u32 {
        let change = self.recoded_change(recode, new);
        self.chunk_command(change).changed
    }

    fn recoded_change(&self, recode: &Recode, new: &Chunk) -> ChunkChange {
        ChunkChange::Recoded(ChunkRecoded {
            bucket: 1,
            records: vec![recode.record.clone()],
            old_chunk_id: old_chunk(recode).id,
            chunk: Some(new.clone()),
            session: self.session,
        })
    }
}

fn old_chunk(recode: &Recode) -> Chunk {
    recode.chunk.clone().and_then(|info| info.chunk).expect("a chunk")
}

#[test]
fn all_that_refers_to_a_chunk_is_found_and_refers_to_another_one_then() {
    let mut machine = Machine::new();
    machine.put(b"few", 2).expect("a put");
    machine.put(b"many", INODE_EXTENTS_MAX as u64 + 3).expect("a put");
    machine.put(b"inline", 0).expect("a put");
    machine.copy(b"few", b"shares").expect("a copy");
    let upload = machine.start(b"multi");
    machine.part(b"multi", upload, 1, 2).expect("a part");
    machine.part(b"multi", upload, 2, 0).expect("a part");
    machine.complete(b"multi", upload, &[1, 2]).expect("an object");
    let under_way = machine.start(b"later");
    machine.part(b"later", under_way, 1, 1).expect("a part");
    assert_eq!(
        (machine.marks(), machine.recodes()),
        (vec![], vec![]),
        "small chunks are copied"
    );
    let before = machine.references();

    machine.want(1, 0);
    assert_eq!(machine.marks().len(), 1);
    let recodes = machine.recodes();
    assert_eq!(recodes.len(), before.len() + 2, "two chunks have two references");
    let mut stored: BTreeMap<Bytes, Chunk> = BTreeMap::new();
    for recode in &recodes {
        assert_eq!((recode.data_shards, recode.parity_shards), (1, 0));
        let old = old_chunk(recode);
        let new = match stored.get(&old.id) {
            Some(known) => known.clone(),
            None => machine.stored_as(&old, 1, 0),
        };
        assert_eq!(machine.recoded(recode, &new), 1);
        assert_eq!(machine.recoded(recode, &new), 0, "sent again it finds nothing");
        stored.insert(old.id, new);
    }
    assert_eq!(machine.recodes(), []);
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Chunk), before.len(), "the old ones are gone");
    let after = machine.references();
    for (old, references) in &before {
        let new = &stored[&Bytes::copy_from_slice(old)];
        assert_eq!(after.get(new.id.as_ref()), Some(references));
    }
    for key in [b"few".as_slice(), b"many", b"shares", b"multi"] {
        let chunks = machine.extents(key).into_iter().filter_map(|extent| extent.chunk);
        assert!(chunks.into_iter().all(|chunk| chunk.parity_shards == 0));
    }
    machine.delete(b"few").expect("a delete");
    machine.delete(b"shares").expect("a delete");
}

#[test]
fn a_commit_of_another_redundancy_marks_the_bucket_and_a_mark_goes_only_unchanged() {
    let mut machine = Machine::new();
    machine.want(1, 0);
    let first = machine.marks()[0];
    machine
        .put(b"late", 1)
        .expect("a put of a client that does not know yet");
    let second = machine.marks()[0];
    assert!(second.marked_at > first.marked_at);
    let done = |machine: &mut Machine, mark| machine.chunk_command(ChunkChange::BucketRecoded(mark)).changed;
    assert_eq!((done(&mut machine, first), machine.marks()), (0, vec![second]));
    assert_eq!((done(&mut machine, second), machine.marks()), (1, vec![]));
    machine.want(1, 2);
    let third = machine.marks()[0];
    assert_eq!((machine.recodes(), done(&mut machine, third)), (vec![], 1));
    machine.put(b"as wanted", 1).expect("a put");
    assert_eq!(machine.marks(), []);
}

#[test]
fn what_is_not_the_same_chunk_takes_no_place() {
    let mut machine = Machine::new();
    machine.put(b"a", 1).expect("a put");
    machine.want(1, 0);
    let recode = machine.recodes().remove(0);
    let old = old_chunk(&recode);
    let refused = |machine: &mut Machine, change| match machine
        .send(0, 0, 0, Command::Chunk(ChunkCommand { change: Some(change) }))
        .outcome
    {
        Some(Outcome::Refused(refusal)) => refusal.code(),
        other => panic!("taken: {other:?}"),
    };
    let longer = Chunk {
        length: 101,
        ..machine.stored_as(&old, 1, 0)
    };
    let change = machine.recoded_change(&recode, &longer);
    assert_eq!(refused(&mut machine, change), ErrorCode::Malformed);
    let change = machine.recoded_change(&recode, &old);
    assert_eq!(refused(&mut machine, change), ErrorCode::Malformed, "itself");
    let new = machine.stored_as(&old, 1, 0);
    for record in [
        &b""[..],
        &b"\x07key"[..],
        &b"\x00\x00\x00\x00\x00\x00\x00\x00\x09key"[..],
    ] {
        let strange = Recode {
            record: Bytes::copy_from_slice(record),
            ..recode.clone()
        };
        let change = machine.recoded_change(&strange, &new);
        assert_eq!(refused(&mut machine, change), ErrorCode::Malformed);
    }
    // What was deleted meanwhile is not there to be referred to, and nothing is committed.
    machine.delete(b"a").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!(machine.recoded(&recode, &new), 0);
    assert_eq!(count(&machine, Family::Chunk), 0);
}
