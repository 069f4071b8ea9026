//! One member of the Raft group: opened, elected, proposed to, asked for read barriers, shut down.
//!
//! It must never report a member ready before it has applied an entry of its own term: until then what it knows to be
//! committed may be older than what was acknowledged before a crash. Invariant: every wait here has a deadline.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    envelope::seal,
    ids::NodeId,
    wire::command::{EntryBatch, WriteReply},
};
use openraft::{
    Config, EmptyNode, Raft, ReadPolicy,
    errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError},
    impls::ProgressResponder,
    raft::ClientWriteResult,
};
use tokio::{
    sync::{SetOnce, oneshot},
    time::{Instant, timeout},
};

use super::{
    applier::{Applier, ApplyProgress},
    machine::Machine,
    network::NoPeers,
    types::{BatchBytes, TypeConfig},
};
use crate::store::{LogStore, SharedCache, StateStore, StoreError, SyncObserver};

/// How long a start may take to bring the state up to date and be elected.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a read barrier may wait for the state to catch up.
const BARRIER_DEADLINE: Duration = Duration::from_secs(10);
/// How long stopping openraft's tasks may take.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Time between heartbeats; also sets how often openraft's clock ticks.
const HEARTBEAT_MS: u64 = 250;
/// Bounds of the time without a leader after which a member stands for election.
const ELECTION_MS: (u64, u64) = (1_000, 2_000);
/// Entries behind a snapshot that are kept.
const KEPT_ENTRIES: u64 = 64;
/// Messages that may wait for openraft's core. The proposer and the barrier keep a handful in flight.
const CHANNEL_SIZE: u64 = 1024;

/// When a snapshot is taken, and the log purged up to it. It bounds what a restart replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotPolicy {
    /// Bytes of commands applied since the last.
    pub(crate) bytes_max: u64,
    /// Commands applied since the last.
    pub(crate) commands_max: u64,
}

/// Why a member cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Raft stopped: its message says why.
    #[error("the Raft group cannot run: {0}")]
    Raft(String),
    /// It was not elected, or did not catch up, in time.
    #[error("the metadata server was not ready within {seconds} s: {0}", seconds = START_DEADLINE.as_secs())]
    NotReady(String),
}

/// Why a proposal or a barrier failed, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Nothing happened: another member leads, or none.
    #[error("this metadata server does not lead")]
    NotLeader,
    /// What was proposed may or may not come to happen: ask again under the same session and sequence.
    #[error("leadership changed: the outcome is unknown")]
    Unknown,
    /// The state did not catch up in time: try again later.
    #[error("the metadata server is behind: try again later")]
    Late,
    /// The member has stopped for good.
    #[error("the metadata server has stopped: {0}")]
    Stopped(String),
}

/// One member of the Raft group. Clones share it.
#[derive(Clone)]
pub(crate) struct RaftNode {
    raft: Raft<TypeConfig, Applier>,
    log: LogStore,
    state: Arc<StateStore>,
    progress: Arc<ApplyProgress>,
    ending: Arc<Ending>,
}

/// Why the member has stopped, once it has.
///
/// openraft answers nothing that reaches its core's channel while the core ends: the request stays in the channel, its
/// answer open, as long as any handle lives. So each wait for an answer also waits for this.
struct Ending(SetOnce<String>);

/// A proposal whose entry is on its way.
pub(crate) struct Pending {
    wait: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    ending: Arc<Ending>,
}

impl RaftNode {
    /// Opens the store under `directory` and starts the member, alone in its group.
    pub(crate) async fn start(
        directory: PathBuf,
        server: NodeId,
        machine: Arc<dyn Machine>,
        policy: SnapshotPolicy,
        observe_sync: SyncObserver,
    ) -> Result<Self, StartError> {
        let opening = move || open_stores(&directory, server, observe_sync);
        let opened = tokio::task::spawn_blocking(opening).await;
        let (log, state) =
            opened.map_err(|error| StartError::Raft(format!("opening the store has died: {error}")))??;
        let applied = state.applied().position.map(|position| position.index);
        let progress = Arc::new(ApplyProgress::new(applied, policy.bytes_max, policy.commands_max));
        let applier = Applier::new(Arc::clone(&state), machine, Arc::clone(&progress));
        let raft = Raft::new(server.value(), Arc::new(raft_config()?), NoPeers, log.clone(), applier).await;
        let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
        let node = Self {
            ending: Ending::watch(&raft),
            raft,
            log,
            state,
            progress,
        };
        node.lead(server).await?;
        Ok(node)
    }

    /// The state.
    pub(crate) fn state(&self) -> &Arc<StateStore> {
        &self.state
    }

    /// Proposes a batch. Batches are appended in the order of these calls.
    pub(crate) async fn propose(&self, batch: &EntryBatch) -> Result<Pending, ProposeError> {
        let bytes = BatchBytes(Bytes::from(seal(batch)));
        let (responder, wait) = ProgressResponder::complete_only();
        let sent = self.raft.client_write_ff(bytes, Some(responder)).await;
        sent.map_err(|error| ProposeError::Stopped(error.to_string()))?;
        Ok(Pending {
            wait,
            ending: Arc::clone(&self.ending),
        })
    }

    /// Returns once the local state holds everything that was committed when this was called, and this member led.
    pub(crate) async fn barrier(&self) -> Result<(), ProposeError> {
        let asked = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let linearizer = self.ending.or(asked).await?.map_err(read_error)?;
        let index = linearizer.read_log_id().index();
        let catching_up = self.ending.or(self.progress.wait_for(index));
        timeout(BARRIER_DEADLINE, catching_up)
            .await
            .map_err(|_| ProposeError::Late)?
    }

    /// Waits until the member has stopped for good, and says why.
    pub(crate) async fn stopped(&self) -> String {
        self.ending.0.wait().await.clone()
    }

    /// Takes a snapshot whenever one is due. Runs until it is dropped or the member stops.
    pub(crate) async fn keep_log_short(&self) {
        loop {
            self.progress.snapshot_due().await;
            let state = Arc::clone(&self.state);
            // Most of the work, while entries go on being applied; the checkpoint then has little left to flush.
            let flushed = tokio::task::spawn_blocking(move || state.flush()).await;
            if let Ok(Err(error)) = flushed {
                tracing::warn!(%error, "the metadata state could not be flushed; the log stays as it is");
            }
            if self.raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
    }

    /// Stops the member, flushes and closes its store.
    pub(crate) async fn shutdown(&self) -> Result<(), StoreError> {
        if timeout(STOP_DEADLINE, self.raft.shutdown()).await.is_err() {
            tracing::warn!("the Raft group's tasks did not stop in time; closing the store under them");
        }
        let (log, state) = (self.log.clone(), Arc::clone(&self.state));
        let close = move || {
            // Both are closed, whatever becomes of the first.
            let (state_closed, log_closed) = (state.close(), log.close());
            state_closed.and(log_closed)
        };
        tokio::task::spawn_blocking(close)
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    /// Index of the newest entry that the log no longer holds.
    #[cfg(test)]
    pub(super) async fn purged_index(&self) -> Option<u64> {
        self.log.bounds().purged.map(|purged| purged.index)
    }

    async fn lead(&self, server: NodeId) -> Result<(), StartError> {
        let deadline = Instant::now() + START_DEADLINE;
        let initialized = self
            .raft
            .is_initialized()
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        if initialized {
            self.raft
                .trigger()
                .elect(false)
                .await
                .map_err(|error| StartError::Raft(error.to_string()))?;
        } else {
            let members = BTreeMap::from([(server.value(), EmptyNode::new())]);
            self.raft
                .initialize(members)
                .await
                .map_err(|error| StartError::Raft(error.to_string()))?;
        }
        let leading = self
            .raft
            .wait(Some(START_DEADLINE))
            .current_leader(server.value(), "elected")
            .await;
        leading.map_err(|error| StartError::NotReady(error.to_string()))?;
        while Instant::now() < deadline {
            match self.barrier().await {
                Ok(()) => return Ok(()),
                Err(ProposeError::Late) => tracing::info!("the log is being replayed"),
                Err(error @ (ProposeError::NotLeader | ProposeError::Unknown | ProposeError::Stopped(_))) => {
                    return Err(StartError::NotReady(error.to_string()));
                }
            }
        }
        Err(StartError::NotReady("the log is still being replayed".to_owned()))
    }
}

impl Ending {
    /// Follows `raft` to its end.
    fn watch(raft: &Raft<TypeConfig, Applier>) -> Arc<Self> {
        let ending = Arc::new(Self(SetOnce::new()));
        let (wait, told) = (raft.wait(None), Arc::clone(&ending));
        tokio::spawn(async move {
            let stopped = wait.metrics(|metrics| metrics.running_state.is_err(), "stopped").await;
            let reason = match stopped.map(|metrics| metrics.running_state) {
                Ok(Err(Fatal::Stopped)) | Err(_) => "it was shut down".to_owned(),
                Ok(Err(error @ (Fatal::StorageError(_) | Fatal::Panicked))) => error.to_string(),
                Ok(Ok(())) => "its state cannot be told".to_owned(),
            };
            // Set only here.
            let _ = told.0.set(reason);
        });
        ending
    }

    /// What `answer` comes to, unless the member stops first.
    async fn or<T>(&self, answer: impl Future<Output = T>) -> Result<T, ProposeError> {
        tokio::select! {
            biased;
            answer = answer => Ok(answer),
            reason = self.0.wait() => Err(ProposeError::Stopped(reason.clone())),
        }
    }
}

impl Pending {
    /// The replies, one for each command of the batch.
    pub(crate) async fn replies(self) -> Result<Vec<WriteReply>, ProposeError> {
        match self.ending.or(self.wait).await? {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
            Ok(Err(_)) => Err(ProposeError::Unknown),
            Err(_) => Err(ProposeError::Stopped("its tasks have ended".to_owned())),
        }
    }
}

fn open_stores(
    directory: &std::path::Path,
    server: NodeId,
    observe_sync: SyncObserver,
) -> Result<(LogStore, Arc<StateStore>), StoreError> {
    let cache = SharedCache::new();
    let flushed_index = Arc::new(AtomicU64::new(0));
    // The log first: its lock keeps a second process from touching anything else.
    let log = LogStore::open(directory, server, &cache, Arc::clone(&flushed_index), observe_sync)?;
    let state = StateStore::open(directory, &cache, flushed_index)?;
    check_together(&log, &state)?;
    Ok((log, Arc::new(state)))
}

/// Refuses a log and a state that leave entries out between them, or where the log has lost what the state goes on from.
fn check_together(log: &LogStore, state: &StateStore) -> Result<(), StoreError> {
    let bounds = log.bounds();
    let (purged, last) = (bounds.purged.map(|at| at.index), bounds.last.map(|at| at.index));
    let applied = state.applied().position.map(|at| at.index);
    if applied < purged {
        return Err(StoreError::Corrupt {
            what: "the metadata state",
            detail: format!(
                "it holds the entries up to {applied:?}, and the log begins behind entry {purged:?}: those between are nowhere"
            ),
        });
    }
    // A snapshot that was installed just before a crash is ahead of the log, rightly so.
    let is_installed = || {
        let newest = state.newest_checkpoint()?.and_then(|newest| newest.applied.position);
        Ok::<_, StoreError>(newest.map(|at| at.index) == applied)
    };
    if last < applied && !is_installed()? {
        return Err(StoreError::Corrupt {
            what: "the Raft log",
            detail: format!("it ends at entry {last:?}, and the state holds entry {applied:?}: its end is lost"),
        });
    }
    Ok(())
}

fn raft_config() -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "cairn".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        // Taken by bytes and commands applied, which openraft does not count.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        purge_batch_size: KEPT_ENTRIES,
        api_channel_size: Some(CHANNEL_SIZE),
        notification_channel_size: Some(CHANNEL_SIZE),
        // A restart stands for election anew: leading on under the old term would not tell what was committed in it.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Raft(error.to_string()))
}

fn read_error(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(_) => ProposeError::NotLeader,
        RaftError::Fatal(error) => ProposeError::Stopped(error.to_string()),
    }
}
