//! One member of the Raft group: opened, proposed to, asked for read barriers, shut down.
//!
//! It must never report a member ready before it has applied an entry of its leader's term: until then what it knows to be
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
    wire::{
        command::EntryBatch,
        failure::FailureCode,
        kind::RequestKind,
        raft::{ReadIndex, ReadIndexReply},
    },
};
use cairn_transport::{Body, CallError, call};
use openraft::{
    Config, Raft, ReadPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError},
    impls::ProgressResponder,
    raft::ClientWriteResult,
};
use parking_lot::Mutex;
use tokio::{
    sync::{SetOnce, oneshot},
    time::{Instant, timeout},
};

use super::{
    applier::{Applier, ApplyProgress},
    machine::Machine,
    network::{Links, Network},
    observer::{HeldReply, Observer},
    types::{BatchBytes, Member, TypeConfig},
};
use crate::store::{LogStore, SharedCache, StateStore, StoreError, SyncObserver};

/// How long the start of a sole voter may take to bring the state up to date and be elected.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a read barrier may wait for the state to catch up.
const BARRIER_DEADLINE: Duration = Duration::from_secs(10);
/// How long the leader may take over a read index: a few rounds to a quorum.
const READ_INDEX_DEADLINE: Duration = Duration::from_secs(2);
/// How long stopping openraft's tasks may take.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long a member may take to fetch a checkpoint before it is asked again.
const SNAPSHOT_TIMEOUT_MS: u64 = 300_000;
/// Entries behind a snapshot that are kept.
const KEPT_ENTRIES: u64 = 64;
/// Messages that may wait for openraft's core. The proposer and the barrier keep a handful in flight.
const CHANNEL_SIZE: u64 = 1024;

/// How a member starts that was never started before. One that was goes on as what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// As the only voter of a new group.
    #[default]
    Alone,
    /// Empty, waiting for a group to add it.
    Join,
}

/// When a group's members take the leader for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftTiming {
    /// Time between signs of life of the leader.
    pub heartbeat_ms: u64,
    /// Bounds of the random time by which a member stands for election after the leader's lease has ended, which is the
    /// upper bound long.
    pub election_ms: (u64, u64),
}

impl Default for RaftTiming {
    /// A dead leader is replaced within 3 s: its lease of 0.8 s, up to 0.8 s until the first stands, and as much again
    /// where votes were split. A live one that loses eight signs of life in a row (1.2 s) is not disturbed.
    fn default() -> Self {
        Self {
            heartbeat_ms: 150,
            election_ms: (400, 800),
        }
    }
}

/// What a member is told at its start.
pub(crate) struct RaftSettings {
    /// Where its databases lie.
    pub(crate) directory: PathBuf,
    /// Where others call it.
    pub(crate) address: String,
    /// What it becomes where it is new.
    pub(crate) start: Start,
    /// When its log is cut.
    pub(crate) policy: SnapshotPolicy,
    /// When a leader is taken for dead.
    pub(crate) timing: RaftTiming,
    /// Memory that the databases are sized by.
    pub(crate) memory_bytes: usize,
}

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
    /// Its state is not that of the other members.
    #[error("this store is not served any more: {0}")]
    Differs(String),
    /// A newer program raised the feature level.
    #[error("the store is at feature level {0}: start a newer cairn")]
    Newer(u32),
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
    links: Arc<Links>,
    /// Bytes of a snapshot being fetched, done and in all.
    fetching: Arc<Mutex<(u64, u64)>>,
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
    /// Opens the store and starts the member. One that is the only voter has been elected and is up to date then; any other
    /// takes part from then on, and whether it may answer is for [`RaftNode::barrier`] to tell.
    pub(crate) async fn start(
        settings: RaftSettings,
        machine: Arc<dyn Machine>,
        observer: Arc<dyn Observer>,
        links: Links,
        observe_sync: SyncObserver,
    ) -> Result<Self, StartError> {
        let (directory, server) = (settings.directory.clone(), links.identity.server);
        let memory_bytes = settings.memory_bytes;
        let opening = move || open_stores(&directory, server, memory_bytes, observe_sync);
        let opened = tokio::task::spawn_blocking(opening).await;
        let (log, state) =
            opened.map_err(|error| StartError::Raft(format!("opening the store has died: {error}")))??;
        let applied = state.applied().position.map(|position| position.index);
        let policy = settings.policy;
        let progress = Arc::new(ApplyProgress::new(applied, policy.bytes_max, policy.commands_max));
        let applier = Applier::new(Arc::clone(&state), machine, observer, Arc::clone(&progress));
        let network = Network { links: links.clone() };
        let config = Arc::new(raft_config(settings.timing)?);
        let raft = Raft::new(server.value(), config, network, log.clone(), applier).await;
        let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
        let node = Self {
            ending: Ending::watch(&raft),
            raft,
            log,
            state,
            progress,
            links: Arc::new(links),
            fetching: Arc::default(),
        };
        node.take_up(&settings).await?;
        Ok(node)
    }

    /// What this member reaches others with.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// How far entries are applied.
    pub(crate) fn progress(&self) -> &ApplyProgress {
        &self.progress
    }

    /// The log.
    pub(super) fn log(&self) -> &LogStore {
        &self.log
    }

    /// openraft's own handle.
    pub(super) fn raft(&self) -> &Raft<TypeConfig, Applier> {
        &self.raft
    }

    /// Notes how far the fetching of a snapshot is.
    pub(super) fn note_fetching(&self, done: u64, total: u64) {
        *self.fetching.lock() = (done, total);
    }

    /// Bytes of a snapshot being fetched, done and in all; none of none where none is.
    pub(crate) fn fetching(&self) -> (u64, u64) {
        *self.fetching.lock()
    }

    /// What `answer` comes to, unless the member stops first.
    pub(crate) async fn unless_stopped<T>(&self, answer: impl Future<Output = T>) -> Result<T, ProposeError> {
        self.ending.or(answer).await
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

    /// Returns once the local state holds everything that was committed when this was called.
    pub(crate) async fn barrier(&self) -> Result<(), ProposeError> {
        let index = match self.leader() {
            Some((leader, _)) if leader == self.links.identity.server => self.read_index().await?,
            Some((leader, _)) => self.ask_read_index(leader).await?,
            None => return Err(ProposeError::NotLeader),
        };
        let catching_up = self.ending.or(self.progress.wait_for(index));
        timeout(BARRIER_DEADLINE, catching_up)
            .await
            .map_err(|_| ProposeError::Late)?
    }

    /// The entry that a state must hold to answer reads that have come by now. Only the leader knows it, and only once a
    /// quorum has confirmed, after this was called, that it still leads: a member that was stopped and goes on may have been
    /// deposed meanwhile and cannot tell by its own clock. That is why no lease stands in for the quorum here.
    pub(crate) async fn read_index(&self) -> Result<u64, ProposeError> {
        let asked = self.ending.or(self.raft.get_read_linearizer(ReadPolicy::ReadIndex));
        let answered = timeout(READ_INDEX_DEADLINE, asked).await;
        let linearizer = answered.map_err(|_| ProposeError::Late)??.map_err(read_error)?;
        Ok(linearizer.read_log_id().index())
    }

    async fn ask_read_index(&self, leader: NodeId) -> Result<u64, ProposeError> {
        let message = ReadIndex {
            sender: Some(self.links.identity.sender(leader.value())),
        };
        let asked = call::<ReadIndexReply>(
            &*self.links.transport,
            leader,
            RequestKind::ReadIndex,
            &message,
            Body::empty(),
            READ_INDEX_DEADLINE,
        );
        match self.ending.or(asked).await? {
            Ok((reply, _)) => Ok(reply.index),
            Err(CallError::Failed(told)) if told.code() == FailureCode::Busy => Err(ProposeError::Late),
            // Whoever was asked, it is not known to lead any more.
            Err(error) => {
                tracing::debug!(%leader, %error, "no read index");
                Err(ProposeError::NotLeader)
            }
        }
    }

    /// Whether the member has stopped for good.
    pub(crate) fn has_stopped(&self) -> bool {
        self.ending.0.initialized()
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

    /// Becomes what it was before, or what it is to become at its first start.
    async fn take_up(&self, settings: &RaftSettings) -> Result<(), StartError> {
        let server = self.links.identity.server;
        let raft_error = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
        let initialized = self.raft.is_initialized().await.map_err(|error| raft_error(&error))?;
        if !initialized {
            if settings.start == Start::Join {
                return Ok(());
            }
            let own = Member {
                address: settings.address.clone(),
            };
            let members = BTreeMap::from([(server.value(), own)]);
            let begun = self.raft.initialize(members).await;
            begun.map_err(|error| raft_error(&error))?;
            return self.lead(server).await;
        }
        let voters = |state: &openraft::RaftState<TypeConfig>| state.membership_state.effective().voter_ids().collect();
        let voters: Vec<u64> = self
            .raft
            .with_raft_state(voters)
            .await
            .map_err(|error| raft_error(&error))?;
        if voters != [server.value()] {
            return Ok(());
        }
        // Nobody else could lead, so there is no lease to wait for.
        let elected = self.raft.trigger().elect(false).await;
        elected.map_err(|error| raft_error(&error))?;
        self.lead(server).await
    }

    /// Waits until the only voter leads and is up to date.
    async fn lead(&self, server: NodeId) -> Result<(), StartError> {
        let deadline = Instant::now() + START_DEADLINE;
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
        let (mut lasts, wait) = (raft.server_metrics(), raft.wait(None));
        let told = Arc::clone(&ending);
        tokio::spawn(async move {
            // openraft's core holds the other end until it has said why it ends. Its metrics tell that too, but they change
            // several times with each entry.
            while lasts.changed().await.is_ok() {}
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
    pub(crate) async fn replies(self) -> Result<Vec<HeldReply>, ProposeError> {
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
    memory_bytes: usize,
    observe_sync: SyncObserver,
) -> Result<(LogStore, Arc<StateStore>), StoreError> {
    let cache = SharedCache::new(memory_bytes);
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

fn raft_config(timing: RaftTiming) -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "cairn".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_ms.0,
        election_timeout_max: timing.election_ms.1,
        // A member that cannot win does not raise the term: one that comes back disturbs nobody.
        enable_pre_vote: Some(true),
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
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
