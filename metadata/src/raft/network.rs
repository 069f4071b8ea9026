//! The way to other members of the group, over the transport.
//!
//! Appends to one member are a stream: many are on their way at once, in one order, and their results come back in that
//! order. Votes and signs of life have requests of their own, so they wait for no append. It must never report a result
//! that the member did not send. Invariant: every wait for a member has a deadline.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{
        kind::RequestKind,
        raft::{SnapshotAnswer, SnapshotOffer, VoteAnswer, VoteKind, VoteMessage},
    },
};
use cairn_transport::{Addresses, Body, BodySender, CallError, Request, Transport, call, trace};
use futures::{Stream, StreamExt, stream};
use openraft::{
    AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RPCTypes},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
    type_config::alias::{SnapshotOf, VoteOf},
};
use prost::Message;
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{
    frames::{Frames, append_pieces},
    types::{Member, TypeConfig},
    wire::{Identity, ballot, log_id, members_message, missing, position_message, vote},
};
use crate::store::Checkpoint;

/// Appends to one member on their way at once.
const APPENDS_IN_FLIGHT: usize = 16;
/// Pieces of appends that wait for the carrier.
const PIECES_WAITING: usize = 4;
/// How long the notice of a commit waits for entries to go with.
const NOTICE_LINGER: Duration = Duration::from_millis(2);
/// How long a member may take over one append: longer than a disk that is busy with other work.
const APPEND_STALL: Duration = Duration::from_secs(3);
/// After so long a stream of appends is ended and another begun, well within the longest a request may take.
const STREAM_AGE: Duration = Duration::from_secs(120);
/// Deadline of a stream: what is on its way when it has come of age must still be answered.
const STREAM_DEADLINE: Duration = Duration::from_secs(180);
/// How long a member may take to fetch a checkpoint before it is asked again; it goes on where it was.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(280);

/// What a member reaches others with.
#[derive(Clone)]
pub(crate) struct Links {
    /// Who this member is.
    pub(crate) identity: Identity,
    /// The carrier.
    pub(crate) transport: Arc<dyn Transport>,
    /// What learns where others are.
    pub(crate) addresses: Arc<dyn Addresses>,
}

/// Makes connections to members.
pub(crate) struct Network {
    pub(super) links: Links,
}

/// The way to one member.
pub(crate) struct Way {
    links: Links,
    target: u64,
}

type Appended = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// The task that feeds a stream, until nobody wants its results any more.
struct Feeding(AbortHandle);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &Member) -> Way {
        if !node.address.is_empty() {
            self.links.addresses.set(NodeId::new(target), &node.address);
        }
        Way {
            links: self.links.clone(),
            target,
        }
    }
}

impl Way {
    fn node(&self) -> NodeId {
        NodeId::new(self.target)
    }

    /// Why a call brought nothing, as openraft takes it: it waits before it asks one again that cannot be reached.
    fn error(&self, error: CallError, action: RPCTypes, waited: Duration) -> RPCError<TypeConfig> {
        match error {
            CallError::Unreachable { .. } | CallError::Failed(_) | CallError::Malformed(_) => {
                RPCError::Unreachable(Unreachable::from_string(error))
            }
            CallError::DeadlineExceeded => RPCError::Timeout(Timeout {
                action,
                id: self.links.identity.server.value(),
                target: self.target,
                timeout: waited,
            }),
            CallError::ConnectionLost { .. } | CallError::Body(_) => network_error(error),
        }
    }

    async fn ask_vote(&self, message: VoteMessage, option: &RPCOption) -> Result<VoteAnswer, RPCError<TypeConfig>> {
        let within = option.soft_ttl();
        let asked = call::<VoteAnswer>(
            &*self.links.transport,
            self.node(),
            RequestKind::RaftVote,
            &message,
            Body::empty(),
            within,
        );
        let (answer, _) = asked.await.map_err(|error| self.error(error, RPCTypes::Vote, within))?;
        Ok(answer)
    }

    async fn stand(
        &self,
        request: VoteRequest<TypeConfig>,
        kind: VoteKind,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = VoteMessage {
            sender: Some(self.links.identity.sender(self.target)),
            ballot: Some(ballot(&request.vote)),
            last: request.last_log_id.map(position_message),
            kind: kind.into(),
            next_leader: 0,
        };
        let answer = self.ask_vote(message, option).await?;
        let own = answer.ballot.ok_or_else(|| network_error(missing("vote")))?;
        Ok(VoteResponse {
            vote: vote(own),
            vote_granted: answer.granted,
            last_log_id: answer.last.map(log_id),
        })
    }

    async fn open_stream<S>(&self, input: S) -> Result<BoxStream<'static, Appended>, RPCError<TypeConfig>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let (sender, body) = Body::channel(PIECES_WAITING);
        let (sent, answered) = mpsc::channel(APPENDS_IN_FLIGHT);
        let feeding = Feeding(tokio::spawn(feed(input, sender, sent)).abort_handle());
        let request = Request {
            kind: RequestKind::RaftAppend,
            header: Bytes::from(self.links.identity.sender(self.target).encode_to_vec()),
            body,
            deadline: Instant::now() + STREAM_DEADLINE,
            trace: trace::current(),
        };
        let opened = timeout(APPEND_STALL, self.links.transport.send(self.node(), request)).await;
        let response = opened
            .unwrap_or(Err(CallError::DeadlineExceeded))
            .map_err(|error| self.error(error, RPCTypes::AppendEntries, APPEND_STALL))?;
        let results = Results {
            answered,
            frames: Frames::new(response.body),
            own: self.links.identity.server.value(),
            target: self.target,
            _feeding: feeding,
        };
        Ok(Box::pin(stream::unfold(Some(results), Results::next)))
    }
}

impl RaftNetworkV2<TypeConfig> for Way {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut results = self.open_stream(Box::pin(stream::once(async { request }))).await?;
        match results.next().await {
            Some(result) => Ok(result?.into()),
            None => Err(network_error("the member ended the stream without a result")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Appended>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let results: BoxStream<'s, Appended> = self.open_stream(input).await?;
            Ok(results)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let kind = if request.leadership_transfer {
            VoteKind::VoteByTransfer
        } else {
            VoteKind::Vote
        };
        self.stand(request, kind, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.stand(request, VoteKind::PreVote, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote_of_leader: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let offer = SnapshotOffer {
            sender: Some(self.links.identity.sender(self.target)),
            ballot: Some(ballot(&vote_of_leader)),
            last: snapshot.meta.last_log_id.map(position_message),
            membership: Some(members_message(&snapshot.meta.last_membership)),
            checkpoint: snapshot.snapshot.applied.index(),
        };
        let offered = call::<SnapshotAnswer>(
            &*self.links.transport,
            self.node(),
            RequestKind::RaftSnapshot,
            &offer,
            Body::empty(),
            SNAPSHOT_DEADLINE,
        );
        let (answer, _) = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            offered = offered => offered.map_err(|error| self.error(error, RPCTypes::InstallSnapshot, SNAPSHOT_DEADLINE))?,
        };
        let own = answer.ballot.ok_or_else(|| network_error(missing("vote")))?;
        Ok(SnapshotResponse { vote: vote(own) })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = VoteMessage {
            sender: Some(self.links.identity.sender(self.target)),
            ballot: Some(ballot(request.from_leader())),
            last: request.last_log_id().copied().map(position_message),
            kind: VoteKind::Transfer.into(),
            next_leader: *request.to_node_id(),
        };
        let answer = self.ask_vote(message, &option).await?;
        if answer.granted {
            return Ok(Ok(()));
        }
        Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: answer.last.map(log_id),
        }))
    }
}

/// The results of a stream of appends.
struct Results {
    /// One for each append on its way.
    answered: mpsc::Receiver<()>,
    frames: Frames,
    own: u64,
    target: u64,
    _feeding: Feeding,
}

impl Results {
    async fn next(state: Option<Self>) -> Option<(Appended, Option<Self>)> {
        let mut own = state?;
        if own.answered.recv().await.is_none() {
            // Everything was sent and answered. Reading the end lets the member see that nobody gave the stream up.
            let _ = timeout(APPEND_STALL, own.frames.result()).await;
            return None;
        }
        let late = || {
            RPCError::Timeout(Timeout {
                action: RPCTypes::AppendEntries,
                id: own.own,
                target: own.target,
                timeout: APPEND_STALL,
            })
        };
        let result = match timeout(APPEND_STALL, own.frames.result()).await {
            Err(_) => Err(late()),
            Ok(Ok(Some(result))) => Ok(result),
            Ok(Ok(None)) => Err(network_error("the member ended the stream before its results")),
            Ok(Err(error)) => Err(network_error(error)),
        };
        let goes_on = matches!(result, Ok(Ok(_)));
        Some((result, goes_on.then_some(own)))
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends appends until there are no more, the stream has come of age, or nobody takes them.
async fn feed<S>(input: S, sender: BodySender, sent: mpsc::Sender<()>)
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    let age = tokio::time::sleep(STREAM_AGE);
    tokio::pin!(age);
    // It is asked once more than it has to give where it ends while a notice waits for news.
    let mut input = input.fuse();
    loop {
        let append = tokio::select! {
            biased;
            append = input.next() => append,
            () = &mut age => None,
        };
        let Some(append) = append else { break };
        let append = if append.entries.is_empty() {
            with_news(&mut input, append).await
        } else {
            append
        };
        // Also what bounds those on their way.
        if sent.send(()).await.is_err() {
            return;
        }
        for piece in append_pieces(append) {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    }
    sender.finish();
}

/// An append without entries tells only how far the log is committed, which the next append tells too: under load one
/// follows at once, and the notice would cost every member a message, an answer and a round of its tasks.
async fn with_news<S>(input: &mut S, notice: AppendEntriesRequest<TypeConfig>) -> AppendEntriesRequest<TypeConfig>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    let mut latest = notice;
    let linger = tokio::time::sleep(NOTICE_LINGER);
    tokio::pin!(linger);
    while latest.entries.is_empty() {
        tokio::select! {
            biased;
            next = input.next() => match next {
                Some(next) => latest = next,
                None => break,
            },
            () = &mut linger => break,
        }
    }
    latest
}

fn network_error(reason: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&AnyError::error(reason)))
}
