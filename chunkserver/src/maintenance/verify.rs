//! Verifying a device: every record and every byte of payload, and whether the index says the same as the segments.
//!
//! A second index is made from the segments, in a place of its own, and held against a copy of the device's one that was
//! brought up to date as a start does it. Then everything that is needed is read against its hashes. Invariant: nothing of
//! the device changes.

use std::{cmp::Ordering, fs, io, path::Path};

use super::{INDEX_MEMORY_BYTES, MaintenanceError, StoppedDevice, io_error};
use crate::{
    core::location::Location,
    engine::{Engine, Scrubbed, disk::Unchanged, index::RocksIndex},
    shard::ShardKey,
};

/// Shards of an index that are held in memory at a time.
const LIST_PAGE: usize = 4096;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a shard, a segment, the index.
    pub subject: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// What verifying has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Shards that the device holds.
    pub shards: u64,
    /// Bytes of the records that are needed.
    pub live_bytes: u64,
    /// Bytes that compaction would give back.
    pub garbage_bytes: u64,
    /// Records behind the last sync that are not whole: nobody was promised them, and a start cuts them.
    pub cut: u64,
    /// Findings.
    pub findings: u64,
}

const REPAIR: &str = "read or repair the chunk from its other shards; the scrub of a running server reports it too";
const REBUILD: &str = "cairn chunkserver rebuild-index makes the index anew from the segments";
const LOST: &str = "its shards are lost here: they are repaired from the other devices; then remove the file";

/// A verification under way.
struct Findings<'a> {
    report: &'a mut dyn FnMut(&Finding),
    count: u64,
}

impl Findings<'_> {
    fn add(&mut self, subject: impl ToString, what: impl ToString, advice: &'static str) {
        self.count += 1;
        (self.report)(&Finding {
            subject: subject.to_string(),
            what: what.to_string(),
            advice,
        });
    }
}

impl StoppedDevice {
    /// Verifies the device with the help of files in `scratch`, a directory for this alone. `report` hears of each finding,
    /// `progress` of bytes that were read, and of about how many.
    pub fn verify(
        &self,
        scratch: &Path,
        report: &mut dyn FnMut(&Finding),
        progress: &dyn Fn(u64, u64),
    ) -> Result<Verified, MaintenanceError> {
        let mut findings = Findings { report, count: 0 };
        let anew =
            RocksIndex::open(&scratch.join("anew"), INDEX_MEMORY_BYTES).map_err(|error| self.index_error(&error))?;
        let (anew, recovered) = self.engine(Unchanged(self.disk()?), anew, &|_, _| {})?;
        for (number, error) in anew.unreadable_segments() {
            findings.add(format!("segment {number}"), error, LOST);
        }
        match self.up_to_date(&scratch.join("index")) {
            Ok(present) => self.compare(&present, &anew, &mut findings)?,
            Err(error) => findings.add("index", error, REBUILD),
        }
        self.read_all(&anew, progress)?;
        let shards = self.count(&anew, &mut findings)?;
        let holdings = anew.holdings();
        Ok(Verified {
            shards,
            live_bytes: holdings.usage.live_bytes,
            garbage_bytes: holdings.usage.garbage_bytes(),
            cut: recovered.cut,
            findings: findings.count,
        })
    }

    /// The device over a copy of its index, as a start would bring it up to date.
    fn up_to_date(&self, copy: &Path) -> Result<Engine, MaintenanceError> {
        copy_files(&self.index_path(), copy)?;
        let index = RocksIndex::open(copy, INDEX_MEMORY_BYTES).map_err(|error| self.index_error(&error))?;
        let (engine, _) = self.engine(Unchanged(self.disk()?), index, &|_, _| {})?;
        Ok(engine)
    }

    /// Holds the device's index against one made anew, both in order.
    fn compare(&self, present: &Engine, anew: &Engine, findings: &mut Findings<'_>) -> Result<(), MaintenanceError> {
        let (mut ours, mut theirs) = (Entries::new(self, present), Entries::new(self, anew));
        let (mut left, mut right) = (ours.next()?, theirs.next()?);
        loop {
            let order = match (&left, &right) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
            };
            let (key, what) = match (order, left, right) {
                (Ordering::Equal, Some((key, left)), Some((_, right))) if left.position != right.position => {
                    let what = format!(
                        "the index has it at {}, the segments at {}",
                        left.position, right.position
                    );
                    (Some(key), what)
                }
                (Ordering::Less, Some((key, left)), _) => (
                    Some(key),
                    format!("the index has it at {}, where no record of it is", left.position),
                ),
                (Ordering::Greater, _, Some((key, right))) => (
                    Some(key),
                    format!("it lies at {}, and the index does not know it", right.position),
                ),
                _ => (None, String::new()),
            };
            if let Some(key) = key {
                findings.add(format!("shard {key}"), what, REBUILD);
            }
            if order.is_le() {
                left = ours.next()?;
            }
            if order.is_ge() {
                right = theirs.next()?;
            }
        }
        self.compare_usages(present, anew, findings);
        Ok(())
    }

    fn compare_usages(&self, present: &Engine, anew: &Engine, findings: &mut Findings<'_>) {
        let anew: Vec<_> = anew.segment_usages();
        for (number, usage) in present.segment_usages() {
            let counted = anew
                .iter()
                .find(|(other, _)| *other == number)
                .map(|(_, usage)| usage.live_bytes);
            let counted = counted.unwrap_or_default();
            if counted != usage.live_bytes {
                let what = format!(
                    "the index counts {} bytes in use, the records come to {counted}",
                    usage.live_bytes
                );
                findings.add(format!("segment {number}"), what, REBUILD);
            }
        }
    }

    /// Reads everything that is needed against its hashes; what is damaged is marked in the engine's index.
    fn read_all(&self, engine: &Engine, progress: &dyn Fn(u64, u64)) -> Result<(), MaintenanceError> {
        let total = engine.holdings().usage.used_bytes;
        let done = std::cell::Cell::new(0);
        loop {
            let step = engine.scrub(1, u64::MAX, |bytes| {
                done.set(done.get() + bytes);
                progress(done.get(), total);
                true
            });
            match step.map_err(|error| self.store_error(&error))? {
                Scrubbed::Segment | Scrubbed::Interrupted => {}
                Scrubbed::Pass | Scrubbed::Idle => return Ok(()),
            }
        }
    }

    /// Counts the shards, and finds those that were marked.
    fn count(&self, engine: &Engine, findings: &mut Findings<'_>) -> Result<u64, MaintenanceError> {
        let mut entries = Entries::new(self, engine);
        let mut shards = 0;
        while let Some((key, location)) = entries.next()? {
            shards += 1;
            if location.is_damaged {
                let what = format!("its bytes at {} are not what their hashes say", location.position);
                findings.add(format!("shard {key}"), what, REPAIR);
            }
        }
        Ok(shards)
    }
}

/// The shards of an index, one by one.
struct Entries<'a> {
    device: &'a StoppedDevice,
    engine: &'a Engine,
    page: std::vec::IntoIter<(ShardKey, Location)>,
    last: Option<ShardKey>,
}

impl<'a> Entries<'a> {
    fn new(device: &'a StoppedDevice, engine: &'a Engine) -> Self {
        Self {
            device,
            engine,
            page: Vec::new().into_iter(),
            last: None,
        }
    }

    fn next(&mut self) -> Result<Option<(ShardKey, Location)>, MaintenanceError> {
        if self.page.as_slice().is_empty() {
            let page = self.engine.list(self.last, LIST_PAGE);
            self.page = page.map_err(|error| self.device.store_error(&error))?.into_iter();
        }
        let next = self.page.next();
        self.last = next.map(|(key, _)| key).or(self.last);
        Ok(next)
    }
}

/// Copies the files of a directory; nothing where it is not there.
fn copy_files(from: &Path, to: &Path) -> Result<(), MaintenanceError> {
    fs::create_dir(to).map_err(io_error(to))?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io_error(from))?,
    };
    for entry in entries {
        let entry = entry.map_err(io_error(from))?;
        let path = entry.path();
        if path.is_file() {
            fs::copy(&path, to.join(entry.file_name())).map_err(io_error(&path))?;
        }
    }
    Ok(())
}
