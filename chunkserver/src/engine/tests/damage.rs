//! Bits that flip behind the engine's back: found where they are read, by the scrub or at the start; never answered as good.

use cairn_common::checksum::{Hash, block_hash};

use super::{
    life::{Alone, Device, LARGE, MIDDLING, SMALL, Step, content, key},
    memory_index::{MemoryIndex, Records},
    power::Chance,
};
use crate::{
    core::segment_name::{Stage, segment_name},
    engine::Compacted,
    store::StoreError,
};

const LIFE: &[Step] = &[
    Step::Put(&[1, 2, 3], SMALL),
    Step::Stream(4, LARGE),
    Step::Put(&[5, 6], MIDDLING),
    Step::Delete(&[2]),
    Step::Stream(7, LARGE),
    Step::Put(&[8, 9, 10], SMALL),
];

fn device() -> Device {
    let mut device = Device::new();
    assert!(device.live(LIFE));
    device
}

/// Where a shard lies: its segment's file, its header, its payload.
fn place(device: &Device, counter: u64) -> (String, usize, usize) {
    let location = device
        .engine
        .find(&key(counter))
        .expect("answers")
        .expect("it is there");
    let name = segment_name(location.position.segment, Stage::Serving);
    let start = location.position.offset as usize;
    (name, start, start + location.payload_offset as usize)
}

/// Reads as a reader does, which verifies: good bytes, or an error.
fn read_verified(device: &Device, counter: u64, len: usize) -> Result<(), StoreError> {
    let shard = device.engine.read(key(counter), 0, 1000)?;
    let hashes = shard.block_hashes.chunks_exact(Hash::LEN);
    let good = shard
        .payload
        .chunks(64 << 10)
        .zip(hashes)
        .all(|(block, hash)| block_hash(block).as_bytes() == hash);
    if !good {
        return Err(StoreError::Corrupt("the reader sees it".to_owned()));
    }
    assert!(shard.payload == content(counter, len), "good hashes of other bytes");
    Ok(())
}

#[test]
fn a_damaged_header_is_found_by_who_reads_it_and_remembered() {
    let device = device();
    let (file, header, _) = place(&device, 5);
    device.disk.flip(&file, header + 100, 4);
    assert!(matches!(
        read_verified(&device, 5, MIDDLING),
        Err(StoreError::Corrupt(_))
    ));
    assert_eq!(device.engine.holdings().usage.damaged, 1);
    device.disk.flip(&file, header + 100, 4);
    assert!(
        read_verified(&device, 5, MIDDLING).is_ok(),
        "what can be read of it is still answered"
    );
    assert!(read_verified(&device, 6, MIDDLING).is_ok());
}

#[test]
fn the_scrub_finds_damaged_payloads_and_headers_and_repair_replaces_them() {
    let mut device = device();
    let (file, _, payload) = place(&device, 4);
    device.disk.flip(&file, payload + LARGE - 1, 1);
    let (other, header, _) = place(&device, 9);
    device.disk.flip(&other, header, 1);
    while device.engine.scrub(1 << 40, 1, |_| true) != Ok(crate::engine::Scrubbed::Pass) {}
    let holdings = device.engine.holdings();
    assert_eq!((holdings.usage.damaged, holdings.scrub.found), (2, 2));
    let listed = device.engine.list(None, 100).expect("a list");
    let damaged: Vec<u64> = listed
        .iter()
        .filter(|(_, at)| at.is_damaged)
        .map(|(key, _)| key.chunk.counter)
        .collect();
    assert_eq!(
        damaged.iter().copied().collect::<std::collections::BTreeSet<_>>(),
        [4, 9].into()
    );
    assert!(matches!(
        device.engine.read(key(4), 0, 1000),
        Err(StoreError::Corrupt(_))
    ));
    assert!(
        device.engine.read(key(4), 0, 1).is_ok(),
        "a block that is good is answered"
    );
    device.take(Step::Put(&[4], LARGE)).expect("replaced");
    device.take(Step::Put(&[9], SMALL)).expect("replaced");
    device.check("after the repair");
    assert_eq!(device.engine.holdings().usage.damaged, 0);
}

#[test]
fn compaction_moves_damaged_bytes_as_they_are_and_sets_aside_what_it_cannot_read() {
    let mut device = device();
    device.take(Step::Put(&[11, 12, 13, 14], MIDDLING)).expect("stored");
    let (file, _, payload) = place(&device, 5);
    device.disk.flip(&file, payload, 1);
    let (_, header, _) = place(&device, 1);
    device.disk.flip(&file, header + 8, 1);
    device.take(Step::Delete(&[4])).expect("deleted");
    let compacted = device.engine.compact(&Alone(&device.engine));
    assert_eq!(compacted, Ok(Compacted::SetAside { shards: 1 }));
    let holdings = device.engine.holdings();
    assert_eq!((holdings.usage.damaged, holdings.set_aside), (2, 1));
    assert!(matches!(
        read_verified(&device, 5, MIDDLING),
        Err(StoreError::Corrupt(_))
    ));
    assert!(matches!(read_verified(&device, 1, SMALL), Err(StoreError::Corrupt(_))));
    assert!(read_verified(&device, 3, SMALL).is_ok());
    // With what it holds replaced the file goes.
    device.take(Step::Put(&[1], SMALL)).expect("replaced");
    device.engine.compact(&Alone(&device.engine)).expect("goes on");
    assert_eq!(device.engine.holdings().set_aside, 0);
}

#[test]
fn no_flipped_bit_is_ever_answered_as_good_or_a_panic() {
    let template = device();
    let segments: Vec<String> = template.engine_segments();
    let mut chance = Chance::new(7);
    for _ in 0..400 {
        let mut device = device();
        let file = &segments[chance.below(segments.len() as u64) as usize];
        let len = device.disk.bytes(file).len() as u64;
        let (offset, mask) = (chance.below(len) as usize, 1 << chance.below(8));
        device.disk.flip(file, offset, mask);
        let records = if chance.below(2) == 0 {
            Records::default()
        } else {
            device.index.newest()
        };
        device.index = MemoryIndex::new(records);
        let opened = super::life::open(&device.disk, &device.index);
        let Ok((engine, _)) = opened else { continue };
        device.engine = engine;
        let stored: Vec<(u64, usize)> = device.stored.iter().map(|(counter, len)| (*counter, *len)).collect();
        let bad = stored
            .iter()
            .filter(|(counter, len)| read_verified(&device, *counter, *len).is_err());
        assert!(
            bad.count() <= stored.len(),
            "a damaged segment header costs its segment at most"
        );
        _ = device.engine.scrub(1 << 40, 1, |_| true);
        _ = device.engine.compact(&Alone(&device.engine));
    }
}

impl Device {
    fn engine_segments(&self) -> Vec<String> {
        use crate::engine::disk::Disk;
        self.disk.names().expect("listed")
    }
}
