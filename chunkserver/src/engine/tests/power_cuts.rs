//! The power is cut at every operation of a scripted life, and at random ones of random lives.
//!
//! After each cut the device opens with whatever was on the disk and whatever the index may have kept of itself, or none.

use super::{
    life::{Device, LARGE, MIDDLING, SMALL, Step, open},
    memory_index::{MemoryIndex, Records},
    power::{Chance, Draw},
};

/// A life that meets everything: groups, streams, what is given up, full segments, deletes, compaction, scrub, restarts.
const LIFE: &[Step] = &[
    Step::Put(&[1, 2, 3], SMALL),
    Step::Stream(4, LARGE),
    Step::GiveUp(5),
    Step::Put(&[6], MIDDLING),
    Step::Delete(&[2]),
    Step::Flush,
    Step::Put(&[7, 8], MIDDLING),
    Step::Stream(9, LARGE),
    Step::Delete(&[4, 6]),
    Step::Restart,
    Step::Put(&[10, 11, 12, 13], SMALL),
    Step::Mixed(20, &[21, 22, 23]),
    Step::Stream(14, LARGE),
    Step::Put(&[2], SMALL),
    Step::Compact,
    Step::Delete(&[9, 10]),
    Step::Put(&[15], LARGE),
    Step::Scrub,
    Step::Compact,
    Step::Flush,
    Step::Delete(&[1, 2, 3, 7]),
    Step::Put(&[16, 17], MIDDLING),
    Step::Compact,
    Step::Compact,
    Step::Restart,
    Step::Compact,
    Step::Put(&[18, 19], SMALL),
];

/// What is done after each cut, to see that the device works on.
const AFTERLIFE: &[Step] = &[
    Step::Put(&[101, 102], SMALL),
    Step::Stream(103, LARGE),
    Step::Compact,
    Step::Compact,
    Step::Delete(&[101]),
    Step::Put(&[104, 105], MIDDLING),
];

const DRAWS: [Draw; 5] = [
    Draw::Nothing,
    Draw::Everything,
    Draw::Some(1),
    Draw::Some(2),
    Draw::Some(3),
];

/// Opens the device as the cut has left it, in each way that it may have, and looks at it.
fn look_after_the_cut(device: &Device, draws: &[Draw], what: &str) {
    let mut survivors = device.index.survivors();
    let newest = survivors.len() - 1;
    // None, what was flushed, what was there last, and one in between.
    survivors.push(Records::default());
    let mut chosen = vec![0, newest, newest / 2, newest + 1];
    chosen.dedup();
    for draw in draws {
        for choice in &chosen {
            let what = format!("{what}, {draw:?}, index {choice} of {newest}");
            let disk = device.disk.after_the_cut(*draw);
            let index = MemoryIndex::new(survivors[*choice].clone());
            let (engine, _) = open(&disk, &index).unwrap_or_else(|reason| panic!("{what}: {reason}"));
            let mut after = Device {
                disk,
                index,
                engine,
                stored: device.stored.clone(),
                unsure: device.unsure.clone(),
            };
            after.check(&what);
            // What is there now was promised by being read.
            settle(&mut after);
            assert!(after.live(AFTERLIFE), "{what}: it does not work on");
            after.check(&format!("{what}, afterwards"));
            check_against_a_new_index(&after, &what);
        }
    }
}

/// Takes what is there for stored.
fn settle(device: &mut Device) {
    let unsure = std::mem::take(&mut device.unsure);
    for (counter, len) in unsure {
        if device
            .engine
            .find(&super::life::key(counter))
            .expect("answers")
            .is_some()
        {
            device.stored.insert(counter, len);
        }
    }
}

/// An index made anew from the segments says the same, of shards and of what is in use.
fn check_against_a_new_index(device: &Device, what: &str) {
    let index = MemoryIndex::new(Records::default());
    let (engine, _) = open(&device.disk, &index).expect("it opens");
    let anew = Device {
        disk: device.disk.clone(),
        index,
        engine,
        stored: device.stored.clone(),
        unsure: device.unsure.clone(),
    };
    anew.check(&format!("{what}, index made anew"));
    let (old, new) = (device.index.newest(), anew.index.newest());
    assert!(old.entries == new.entries, "{what}: the entries differ");
    for (segment, usage) in &old.usages {
        let other = new.usages.get(segment).copied().unwrap_or_default();
        assert_eq!(usage.live_bytes, other.live_bytes, "{what}: segment {segment}");
    }
}

#[test]
fn the_life_goes_well_without_a_cut_and_meets_everything() {
    let mut device = Device::new();
    assert!(device.live(LIFE));
    device.check("at the end");
    check_against_a_new_index(&device, "at the end");
    assert!(device.engine.metrics.background.compacted_bytes.get() > 0 || device.engine.holdings().segments < 6);
}

#[test]
fn nothing_that_was_promised_is_lost_wherever_the_power_is_cut() {
    let mut whole = Device::new();
    assert!(whole.live(LIFE));
    let operations = whole.disk.operations();
    assert!(operations > 60, "{operations} operations");
    for cut in 0..operations {
        let mut device = Device::new();
        device.disk.cut_at(cut);
        assert!(!device.live(LIFE), "operation {cut} is the life's");
        look_after_the_cut(&device, &DRAWS, &format!("cut at operation {cut}"));
    }
}

#[test]
fn a_second_cut_while_it_opens_does_no_harm() {
    let mut whole = Device::new();
    assert!(whole.live(LIFE));
    for cut in (0..whole.disk.operations()).step_by(3) {
        let mut device = Device::new();
        device.disk.cut_at(cut);
        assert!(!device.live(LIFE));
        for (seed, second) in (0..4).enumerate() {
            let disk = device.disk.after_the_cut(Draw::Some(seed as u64));
            disk.cut_at(second);
            let index = MemoryIndex::new(device.index.survivors()[0].clone());
            // Whether it opens or not: what is there afterwards is all there was.
            drop(open(&disk, &index));
            let again = Device {
                disk,
                index,
                engine: Device::new().engine,
                stored: device.stored.clone(),
                unsure: device.unsure.clone(),
            };
            look_after_the_cut(
                &again,
                &DRAWS[..3],
                &format!("cuts at operation {cut} and {second} of opening"),
            );
        }
    }
}

/// Lives by chance: 40 here, 4,000 in the long suite.
#[test]
fn random_lives_with_random_cuts_lose_nothing() {
    let lives = if std::env::var_os("CAIRN_TEST_LONG").is_some() {
        4000
    } else {
        40
    };
    for seed in 0..lives {
        let mut chance = Chance::new(seed + 1000);
        let mut device = Device::new();
        device.disk.cut_at(5 + chance.below(120));
        while random_step(&mut device, &mut chance) {}
        look_after_the_cut(&device, &[Draw::Some(seed), Draw::Nothing], &format!("life {seed}"));
    }
}

/// A step by chance; `false` once the power has gone.
fn random_step(device: &mut Device, chance: &mut Chance) -> bool {
    let fresh = || {
        1 + device
            .stored
            .keys()
            .chain(device.unsure.keys())
            .copied()
            .max()
            .unwrap_or(0)
    };
    let next = fresh();
    let some = device
        .stored
        .keys()
        .nth(chance.below(device.stored.len().max(1) as u64) as usize)
        .copied();
    let leak = |counters: Vec<u64>| -> &'static [u64] { counters.leak() };
    let step = match chance.below(13) {
        0..=3 => Step::Put(leak((next..=next + chance.below(4)).collect()), SMALL),
        4 => Step::Put(leak(vec![next]), MIDDLING),
        5 | 6 => Step::Stream(next, LARGE),
        7 => Step::GiveUp(next),
        8 | 9 if some.is_some() => Step::Delete(leak(some.into_iter().collect())),
        10 => Step::Compact,
        11 => [Step::Flush, Step::Scrub, Step::Restart][chance.below(3) as usize],
        12 => Step::Mixed(next, leak((next + 1..next + 4).collect())),
        _ => Step::Flush,
    };
    match device.take(step) {
        Ok(()) | Err(crate::store::StoreError::Full) => device.engine.health.down().is_none(),
        Err(_) => false,
    }
}
