//! The way to other members of the group: there is none yet.
//!
//! A store has one voter, which never sends anything: openraft asks for a connection only where it has a peer. Until the
//! group can have more members, every peer is honestly unreachable, so that a membership that names one can never look
//! replicated. Invariant: no call here ever succeeds.

use openraft::{
    OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
    type_config::alias::{SnapshotOf, VoteOf},
};

use super::types::TypeConfig;
use crate::store::Checkpoint;

/// Makes connections that lead nowhere.
pub(crate) struct NoPeers;

/// A connection to a peer that cannot be reached.
pub(crate) struct Nowhere {
    target: u64,
}

impl Nowhere {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        Unreachable::from_string(format!(
            "metadata server {} cannot be reached: this store has one voter",
            self.target
        ))
    }
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = Nowhere;

    async fn new_client(&mut self, target: u64, _node: &openraft::EmptyNode) -> Nowhere {
        Nowhere { target }
    }
}

impl RaftNetworkV2<TypeConfig> for Nowhere {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<TypeConfig>,
        _snapshot: SnapshotOf<TypeConfig, Checkpoint>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(self.unreachable().into())
    }
}
