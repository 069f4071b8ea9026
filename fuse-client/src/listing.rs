//! Reading directories.
//!
//! Invariant: positions that the kernel is given lead to the entries behind those it has seen, whatever was made or removed
//! meanwhile, as long as it goes forward; going back reads the directory anew from there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_common::wire::file::FileKind;

use crate::{
    convert::{Outcome, errno},
    directory::{Listed, Page, Reading},
    volume::Volume,
};

/// Entries of one page.
const PAGE_ENTRIES: u32 = 1000;

/// Positions of `.` and `..`, in front of all entries.
const DOTS: u64 = 2;

impl Volume {
    /// Gives `take` the entries from `position` on until it has enough.
    pub(crate) async fn list(
        &self,
        reading: &Reading,
        position: u64,
        with_attributes: bool,
        mut take: impl FnMut(Listed) -> bool,
    ) -> Outcome<()> {
        self.settle(Some(reading.inode)).await;
        let mut page = reading.at.lock().await;
        let mut position = position;
        while position < DOTS {
            if take(self.dot(reading.inode, position).await?) {
                return Ok(());
            }
            position += 1;
        }
        let wanted = position - DOTS;
        // From the beginning the directory is read anew, so that what is new in it is seen.
        if wanted == 0 || page.asked.is_none() || wanted < page.first {
            self.turn_back(reading, &mut page, wanted, with_attributes).await?;
        }
        let mut at = wanted;
        loop {
            while at >= page.first + page.entries.len() as u64 {
                if page.next.is_empty() {
                    return Ok(());
                }
                let first = page.first + page.entries.len() as u64;
                let after = std::mem::take(&mut page.next);
                self.turn(reading, &mut page, first, after, with_attributes).await?;
            }
            let index = usize::try_from(at - page.first).unwrap_or(usize::MAX);
            let Some(entry) = page.entries.get(index) else {
                return Ok(());
            };
            at += 1;
            let listed = Listed {
                inode: entry.inode,
                kind: entry.kind(),
                name: entry.name.clone(),
                behind: at + DOTS,
                entry: Some(entry.clone()),
                age: page.asked.map_or(Duration::MAX, |asked| asked.elapsed()),
            };
            if take(listed) {
                return Ok(());
            }
        }
    }

    async fn dot(&self, inode: u64, position: u64) -> Outcome<Listed> {
        // Above the directory that is shown there is nothing.
        let (inode, name): (u64, &[u8]) = if position == 0 {
            (inode, b".")
        } else if self.is_root(inode) {
            (inode, b"..")
        } else {
            let parent = self.files.attributes(inode).await.map_err(errno)?.parent;
            (if parent == 0 { inode } else { parent }, b"..")
        };
        Ok(Listed {
            inode,
            kind: FileKind::Directory,
            name: Bytes::from_static(name),
            behind: position + 1,
            entry: None,
            age: Duration::ZERO,
        })
    }

    /// Reads the page again that the entry at `wanted` was in.
    async fn turn_back(&self, reading: &Reading, page: &mut Page, wanted: u64, with_attributes: bool) -> Outcome<()> {
        while page
            .starts
            .pop_if(|(first, _)| *first > wanted || wanted == 0)
            .is_some()
        {}
        let (first, after) = page.starts.pop().unwrap_or_default();
        self.turn(reading, page, first, after, with_attributes).await
    }

    async fn turn(
        &self,
        reading: &Reading,
        page: &mut Page,
        first: u64,
        after: Bytes,
        with_attributes: bool,
    ) -> Outcome<()> {
        let asked = Instant::now();
        let read = self
            .files
            .directory(reading.inode, after.clone(), PAGE_ENTRIES, with_attributes)
            .await
            .map_err(errno)?;
        page.starts.push((first, after));
        page.first = first;
        page.entries = read.entries;
        page.next = read.next_after;
        page.asked = Some(asked);
        Ok(())
    }
}
