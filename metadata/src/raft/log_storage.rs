//! openraft's log over the store's.
//!
//! Appending returns once the entries can be read; the callback fires once they are synced, and one sync serves all that
//! wait. Invariant: a vote is durable before its call returns.

use std::{fmt::Debug, io, ops::Bound, ops::RangeBounds};

use openraft::{
    OptionalSend, RaftLogReader,
    storage::{IOFlushed, LogState, RaftLogStorage},
};
use tokio::sync::oneshot;

use super::types::{
    Entry, LogId, TypeConfig, Vote, entry_of, entry_record, log_id_of, position_of, vote_of, vote_record,
};
use crate::store::{LogStore, StoreError};

/// Bytes of entries read at a time for replication.
const READ_BYTES_MAX: usize = 8 << 20;

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        decode(self.entries(start..end, usize::MAX)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        decode(self.entries(start..end, READ_BYTES_MAX)?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.vote()?.as_ref().map(vote_of))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let bounds = self.bounds();
        Ok(LogState {
            last_purged_log_id: bounds.purged.map(log_id_of),
            last_log_id: bounds.last.map(log_id_of),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.put_vote(&vote_record(vote))?;
        synced(self).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.note_committed(position_of(committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.committed()?.map(log_id_of))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<_> = entries.into_iter().map(entry_record).collect();
        LogStore::append(self, &records)?;
        self.sync_then(Box::new(move |outcome| {
            callback.io_completed(outcome.map_err(io::Error::from))
        }));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index + 1);
        let log = self.clone();
        blocking(move || log.truncate_from(from)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let log = self.clone();
        blocking(move || LogStore::purge(&log, position_of(upto))).await
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> io::Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    Ok(joined.map_err(|error| io::Error::other(format!("a task of the metadata store has died: {error}")))??)
}

async fn synced(log: &LogStore) -> io::Result<()> {
    let (done, wait) = oneshot::channel();
    log.sync_then(Box::new(move |outcome| {
        // A waiter that has gone needs no answer.
        let _ = done.send(outcome);
    }));
    Ok(wait.await.unwrap_or(Err(StoreError::Closed))?)
}

fn decode(records: Vec<crate::store::EntryRecord>) -> io::Result<Vec<Entry>> {
    records
        .into_iter()
        .map(|record| entry_of(record).map_err(io::Error::from))
        .collect()
}
