//! An S3 key as a register: written with and without conditions, read and deleted.
//!
//! *Invariant*: a value is its entity tag. Clients choose tags that nobody chose before, so a reply names the write it saw.

use std::fmt;
use std::sync::Arc;

use super::specification::Specification;

/// An entity tag, 32 hexadecimal digits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u128);

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl std::str::FromStr for Tag {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// An operation on a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyCall {
    pub key: Arc<str>,
    pub action: Action,
}

impl fmt::Debug for KeyCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?}", self.key, self.action)
    }
}

/// What is done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes, whatever is there.
    Put(Tag),
    /// Writes if there is nothing.
    PutIfAbsent(Tag),
    /// Writes over exactly one value.
    CompareAndSwap { expected: Tag, tag: Tag },
    /// Reads.
    Get,
    /// Deletes; that nothing is there is no error.
    Delete,
    /// Deletes exactly one value.
    CompareAndDelete { expected: Tag },
}

/// What a key's client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReply {
    /// Written or deleted.
    Done,
    /// The condition does not hold of what is there.
    Mismatch,
    /// A value was expected, and there is none.
    Absent,
    /// What was read.
    Found(Option<Tag>),
}

/// The keys of a bucket, each by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectKeys;

impl Specification for ObjectKeys {
    type Partition = Arc<str>;
    type Call = KeyCall;
    type Reply = KeyReply;
    type State = Option<Tag>;

    fn partition(&self, call: &KeyCall) -> Arc<str> {
        Arc::clone(&call.key)
    }

    fn initial(&self) -> Option<Tag> {
        None
    }

    fn step(&self, state: &Option<Tag>, call: &KeyCall, reply: Option<&KeyReply>) -> Option<Option<Tag>> {
        let (next, own) = call.action.apply(*state);
        reply.is_none_or(|reply| *reply == own).then_some(next)
    }

    fn is_look(&self, _: &KeyCall, reply: &KeyReply) -> bool {
        match reply {
            KeyReply::Done => false,
            KeyReply::Mismatch | KeyReply::Absent | KeyReply::Found(_) => true,
        }
    }
}

impl Action {
    /// What a key that holds `state` holds after it, and the reply.
    #[must_use]
    pub fn apply(self, state: Option<Tag>) -> (Option<Tag>, KeyReply) {
        match self {
            Self::Put(tag) => (Some(tag), KeyReply::Done),
            Self::PutIfAbsent(tag) => match state {
                None => (Some(tag), KeyReply::Done),
                Some(_) => (state, KeyReply::Mismatch),
            },
            Self::CompareAndSwap { expected, tag } => compare(state, expected, Some(tag)),
            Self::Get => (state, KeyReply::Found(state)),
            Self::Delete => (None, KeyReply::Done),
            Self::CompareAndDelete { expected } => compare(state, expected, None),
        }
    }
}

fn compare(state: Option<Tag>, expected: Tag, next: Option<Tag>) -> (Option<Tag>, KeyReply) {
    match state {
        None => (None, KeyReply::Absent),
        Some(tag) if tag == expected => (next, KeyReply::Done),
        Some(_) => (state, KeyReply::Mismatch),
    }
}
