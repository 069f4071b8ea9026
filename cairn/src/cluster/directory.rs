//! Where a node keeps what makes it one.
//!
//! ```text
//! DIR/cluster/node.pem, ca.crt, revoked.crl   its credentials
//! DIR/cluster/authority/                      the authority, on the node that holds it: the first, or one that took it over
//! DIR/cluster/authority.taken-over-<term>/    what a node held until another took it over
//! DIR/cluster/restore-first                   there while a node that was made again has no metadata restored
//! DIR/cluster/admitted-by.toml                the node that let it in and where that is reached, on all others
//! DIR/cluster/metadata.toml                   the metadata servers that it has met (contacts.rs)
//! DIR/joining.pem                             the key of a node that is about to join: a repeated attempt is the same node
//! ```

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, bail, ensure};
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::authority::AuthorityCopy,
};
use cairn_transport::identity::{
    AuthorityDir, Identity, NodeCredentials, NodeKey, RecoveryKey, load_credentials, save_credentials,
};
use serde::{Deserialize, Serialize};

use crate::data_dir::{replace_file, replace_secret_file, sync_parent};

/// The node that `cairn cluster init` makes.
const FIRST_NODE: NodeId = NodeId::new(1);

const RESTORE_FIRST: &str = "restore-first";

/// The cluster's part of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct ClusterDir {
    root: PathBuf,
}

/// Who let this node in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdmittedBy {
    pub(crate) node: u64,
    pub(crate) addresses: Vec<String>,
}

impl ClusterDir {
    /// That of the data directory `root`.
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether the directory is a node's.
    pub(crate) fn exists(&self) -> bool {
        self.path().exists()
    }

    /// The cluster that a server on the directory is a part of; an error where no server may run.
    pub(crate) fn serving_cluster(&self) -> anyhow::Result<Option<ClusterId>> {
        if !self.exists() {
            return Ok(None);
        }
        let identity = self.identity()?;
        self.check_restored()?;
        ensure!(
            self.is_first()?,
            "{} is node {} of cluster {}, and only a cluster's first node can be a whole store: run `cairn metadata`, \
             `cairn chunkserver` or `cairn gateway` on it, as its roles say",
            self.root.display(),
            identity.peer().node,
            identity.cluster()
        );
        Ok(Some(identity.cluster()))
    }

    /// Whether the node is the cluster's first, whoever holds the authority now.
    pub(crate) fn is_first(&self) -> anyhow::Result<bool> {
        Ok(self.identity()?.peer().node == FIRST_NODE)
    }

    /// Whether the authority is here.
    pub(crate) fn has_authority(&self) -> bool {
        self.path().join("authority").exists()
    }

    /// Who the node is.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity> {
        Ok(Identity::member(self.credentials()?)?)
    }

    /// What the node proves it with.
    pub(crate) fn credentials(&self) -> anyhow::Result<NodeCredentials> {
        ensure!(
            self.exists(),
            "{} is no node of a cluster: `cairn cluster init` makes the first, `cairn cluster join` any other",
            self.root.display()
        );
        Ok(load_credentials(&self.path())?)
    }

    /// Puts renewed credentials in the place of the present ones.
    pub(crate) fn replace_credentials(&self, credentials: &NodeCredentials) -> anyhow::Result<()> {
        Ok(save_credentials(&self.path(), credentials)?)
    }

    /// When the credentials were last replaced.
    pub(crate) fn credentials_changed(&self) -> io::Result<SystemTime> {
        self.path().join("node.pem").metadata()?.modified()
    }

    /// The authority.
    pub(crate) fn authority(&self) -> anyhow::Result<AuthorityDir> {
        if !self.has_authority() {
            bail!(
                "{} does not hold the cluster's authority: run this on the node that does, the first unless another took it over",
                self.root.display()
            );
        }
        Ok(AuthorityDir::open(&self.path().join("authority"))?)
    }

    /// Makes the authority from a copy, aside: [`ClusterDir::take_authority`] puts it into force.
    pub(super) fn recover_authority(&self, copy: &AuthorityCopy, key: &RecoveryKey) -> anyhow::Result<AuthorityDir> {
        self.forget_recovered()?;
        Ok(AuthorityDir::recover(
            &self.path().join("authority.recovered"),
            copy,
            key,
        )?)
    }

    /// Removes what [`ClusterDir::recover_authority`] made, which did not come into force.
    pub(super) fn forget_recovered(&self) -> anyhow::Result<()> {
        let aside = self.path().join("authority.recovered");
        match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing the unfinished {}", aside.display()))
            }
            _ => Ok(()),
        }
    }

    /// Puts into force what [`ClusterDir::recover_authority`] made.
    pub(super) fn take_authority(&self) -> anyhow::Result<()> {
        let (aside, path) = (self.path().join("authority.recovered"), self.path().join("authority"));
        std::fs::rename(&aside, &path).with_context(|| format!("making {}", path.display()))?;
        sync_parent(&path)
    }

    /// Puts the authority aside, since `holder` has it now, in this term. Gives where it lies.
    pub(super) fn give_up_authority(&self, holder: NodeId, term: u64, addresses: &[String]) -> anyhow::Result<PathBuf> {
        Self::note_admission(&self.path(), holder, addresses)?;
        let path = self.path().join("authority");
        let aside = self.path().join(format!("authority.taken-over-{term}"));
        std::fs::rename(&path, &aside).with_context(|| format!("putting {} aside", path.display()))?;
        sync_parent(&aside)?;
        Ok(aside)
    }

    /// Notes in the new directory `directory` that no server may start before its metadata is restored.
    pub(super) fn note_restore_first(directory: &Path) -> anyhow::Result<()> {
        replace_file(&directory.join(RESTORE_FIRST), "")
    }

    /// The metadata is restored.
    pub(crate) fn is_restored(&self) -> anyhow::Result<()> {
        let path = self.path().join(RESTORE_FIRST);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// An error where the metadata is to be restored first: an empty service would take the lost one's place.
    pub(crate) fn check_restored(&self) -> anyhow::Result<()> {
        ensure!(
            !self.path().join(RESTORE_FIRST).exists(),
            "{} was made again from a backup: run `cairn metadata restore` on it, with the same backup, before a server",
            self.root.display()
        );
        Ok(())
    }

    /// Makes the directory as a whole: `fill` is given an empty one, which takes its place when it is done.
    pub(crate) fn create(&self, fill: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let (path, new) = (self.path(), self.root.join("cluster.new"));
        ensure!(!path.exists(), "{} is a node of a cluster already", self.root.display());
        match std::fs::remove_dir_all(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing the unfinished {}", new.display()));
            }
            _ => {}
        }
        std::fs::create_dir(&new).with_context(|| format!("making {}", new.display()))?;
        fill(&new)?;
        sync_parent(&new.join("node.pem"))?;
        std::fs::rename(&new, &path).with_context(|| format!("making {}", path.display()))?;
        sync_parent(&path)
    }

    /// The key to join with, made at the first attempt.
    pub(crate) fn joining_key(&self) -> anyhow::Result<NodeKey> {
        let path = self.joining_file();
        if path.exists() {
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            return Ok(NodeKey::from_pem(&text)?);
        }
        let key = NodeKey::make()?;
        replace_secret_file(&path, &key.to_pem())?;
        Ok(key)
    }

    /// The key has its certificate.
    pub(crate) fn forget_joining_key(&self) -> anyhow::Result<()> {
        let path = self.joining_file();
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// Who let this node in.
    pub(crate) fn admitted_by(&self) -> anyhow::Result<AdmittedBy> {
        let path = self.path().join("admitted-by.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}", path.display()))
    }

    /// Notes in the new directory `directory` who let the node in.
    pub(crate) fn note_admission(directory: &Path, node: NodeId, addresses: &[String]) -> anyhow::Result<()> {
        let admitted_by = AdmittedBy {
            node: node.value(),
            addresses: addresses.to_vec(),
        };
        let text = toml::to_string(&admitted_by).context("writing who let the node in")?;
        replace_file(&directory.join("admitted-by.toml"), &text)
    }

    /// The metadata servers that this node has met.
    pub(super) fn contacts_file(&self) -> PathBuf {
        self.path().join("metadata.toml")
    }

    fn path(&self) -> PathBuf {
        self.root.join("cluster")
    }

    fn joining_file(&self) -> PathBuf {
        self.root.join("joining.pem")
    }
}
