//! Listings and counts.

use cairn_common::wire::query::{Answer, ListPage, ListQuery, Query, Summary, SummaryQuery};

use crate::{
    error::{ClientError, unexpected},
    metadata::Client,
};

impl Client {
    /// A page of keys in byte order. It may be shorter than asked for; the listing ends where `next_from` is empty.
    pub async fn list(&self, query: ListQuery) -> Result<ListPage, ClientError> {
        match self.read(Query::List(query)).await? {
            Answer::List(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    /// Counts of the whole store.
    pub async fn summary(&self) -> Result<Summary, ClientError> {
        match self.read(Query::Summary(SummaryQuery {})).await? {
            Answer::Summary(summary) => Ok(summary),
            _ => Err(unexpected()),
        }
    }
}
