//! One slot's operations on objects: chosen by number, done through its session, and held against what must be there.

use std::ops::Range;

use super::pool::{Copied, Entry, Pool};
use super::work::{ObjectWork, Working};
use crate::content::Object;
use crate::engine::Worker;
use crate::failure::OpError;
use crate::load::{KeyPicker, OpKind, Random};
use crate::reading::Reading;
use crate::target::{ObjectSession, Page};

/// A slot's part of an [`ObjectWork`].
pub(super) struct ObjectWorker<'a> {
    work: &'a ObjectWork<'a>,
    session: Box<dyn ObjectSession + 'a>,
    step: Option<Step<'a>>,
}

/// What was planned.
enum Step<'a> {
    Put { object: Object, index: u64 },
    PutParts { object: Object, index: u64 },
    Get(&'a Entry),
    RangeGet(&'a Entry, Range<u64>),
    Stat(&'a Entry),
    Delete { index: u64 },
    List(u64),
    Overwrite(Seized<'a>),
    Copy { source: &'a Entry, index: u64 },
}

/// An object that this slot alone overwrites; let go of when dropped.
struct Seized<'a> {
    entry: &'a Entry,
    /// The version that was sent, until its outcome is known.
    sent: Option<u32>,
}

impl<'a> ObjectWorker<'a> {
    pub(super) fn new(work: &'a ObjectWork<'a>, session: Box<dyn ObjectSession + 'a>) -> Self {
        Self {
            work,
            session,
            step: None,
        }
    }

    fn kind(&self, random: &mut Random) -> OpKind {
        match &self.work.working {
            Working::Only(kind) => *kind,
            Working::Mixed(mix) => mix.draw(random),
        }
    }

    fn pool(&self) -> &'a (&'a Pool, KeyPicker) {
        self.work.pool.as_ref().expect("work that takes objects has a pool")
    }

    fn pick(&self, number: u64, random: &mut Random) -> u64 {
        self.pool().1.pick(number, random)
    }

    fn entry(&self, number: u64, random: &mut Random) -> &'a Entry {
        self.pool().0.entry(self.pick(number, random))
    }

    /// The step, and its kind: a mixed load that has nothing to delete, or nothing to overwrite, writes instead. `None` where the
    /// only kind of the load has nothing left.
    fn choose(&self, kind: OpKind, number: u64, random: &mut Random) -> Option<(OpKind, Step<'a>)> {
        let step = match kind {
            OpKind::Put => self.plan_put(),
            OpKind::Multipart => {
                let (object, index) = self.begin_object();
                Step::PutParts { object, index }
            }
            OpKind::Get => Step::Get(self.entry(number, random)),
            OpKind::RangeGet => self.plan_range(number, random),
            OpKind::Stat => Step::Stat(self.entry(number, random)),
            OpKind::List => Step::List(self.pick(number, random)),
            OpKind::Copy => Step::Copy {
                source: self.entry(number, random),
                index: self.work.space.begin(),
            },
            OpKind::Overwrite => match self.pool().0.seize(self.pick(number, random)) {
                Some(place) => Step::Overwrite(Seized {
                    entry: self.pool().0.entry(place),
                    sent: None,
                }),
                None if matches!(self.work.working, Working::Only(_)) => return None,
                None => return Some((OpKind::Put, self.plan_put())),
            },
            OpKind::Delete if matches!(self.work.working, Working::Only(_)) => {
                let pool = self.pool().0;
                if number >= pool.len() {
                    return None;
                }
                let index = pool.entry(number).index;
                Step::Delete { index }
            }
            OpKind::Delete => match self.work.wrote.take_oldest() {
                Some(index) => Step::Delete { index },
                None => return Some((OpKind::Put, self.plan_put())),
            },
        };
        Some((kind, step))
    }

    fn plan_put(&self) -> Step<'a> {
        let (object, index) = self.begin_object();
        Step::Put { object, index }
    }

    fn begin_object(&self) -> (Object, u64) {
        let index = self.work.space.begin();
        (self.work.space.dataset.object(index, 0), index)
    }

    fn plan_range(&self, number: u64, random: &mut Random) -> Step<'a> {
        let entry = self.entry(number, random);
        if entry.size_bytes == 0 {
            // No range of nothing can be asked for.
            return Step::Get(entry);
        }
        let length = self.work.manner.range_bytes.min(entry.size_bytes);
        let start = random.below(entry.size_bytes - length + 1);
        Step::RangeGet(entry, start..start + length)
    }

    fn read(&mut self, entry: &Entry, range: Range<u64>, ranged: bool) -> Result<u64, OpError> {
        let dataset = &self.work.space.dataset;
        let floor = entry.floor();
        let versions = || entry.seen_since(floor);
        let bytes = range.end - range.start;
        let mut reading = Reading::new(dataset, dataset.key(entry.index), entry.content, &versions, range);
        if !self.work.manner.verify {
            reading = reading.without_verification();
        }
        self.session.get(&mut reading, ranged)?;
        Ok(bytes)
    }

    fn stat(&mut self, entry: &Entry) -> Result<u64, OpError> {
        let key = self.work.space.dataset.key(entry.index);
        let found = self.session.stat(&key)?;
        if found == entry.size_bytes {
            return Ok(0);
        }
        Err(OpError::Length {
            key,
            expected: entry.size_bytes,
            found,
        })
    }

    fn list(&mut self, place: u64) -> Result<u64, OpError> {
        let dataset = &self.work.space.dataset;
        let pool = self.pool().0;
        let after = dataset.key(pool.entry(place).index);
        let limit = self.work.manner.page;
        let page = self.session.list(&dataset.folder(), &after, limit)?;
        let expected = pool.entries()[place as usize + 1..].iter();
        let expected = expected.map(|entry| dataset.key(entry.index));
        // What was put and not acknowledged, or is put and deleted meanwhile, may be there or not.
        let begun = self.work.space.begun();
        let may_exist = |key: &str| dataset.index_of(key).is_some_and(|index| index < begun);
        check_page(&after, expected, &may_exist, &page)?;
        Ok(page.bytes)
    }

    fn overwrite(&mut self, mut seized: Seized<'_>) -> Result<u64, OpError> {
        let version = seized.entry.begin_version();
        seized.sent = Some(version);
        let object = self.work.space.dataset.object(seized.entry.index, version);
        self.session.put(&self.work.space.dataset, &object)?;
        seized.sent = None;
        seized.entry.end_version(version, true);
        Ok(object.size_bytes)
    }

    fn copy(&mut self, source: &Entry, index: u64) -> Result<u64, OpError> {
        let dataset = &self.work.space.dataset;
        let floor = source.floor();
        self.session.copy(&dataset.key(source.index), &dataset.key(index))?;
        self.work.wrote.add_copy(Copied {
            index,
            content: source.content,
            versions: source.seen_since(floor),
        });
        Ok(source.size_bytes)
    }
}

impl Worker for ObjectWorker<'_> {
    fn plan(&mut self, number: u64) -> Option<&'static str> {
        let mut random = self.work.space.dataset.random(number);
        let kind = self.kind(&mut random);
        let (kind, step) = self.choose(kind, number, &mut random)?;
        self.step = Some(step);
        Some(kind.label())
    }

    fn connect(&mut self) -> Result<(), OpError> {
        self.session.connect()
    }

    fn perform(&mut self) -> Result<u64, OpError> {
        let dataset = &self.work.space.dataset;
        match self.step.take().expect("an operation is planned before it is done") {
            Step::Put { object, index } => {
                self.session.put(dataset, &object)?;
                self.work.wrote.add(index);
                Ok(object.size_bytes)
            }
            Step::PutParts { object, index } => {
                self.session.put_parts(dataset, &object, self.work.manner.part_bytes)?;
                self.work.wrote.add(index);
                Ok(object.size_bytes)
            }
            Step::Get(entry) => self.read(entry, 0..entry.size_bytes, false),
            Step::RangeGet(entry, range) => self.read(entry, range, true),
            Step::Stat(entry) => self.stat(entry),
            Step::Delete { index } => self.session.delete(&dataset.key(index)).map(|()| 0),
            Step::List(place) => self.list(place),
            Step::Overwrite(seized) => self.overwrite(seized),
            Step::Copy { source, index } => self.copy(source, index),
        }
    }
}

impl Drop for Seized<'_> {
    fn drop(&mut self) {
        match self.sent {
            Some(version) => self.entry.end_version(version, false),
            None => self.entry.release(),
        }
    }
}

/// Keys must come in order, all those that are `expected` up to the last of the page among them, and no other than those that may
/// exist; a page that is said to be the last has all.
fn check_page(
    after: &str,
    expected: impl Iterator<Item = String>,
    may_exist: &dyn Fn(&str) -> bool,
    page: &Page,
) -> Result<(), OpError> {
    let wrong = |place: usize, expected: String, found: &str| {
        Err(OpError::Listing {
            after: after.to_owned(),
            place,
            expected,
            found: found.to_owned(),
        })
    };
    let mut expected = expected.peekable();
    let mut last = after;
    for (place, key) in page.keys.iter().enumerate() {
        if key.as_str() <= last {
            return wrong(place, format!("what comes after {last}"), key);
        }
        match expected.next_if(|expected| expected <= key) {
            Some(expected) if expected == *key => {}
            Some(expected) => return wrong(place, expected, key),
            None if may_exist(key) => {}
            None => return wrong(place, "a key of this run".to_owned(), key),
        }
        last = key;
    }
    let place = page.keys.len();
    match expected.next() {
        Some(expected) if !page.is_truncated => wrong(place, expected, "the end"),
        Some(expected) if page.keys.is_empty() => wrong(place, expected, "nothing, though more is to come,"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[&str], is_truncated: bool) -> bool {
        let page = Page {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            bytes: 0,
            is_truncated,
        };
        let expected = ["b", "d"].map(str::to_owned).into_iter();
        check_page("a", expected, &|key| "abcde".contains(key), &page).is_ok()
    }

    #[test]
    fn a_page_is_held_against_what_exists() {
        // The others may be there or not: puts that failed and landed, among them.
        for right in [&["b", "d"][..], &["b", "d", "e"], &["b", "c", "d"]] {
            assert!(check(right, false), "{right:?}");
        }
        for wrong in [
            &[][..],
            &["b"],
            &["d"],
            &["d", "b"],
            &["b", "d", "a"],
            &["b", "d", "d"],
            &["a", "b", "d"],
            &["b", "d", "x"],
            &["b", "bb", "d"],
        ] {
            assert!(!check(wrong, false), "{wrong:?}");
        }
    }

    #[test]
    fn a_short_page_that_says_so_is_right_as_far_as_it_goes() {
        assert!(check(&["b"], true) && check(&["b", "c"], true) && check(&["b", "d"], true));
        assert!(!check(&[], true) && !check(&["c"], true) && !check(&["d"], true));
    }
}
