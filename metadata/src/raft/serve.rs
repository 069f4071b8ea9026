//! Answering other members: appends, votes, snapshots, read indexes.
//!
//! It must never take a message for this member that was meant for another, nor one in which a node speaks for another. It
//! does take messages of members that its own membership does not list: a member that was away may know of newer ones only
//! through them, and those that were removed are kept out by the leader's lease and the pre-vote. Invariant: what openraft
//! leaves unanswered at its end is answered here.

use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
        raft::{
            RaftSender, ReadIndex, ReadIndexReply, SnapshotAnswer, SnapshotOffer, VoteAnswer, VoteKind, VoteMessage,
        },
    },
};
use cairn_transport::{Body, BodySender, Request, Response, failure, reply};
use futures::{Stream, StreamExt, stream};
use openraft::{
    Snapshot, SnapshotMeta,
    raft::{AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse},
};
use prost::Message;

use super::{
    frames::{Frames, result_piece},
    node::{ProposeError, RaftNode},
    types::{TypeConfig, vote_record},
    wire::{ballot, log_id, members, missing, position_message, vote},
};
use crate::store::{FetchError, Progress, fetch};

/// Results that wait for the carrier.
const RESULTS_WAITING: usize = 16;

impl RaftNode {
    /// Answers a request of another member.
    pub(crate) async fn handle(&self, from: NodeId, request: Request) -> Result<Response, Failure> {
        match request.kind {
            RequestKind::RaftAppend => self.append(from, request),
            RequestKind::RaftVote => {
                let message = decode::<VoteMessage>(request.header)?;
                self.check(from, message.sender.as_ref())?;
                let answer = self.answer_vote(message).await?;
                Ok(reply(&answer, Body::empty()))
            }
            RequestKind::RaftSnapshot => {
                let offer = decode::<SnapshotOffer>(request.header)?;
                self.check(from, offer.sender.as_ref())?;
                let answer = self.take_snapshot(from, offer).await?;
                Ok(reply(&answer, Body::empty()))
            }
            RequestKind::ReadIndex => {
                let message = decode::<ReadIndex>(request.header)?;
                self.check(from, message.sender.as_ref())?;
                let index = self.read_index().await.map_err(|error| self.failure(&error))?;
                Ok(reply(&ReadIndexReply { index }, Body::empty()))
            }
            other => Err(malformed(format!("a Raft member does not answer {}", other.name()))),
        }
    }

    fn check(&self, from: NodeId, sender: Option<&RaftSender>) -> Result<(), Failure> {
        self.links().identity.check(from, sender).map_err(|reason| {
            tracing::warn!(%from, reason, "a message between metadata servers is refused");
            malformed(reason)
        })
    }

    fn append(&self, from: NodeId, request: Request) -> Result<Response, Failure> {
        let sender = decode::<RaftSender>(request.header)?;
        self.check(from, Some(&sender))?;
        let (results, body) = Body::channel(RESULTS_WAITING);
        let input = stream::unfold(Frames::new(request.body), move |frames| next_append(frames, from));
        let output = self.raft().stream_append(input);
        let node = self.clone();
        tokio::spawn(async move {
            // At its end openraft may leave an append without a result for ever.
            let _ = node.unless_stopped(send_results(Box::pin(output), results)).await;
        });
        Ok(Response {
            header: Bytes::new(),
            body,
        })
    }

    async fn answer_vote(&self, message: VoteMessage) -> Result<VoteAnswer, Failure> {
        let kind = message.kind();
        let asked = message.ballot.ok_or_else(|| malformed(missing("vote")))?;
        let request = VoteRequest {
            vote: vote(asked),
            last_log_id: message.last.map(log_id),
            leadership_transfer: kind == VoteKind::VoteByTransfer,
        };
        let answered = match kind {
            VoteKind::Vote | VoteKind::VoteByTransfer => self.unless_stopped(self.raft().vote(request)).await,
            VoteKind::PreVote => self.unless_stopped(self.raft().pre_vote(request)).await,
            VoteKind::Transfer => return self.take_leadership(&request, message.next_leader).await,
            VoteKind::Unspecified => return Err(malformed(missing("kind of vote that this program knows"))),
        };
        let answer: VoteResponse<TypeConfig> = answered
            .map_err(|error| self.failure(&error))?
            .map_err(|error| stopped(&error))?;
        Ok(VoteAnswer {
            ballot: Some(ballot(&answer.vote)),
            granted: answer.vote_granted,
            last: answer.last_log_id.map(position_message),
        })
    }

    async fn take_leadership(&self, request: &VoteRequest<TypeConfig>, next: u64) -> Result<VoteAnswer, Failure> {
        let handed = TransferLeaderRequest::new(request.vote, next, request.last_log_id);
        let taken = self.unless_stopped(self.raft().handle_transfer_leader(handed)).await;
        let taken = taken
            .map_err(|error| self.failure(&error))?
            .map_err(|error| stopped(&error))?;
        Ok(VoteAnswer {
            ballot: Some(ballot(&request.vote)),
            granted: taken.is_ok(),
            last: None,
        })
    }

    async fn take_snapshot(&self, from: NodeId, offer: SnapshotOffer) -> Result<SnapshotAnswer, Failure> {
        let leader = offer.ballot.ok_or_else(|| malformed(missing("leader")))?;
        if leader.node != from.value() {
            return Err(malformed(format!(
                "node {from} sends a snapshot for node {}",
                leader.node
            )));
        }
        let membership = offer.membership.ok_or_else(|| malformed(missing("membership")))?;
        let meta = SnapshotMeta {
            last_log_id: offer.last.map(log_id),
            last_membership: members(membership).map_err(|error| malformed(error.to_string()))?,
        };
        let into = self
            .state()
            .incoming(offer.checkpoint)
            .map_err(|error| stopped(&error))?;
        let note = |progress: Progress| self.note_fetching(progress.bytes_done, progress.bytes_total);
        let fetched = fetch(&*self.links().transport, from, offer.checkpoint, &into, &note).await;
        self.note_fetching(0, 0);
        let snapshot = fetched.map_err(|error| fetch_failure(&error))?;
        let installing = self
            .raft()
            .install_full_snapshot(vote(leader), Snapshot { meta, snapshot });
        let installed = self.unless_stopped(installing).await;
        let installed = installed
            .map_err(|error| self.failure(&error))?
            .map_err(|error| stopped(&error))?;
        if let Err(error) = self.state().clear_incoming() {
            tracing::warn!(%error, "files of a snapshot that was installed could not be removed");
        }
        Ok(SnapshotAnswer {
            ballot: Some(ballot(&installed.vote)),
        })
    }
}

type Append = AppendEntriesRequest<TypeConfig>;

/// The next append of a stream; none at its end, or where it is not what its sender may send.
async fn next_append(mut frames: Frames, from: NodeId) -> Option<(Append, Frames)> {
    match frames.append().await {
        Ok(Some(append)) if vote_record(&append.vote).node == from.value() => Some((append, frames)),
        Ok(Some(append)) => {
            tracing::warn!(%from, leader = vote_record(&append.vote).node, "an append for another leader is refused");
            None
        }
        Ok(None) => None,
        Err(error) => {
            tracing::debug!(%from, %error, "a stream of appends has ended early");
            None
        }
    }
}

async fn send_results<E>(
    mut output: impl Stream<Item = Result<StreamAppendResult<TypeConfig>, E>> + Unpin,
    results: BodySender,
) {
    while let Some(Ok(result)) = output.next().await {
        if results.send(result_piece(&result)).await.is_err() {
            return;
        }
    }
    results.finish();
}

fn decode<M: Message + Default>(header: Bytes) -> Result<M, Failure> {
    M::decode(header).map_err(|error| malformed(format!("the request cannot be decoded: {error}")))
}

fn malformed(reason: impl Into<String>) -> Failure {
    failure(FailureCode::Malformed, reason)
}

fn stopped(error: &impl std::fmt::Display) -> Failure {
    failure(
        FailureCode::Internal,
        format!("the metadata server cannot go on: {error}"),
    )
}

fn fetch_failure(error: &FetchError) -> Failure {
    let code = match error {
        FetchError::Gone(_) | FetchError::Unanswered(_) => FailureCode::Busy,
        FetchError::Damaged(_) => FailureCode::Corrupt,
        FetchError::Store(_) => FailureCode::Internal,
    };
    failure(code, format!("the snapshot could not be fetched: {error}"))
}

impl RaftNode {
    /// What another member, or a client, is told.
    pub(crate) fn failure(&self, error: &ProposeError) -> Failure {
        let code = match error {
            ProposeError::NotLeader | ProposeError::Unknown => FailureCode::NotLeader,
            ProposeError::Late => FailureCode::Busy,
            ProposeError::Stopped(_) => FailureCode::Internal,
        };
        let mut told = failure(code, error.to_string());
        if code == FailureCode::NotLeader
            && let Some((leader, address)) = self
                .leader()
                .filter(|(leader, _)| *leader != self.links().identity.server)
        {
            told.leader = leader.value();
            told.leader_address = address;
        }
        told
    }
}
