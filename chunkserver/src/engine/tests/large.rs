//! Shards of more than one stage that come to a group as a whole, as those do that compaction moves.

use super::life::{Device, Step};
use crate::engine::STAGE_LEN;

const SEGMENT_BYTES: u32 = 8 << 20;

/// Several stages, and the last of them no whole page.
const SEVERAL: usize = 3 * STAGE_LEN + 777;

#[test]
fn a_shard_of_several_stages_is_committed_and_moved_whole() {
    let mut device = Device::with_segments(SEGMENT_BYTES);
    // One that no stage is left over of, too.
    device.take(Step::Put(&[1, 2], SEVERAL)).expect("stored");
    device.take(Step::Put(&[3, 4], 2 * STAGE_LEN)).expect("stored");
    device.take(Step::Put(&[5], SEVERAL)).expect("stored");
    device.check("as they came");
    device.take(Step::Delete(&[1, 3])).expect("deleted");
    for _ in 0..2 {
        device.take(Step::Compact).expect("moved");
        device.check("after they were moved");
    }
    let segments = device.engine.holdings().usage;
    assert!(device.stored.len() == 3 && segments.damaged == 0);
}
