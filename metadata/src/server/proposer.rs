//! Gathers waiting commands into entries and proposes them.
//!
//! It must never propose a command whose sender has gone before it was taken up, and never let time go back. Invariant: two
//! entries at most are on their way; whatever comes meanwhile waits for the next one, so that the busier the server, the more
//! commands share an entry and a sync.

use std::{sync::Arc, time::Duration};

use cairn_common::{
    limits::{ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX, PROPOSAL_QUEUE_MAX},
    wire::command::{Command, EntryBatch, WriteReply, WriteRequest},
};
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

use super::{
    clock::Clock,
    metrics::{Metrics, gauge_value},
};
use crate::raft::{GROUP, HeldReply, Pending, ProposeError, RaftNode};

/// Entries on their way at once: one is synced while the one before is applied and answered. More would share less: each
/// costs every member a message, a sync, and rounds of a dozen tasks.
const ENTRIES_IN_FLIGHT: usize = 2;

/// How long an entry waits for as many commands as the last ones had: those who were answered together mostly come back
/// together, a moment later. Who is alone never waits.
const GATHER_WAIT: Duration = Duration::from_millis(1);

/// How long a reply waits for others to let go of what was before, which takes a mount that is alive a round trip.
const HELD_PATIENCE: Duration = Duration::from_millis(100);

/// Bytes that a batch adds to each command: its tag, its length and a share of the envelope.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// Shortest time after which one who was refused may ask again.
const RETRY_MS_MIN: u32 = 10;

/// Commands that are carried out in a millisecond, at the least, when many wait: what a retry hint counts with.
const WAITING_PER_RETRY_MS: usize = 8;

/// Why a command was not carried out, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SubmitError {
    /// Too many wait: try again later.
    #[error("too many commands wait: try again later")]
    Busy,
    /// It was carried out, and its reply waits for others to let go of what was before it: ask again for the reply.
    #[error("mounts are letting go of what this has changed: ask again under the same sequence")]
    Held,
    /// It can never be carried out.
    #[error("a command of {0} bytes does not fit a Raft entry")]
    TooLarge(usize),
    /// See the reason.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

struct Proposal {
    request: WriteRequest,
    bytes: usize,
    reply: oneshot::Sender<Result<WriteReply, SubmitError>>,
}

/// The way to the proposer. Clones share it.
#[derive(Clone)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    metrics: Metrics,
}

/// The task that proposes.
pub(super) struct ProposerTask {
    node: RaftNode,
    queue: mpsc::Receiver<Proposal>,
    /// Taken from the queue, but too large for the entry before.
    held: Option<Proposal>,
    in_flight: Arc<Semaphore>,
    /// Commands that the next entry is likely to have.
    expected: usize,
    clock: Arc<dyn Clock>,
    newest_ms: u64,
    metrics: Metrics,
}

impl Proposer {
    /// The proposer of `node`, and the task that must run for it.
    pub(super) fn new(node: RaftNode, clock: Arc<dyn Clock>, metrics: Metrics) -> (Self, ProposerTask) {
        let (sender, queue) = mpsc::channel(PROPOSAL_QUEUE_MAX);
        let in_flight = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
        let task = ProposerTask {
            node,
            queue,
            held: None,
            in_flight,
            expected: 1,
            clock,
            newest_ms: 0,
            metrics: metrics.clone(),
        };
        (Self { queue: sender, metrics }, task)
    }

    /// How long one who is refused should wait before asking again, in milliseconds: the fuller the queue, the longer.
    pub(super) fn retry_after_ms(&self) -> u32 {
        let waiting = PROPOSAL_QUEUE_MAX - self.queue.capacity().min(PROPOSAL_QUEUE_MAX);
        RETRY_MS_MIN + u32::try_from(waiting / WAITING_PER_RETRY_MS).unwrap_or(u32::MAX - RETRY_MS_MIN)
    }

    /// Carries out a command and returns its reply.
    pub(super) async fn submit(&self, request: WriteRequest) -> Result<WriteReply, SubmitError> {
        let bytes = request.encoded_len();
        if bytes + ENTRY_OVERHEAD_BYTES > ENTRY_BYTES_MAX {
            return Err(SubmitError::TooLarge(bytes));
        }
        let (reply, wait) = oneshot::channel();
        if self.queue.try_send(Proposal { request, bytes, reply }).is_err() {
            self.metrics.refused_busy.inc();
            return Err(SubmitError::Busy);
        }
        let stopped = || ProposeError::Stopped("its proposer has ended".to_owned());
        wait.await.unwrap_or_else(|_| Err(stopped().into()))
    }

    /// Carries out a command of the server itself, which needs no session.
    pub(super) async fn submit_own(&self, command: Command) -> Result<WriteReply, SubmitError> {
        let request = WriteRequest {
            session: 0,
            sequence: 0,
            answered_below: 0,
            group: GROUP,
            resent: false,
            settles: false,
            command: Some(command),
        };
        self.submit(request).await
    }
}

impl ProposerTask {
    /// Proposes until all who may submit have gone.
    pub(super) async fn run(mut self) {
        loop {
            let Some(first) = self.next().await else { return };
            // What arrives while the entries before are under way joins this one.
            let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else {
                return;
            };
            let proposals = self.gather(first).await;
            if !proposals.is_empty() {
                self.propose(proposals, permit).await;
            }
        }
    }

    async fn next(&mut self) -> Option<Proposal> {
        match self.held.take() {
            Some(held) => Some(held),
            None => self.queue.recv().await,
        }
    }

    async fn gather(&mut self, first: Proposal) -> Vec<Proposal> {
        let deadline = Instant::now() + GATHER_WAIT;
        let mut bytes = 0;
        let mut proposals = Vec::with_capacity(self.expected);
        let mut next = Some(first);
        while let Some(proposal) = next {
            let size = proposal.bytes + ENTRY_OVERHEAD_BYTES;
            if bytes + size > ENTRY_BYTES_MAX {
                self.held = Some(proposal);
                break;
            }
            if !proposal.reply.is_closed() {
                bytes += size;
                proposals.push(proposal);
            }
            if proposals.len() == ENTRY_COMMANDS_MAX {
                break;
            }
            next = self.queue.try_recv().ok();
            if next.is_none() && proposals.len() < self.expected {
                next = timeout_at(deadline, self.queue.recv()).await.ok().flatten();
            }
        }
        // Down by halves: one small entry is no sign that the others have gone.
        self.expected = proposals.len().max(self.expected / 2);
        self.metrics.queue_depth.set(gauge_value(self.queue.len()));
        proposals
    }

    async fn propose(&mut self, proposals: Vec<Proposal>, permit: OwnedSemaphorePermit) {
        let (requests, replies): (Vec<_>, Vec<_>) = proposals
            .into_iter()
            .map(|proposal| (proposal.request, proposal.reply))
            .unzip();
        self.metrics.proposals.inc_by(requests.len() as u64);
        self.metrics.batch_commands.observe(requests.len() as f64);
        // The state may hold a later time, stamped by another leader whose clock was ahead.
        let stamped_ms = self.node.state().applied().time_ms;
        self.newest_ms = self.newest_ms.max(stamped_ms).max(self.clock.now_ms());
        let batch = EntryBatch {
            time_ms: self.newest_ms,
            requests,
        };
        match self.node.propose(&batch).await {
            Ok(pending) => {
                tokio::spawn(deliver(pending, replies, permit, self.metrics.clone()));
            }
            Err(error) => answer_all(replies, &error),
        }
    }
}

type Replies = Vec<oneshot::Sender<Result<WriteReply, SubmitError>>>;

async fn deliver(pending: Pending, replies: Replies, permit: OwnedSemaphorePermit, metrics: Metrics) {
    match pending.replies().await {
        Ok(outcomes) => {
            if let Some(newest) = outcomes.last() {
                let index = newest.reply.log_index;
                metrics.applied_index.set(i64::try_from(index).unwrap_or(i64::MAX));
            }
            debug_assert_eq!(outcomes.len(), replies.len());
            for (outcome, reply) in outcomes.into_iter().zip(replies) {
                if outcome.waits_for.is_empty() {
                    // A sender that has gone will ask again under the same sequence.
                    let _ = reply.send(Ok(outcome.reply));
                } else {
                    tokio::spawn(answer_held(outcome, reply));
                }
            }
        }
        Err(error) => answer_all(replies, &error),
    }
    drop(permit);
}

/// Answers once nobody goes by what was before the command. Where that takes longer the sender is to ask again, since others that it has
/// sent along are answered together with it.
async fn answer_held(held: HeldReply, reply: oneshot::Sender<Result<WriteReply, SubmitError>>) {
    let all_over = async {
        for hold in held.waits_for {
            if !hold.wait().await {
                return false;
            }
        }
        true
    };
    let answer = match timeout(HELD_PATIENCE, all_over).await {
        Ok(true) => Ok(held.reply),
        Ok(false) => Err(ProposeError::Unknown.into()),
        Err(_) => Err(SubmitError::Held),
    };
    let _ = reply.send(answer);
}

fn answer_all(replies: Replies, error: &ProposeError) {
    for reply in replies {
        let _ = reply.send(Err(SubmitError::Propose(error.clone())));
    }
}
