//! Read barriers, shared: all queries that wait when one begins are served by it.
//!
//! Invariant: a query is released only by a barrier that began after the query arrived.

use cairn_common::limits::PROPOSAL_QUEUE_MAX;
use tokio::sync::{mpsc, oneshot};

use super::{metrics::Metrics, proposer::SubmitError};
use crate::raft::{ProposeError, RaftNode};

type Waiter = oneshot::Sender<Result<(), ProposeError>>;

/// The way to the barrier. Clones share it.
#[derive(Clone)]
pub(super) struct Barrier {
    queue: mpsc::Sender<Waiter>,
    metrics: Metrics,
}

/// The task that makes barriers.
pub(super) struct BarrierTask {
    node: RaftNode,
    queue: mpsc::Receiver<Waiter>,
    metrics: Metrics,
}

impl Barrier {
    /// The barrier of `node`, and the task that must run for it.
    pub(super) fn new(node: RaftNode, metrics: Metrics) -> (Self, BarrierTask) {
        let (sender, queue) = mpsc::channel(PROPOSAL_QUEUE_MAX);
        let task = BarrierTask {
            node,
            queue,
            metrics: metrics.clone(),
        };
        (Self { queue: sender, metrics }, task)
    }

    /// Returns once the local state holds all that was committed when this was called.
    pub(super) async fn pass(&self) -> Result<(), SubmitError> {
        let (waiter, wait) = oneshot::channel();
        if self.queue.try_send(waiter).is_err() {
            self.metrics.refused_busy.inc();
            return Err(SubmitError::Busy);
        }
        let stopped = || ProposeError::Stopped("its read barrier has ended".to_owned());
        Ok(wait.await.unwrap_or_else(|_| Err(stopped()))?)
    }
}

impl BarrierTask {
    /// Makes barriers until all who may wait have gone.
    pub(super) async fn run(mut self) {
        let mut waiters = Vec::new();
        while self.queue.recv_many(&mut waiters, PROPOSAL_QUEUE_MAX).await > 0 {
            self.metrics.read_barriers.inc();
            let outcome = self.node.barrier().await;
            for waiter in waiters.drain(..) {
                // A query whose caller has gone needs no answer.
                let _ = waiter.send(outcome.clone());
            }
        }
    }
}
