//! Missing and misplaced shards, maps that change under commits, and deletion that is held.

use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId, Epoch, Incarnation, NodeId, SessionId},
    limits,
    wire::{
        chunk::{
            ChunkAnswer, ChunkChange, ChunkCommand, ChunkInfo, ChunkOutcome, ChunkQuery, ChunkQuestion, ChunkReply,
            MoveStep, PageQuery, RepairDone, ReportShards, ShardPlace,
        },
        command::{
            Command, EndSession, ErrorCode, ForgetChunks, HoldDeletion, InstallMap, OpenSession, Outcome, ReleaseStep,
            UpdateBucket, WriteCondition,
        },
        inventory::{LossesQuery, SurveyDone},
        map::MapMessage,
        object::Chunk,
        query::{Answer, MapQuery, Query},
        server::{RegisterServer, ServerInfo, ServersQuery},
    },
};

use super::{
    harness::{Machine, map},
    release::count,
};
use crate::core::{Verdict, deletable_chunks, expected, judge, release_pending, view::Family};

impl Machine {
    /// Puts an object of one chunk, as `change` makes it. Gives the chunk's id.
    fn put_chunk(&mut self, key: &[u8], change: impl FnOnce(&mut Chunk)) -> Result<ChunkId, ErrorCode> {
        let mut put = self.put_command(key, 1, WriteCondition::default());
        let chunk = put.body.as_mut().expect("a body").extents[0]
            .chunk
            .as_mut()
            .expect("a chunk");
        change(chunk);
        let id = chunk.chunk_id().expect("an id");
        self.run(Command::PutObject(put)).map(|_| id)
    }

    pub(super) fn chunk_command(&mut self, change: ChunkChange) -> ChunkOutcome {
        let command = Command::Chunk(ChunkCommand { change: Some(change) });
        match self.send(0, 0, 0, command).outcome {
            Some(Outcome::Chunk(outcome)) => outcome,
            other => panic!("refused: {other:?}"),
        }
    }

    fn report(&mut self, id: ChunkId, shard_index: u32, device: u32) -> u32 {
        let shards = vec![place(id, shard_index, device)];
        self.chunk_command(ChunkChange::Report(ReportShards { shards })).changed
    }

    fn repaired(&mut self, id: ChunkId, shard_index: u32, device: u32) -> u32 {
        let Answer::Map(map) = self.ask(Query::Map(MapQuery::default())) else {
            panic!("no map")
        };
        let (shards, epoch) = (vec![place(id, shard_index, device)], map.epoch);
        self.chunk_command(ChunkChange::Repaired(RepairDone { shards, epoch }))
            .changed
    }

    fn move_step(&mut self, group: u32, steps: u32) -> ChunkOutcome {
        self.chunk_command(ChunkChange::MoveStep(MoveStep { width: 3, group, steps }))
    }

    pub(super) fn chunk_answer(&self, question: ChunkQuestion) -> ChunkReply {
        let question = Some(question);
        match self.ask(Query::Chunk(ChunkQuery { question })) {
            Answer::Chunk(ChunkAnswer { reply: Some(reply) }) => reply,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn chunk_info(&self, id: ChunkId) -> ChunkInfo {
        match self.chunk_answer(ChunkQuestion::Chunk(Bytes::copy_from_slice(&id.to_bytes()))) {
            ChunkReply::Chunk(info) => info,
            other => panic!("no chunk: {other:?}"),
        }
    }

    /// (priority, chunk id) of all in the queue.
    fn repairs(&self) -> Vec<(u32, ChunkId)> {
        let (mut all, mut from) = (Vec::new(), Bytes::new());
        loop {
            let ChunkReply::Repairs(page) = self.chunk_answer(ChunkQuestion::Repairs(PageQuery { from, limit: 2 }))
            else {
                panic!("no page")
            };
            all.extend(page.repairs.into_iter().map(|repair| {
                let chunk = repair.chunk.and_then(|info| info.chunk).expect("a chunk");
                (repair.priority, chunk.chunk_id().expect("an id"))
            }));
            if page.next_from.is_empty() {
                let Answer::Summary(summary) = self.ask(Query::Summary(cairn_common::wire::query::SummaryQuery {}))
                else {
                    panic!("no summary")
                };
                assert_eq!(summary.repair_pending, all.len() as u64);
                return all;
            }
            from = page.next_from;
        }
    }

    fn install(&mut self, map: &ClusterMap) -> Option<Outcome> {
        let map = Some(MapMessage::from(map));
        self.send(0, 0, 0, Command::InstallMap(InstallMap { map })).outcome
    }
}

fn place(id: ChunkId, shard_index: u32, device: u32) -> ShardPlace {
    ShardPlace {
        chunk_id: Bytes::copy_from_slice(&id.to_bytes()),
        shard_index,
        device,
    }
}

fn row(map: &ClusterMap, id: ChunkId) -> Vec<u32> {
    let group = id.placement_hash().group(map.group_bits);
    map.row(3, group)
        .expect("a row")
        .iter()
        .map(|device| device.value())
        .collect()
}

fn other_than(devices: &[u32]) -> u32 {
    (1..=6).find(|device| !devices.contains(device)).expect("a device")
}

/// The map with all rows of three devices turned by one place, one epoch later.
fn turned(map: &ClusterMap) -> ClusterMap {
    let mut map = map.clone();
    map.epoch = Epoch::new(map.epoch.value() + 1);
    for row in map.rows.get_mut(&3).expect("rows") {
        row[0] = (1..=6)
            .map(DeviceId::new)
            .find(|device| !row.contains(device))
            .expect("a device");
    }
    map
}

#[test]
fn shards_may_be_missing_only_as_far_as_the_bucket_says_and_never_below_one_spare() {
    let mut machine = Machine::new();
    assert_eq!(
        machine.put_chunk(b"a", |chunk| chunk.missing = 1),
        Err(ErrorCode::LimitExceeded)
    );
    let settings = UpdateBucket {
        missing_shards_max: Some(9),
        ..UpdateBucket::default()
    };
    machine.update(settings).expect("an update");
    assert_eq!(
        machine.put_chunk(b"a", |chunk| chunk.missing = 8),
        Err(ErrorCode::Malformed)
    );
    assert_eq!(
        machine.put_chunk(b"a", |chunk| chunk.missing = 3),
        Err(ErrorCode::LimitExceeded)
    );
    let id = machine
        .put_chunk(b"a", |chunk| chunk.missing = 2)
        .expect("two of three copies");
    assert_eq!(machine.repairs(), [(1, id)]);
    let device = row(&map(), id)[1];
    assert_eq!(machine.repaired(id, 1, device), 1);
    assert_eq!(machine.repairs(), []);
    assert_eq!(machine.chunk_info(id).chunk.expect("a chunk").explicit_devices, []);
}

#[test]
fn reports_queue_by_what_is_left_and_garbage_leaves_the_queue() {
    let mut machine = Machine::new();
    let mut ids: Vec<ChunkId> = Vec::new();
    for key in [b"a", b"b", b"c", b"d"] {
        ids.push(machine.put_chunk(key, |_| {}).expect("a put"));
    }
    let rows: Vec<Vec<u32>> = ids.iter().map(|id| row(&map(), *id)).collect();
    assert_eq!(machine.report(ids[0], 0, rows[0][0]), 1);
    assert_eq!(machine.report(ids[0], 0, rows[0][0]), 0, "known already");
    assert_eq!(machine.report(ids[1], 0, rows[1][0]), 1);
    assert_eq!(machine.report(ids[1], 2, rows[1][2]), 1);
    assert_eq!(machine.report(ids[2], 0, rows[2][1]), 0, "the shard is not there");
    for shard in 0..3 {
        machine.report(ids[3], shard, rows[3][shard as usize]);
    }
    assert_eq!(machine.repairs(), [(0, ids[1]), (1, ids[0]), (192, ids[3])]);
    machine.delete(b"b").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 9 }));
    assert_eq!(machine.repairs(), [(1, ids[0]), (192, ids[3])]);
    assert_eq!(machine.report(ids[1], 1, rows[1][1]), 0, "garbage");
    let deletable = deletable_chunks(&machine.view, 10).expect("a sound state");
    assert_eq!(
        deletable[0].shards.len(),
        3,
        "missing shards are deleted too: they may be there"
    );
}

#[test]
fn a_repair_counts_where_the_shard_belongs_and_under_the_map_that_it_was_made_for() {
    let mut machine = Machine::new();
    let id = machine.put_chunk(b"a", |_| {}).expect("a put");
    let home = row(&map(), id);
    let other = (1..=6).find(|device| !home.contains(device)).expect("a device");
    machine.report(id, 1, home[1]);
    let refused = |machine: &mut Machine, device, epoch| {
        let shards = vec![place(id, 1, device)];
        let change = Some(ChunkChange::Repaired(RepairDone { shards, epoch }));
        match machine.send(0, 0, 0, Command::Chunk(ChunkCommand { change })).outcome {
            Some(Outcome::Refused(refusal)) => refusal.code(),
            other => panic!("taken: {other:?}"),
        }
    };
    assert_eq!(
        refused(&mut machine, other, 1),
        ErrorCode::Malformed,
        "it may be on its way out there"
    );
    assert_eq!(refused(&mut machine, home[1], 0), ErrorCode::EpochMismatch);
    assert_eq!(refused(&mut machine, home[1], 2), ErrorCode::EpochMismatch);
    assert_eq!(machine.repairs(), [(1, id)]);
    assert_eq!(machine.repaired(id, 1, home[1]), 1);
    assert_eq!((machine.repairs(), machine.chunk_info(id).misplaced), (vec![], 0));
}

#[test]
fn a_shard_is_a_stray_where_neither_its_record_nor_the_map_wants_it() {
    let mut machine = Machine::new();
    let id = machine.put_chunk(b"a", |_| {}).expect("a put");
    let (before, after) = (map(), turned(&map()));
    let (old, new) = (row(&before, id)[0], row(&after, id)[0]);
    let judged = |machine: &Machine, device| {
        let verdicts = judge(&machine.view, DeviceId::new(device), &[(id, 0)]);
        verdicts.expect("a sound state")[0]
    };
    let home = DeviceId::new(old);
    assert_eq!(judged(&machine, old), Verdict::Kept);
    assert_eq!(judged(&machine, new), Verdict::Stray { epoch: 1, home });
    machine.install(&after);
    assert_eq!(
        (judged(&machine, old), judged(&machine, new)),
        (Verdict::Kept, Verdict::Kept)
    );
    let group = id.placement_hash().group(after.group_bits).index() as u32;
    machine.move_step(group, 100);
    assert_eq!(judged(&machine, old), Verdict::Kept, "nothing was moved yet");
    assert_eq!(machine.repaired(id, 0, new), 1);
    let home = DeviceId::new(new);
    assert_eq!(judged(&machine, old), Verdict::Stray { epoch: 2, home });
    assert_eq!(judged(&machine, new), Verdict::Kept);
    machine.report(id, 0, new);
    assert_eq!(
        judged(&machine, old),
        Verdict::Kept,
        "it may be all that is left of the shard"
    );
    machine.send(
        0,
        0,
        0,
        Command::HoldDeletion(HoldDeletion {
            held: true,
            generation: 1,
        }),
    );
    assert_eq!(judged(&machine, other_than(&[old, new])), Verdict::Kept);
}

#[test]
fn a_device_should_have_what_the_records_place_on_it_range_by_range() {
    let mut machine = Machine::new();
    let mut ids = Vec::new();
    for number in 0..30_u8 {
        ids.push(machine.put_chunk(&[b'k', number], |_| {}).expect("a put"));
    }
    ids.sort_by_key(|id| (id.placement_hash().value(), id.to_bytes()));
    let device = DeviceId::new(2);
    let holds = |id: &ChunkId| (0..).zip(row(&map(), *id)).find(|(_, holder)| *holder == 2);
    let all: Vec<(ChunkId, u32)> = ids.iter().filter_map(|id| Some((*id, holds(id)?.0))).collect();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = expected(&machine.view, device, after, None, 3).expect("a sound state");
        found.extend(page.shards);
        after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, all);
    let part = expected(&machine.view, device, Some(ids[4]), Some(ids[20]), 100).expect("a sound state");
    let inside = |(id, _): &&(ChunkId, u32)| ids[5..=20].contains(id);
    assert_eq!(part.shards, all.iter().filter(inside).copied().collect::<Vec<_>>());
    // What is known to be missing is not missed again, and garbage is not missed.
    let (missing, index) = all[0];
    machine.report(missing, index, 2);
    let page = expected(&machine.view, device, None, None, 100).expect("a sound state");
    assert_eq!(page.shards, all[1..]);
}

#[test]
fn copies_that_the_writer_placed_are_queued_last() {
    let mut machine = Machine::new();
    let strange = machine.put_chunk(b"a", |chunk| chunk.explicit_devices = vec![1, 2, 99]);
    assert_eq!(strange, Err(ErrorCode::EpochMismatch));
    let twice = machine.put_chunk(b"a", |chunk| chunk.explicit_devices = vec![1, 2, 2]);
    assert_eq!(twice, Err(ErrorCode::EpochMismatch));
    let id = machine
        .put_chunk(b"a", |chunk| chunk.explicit_devices = vec![6, 5, 4])
        .expect("a put");
    let home = row(&map(), id);
    assert_eq!(machine.repairs(), [(128, id)]);
    for (shard, device) in (0..).zip(&home) {
        machine.repaired(id, shard, *device);
    }
    assert_eq!(machine.repairs(), []);
}

#[test]
fn a_commit_under_an_older_map_is_found_where_it_was_written() {
    let mut machine = Machine::new();
    let before = map();
    let after = turned(&before);
    assert_eq!(
        machine.install(&after),
        Some(Outcome::Done(cairn_common::wire::command::Done {}))
    );
    assert_eq!(
        machine.put_chunk(b"f", |chunk| chunk.epoch = 3),
        Err(ErrorCode::EpochMismatch)
    );
    let id = machine.put_chunk(b"a", |chunk| chunk.epoch = 1).expect("a put");
    assert_eq!(machine.repairs(), [(64, id)]);
    let (old, new) = (row(&before, id), row(&after, id));
    let object = machine.object(b"a").expect("an object").plan.expect("a plan");
    let read = object.extents[0].chunk.clone().expect("a chunk");
    assert_eq!(read.explicit_devices, old);
    assert_eq!(machine.chunk_info(id).misplaced, 1);
    assert_eq!(machine.repaired(id, 0, new[0]), 1);
    let home = machine.chunk_info(id).chunk.expect("a chunk");
    assert_eq!((home.explicit_devices.len(), home.epoch), (0, 2));
    // Deleted while misplaced: both the old and the new holder are told.
    let late = machine.put_chunk(b"b", |chunk| chunk.epoch = 1).expect("a put");
    machine.delete(b"b").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 9 }));
    let deletable = deletable_chunks(&machine.view, 10).expect("a sound state");
    let device = |device: u32, shard: u32| (DeviceId::new(device), shard);
    let (old, new) = (row(&before, late), row(&after, late));
    assert_eq!(
        deletable[0].shards,
        [
            device(old[0], 0),
            device(old[1], 1),
            device(old[2], 2),
            device(new[0], 0)
        ]
    );
}

#[test]
fn what_a_device_lost_is_looked_up_and_missing_in_late_commits() {
    let mut machine = Machine::new();
    let settings = UpdateBucket {
        missing_shards_max: Some(1),
        ..UpdateBucket::default()
    };
    machine.update(settings).expect("an update");
    let losses = |machine: &Machine| match machine.chunk_answer(ChunkQuestion::Losses(LossesQuery {})) {
        ChunkReply::Losses(losses) => losses.losses,
        other => panic!("no losses: {other:?}"),
    };
    let reborn = |devices: &[u32], epoch: u64| {
        let mut map = map();
        map.epoch = Epoch::new(epoch);
        for device in devices {
            map.devices
                .get_mut(&DeviceId::new(*device))
                .expect("a device")
                .incarnation = Incarnation::new(epoch);
        }
        map
    };
    let done = Some(Outcome::Done(cairn_common::wire::command::Done {}));
    assert_eq!((machine.install(&reborn(&[2], 2)), losses(&machine).len()), (done, 1));
    assert!(
        matches!(machine.install(&reborn(&[], 3)), Some(Outcome::Refused(_))),
        "a life does not go back"
    );
    let mut late = Vec::new();
    for number in 0..20_u8 {
        late.push(
            machine
                .put_chunk(&[b'k', number], |chunk| chunk.epoch = 1)
                .expect("a put"),
        );
        machine
            .put_chunk(&[b'n', number], |chunk| chunk.epoch = 2)
            .expect("a put");
    }
    let on_device = |id: &&ChunkId| row(&map(), **id).contains(&2);
    let lost: Vec<(u32, ChunkId)> = late.iter().filter(on_device).map(|id| (1, *id)).collect();
    let mut queued = machine.repairs();
    queued.sort_by_key(|(_, id)| late.iter().position(|other| other == id));
    assert!(!lost.is_empty() && queued == lost, "{queued:?}");
    let survey = |machine: &mut Machine, incarnation| {
        let done = SurveyDone { device: 2, incarnation };
        machine.chunk_command(ChunkChange::Surveyed(done)).changed
    };
    assert_eq!((survey(&mut machine, 1), survey(&mut machine, 2)), (0, 1));
    assert_eq!((survey(&mut machine, 2), losses(&machine)), (0, vec![]));
    // A second loss leaves late commits fewer shards than the bucket asks for.
    machine.install(&reborn(&[2, 1, 3, 4, 5, 6], 3));
    assert_eq!(losses(&machine).len(), 6);
    let refused = machine.put_chunk(b"late", |chunk| chunk.epoch = 1);
    assert_eq!(refused, Err(ErrorCode::EpochMismatch));
}

/// Installs the rows turned once more and moves all that lies on those before.
fn turn(machine: &mut Machine, before: &ClusterMap) -> ClusterMap {
    let after = turned(before);
    machine.install(&after);
    (0..16).for_each(|group| assert!(machine.move_step(group, 100).settled));
    after
}

#[test]
fn a_commit_under_a_settled_row_is_taken_until_the_row_is_forgotten() {
    let mut machine = Machine::new();
    let before = map();
    let mut present = turn(&mut machine, &before);
    for at in 1..=limits::SETTLED_ROWS_KEPT {
        let id = machine
            .put_chunk(&[b'k', at as u8], |chunk| chunk.epoch = 1)
            .expect("a late put");
        let read = machine.chunk_info(id).chunk.expect("a chunk");
        let is_home = row(&before, id) == row(&present, id);
        assert_eq!(read.explicit_devices.is_empty(), is_home);
        assert!(
            is_home || read.explicit_devices == row(&before, id),
            "it lies where it was written"
        );
        assert_eq!(machine.repairs().contains(&(64, id)), !is_home);
        present = turn(&mut machine, &present);
    }
    let refused = machine.put_chunk(b"late", |chunk| chunk.epoch = 1);
    assert_eq!(refused, Err(ErrorCode::EpochMismatch));
    assert!(machine.put_chunk(b"later", |chunk| chunk.epoch = 2).is_ok());
}

#[test]
fn a_device_is_removed_once_nothing_is_to_be_moved() {
    let mut machine = Machine::new();
    let before = map();
    let spare = Device {
        id: DeviceId::new(7),
        ..before.devices[&DeviceId::new(6)].clone()
    };
    let with_spare = |epoch| {
        let mut map = ClusterMap {
            epoch: Epoch::new(epoch),
            ..before.clone()
        };
        map.devices.insert(spare.id, spare.clone());
        map
    };
    let mut on_spare = with_spare(2);
    for row in on_spare.rows.get_mut(&3).expect("rows") {
        row[0] = spare.id;
    }
    let without = ClusterMap {
        epoch: Epoch::new(4),
        ..before.clone()
    };
    let removed = |machine: &mut Machine| match machine.install(&without) {
        Some(Outcome::Refused(refusal)) => Err(refusal.code()),
        _ => Ok(()),
    };
    machine.install(&on_spare);
    machine.install(&with_spare(3));
    assert_eq!(
        removed(&mut machine),
        Err(ErrorCode::LimitExceeded),
        "groups are to move"
    );
    for group in 0..16 {
        while !machine.move_step(group, 100).settled {}
    }
    let id = machine.put_chunk(b"a", |chunk| chunk.epoch = 2).expect("a late put");
    assert_eq!(
        removed(&mut machine),
        Err(ErrorCode::LimitExceeded),
        "a chunk came late"
    );
    machine.repaired(id, 0, row(&before, id)[0]);
    assert_eq!(removed(&mut machine), Ok(()));
    let late = machine.put_chunk(b"b", |chunk| chunk.epoch = 2);
    assert_eq!(late, Err(ErrorCode::EpochMismatch), "what held it is no more");
}

#[test]
fn chunks_move_group_by_group() {
    let mut machine = Machine::new();
    let before = map();
    let mut ids = Vec::new();
    for number in 0..40_u8 {
        ids.push(machine.put_chunk(&[b'k', number], |_| {}).expect("a put"));
    }
    let after = turned(&before);
    machine.install(&after);
    for id in &ids {
        let read = machine.chunk_info(*id).chunk.expect("a chunk");
        assert_eq!(read.explicit_devices, row(&before, *id), "found before anything moved");
    }
    let ChunkReply::Moves(page) = machine.chunk_answer(ChunkQuestion::Moves(PageQuery {
        from: Bytes::new(),
        limit: 100,
    })) else {
        panic!("no page")
    };
    assert_eq!(page.moves.len(), 16);
    for group in 0..16 {
        let mut rounds = 0;
        while !machine.move_step(group, 2).settled {
            rounds += 1;
            assert!(rounds < 50, "the group does not settle");
        }
    }
    assert_eq!(machine.repairs().len(), 40);
    for id in ids {
        assert_eq!(machine.repaired(id, 0, row(&after, id)[0]), 1);
    }
    assert_eq!(machine.repairs(), []);
    assert!(machine.put_chunk(b"new", |chunk| chunk.epoch = 2).is_ok());
    // Turned again, and back: what lies where it should is not queued.
    let again = ClusterMap {
        epoch: Epoch::new(3),
        ..before.clone()
    };
    machine.install(&again);
    let back = ClusterMap {
        epoch: Epoch::new(4),
        ..after
    };
    machine.install(&back);
    assert!(machine.put_chunk(b"newer", |chunk| chunk.epoch = 2).is_ok());
    assert_eq!(machine.repairs(), []);
}

#[test]
fn a_map_must_keep_its_groups_and_widths() {
    let mut machine = Machine::new();
    let mut narrow = map();
    narrow.epoch = Epoch::new(2);
    narrow.rows.remove(&3);
    assert!(
        matches!(machine.install(&narrow), Some(Outcome::Refused(refusal)) if refusal.code() == ErrorCode::Malformed)
    );
}

#[test]
fn while_deletion_is_held_nothing_is_garbage() {
    let mut machine = Machine::new();
    let id = machine.put_chunk(b"a", |_| {}).expect("a put");
    machine.put(b"b", 1).expect("a put");
    machine.delete(b"a").expect("a delete");
    machine.heartbeat(0, u64::MAX);
    machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 9 }));
    machine.delete(b"b").expect("a delete");
    let lost = ChunkId {
        session: SessionId::new(machine.session),
        counter: 77,
    };
    let old = machine.session;
    machine.send(0, 0, 0, Command::EndSession(EndSession { session: old }));
    let hold = |held, generation| Command::HoldDeletion(HoldDeletion { held, generation });
    machine.send(0, 0, 0, hold(true, 3));
    assert_eq!(deletable_chunks(&machine.view, 10), Ok(vec![]));
    assert_eq!(
        (release_pending(&machine.view), machine.is_orphan(lost)),
        (Ok(false), Ok(false))
    );
    let unknown = ChunkId {
        session: SessionId::new(1 << 40 | 12_345),
        counter: 1,
    };
    assert_eq!(machine.is_orphan(unknown), Ok(false));
    let queued = count(&machine, Family::Garbage);
    machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: 9 }));
    assert_eq!(count(&machine, Family::Garbage), queued);
    let Some(Outcome::Session(session)) = machine
        .send(0, 0, 0, Command::OpenSession(OpenSession::default()))
        .outcome
    else {
        panic!("no session")
    };
    assert_eq!(session >> 40, 3);
    machine.send(0, 0, 0, hold(false, 1));
    assert_eq!(deletable_chunks(&machine.view, 10).expect("a sound state")[0].id, id);
    assert_eq!(release_pending(&machine.view), Ok(true));
    assert_eq!(machine.is_orphan(lost), Ok(true));
    assert_eq!(
        machine.is_orphan(unknown),
        Ok(true),
        "no session of an older generation can come any more"
    );
    let to_come = ChunkId {
        session: SessionId::new(4 << 40 | 1),
        counter: 1,
    };
    assert_eq!(machine.is_orphan(to_come), Ok(false));
    let chunk_ids = vec![Bytes::copy_from_slice(&id.to_bytes())];
    machine.send(0, 0, 0, Command::ForgetChunks(ForgetChunks { chunk_ids }));
    assert_eq!(deletable_chunks(&machine.view, 10), Ok(vec![]));
}

#[test]
fn a_server_is_forgotten_with_its_last_device() {
    let mut machine = Machine::new();
    let mut with = map();
    for id in [7, 8] {
        let device = Device {
            id: DeviceId::new(id),
            server: NodeId::new(2),
            ..with.devices[&DeviceId::new(1)].clone()
        };
        with.devices.insert(device.id, device);
    }
    for node in [1, 2] {
        let server = ServerInfo {
            node,
            ..ServerInfo::default()
        };
        let register = RegisterServer { server: Some(server) };
        machine.send(0, 0, 0, Command::RegisterServer(register));
    }
    let mut servers_after = |epoch: u64, removed: &[u32]| {
        with.epoch = Epoch::new(epoch);
        for id in removed {
            with.devices.remove(&DeviceId::new(*id));
        }
        assert!(matches!(machine.install(&with), Some(Outcome::Done(_))));
        let Answer::Servers(page) = machine.ask(Query::Servers(ServersQuery {})) else {
            panic!("no servers")
        };
        let nodes = page.servers.into_iter().filter_map(|server| Some(server.info?.node));
        nodes.collect::<Vec<_>>()
    };
    assert_eq!(servers_after(2, &[]), [1, 2]);
    assert_eq!(servers_after(3, &[7]), [1, 2]);
    assert_eq!(servers_after(4, &[8]), [1]);
}
