//! Who the voters of a store in one process are to be, and the way there.
//!
//! Each step is asked for until it has come about, so a start that was cut short is taken up by the next.

use std::{
    collections::BTreeSet,
    io,
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
            is_node: setup.cluster.is_some(),
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
                let remark = format!("the metadata voters are not as they should be yet: {error:#}");
                tracing::warn!("{remark}; trying again");
                self.note_trouble(Some(remark));
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
        if !self.list.voters.is_empty() || self.list.is_own_lost {
            // With each start: so an old copy of the store's directory is known by its revision.
            self.change_list(|_| {})?;
        }
        self.restore_own().await?;
        self.drop_lost().await?;
        let begun = self.begin_missing().await;
        for voter in self.list.voters.clone() {
            if self.voters.runs(voter.node()) {
                self.let_vote(voter.node()).await?;
            }
        }
        // Those that vote are none the worse for a disk on which none can begin; no other is let go for it.
        begun?;
        self.drop_doubles().await?;
        self.note_trouble(None);
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
            // Left by a try that was cut short; the group counts on nothing of it any more.
            remove_directory(self.surrounding.own_metadata())?;
            self.surrounding.start_own(&self.voters, Start::Join).await?;
        }
        self.let_vote(own).await?;
        self.change_list(|list| list.is_own_lost = false)
    }

    /// Forgets voters that the group never counted on, and takes out those whose files are gone from a device that serves.
    async fn drop_lost(&mut self) -> anyhow::Result<()> {
        let root = self.surrounding.root.clone();
        for voter in self.list.voters.clone() {
            if self.voters.runs(voter.node()) {
                continue;
            }
            if voter.is_used {
                if self.place_of(&voter).is_none() || voter.has_files(&root)? {
                    continue;
                }
                self.remove(voter.node()).await?;
            }
            self.forget(&voter)?;
        }
        Ok(())
    }

    /// Strikes one from the list that the group does not count on, and removes what is left of it.
    fn forget(&mut self, voter: &Voter) -> anyhow::Result<()> {
        self.change_list(|list| list.remove(voter.node()))?;
        remove_directory(&voter.directory(&self.surrounding.root))
    }

    /// Starts voters on disks that are to have one.
    async fn begin_missing(&mut self) -> anyhow::Result<()> {
        let doubles = self.doubles().len();
        let mut taken = BTreeSet::from([self.own_disk.clone()]);
        taken.extend(
            self.list
                .voters
                .iter()
                .filter_map(|voter| self.place_of(voter))
                .map(|place| place.disk.clone()),
        );
        let present = 1 + self.list.voters.len() - doubles;
        let mut outcome = Ok(());
        for device in disks::choose(&self.places, &taken, present, self.tolerance) {
            let begun = self.begin(device).await;
            outcome = outcome.and(begun);
        }
        outcome
    }

    async fn begin(&mut self, device: PathBuf) -> anyhow::Result<()> {
        let voter = Voter::new(device)?;
        let (directory, metadata) = (
            voter.directory(&self.surrounding.root),
            voter.metadata(&self.surrounding.root),
        );
        // Before it is listed: what is there already is not its own.
        std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        self.change_list(|list| list.add(voter.clone()))?;
        self.surrounding.start(&self.voters, voter.node(), metadata).await?;
        // The group hears of it only once that is written down.
        self.change_list(|list| list.note_used(voter.node()))?;
        tracing::info!(voter = %voter.node(), directory = %directory.display(), "a metadata voter begins on another disk");
        Ok(())
    }

    /// Voters on a disk that has another one: since the store's directory was made again there, or a disk was exchanged.
    fn doubles(&self) -> Vec<Voter> {
        let mut taken = BTreeSet::from([&self.own_disk]);
        let is_double = |voter: &&Voter| self.place_of(voter).is_some_and(|place| !taken.insert(&place.disk));
        self.list.voters.iter().filter(is_double).cloned().collect()
    }

    /// Takes those out that others on disks of their own stand in for.
    async fn drop_doubles(&mut self) -> anyhow::Result<()> {
        let wanted = disks::wanted(disks::count(&self.places, &self.own_disk), self.tolerance);
        for voter in self.doubles() {
            if self.list.voters.len() < wanted {
                break;
            }
            self.dismiss(&voter).await?;
        }
        Ok(())
    }

    /// Takes one out of the group that may run.
    async fn dismiss(&mut self, voter: &Voter) -> anyhow::Result<()> {
        self.remove(voter.node()).await?;
        self.surrounding.stop(&self.voters, voter.node()).await;
        self.forget(voter)
    }

    /// Takes all but the first out of the group.
    async fn retire(&mut self) -> anyhow::Result<()> {
        if self.list.voters.is_empty() && !self.list.is_own_lost {
            return Ok(());
        }
        self.restore_own().await?;
        self.lead_by_own().await?;
        // Those that are absent first: with them the others may be no majority of what is left.
        let (running, absent): (Vec<Voter>, Vec<Voter>) = self
            .list
            .voters
            .clone()
            .into_iter()
            .partition(|voter| self.voters.runs(voter.node()));
        for voter in absent.into_iter().chain(running) {
            self.dismiss(&voter).await?;
        }
        self.note_trouble(None);
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

    /// The place of a voter whose device serves.
    fn place_of(&self, voter: &Voter) -> Option<&Place> {
        self.places.iter().find(|place| place.device == voter.device)
    }

    fn note_trouble(&self, trouble: Option<String>) {
        let root = &self.surrounding.root;
        let missing = self.list.voters.iter().filter(|voter| !self.voters.runs(voter.node()));
        let mut remarks: Vec<String> = missing
            .map(|voter| format!("the metadata voter in {} does not run", voter.directory(root).display()))
            .collect();
        let doubles = self.doubles();
        let doubled = doubles.iter().map(|voter| voter.directory(root));
        remarks.extend(
            doubled.map(|double| format!("the metadata voter in {} shares a disk with another", double.display())),
        );
        remarks.extend(trouble);
        self.voters.note_remarks(remarks);
    }

    /// Changes the list, on the disk first, and has the voters keep it.
    fn change_list(&mut self, change: impl FnOnce(&mut VoterList)) -> anyhow::Result<()> {
        let mut list = self.list.clone();
        change(&mut list);
        list.save(&self.surrounding.root)?;
        self.list = list;
        let used = self.list.voters.iter().filter(|voter| voter.is_used).count();
        self.voters.count_on(used + 1);
        if let Err(error) = self.copy() {
            // Tried again at the end.
            tracing::warn!(error = format!("{error:#}"), "copies beside the metadata voters");
        }
        Ok(())
    }

    /// Puts copies of the store's files beside each voter; beside as many as it can.
    fn copy(&self) -> anyhow::Result<()> {
        let root = &self.surrounding.root;
        let running = self.list.voters.iter().filter(|voter| self.voters.runs(voter.node()));
        let mut outcome = Ok(());
        for voter in running {
            let copied = copies::write(root, &self.list, &voter.directory(root));
            outcome = outcome.and(copied);
        }
        outcome
    }
}

fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a person is told of a voter that did not start.
pub(super) fn absent(directory: &Path, error: &anyhow::Error) -> String {
    format!("the metadata voter in {} does not run: {error:#}", directory.display())
}
