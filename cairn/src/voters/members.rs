//! Who the voters of a store in one process are to be, and the way there.
//!
//! Each step is asked for until it has come about, so a start that was cut short is taken up by the next.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cairn_common::{
    ids::NodeId,
    limits,
    wire::{
        failure::FailureCode,
        group::{
            AddLearner, GroupChange, GroupChangeReply, MemberChange, PromoteLearner, RemoveMember, TransferLeadership,
        },
        kind::RequestKind,
    },
};
use cairn_metadata::Start;
use cairn_transport::{Body, CallError, InProcess, call};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{
    Voters, copies,
    disks::{self, Place},
    list::{Voter, VoterList},
    start::{Setup, Surrounding},
};

/// How long a start waits for the voters to be as they should be; what is left then goes on beside.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);

/// How long one change may take in all.
const CHANGE_DEADLINE: Duration = Duration::from_secs(60);

/// Pause before a change is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Time between looks at who leads, and tries of what failed.
const LOOK: Duration = Duration::from_secs(10);

/// After so many looks at which another led, leadership goes back to the voter in the store's directory, whose counters are shown.
const LOOKS_BEFORE_HANDING_BACK: u32 = 6;

/// What sees to it that the voters are as they should be.
pub(super) struct Keeper {
    voters: Arc<Voters>,
    list: VoterList,
    surrounding: Surrounding,
    /// Leads to whichever of them leads.
    way: InProcess,
    /// Devices that serve.
    places: Vec<Place>,
    /// What the disk of the store's directory is called.
    own_disk: String,
    tolerance: usize,
    /// Whether the process is a node of a cluster, where others could not reach the further voters.
    is_node: bool,
}

impl Keeper {
    pub(super) fn new(
        setup: &Setup<'_>,
        voters: Arc<Voters>,
        list: VoterList,
        (places, own_disk): (Vec<Place>, String),
        surrounding: Surrounding,
    ) -> Self {
        let kinds = &[RequestKind::GroupChange];
        let way = InProcess::new().with_service(setup.server, kinds, Arc::clone(&voters) as _, 1);
        Self {
            voters,
            list,
            surrounding,
            way,
            places,
            own_disk,
            tolerance: setup.tolerance,
            is_node: setup.node.is_some(),
        }
    }

    /// Brings the voters to what they should be, and stays as a task that goes on with what is left of it, and with who leads.
    pub(super) async fn settle_and_stay(mut self) -> anyhow::Result<()> {
        if self.is_node {
            return self
                .retire()
                .await
                .context("taking the metadata voters on other disks out of the group");
        }
        let voters = Arc::clone(&self.voters);
        let (settled, waits) = oneshot::channel();
        voters.keep_by(tokio::spawn(self.stay(settled)).abort_handle());
        if timeout(SETTLE_DEADLINE, waits).await.is_err() {
            tracing::warn!("the metadata voters are still being brought up to date; that goes on");
        }
        Ok(())
    }

    /// Tells once the first way through has ended, well or not.
    async fn stay(mut self, ended: oneshot::Sender<()>) {
        let mut outcome = self.settle().await;
        // Whoever started it may have ceased to wait.
        let _ = ended.send(());
        let mut looks = 0;
        while outcome.is_err() || !self.list.voters.is_empty() {
            if let Err(error) = &outcome {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the metadata voters are not as they should be yet; trying again"
                );
            }
            sleep(LOOK).await;
            if outcome.is_err() {
                outcome = self.settle().await;
            }
            looks = if self.voters.could_lead(self.surrounding.server) {
                looks + 1
            } else {
                0
            };
            if looks >= LOOKS_BEFORE_HANDING_BACK {
                looks = 0;
                if let Err(error) = self.lead_by_own().await {
                    tracing::info!(error = format!("{error:#}"), "leadership was not handed back");
                }
            }
        }
    }

    /// One way through all that may be left to do.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.restore_own().await?;
        self.drop_lost().await?;
        self.begin_missing().await?;
        for voter in self.list.voters.clone() {
            if self.voters.runs(voter.node()) {
                self.let_vote(voter.node()).await?;
            }
        }
        self.note_trouble();
        self.copy()
    }

    /// Takes the voter of the store's directory out of the group where its files are gone, and then lets it begin anew. It must not
    /// run before: the others would go by what it promised and has forgotten.
    async fn restore_own(&mut self) -> anyhow::Result<()> {
        if !self.list.is_own_lost {
            return Ok(());
        }
        let own = self.surrounding.server;
        if !self.voters.runs(own) {
            self.remove(own).await?;
            self.surrounding.start_own(&self.voters, Start::Join).await?;
        }
        self.let_vote(own).await?;
        self.list.is_own_lost = false;
        self.save()
    }

    /// Forgets voters that the group never counted on, and takes out those whose files are gone from a device that serves.
    async fn drop_lost(&mut self) -> anyhow::Result<()> {
        for voter in self.list.voters.clone() {
            let serves = self.places.iter().any(|place| place.device == voter.device);
            let is_lost = serves && !voter.metadata(&self.surrounding.root).exists();
            if self.voters.runs(voter.node()) || (voter.is_used && !is_lost) {
                continue;
            }
            if voter.is_used {
                self.remove(voter.node()).await?;
            }
            self.forget(&voter)?;
        }
        Ok(())
    }

    /// Strikes one from the list that the group does not count on, and removes what is left of it.
    fn forget(&mut self, voter: &Voter) -> anyhow::Result<()> {
        self.list.remove(voter.node());
        self.save()?;
        let left = voter.directory(&self.surrounding.root);
        if left.exists() {
            std::fs::remove_dir_all(&left).with_context(|| format!("removing {}", left.display()))?;
        }
        Ok(())
    }

    /// Starts voters on disks that are to have one.
    async fn begin_missing(&mut self) -> anyhow::Result<()> {
        let mut taken = BTreeSet::from([self.own_disk.clone()]);
        for voter in &self.list.voters {
            let disk = self.places.iter().find(|place| place.device == voter.device);
            taken.extend(disk.map(|place| place.disk.clone()));
        }
        let present = 1 + self.list.voters.len();
        for device in disks::choose(&self.places, &taken, present, self.tolerance) {
            self.begin(device).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, device: PathBuf) -> anyhow::Result<()> {
        let node = self.list.add(device);
        let voter = self.list.voters.last().context("a voter was listed")?;
        let (directory, metadata) = (
            voter.directory(&self.surrounding.root),
            voter.metadata(&self.surrounding.root),
        );
        self.save()?;
        std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        self.surrounding.start(&self.voters, node, metadata).await?;
        self.list.note_used(node);
        self.save()?;
        tracing::info!(voter = %node, directory = %directory.display(), "a metadata voter begins on another disk");
        Ok(())
    }

    /// Takes all but the first out of the group.
    async fn retire(&mut self) -> anyhow::Result<()> {
        if self.list.voters.is_empty() && !self.list.is_own_lost {
            return Ok(());
        }
        self.restore_own().await?;
        self.lead_by_own().await?;
        for voter in self.list.voters.clone() {
            self.remove(voter.node()).await?;
            self.surrounding.stop(&self.voters, voter.node()).await;
            self.forget(&voter)?;
        }
        self.voters.note_remarks(Vec::new());
        Ok(())
    }

    async fn let_vote(&self, node: NodeId) -> anyhow::Result<()> {
        let add = AddLearner {
            node: node.value(),
            address: String::new(),
        };
        self.change(MemberChange::AddLearner(add)).await?;
        let promote = PromoteLearner { node: node.value() };
        self.change(MemberChange::Promote(promote)).await
    }

    async fn remove(&self, node: NodeId) -> anyhow::Result<()> {
        tracing::info!(voter = %node, "a metadata voter leaves the group");
        let remove = RemoveMember { node: node.value() };
        self.change(MemberChange::Remove(remove)).await
    }

    async fn lead_by_own(&self) -> anyhow::Result<()> {
        let to = self.surrounding.server.value();
        self.change(MemberChange::Transfer(TransferLeadership { to })).await
    }

    /// Asks whichever leads until the change has come about.
    async fn change(&self, change: MemberChange) -> anyhow::Result<()> {
        let message = GroupChange {
            group: 0,
            change: Some(change),
        };
        let (kind, until) = (RequestKind::GroupChange, Instant::now() + CHANGE_DEADLINE);
        let timeout = Duration::from_millis(limits::METADATA_DEADLINE_MS);
        loop {
            let asked = call(
                &self.way,
                self.surrounding.server,
                kind,
                &message,
                Body::empty(),
                timeout,
            )
            .await;
            let error = match asked {
                Ok((GroupChangeReply { .. }, _)) => return Ok(()),
                Err(error) => error,
            };
            let may_pass = match &error {
                CallError::Failed(failure) => matches!(failure.code(), FailureCode::NotLeader | FailureCode::Busy),
                CallError::DeadlineExceeded => true,
                _ => false,
            };
            if !may_pass {
                return Err(error.into());
            }
            if Instant::now() >= until {
                bail!("the metadata voters did not agree in time: {error}");
            }
            sleep(ASK_AGAIN).await;
        }
    }

    fn note_trouble(&self) {
        let root = &self.surrounding.root;
        let missing = self.list.voters.iter().filter(|voter| !self.voters.runs(voter.node()));
        let remarks = missing.map(|voter| absent(&voter.directory(root)));
        self.voters.note_remarks(remarks.collect());
    }

    fn save(&mut self) -> anyhow::Result<()> {
        self.list.save(&self.surrounding.root)
    }

    /// Puts copies of the store's files beside each voter.
    fn copy(&self) -> anyhow::Result<()> {
        let root = &self.surrounding.root;
        let running = self.list.voters.iter().filter(|voter| self.voters.runs(voter.node()));
        for voter in running {
            copies::write(root, &self.list, &voter.directory(root))?;
        }
        Ok(())
    }
}

/// What a person is told of a voter that does not run.
pub(super) fn absent(directory: &Path) -> String {
    format!("the metadata voter in {} does not run", directory.display())
}
