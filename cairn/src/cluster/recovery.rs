//! The way back where the node that held the authority is gone: `cairn cluster recovery-key` and `recover-authority`.
//!
//! Invariant: an authority is in force on a node only after the replicated state says that the node holds it, or on the node
//! that held it, made again.

use std::{
    io::{self, Write as _},
    path::Path,
    time::SystemTime,
};

use anyhow::{Context as _, bail, ensure};
use cairn_common::{
    ids::NodeId,
    wire::{
        authority::AuthorityCopy,
        role::{Role, Roles},
    },
};
use cairn_metadata::maintenance::{Source, authority_copy};
use cairn_transport::{
    Peer,
    identity::{AuthorityDir, NodeCredentials, NodeKey, RecoveryKey, save_credentials},
};

use super::{
    ClusterDir, Way,
    authority::tell_recovery_key,
    member::read_secret,
    safekeeping::{self, kept},
};
use crate::{
    alone::alone,
    cli::{DataArgs, RecoverArgs},
    data_dir::DataDir,
};

/// `cairn cluster recovery-key`
pub(super) fn new_key(args: &DataArgs) -> anyhow::Result<()> {
    let authority = ClusterDir::of(&args.data).authority()?;
    let key = RecoveryKey::make()?;
    // First: one that nobody was told of must not take the place of the one before.
    let mut out = io::stdout().lock();
    tell_recovery_key(&mut out, &key)?;
    out.flush()?;
    authority.seal(&key)?;
    safekeeping::keep_now(&args.data)
}

/// `cairn cluster recover-authority`
pub(super) fn recover(args: &RecoverArgs) -> anyhow::Result<()> {
    let key: RecoveryKey = read_secret(&args.recovery_key)?.trim().parse()?;
    match &args.from_backup {
        Some(backup) => from_backup(&args.data.data, backup, &key),
        None => from_service(&args.data.data, &key),
    }
}

/// From what the metadata service keeps: this node takes over.
fn from_service(data: &Path, key: &RecoveryKey) -> anyhow::Result<()> {
    let directory = ClusterDir::of(data);
    let own = directory.identity()?.peer();
    ensure!(
        !directory.has_authority(),
        "node {} holds the authority already",
        own.node
    );
    ensure!(
        own.roles.has(Role::Metadata),
        "node {} has the roles [{}], and only a metadata server may take the authority over",
        own.node,
        own.roles
    );
    ensure!(
        data.join("metadata").exists(),
        "no metadata server has run on {} yet: choose the directory of one that serves",
        data.display()
    );
    let taken = alone(async {
        let mut way = Way::to_service(data).await?;
        let taken = take_over(&mut way, &directory, own.node, key).await;
        way.close().await;
        taken
    });
    let before = match taken {
        Ok(before) => before,
        Err(error) => {
            directory.forget_recovered()?;
            return Err(error);
        }
    };
    directory.take_authority()?;
    let mut out = io::stdout().lock();
    writeln!(out, "authority   taken over from node {before} by node {}", own.node)?;
    writeln!(
        out,
        "next        restart the server on {}, then `cairn cluster token` works here; node {before} lets nobody in any more",
        data.display()
    )?;
    writeln!(
        out,
        "note        what was decided in the last seconds before node {before} was lost may be missing: `cairn cluster members` shows \
         what is known"
    )?;
    Ok(())
}

async fn take_over(way: &mut Way, directory: &ClusterDir, own: NodeId, key: &RecoveryKey) -> anyhow::Result<NodeId> {
    for _ in 0..safekeeping::TRIES {
        let copy = kept(way).await?.context(
            "the metadata service keeps no copy of the authority: none was made before the node that held it was lost. A copy of \
             that node's cluster/authority/ is the only way back",
        )?;
        let recovered = directory.recover_authority(&copy, key)?;
        let next = recovered
            .copy(own)?
            .context("a recovered authority has its sealed key")?;
        if safekeeping::put(way, copy.version, next).await? {
            return Ok(NodeId::new(copy.holder));
        }
    }
    bail!("the authority changes meanwhile: does the node that holds it run?")
}

/// From a backup, where no metadata server is left: the node that held the authority is made again.
fn from_backup(data: &Path, backup: &Path, key: &RecoveryKey) -> anyhow::Result<()> {
    let source = Source::find(backup)?;
    let data = DataDir::open(data)?;
    let copy = authority_copy(&source, data.root())?;
    let copy = copy.with_context(|| format!("{} holds no copy of an authority", backup.display()))?;
    ClusterDir::of(data.root()).create(|new| make_again(new, &copy, key))?;
    let mut out = io::stdout().lock();
    writeln!(out, "cluster     {}", ClusterDir::of(data.root()).identity()?.cluster())?;
    writeln!(out, "node        {}, as it was", copy.holder)?;
    writeln!(
        out,
        "next        `cairn metadata restore` with the same backup, then start the server at the address that it had; its old \
         directory must never be used again"
    )?;
    writeln!(
        out,
        "note        what was decided since the backup is not known: shut nodes out again, and have those join anew that were let in"
    )?;
    Ok(())
}

fn make_again(new: &Path, copy: &AuthorityCopy, key: &RecoveryKey) -> anyhow::Result<()> {
    ClusterDir::note_restore_first(new)?;
    let authority = AuthorityDir::recover(&new.join("authority"), copy, key)?;
    let node_key = NodeKey::make()?;
    let request = node_key.certificate_request(authority.cluster())?;
    let holder = Peer {
        node: NodeId::new(copy.holder),
        roles: Roles::MEMBER,
    };
    let issued = authority.renew(holder, &request, SystemTime::now())?;
    Ok(save_credentials(new, &NodeCredentials::of(issued, node_key))?)
}
