//! What a load needs of a client: the operations on keys whose values are entity tags.
//!
//! *Invariant*: an operation that is answered or missed for certain is over. What a client repeats by itself, it repeats so that it
//! happens at most once.

use std::fmt;
use std::future::Future;

use crate::history::{Action, KeyReply, Tag};

/// An operation without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It did not take effect and never will.
    NotDone(String),
    /// It took effect, will, or never will.
    Unknown(String),
}

impl fmt::Display for Missed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDone(why) => write!(formatter, "not done: {why}"),
            Self::Unknown(why) => write!(formatter, "outcome unknown: {why}"),
        }
    }
}

impl std::error::Error for Missed {}

/// A client of the service under load. Replies are those that [`Action::apply`] gives.
pub trait MetadataClient: Send + Sync + 'static {
    /// Writes, whatever is there.
    fn put(&self, key: &str, tag: Tag) -> impl Future<Output = Result<KeyReply, Missed>> + Send;

    /// Writes if there is nothing.
    fn put_if_absent(&self, key: &str, tag: Tag) -> impl Future<Output = Result<KeyReply, Missed>> + Send;

    /// Writes over exactly one value.
    fn compare_and_swap(
        &self,
        key: &str,
        expected: Tag,
        tag: Tag,
    ) -> impl Future<Output = Result<KeyReply, Missed>> + Send;

    /// Reads.
    fn read(&self, key: &str) -> impl Future<Output = Result<KeyReply, Missed>> + Send;

    /// Deletes; that nothing is there is no error.
    fn delete(&self, key: &str) -> impl Future<Output = Result<KeyReply, Missed>> + Send;

    /// Deletes exactly one value.
    fn compare_and_delete(&self, key: &str, expected: Tag) -> impl Future<Output = Result<KeyReply, Missed>> + Send;

    /// All keys with a prefix and their values, in one page.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<(String, Tag)>, Missed>> + Send;
}

/// Has an action carried out.
pub(super) async fn perform<C: MetadataClient>(client: &C, key: &str, action: Action) -> Result<KeyReply, Missed> {
    match action {
        Action::Put(tag) => client.put(key, tag).await,
        Action::PutIfAbsent(tag) => client.put_if_absent(key, tag).await,
        Action::CompareAndSwap { expected, tag } => client.compare_and_swap(key, expected, tag).await,
        Action::Get => client.read(key).await,
        Action::Delete => client.delete(key).await,
        Action::CompareAndDelete { expected } => client.compare_and_delete(key, expected).await,
    }
}
