//! Extended attributes that nobody set: how a file is stored.
//!
//! They are told page by page as the file's plan is. Invariant: no value is longer than Linux takes; one that is cut says so.

use std::{collections::BTreeSet, fmt::Write as _};

use bytes::Bytes;
use cairn_client::{PlannedFile, StoredRange};
use cairn_common::wire::file::FileKind;
use fuser::Errno;

use crate::{
    convert::{Outcome, errno},
    volume::Volume,
};

/// Longest value that Linux takes.
pub(crate) const VALUE_BYTES_MAX: usize = 65_536;

/// No line of `chunks` is shorter.
const LINE_BYTES_MIN: usize = 40;

/// Said behind the last chunk that has room.
const MORE: &str = "...\n";

impl Volume {
    /// `chunks`: a line for each range of the file that lies in a chunk. `redundancy`: those that its chunks have, or `inline`.
    /// `inode`, `version`: numbers of the file and of its data.
    pub(crate) async fn layout(&self, inode: u64, what: &[u8]) -> Outcome<Bytes> {
        let attributes = self.files.attributes(inode).await.map_err(errno)?;
        let value = match what {
            b"inode" => inode.to_string(),
            b"version" => attributes.data_version.to_string(),
            b"chunks" | b"redundancy" if attributes.kind() != FileKind::File => return Err(Errno::ENODATA),
            b"chunks" => {
                let mut stored = Vec::new();
                let take = |ranges| {
                    stored.extend(ranges);
                    stored.len() < VALUE_BYTES_MAX / LINE_BYTES_MIN
                };
                self.each_stored(inode, take).await?;
                chunks(&stored)
            }
            b"redundancy" => {
                let mut distinct = BTreeSet::new();
                let take = |ranges: Vec<StoredRange>| {
                    distinct.extend(ranges.iter().map(|at| at.redundancy.to_string()));
                    true
                };
                self.each_stored(inode, take).await?;
                redundancies(distinct, attributes.size)
            }
            _ => return Err(Errno::ENODATA),
        };
        Ok(Bytes::from(value))
    }

    /// Hands the ranges of a file that lie in chunks over, page by page, as long as more are wanted.
    async fn each_stored(&self, inode: u64, mut take: impl FnMut(Vec<StoredRange>) -> bool) -> Outcome<()> {
        let map = self.files.cluster_map();
        let mut plan: PlannedFile = self.files.plan(inode, 0, None).await.map_err(errno)?;
        loop {
            let next = plan.end();
            if !take(plan.stored(&map)) || next >= plan.attributes.size {
                return Ok(());
            }
            plan = self.files.plan(inode, next, None).await.map_err(errno)?;
        }
    }
}

/// A line for each: first byte, bytes, chunk, redundancy, the devices of its shards in order; `!` is behind those whose shard is
/// missing.
fn chunks(stored: &[StoredRange]) -> String {
    let mut text = String::new();
    for at in stored {
        let mut line = format!(
            "{} {} {} {}",
            at.range.start,
            at.range.end - at.range.start,
            at.chunk,
            at.redundancy
        );
        for (index, device) in at.devices.iter().enumerate() {
            let mark = if at.missing & 1 << index == 0 { "" } else { "!" };
            // Writing to a string cannot fail.
            let _ = write!(line, " {device}{mark}");
        }
        line.push('\n');
        if text.len() + line.len() + MORE.len() > VALUE_BYTES_MAX {
            text.push_str(MORE);
            break;
        }
        text.push_str(&line);
    }
    text
}

fn redundancies(distinct: BTreeSet<String>, size: u64) -> String {
    match (distinct.is_empty(), size) {
        (true, 0) => "empty".to_owned(),
        (true, _) => "inline".to_owned(),
        (false, _) => distinct.into_iter().collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::{
        ids::{ChunkId, DeviceId, SessionId},
        redundancy::Redundancy,
    };

    use super::*;

    fn stored(start: u64, missing: u32) -> StoredRange {
        StoredRange {
            range: start..start + 4096,
            chunk: ChunkId {
                session: SessionId::new(7),
                counter: start,
            },
            redundancy: Redundancy::erasure_coded(2, 1).expect("a redundancy"),
            devices: [1, 2, 300].map(DeviceId::new).into(),
            missing,
        }
    }

    #[test]
    fn chunks_are_told_with_their_devices_and_what_is_missing() {
        let text = chunks(&[stored(0, 0), stored(4096, 0b100)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("0 4096 ") && lines[0].ends_with(" 2+1 1 2 300"),
            "{text}"
        );
        assert!(lines[1].ends_with(" 1 2 300!"), "{text}");
    }

    #[test]
    fn a_long_list_is_cut_at_a_line_and_says_so() {
        let many: Vec<StoredRange> = (0..4096).map(|at| stored(at * 4096, 0)).collect();
        let text = chunks(&many);
        assert!(text.len() <= VALUE_BYTES_MAX && text.ends_with(MORE), "{}", text.len());
    }

    #[test]
    fn redundancies_are_told_once() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(redundancies(of(&["3", "2+1", "3"]), 8192), "2+1,3");
        assert_eq!(redundancies(of(&[]), 100), "inline");
        assert_eq!(redundancies(of(&[]), 0), "empty");
    }
}
