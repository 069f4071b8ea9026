//! Directories being read: a page at hand, and where the pages before it began.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_common::wire::file::{DirectoryEntry, FileKind};
use tokio::sync::Mutex;

/// A directory that is open.
pub(crate) struct Reading {
    pub(crate) inode: u64,
    pub(crate) at: Mutex<Page>,
}

#[derive(Default)]
pub(crate) struct Page {
    /// Where each page began: the position of its first entry and the cookie in front of it.
    pub(crate) starts: Vec<(u64, Bytes)>,
    pub(crate) entries: Vec<DirectoryEntry>,
    /// Position of the first of them.
    pub(crate) first: u64,
    /// Cookie to go on behind; empty at the end of the directory.
    pub(crate) next: Bytes,
    /// When it was asked for, if one was.
    pub(crate) asked: Option<Instant>,
}

/// What the kernel is told of one entry, and the position behind it.
pub(crate) struct Listed {
    pub(crate) inode: u64,
    pub(crate) kind: FileKind,
    pub(crate) name: Bytes,
    pub(crate) behind: u64,
    pub(crate) entry: Option<DirectoryEntry>,
    /// How long ago it was asked for.
    pub(crate) age: Duration,
}

impl Reading {
    pub(crate) fn new(inode: u64) -> Self {
        Self {
            inode,
            at: Mutex::default(),
        }
    }
}
