//! Random changes of data against plain arrays of bytes, with releasing in between: the same bytes, and each chunk referred to
//! exactly as often as its record says.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_common::{
    envelope::open,
    ids::ChunkId,
    limits,
    wire::{
        command::{Command, ErrorCode, ReleaseStep},
        file::{ChangeSpace, CloneRange, FileAction, MergeExtents, SpaceMode},
    },
};
use proptest::prelude::*;

use super::{
    files::{ROOT, byte_of, inline},
    harness::Machine,
    release::{collect, count},
};
use crate::{
    core::{
        extents::live,
        view::{Family, View},
    },
    record::{
        chunk::ChunkRecord,
        extent::ExtentRecord,
        garbage::{QUEUE_PREFIX, Release, ReleaseRecord},
        inode::InodeRecord,
        key::u64_at,
        part::PartRecord,
    },
};

/// One step. Offsets and lengths are in bytes.
#[derive(Clone, Debug)]
enum Step {
    Chunk {
        file: usize,
        at: u64,
        length: u64,
    },
    Inline {
        file: usize,
        at: u64,
        length: u64,
    },
    /// Many small extents of one chunk with holes between them.
    Scatter {
        file: usize,
        at: u64,
        extents: u64,
    },
    Truncate {
        file: usize,
        size: u64,
    },
    Space {
        file: usize,
        at: u64,
        length: u64,
        mode: SpaceMode,
    },
    Clone {
        source: usize,
        from: u64,
        length: u64,
        file: usize,
        at: u64,
    },
    Merge {
        file: usize,
        at: u64,
        length: u64,
    },
    Replace {
        file: usize,
    },
    Release {
        steps: u32,
    },
}

const FILES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let (file, at, length) = (0..FILES, 0..9000_u64, 1..3000_u64);
    let mode = prop_oneof![Just(SpaceMode::Allocate), Just(SpaceMode::Punch), Just(SpaceMode::Zero)];
    prop_oneof![
        4 => (file.clone(), at.clone(), length.clone()).prop_map(|(file, at, length)| Step::Chunk { file, at, length }),
        3 => (file.clone(), 0..5000_u64, 1..500_u64).prop_map(|(file, at, length)| Step::Inline { file, at, length }),
        3 => (file.clone(), at.clone(), 2..120_u64).prop_map(|(file, at, extents)| Step::Scatter { file, at, extents }),
        4 => (file.clone(), 0..12_000_u64).prop_map(|(file, size)| Step::Truncate { file, size }),
        1 => (file.clone(), 0..3_u64).prop_map(|(file, size)| Step::Truncate { file, size }),
        3 => (file.clone(), at.clone(), length.clone(), mode)
            .prop_map(|(file, at, length, mode)| Step::Space { file, at, length, mode }),
        3 => (file.clone(), at.clone(), length.clone(), file.clone(), at.clone())
            .prop_map(|(source, from, length, file, at)| Step::Clone { source, from, length, file, at }),
        2 => (file.clone(), at, length).prop_map(|(file, at, length)| Step::Merge { file, at, length }),
        1 => file.prop_map(|file| Step::Replace { file }),
        4 => (1..40_u32).prop_map(|steps| Step::Release { steps }),
    ]
}

/// Files as they are, and as they should be.
struct Both {
    machine: Machine,
    inodes: Vec<u64>,
    bytes: Vec<Vec<u8>>,
}

impl Both {
    fn new() -> Self {
        let mut machine = Machine::new();
        let mut inodes: Vec<u64> = (1..FILES)
            .map(|index| machine.create(ROOT, &format!("f{index}")).expect("a file"))
            .collect();
        machine.upload_of_two_parts(b"f0");
        inodes.insert(0, machine.lookup(ROOT, "f0").expect("the object").inode);
        let mut bytes = vec![Vec::new(); FILES];
        bytes[0] = machine.read(inodes[0]).expect("readable");
        assert_eq!(bytes[0].len(), 604);
        Self { machine, inodes, bytes }
    }

    fn put(&mut self, file: usize, at: u64, new: &[u8]) {
        let bytes = &mut self.bytes[file];
        let (at, end) = (at as usize, at as usize + new.len());
        bytes.resize(bytes.len().max(end), 0);
        bytes[at..end].copy_from_slice(new);
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Chunk { file, at, length } => {
                let extents = self.machine.extents_at(&[at], length);
                self.machine.write(self.inodes[file], extents).expect("a write");
                let counter = self.machine.chunk_counter;
                let new: Vec<u8> = (0..length).map(|at| byte_of(counter, at)).collect();
                self.put(file, at, &new);
            }
            Step::Inline { file, at, length } => {
                let new: Vec<u8> = (0..length).map(|index| ((at + index) % 255 + 1) as u8).collect();
                let extents = vec![inline(at, Bytes::from(new.clone()))];
                self.machine.write(self.inodes[file], extents).expect("a write");
                self.put(file, at, &new);
            }
            Step::Scatter { file, at, extents } => {
                let offsets: Vec<u64> = (0..extents).map(|index| at + index * 20).collect();
                let new = self.machine.extents_at(&offsets, 10);
                self.machine.write(self.inodes[file], new).expect("a write");
                let counter = self.machine.chunk_counter;
                for (index, offset) in (0..).zip(offsets) {
                    let new: Vec<u8> = (0..10).map(|at| byte_of(counter, index * 10 + at)).collect();
                    self.put(file, offset, &new);
                }
            }
            Step::Truncate { file, size } => match self.machine.truncate(self.inodes[file], size) {
                Ok(attributes) => {
                    assert_eq!(attributes.size, size);
                    self.bytes[file].resize(size as usize, 0);
                }
                Err(code) => {
                    assert_eq!(code, ErrorCode::SlowDown);
                    let record = self.machine.record(self.inodes[file]).expect("a file");
                    assert_eq!(record.cuts().len(), limits::CUTS_MAX);
                }
            },
            Step::Space { file, at, length, mode } => self.space(file, at, length, mode),
            Step::Clone {
                source,
                from,
                length,
                file,
                at,
            } => self.clone_range(source, from, length, file, at),
            Step::Merge { file, at, length } => self.merge(file, at, length),
            Step::Replace { file } => {
                let name = format!("f{file}");
                self.machine.unlink(ROOT, &name).expect("a file");
                self.inodes[file] = self.machine.create(ROOT, &name).expect("a file");
                self.bytes[file].clear();
            }
            Step::Release { steps } => {
                self.machine.heartbeat(0, u64::MAX);
                self.machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps }));
            }
        }
    }

    fn space(&mut self, file: usize, at: u64, length: u64, mode: SpaceMode) {
        let change = ChangeSpace {
            inode: self.inodes[file],
            offset: at,
            length,
            mode: mode.into(),
            clear_suid: false,
        };
        self.machine.file(FileAction::ChangeSpace(change)).expect("a change");
        let bytes = &mut self.bytes[file];
        let end = (at + length) as usize;
        if mode != SpaceMode::Punch {
            bytes.resize(bytes.len().max(end), 0);
        }
        if mode != SpaceMode::Allocate {
            let to = end.min(bytes.len());
            bytes[(at as usize).min(to)..to].fill(0);
        }
    }

    fn clone_range(&mut self, source: usize, from: u64, length: u64, file: usize, at: u64) {
        let bytes = &self.bytes[source];
        let to = ((from + length) as usize).min(bytes.len());
        let cloned = bytes[(from as usize).min(to)..to].to_vec();
        let clone = CloneRange {
            source: self.inodes[source],
            source_offset: from,
            inode: self.inodes[file],
            offset: at,
            length,
            clear_suid: false,
        };
        let meet = at < from + cloned.len() as u64 && from < at + cloned.len() as u64;
        let outcome = self.machine.file(FileAction::CloneRange(clone));
        if source == file && !cloned.is_empty() && meet {
            assert_eq!(outcome, Err(ErrorCode::Malformed));
            return;
        }
        assert_eq!(outcome.expect("a clone").cloned_bytes, cloned.len() as u64);
        if !cloned.is_empty() {
            self.put(file, at, &cloned);
        }
    }

    /// What reads the same, in one extent for each run of bytes that are not zero.
    fn merge(&mut self, file: usize, at: u64, length: u64) {
        let before = self.machine.stat(self.inodes[file]).expect("a file");
        let size = before.size;
        let (from, to) = (at.min(size), (at + length).min(size));
        // The bytes of a merge come from its sender; here they have to be made of a new chunk's, so inline is what can repeat them.
        let from = from.max(to.saturating_sub(limits::INLINE_SIZE_BYTES as u64));
        let mut extents: Vec<cairn_common::wire::object::Extent> = Vec::new();
        for place in from..to {
            let byte = self.bytes[file][place as usize];
            let follows = extents
                .last()
                .is_some_and(|last| last.file_offset + last.length == place);
            match extents.last_mut() {
                _ if byte == 0 => {}
                Some(last) if follows => {
                    last.inline = [last.inline.as_ref(), &[byte]].concat().into();
                    last.length += 1;
                }
                Some(_) | None => extents.push(inline(place, Bytes::copy_from_slice(&[byte]))),
            }
        }
        let merge = MergeExtents {
            inode: self.inodes[file],
            offset: from,
            length: to - from,
            extents,
            expected_version: before.data_version + 1,
        };
        let stale = self.machine.file(FileAction::Merge(merge.clone()));
        assert_eq!(stale, Err(ErrorCode::DataChanged));
        let fresh = MergeExtents {
            expected_version: before.data_version,
            ..merge
        };
        match self.machine.file(FileAction::Merge(fresh)) {
            Ok(outcome) => assert_eq!(outcome.attributes, Some(before)),
            // Small as it is, or without a byte in the range.
            Err(code) => assert_eq!(code, ErrorCode::Malformed),
        }
    }

    fn check(&self) {
        for (inode, bytes) in self.inodes.iter().zip(&self.bytes) {
            assert!(
                self.machine.read(*inode).as_ref() == Ok(bytes),
                "inode {inode} reads as other bytes"
            );
            check_record(&self.machine.record(*inode).expect("a file"));
        }
        let sizes: usize = self.bytes.iter().map(Vec::len).sum();
        assert_eq!(self.machine.used().0, sizes as u64);
        check_references(&self.machine);
    }
}

fn records(machine: &Machine, family: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    let scanned = machine.view.scan(family, &[], &mut |key, value| {
        records.push((key.to_vec(), value.to_vec()));
        true
    });
    assert_eq!(scanned, Ok(()));
    records
}

fn check_record(record: &InodeRecord) {
    assert!(
        record
            .cuts()
            .is_sorted_by(|a, b| a.generation < b.generation && a.from < b.from)
    );
    assert!(record.cuts().len() <= limits::CUTS_MAX);
    assert!(record.extents.len() <= limits::INODE_EXTENTS_MAX);
    assert!(record.inline.is_empty() || record.inline.len() as u64 == record.size);
    assert!(record.inline.is_empty() || record.is_inline());
}

/// All stored extents, with the inode that they belong to.
fn stored_extents(machine: &Machine) -> BTreeMap<u64, Vec<ExtentRecord>> {
    let mut stored: BTreeMap<u64, Vec<ExtentRecord>> = BTreeMap::new();
    for (key, value) in records(machine, Family::Inode) {
        let record: InodeRecord = open(&value).expect("an inode");
        stored
            .entry(u64_at(&key, 8).expect("an inode"))
            .or_default()
            .extend(record.extents);
    }
    for (key, value) in records(machine, Family::Extent) {
        if !key.ends_with(&[0xff; 8]) {
            let extent: ExtentRecord = open(&value).expect("an extent");
            assert_eq!(u64_at(&key, 16), Some(extent.end()));
            stored
                .entry(u64_at(&key, 8).expect("an inode"))
                .or_default()
                .push(extent);
        }
    }
    stored
}

/// Every chunk's references are those of stored extents, parts, and what waits to be released; extents do not overlap.
fn check_references(machine: &Machine) {
    let mut counted: BTreeMap<Bytes, u64> = BTreeMap::new();
    let mut count = |id: &Bytes| {
        if !id.is_empty() {
            *counted.entry(id.clone()).or_default() += 1;
        }
    };
    for (inode, extents) in stored_extents(machine) {
        assert!(
            extents.is_sorted_by(|a, b| a.end() <= b.file_offset),
            "stored extents of inode {inode} overlap: {extents:?}"
        );
        extents.iter().for_each(|extent| count(&extent.chunk_id));
    }
    for (_, value) in records(machine, Family::Part) {
        let part: PartRecord = open(&value).expect("a part");
        part.extents.iter().for_each(|extent| count(&extent.chunk_id));
    }
    for (key, value) in records(machine, Family::Garbage) {
        if key.first() == Some(&QUEUE_PREFIX) {
            let queued: ReleaseRecord = open(&value).expect("a queue entry");
            if let Some(Release::Chunks(chunks)) = queued.release {
                chunks.ids.iter().for_each(&mut count);
            }
        }
    }
    for (_, value) in records(machine, Family::Chunk) {
        let record: ChunkRecord = open(&value).expect("a chunk");
        let id = record.chunk.expect("a chunk").id;
        let found = counted.remove(&id).unwrap_or_default();
        assert_eq!(record.references, found, "references of {:?}", ChunkId::from_bytes(&id));
    }
    assert!(counted.is_empty(), "chunks without a record: {counted:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn data_equals_the_model_and_references_are_exact(steps in proptest::collection::vec(step(), 1..60)) {
        let mut both = Both::new();
        for step in &steps {
            both.run(step);
            both.check();
        }
        both.machine.heartbeat(0, u64::MAX);
        collect(&mut both.machine);
        both.check();
        // Nothing that was cut off is left, and nothing else than live extents refers to a chunk.
        let stored = stored_extents(&both.machine);
        for inode in &both.inodes {
            let record = both.machine.record(*inode).expect("a file");
            assert!(record.cuts().is_empty());
            for extent in stored.get(inode).into_iter().flatten() {
                prop_assert!(extent.end() <= record.size, "an extent behind the end");
                prop_assert!(live(&record, extent).as_ref() == Some(extent), "a dead extent is left");
            }
        }
        for file in 0..FILES {
            both.machine.unlink(ROOT, &format!("f{file}")).expect("a file");
        }
        both.machine.heartbeat(0, u64::MAX);
        collect(&mut both.machine);
        for family in [Family::Chunk, Family::Extent, Family::Part, Family::Garbage] {
            prop_assert_eq!(count(&both.machine, family), 0, "left in {}", family.name());
        }
        prop_assert_eq!(both.machine.used(), (0, 1));
    }
}

/// A file of `extents` extents of 10 bytes with gaps of 10.
fn fragmented(machine: &mut Machine, name: &str, extents: u64) -> u64 {
    let inode = machine.create(ROOT, name).expect("a file");
    let offsets: Vec<u64> = (0..extents).map(|index| index * 20).collect();
    for offsets in offsets.chunks(1000) {
        let new = machine.extents_at(offsets, 10);
        machine.write(inode, new).expect("a write");
    }
    inode
}

#[test]
fn a_truncation_of_much_is_a_mark_and_what_it_cut_off_never_comes_back() {
    let mut machine = Machine::new();
    let inode = fragmented(&mut machine, "f", 3000);
    let stored = count(&machine, Family::Extent);
    machine.truncate(inode, 25).expect("cut off");
    assert_eq!(count(&machine, Family::Extent), stored, "no walk");
    assert_eq!(machine.record(inode).expect("a file").cuts().len(), 1);
    machine.truncate(inode, 60_000).expect("grown again");
    let read = machine.read(inode).expect("readable");
    assert!(read[25..].iter().all(|byte| *byte == 0));
    assert!(read[..10].iter().chain(&read[20..25]).all(|byte| *byte != 0));
    // The worker takes bounded steps.
    machine.heartbeat(0, u64::MAX);
    machine.send(0, 0, 0, Command::ReleaseStep(ReleaseStep { steps: u32::MAX }));
    assert!(count(&machine, Family::Extent) + limits::GARBAGE_STEP_MAX >= stored);
    collect(&mut machine);
    assert_eq!(machine.read(inode), Ok(read));
    assert_eq!(stored_extents(&machine)[&inode].len(), 2);
    assert!(machine.record(inode).expect("a file").cuts().is_empty());
}

#[test]
fn truncations_that_wait_are_bounded() {
    let mut machine = Machine::new();
    let inode = fragmented(&mut machine, "f", 3000);
    for index in 0..limits::CUTS_MAX as u64 {
        machine.truncate(inode, 10_000 + index * 20).expect("cut off");
        // What grows in between is real data, which the next truncation has to cut.
        let offsets: Vec<u64> = (0..100).map(|at| 12_000 + at * 20).collect();
        let new = machine.extents_at(&offsets, 10);
        machine.write(inode, new).expect("a write");
    }
    assert_eq!(machine.truncate(inode, 11_000), Err(ErrorCode::SlowDown));
    machine
        .truncate(inode, 5)
        .expect("one that covers all others takes no more room");
    assert_eq!(machine.record(inode).expect("a file").cuts().len(), 1);
    assert_eq!(machine.read(inode).expect("readable").len(), 5);
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!(stored_extents(&machine)[&inode].len(), 1);
}

#[test]
fn a_command_that_would_touch_too_much_is_refused_and_a_smaller_one_is_not() {
    let mut machine = Machine::new();
    let inode = fragmented(&mut machine, "f", 5000);
    let target = machine.create(ROOT, "g").expect("a file");
    let mut punch = ChangeSpace {
        inode,
        offset: 0,
        length: 100_000,
        mode: SpaceMode::Punch.into(),
        clear_suid: false,
    };
    let mut clone = CloneRange {
        source: inode,
        inode: target,
        length: 100_000,
        ..CloneRange::default()
    };
    assert_eq!(
        machine.file(FileAction::ChangeSpace(punch.clone())),
        Err(ErrorCode::LimitExceeded)
    );
    assert_eq!(
        machine.file(FileAction::CloneRange(clone.clone())),
        Err(ErrorCode::LimitExceeded)
    );
    (punch.length, clone.length) = (50_000, 50_000);
    machine.file(FileAction::CloneRange(clone)).expect("fewer extents");
    assert_eq!(
        machine.read(target),
        machine.read(inode).map(|bytes| bytes[..50_000].to_vec())
    );
    machine.file(FileAction::ChangeSpace(punch)).expect("fewer extents");
}

#[test]
fn a_plan_with_much_that_is_inline_ends_early() {
    let mut machine = Machine::new();
    let inode = machine.create(ROOT, "f").expect("a file");
    for index in 0..200 {
        let bytes = Bytes::from(vec![index as u8 + 1; limits::INLINE_SIZE_BYTES]);
        machine
            .write(inode, vec![inline(index * 5000, bytes)])
            .expect("a write");
    }
    let page = machine.plan(inode, 0, None).expect("a plan").plan.expect("a plan");
    let inline_bytes: usize = page.extents.iter().map(|extent| extent.inline.len()).sum();
    assert!(inline_bytes <= limits::PLAN_INLINE_BYTES_MAX && page.next_from > 0);
    let read = machine.read(inode).expect("readable");
    assert!((0..200).all(|index| read[index * 5000..][..4096].iter().all(|byte| *byte == index as u8 + 1)));
    assert!((0..199).all(|index| read[index * 5000 + 4096..][..904].iter().all(|byte| *byte == 0)));
}

#[test]
fn a_plan_of_another_version_is_refused() {
    let mut machine = Machine::new();
    let inode = machine.create(ROOT, "f").expect("a file");
    let first = machine.write_inline(inode, "first").expect("a write").data_version;
    assert!(machine.plan(inode, 0, Some(first)).is_ok());
    let second = machine.write_inline(inode, "second").expect("a write").data_version;
    assert!(second > first);
    assert_eq!(machine.plan(inode, 0, Some(first)), Err(ErrorCode::DataChanged));
}
