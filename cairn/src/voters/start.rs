//! Starting the metadata servers of a process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use cairn_chunkserver::disk_of;
use cairn_common::{
    ids::{ClusterId, NodeId},
    limits,
    wire::shard::DeviceStatus,
};
use cairn_metadata::{GROUP_KINDS, MetadataConfig, MetadataServer, Start, Surroundings};
use cairn_transport::{Addresses, InProcess, Neighbours, NoAddresses, Services};

use super::{
    Voters, copies,
    disks::{self, Place},
    list::{Voter, VoterList, has_files},
    members::{Keeper, absent},
};

/// Requests of the other voters under way at once, at each.
const REQUESTS_MAX: usize = 256;

/// What the metadata servers of a process are started with.
pub(crate) struct Setup<'a> {
    /// The store's directory.
    pub(crate) root: &'a Path,
    /// Where the databases of its own lie.
    pub(crate) metadata: PathBuf,
    /// Its number, and that of the process.
    pub(crate) server: NodeId,
    /// Where the process is a node of one: the cluster, and what learns where its other nodes are.
    pub(crate) cluster: Option<(ClusterId, Arc<dyn Addresses>)>,
    /// Under which address other nodes call it, where it has one.
    pub(crate) address: String,
    /// Leads to the shards, and to other nodes.
    pub(crate) shards: InProcess,
    /// The store's devices, as they are now.
    pub(crate) devices: &'a [DeviceStatus],
    /// Devices that may be lost by the redundancy of new buckets.
    pub(crate) tolerance: usize,
}

/// What each of them is started with.
pub(super) struct Surrounding {
    pub(super) root: PathBuf,
    pub(super) server: NodeId,
    metadata: PathBuf,
    template: MetadataConfig,
    addresses: Arc<dyn Addresses>,
    shards: InProcess,
    neighbours: Neighbours,
}

impl Voters {
    /// Starts them, and sees to it that there are as many as the store's disks ask for.
    pub(crate) async fn start(setup: Setup<'_>) -> anyhow::Result<Arc<Self>> {
        let list = VoterList::load(setup.root)?;
        let (places, own_disk) = setup.places()?;
        let devices: Vec<PathBuf> = places.iter().map(|place| setup.root.join(&place.device)).collect();
        copies::check_newest(setup.root, &list, &devices)?;
        let wanted = disks::wanted(disks::count(&places, &own_disk), setup.tolerance);
        let surrounding = Surrounding::new(&setup, wanted.max(1 + list.voters.len()));
        let voters = Arc::new(Self::default());
        let mut remarks = Vec::new();
        let used = list.voters.iter().filter(|voter| voter.is_used);
        voters.count_on(used.clone().count() + 1);
        for voter in used {
            if let Err(error) = surrounding.start_used(&voters, voter).await {
                // The others do without it, where they are a majority.
                let remark = absent(&voter.directory(setup.root), &error);
                tracing::error!("{remark}");
                remarks.push(remark);
            }
        }
        if !list.is_own_lost {
            surrounding.start_own_again(&voters, list.has_others()).await?;
        }
        voters.note_remarks(remarks);
        if let Some(reason) = voters.failed() {
            bail!("{reason}. Bring their disks back, or restore a backup (`cairn metadata restore`)");
        }
        let keeper = Keeper::new(&setup, Arc::clone(&voters), list, (places, own_disk), surrounding);
        keeper.settle_and_stay().await?;
        Ok(voters)
    }
}

impl Setup<'_> {
    /// The devices that serve, and the disk of the store's directory.
    fn places(&self) -> anyhow::Result<(Vec<Place>, String)> {
        let disk = |path: &Path| disk_of(path).with_context(|| format!("looking at {}", path.display()));
        let mut places = Vec::new();
        for device in self.devices.iter().filter(|device| device.up) {
            let path = Path::new(&device.path);
            places.push(Place {
                device: path.strip_prefix(self.root).unwrap_or(path).to_owned(),
                disk: disk(path)?,
            });
        }
        Ok((places, disk(self.root)?))
    }
}

impl Surrounding {
    fn new(setup: &Setup<'_>, voters: usize) -> Self {
        let mut template = MetadataConfig::new(PathBuf::new(), setup.server);
        template.memory_bytes = limits::METADATA_MEMORY_BYTES / voters.max(1);
        let mut addresses: Arc<dyn Addresses> = Arc::new(NoAddresses);
        if let Some((cluster, learns)) = &setup.cluster {
            template.cluster = *cluster;
            addresses = Arc::clone(learns);
        }
        template.address.clone_from(&setup.address);
        Self {
            root: setup.root.to_owned(),
            server: setup.server,
            metadata: setup.metadata.clone(),
            template,
            addresses,
            shards: setup.shards.clone(),
            neighbours: Neighbours::new(),
        }
    }

    /// Starts one that the group counts on.
    async fn start_used(&self, voters: &Voters, voter: &Voter) -> anyhow::Result<()> {
        // Empty it would wait to be added, under a number whose promises it does not know.
        ensure!(voter.has_files(&self.root)?, "its files are missing");
        self.start(voters, voter.node(), voter.metadata(&self.root)).await
    }

    /// Starts that of the store's directory, which makes the group where there is none yet.
    async fn start_own_again(&self, voters: &Voters, has_others: bool) -> anyhow::Result<()> {
        ensure!(
            !has_others || has_files(&self.metadata)?,
            "{} is empty though the store has metadata on other disks: remove it, then `cairn metadata recover` has it made again \
             from there",
            self.metadata.display()
        );
        self.start_own(voters, Start::Alone).await
    }

    /// Where the databases of that of the store's directory lie.
    pub(super) fn own_metadata(&self) -> &Path {
        &self.metadata
    }

    /// Starts that of the store's directory.
    pub(super) async fn start_own(&self, voters: &Voters, start: Start) -> anyhow::Result<()> {
        let config = MetadataConfig {
            dir: self.metadata.clone(),
            start,
            ..self.template.clone()
        };
        self.run(voters, config, Arc::clone(&self.addresses)).await
    }

    /// Starts another one, which waits to be added to the group where it is new.
    pub(super) async fn start(&self, voters: &Voters, node: NodeId, metadata: PathBuf) -> anyhow::Result<()> {
        let config = MetadataConfig {
            dir: metadata,
            server_id: node,
            // Nobody calls it but those of this process.
            address: String::new(),
            start: Start::Join,
            ..self.template.clone()
        };
        self.run(voters, config, Arc::new(NoAddresses)).await
    }

    /// Lets one go, stopped.
    pub(super) async fn stop(&self, voters: &Voters, node: NodeId) {
        self.neighbours.move_out(node);
        voters.let_go(node).await;
    }

    async fn run(&self, voters: &Voters, config: MetadataConfig, addresses: Arc<dyn Addresses>) -> anyhow::Result<()> {
        let node = config.server_id;
        let surroundings = Surroundings {
            addresses,
            ..Surroundings::new(self.neighbours.way_of(node, Arc::new(self.shards.clone())))
        };
        let started = MetadataServer::start(config, surroundings).await;
        let server = started.context("starting the metadata service")?;
        let services = Services::new().with(GROUP_KINDS, Arc::new(server.clone()), REQUESTS_MAX);
        self.neighbours.move_in(node, services);
        voters.take_in(node, server, node == self.server);
        Ok(())
    }
}
