//! The state as it is here, for the leader's workers, and why a round of one ends early.
//!
//! Invariant: what is read is whole at one entry, and at least as new as what this member had answered before.

use std::sync::Arc;

use cairn_common::{
    cluster_map::ClusterMap,
    wire::{
        chunk::{ChunkQuery, ChunkQuestion, ChunkReply},
        inventory::{DeviceLoss, LossesQuery},
        query::{Answer, MapQuery, Query, SummaryQuery},
        server::{ServerInfo, ServersQuery},
    },
};

use super::{proposer::SubmitError, service::Inner};
use crate::{
    core::view::{View, ViewError},
    raft::Machine,
};

/// Why a worker's round ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    /// The state cannot be read. A person should look.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Nobody took the command, or the barrier was not passed: later.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl Inner {
    /// Reads the state on another thread: the database is given what is pending first.
    pub(super) async fn read_state<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Machine, &dyn View, u64) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ViewError> {
        let (node, machine) = (self.node.clone(), Arc::clone(&self.machine));
        let read = move || node.state().read(|view, applied| ask(&*machine, view, applied.index()));
        let joined = tokio::task::spawn_blocking(read).await;
        joined.unwrap_or_else(|error| Err(ViewError::Storage(format!("the read has died: {error}"))))
    }

    async fn ask_state(&self, query: Query) -> Result<Option<Answer>, ViewError> {
        let reply = self.read_state(move |machine, view, index| machine.answer(view, index, &query));
        Ok(reply.await?.answer)
    }

    /// The cluster map, where there is one. It is read again only when another is in force.
    pub(super) async fn local_map(&self) -> Result<Option<Arc<ClusterMap>>, ViewError> {
        let known = Arc::clone(&self.map.lock());
        let known_epoch = known.epoch.value();
        let Some(Answer::Map(message)) = self.ask_state(Query::Map(MapQuery { known_epoch })).await? else {
            return Ok(None);
        };
        if message.epoch == known_epoch {
            return Ok((known_epoch > 0).then_some(known));
        }
        let map = ClusterMap::try_from(message).map_err(|error| ViewError::Corrupt {
            family: "system",
            detail: error.to_string(),
        })?;
        let map = Arc::new(map);
        *self.map.lock() = Arc::clone(&map);
        Ok(Some(map))
    }

    /// Whether nothing may be deleted, after a restore.
    pub(super) async fn is_deletion_held(&self) -> Result<bool, ViewError> {
        match self.ask_state(Query::Summary(SummaryQuery {})).await? {
            Some(Answer::Summary(summary)) => Ok(summary.deletion_held),
            _ => Err(ViewError::Storage("the state gave no summary".to_owned())),
        }
    }

    /// The devices that lost what they held and are to be looked through.
    pub(super) async fn losses(&self) -> Result<Vec<DeviceLoss>, ViewError> {
        match self.ask_about_chunks(ChunkQuestion::Losses(LossesQuery {})).await? {
            ChunkReply::Losses(losses) => Ok(losses.losses),
            _ => Err(ViewError::Storage("the state named no losses".to_owned())),
        }
    }

    /// The chunkservers that the state knows.
    pub(super) async fn known_servers(&self) -> Result<Vec<ServerInfo>, ViewError> {
        let Some(Answer::Servers(page)) = self.ask_state(Query::Servers(ServersQuery {})).await? else {
            return Ok(Vec::new());
        };
        Ok(page.servers.into_iter().filter_map(|server| server.info).collect())
    }

    /// What the state says about chunks.
    pub(super) async fn ask_about_chunks(&self, question: ChunkQuestion) -> Result<ChunkReply, ViewError> {
        let question = Some(question);
        let answer = self.ask_state(Query::Chunk(ChunkQuery { question })).await?;
        let nothing = || ViewError::Storage("the state gave no answer about chunks".to_owned());
        match answer {
            Some(Answer::Chunk(answer)) => answer.reply.ok_or_else(nothing),
            _ => Err(nothing()),
        }
    }
}
