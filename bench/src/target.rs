//! What a load needs of an object store, whichever way it is reached: one trait for the store, one for a slot's hold on it.
//! A new kind of target implements these two.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::content::{Dataset, Object};
use crate::failure::OpError;
use crate::reading::Reading;

/// A store of objects.
pub(crate) trait ObjectStore: Sync {
    /// Makes the bucket ready, and learns what the server tells of itself.
    ///
    /// # Errors
    /// A store that cannot be used.
    fn prepare(&self, halt: &AtomicBool) -> Result<Facts>;

    /// A slot's hold on the store; `halt` ends its waits.
    fn session<'a>(&'a self, slot: u32, halt: &'a AtomicBool) -> Box<dyn ObjectSession + 'a>;

    /// Whether other threads than the slots work for it, so that its cost is that of the whole process.
    fn works_in_background(&self) -> bool {
        false
    }

    /// Whether it takes uploads in parts.
    fn takes_parts(&self) -> bool {
        true
    }
}

/// One slot's hold on a store: one operation at a time, each tried once.
pub(crate) trait ObjectSession: Send {
    /// Opens what the next operation needs, so that the time it takes is not the operation's.
    fn connect(&mut self) -> Result<(), OpError>;

    fn put(&mut self, dataset: &Dataset, object: &Object) -> Result<(), OpError>;

    /// Writes the object in parts of that size.
    fn put_parts(&mut self, dataset: &Dataset, object: &Object, part_bytes: u64) -> Result<(), OpError>;

    /// Reads what `reading` wants, and hands it every byte; `ranged` where that is not the whole object.
    fn get(&mut self, reading: &mut Reading<'_>, ranged: bool) -> Result<(), OpError>;

    /// The size of an object.
    fn stat(&mut self, key: &str) -> Result<u64, OpError>;

    /// An object that is not there counts as deleted.
    fn delete(&mut self, key: &str) -> Result<(), OpError>;

    /// Deletes up to a batch of objects by one request.
    fn delete_many(&mut self, keys: &[String]) -> Result<(), OpError>;

    fn copy(&mut self, from: &str, to: &str) -> Result<(), OpError>;

    /// Up to `limit` keys that begin with `prefix` and come after `after`.
    fn list(&mut self, prefix: &str, after: &str, limit: u32) -> Result<Page, OpError>;

    /// Gives up the unfinished uploads of keys that begin with `prefix` and are `own`; returns how many there were.
    fn abort_uploads(&mut self, prefix: &str, own: &dyn Fn(&str) -> bool) -> Result<u64, OpError>;
}

/// A page of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    /// Length of the answer.
    pub(crate) bytes: u64,
    /// More keys come after; a store may end a page before it has as many as were asked for.
    pub(crate) is_truncated: bool,
}

/// What figures are to be read by: what a target is and promises, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// `s3`, …
    pub(crate) kind: String,
    /// Where it is.
    pub(crate) address: String,
    pub(crate) version: Option<Fact>,
    pub(crate) redundancy: Option<Fact>,
    pub(crate) sync_mode: Option<Fact>,
    /// `none`, or the protocol's version; seen by this tool itself.
    pub(crate) tls: Option<String>,
}

/// One thing that is known, and on whose word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) value: String,
    pub(crate) told_by: ToldBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToldBy {
    Server,
    Flag,
}

impl Fact {
    /// What the server told wins over what a flag says.
    pub(crate) fn first(server: Option<String>, flag: Option<&str>) -> Option<Self> {
        let told = |value: String, told_by| Self { value, told_by };
        let flag = flag.map(|flag| told(flag.to_owned(), ToldBy::Flag));
        server.map(|server| told(server, ToldBy::Server)).or(flag)
    }
}
