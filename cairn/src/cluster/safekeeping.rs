//! The copy of the cluster's authority in the replicated state: kept up to date by the node that holds the authority.
//!
//! Invariant: a node that finds out that another took the authority over gives its own up, and lets nobody in any more.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cairn_common::{
    ids::NodeId,
    wire::{
        authority::{AuthorityCopy, AuthorityQuery, KeepAuthority},
        command::{Command, ErrorCode, Outcome, WriteRequest},
        query::{Answer, Query},
    },
};
use cairn_transport::identity::AuthorityDir;
use tokio::time::{Instant, MissedTickBehavior};

use super::{ClusterDir, Contacts, Refused, Way};
use crate::alone::alone;

/// How often the authority is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the service is asked whose the authority is, where nothing changes.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may fail before it is told.
const TELL_AFTER: Duration = Duration::from_secs(30);

/// How long the service may take in all.
const KEEP_TIMEOUT: Duration = Duration::from_secs(20);

/// Tries to put a copy behind the newest, while another process does the same.
pub(super) const TRIES: usize = 3;

/// What became of a copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kept {
    /// It is in the replicated state.
    Done,
    /// Another node has taken the authority over: this is its copy.
    TakenOver(AuthorityCopy),
}

/// The copy that the service has; none where none was ever kept.
pub(super) async fn kept(way: &mut Way) -> anyhow::Result<Option<AuthorityCopy>> {
    match way.query(Query::Authority(AuthorityQuery {})).await? {
        Answer::Authority(answer) => Ok(answer.copy),
        _ => bail!("the metadata service answered something else about the authority"),
    }
}

/// Has the service keep what the holder's own ledger says now, behind the newest copy.
pub(super) async fn keep(way: &mut Way, copy: &AuthorityCopy) -> anyhow::Result<Kept> {
    for _ in 0..TRIES {
        let newest = kept(way).await?.unwrap_or_default();
        if newest.version > 0 && newest.term >= copy.term && !is_same_tenure(&newest, copy) {
            return Ok(Kept::TakenOver(newest));
        }
        let version = newest.version;
        if newest
            == (AuthorityCopy {
                version,
                ..copy.clone()
            })
            || put(way, version, copy.clone()).await?
        {
            return Ok(Kept::Done);
        }
    }
    bail!("the copy of the authority changes all the time: do two servers run on copies of one directory?")
}

/// Whether it is kept: only where the newest copy still is that of `version`.
pub(super) async fn put(way: &mut Way, version: u64, copy: AuthorityCopy) -> anyhow::Result<bool> {
    let next = AuthorityCopy {
        version: version + 1,
        ..copy
    };
    let request = WriteRequest {
        command: Some(Command::KeepAuthority(KeepAuthority { copy: Some(next) })),
        ..WriteRequest::default()
    };
    match way.command(&request).await {
        Ok(Outcome::Done(_)) => Ok(true),
        Ok(_) => bail!("the metadata service answered something else than that it is done"),
        Err(error) => match error.downcast_ref() {
            Some(Refused {
                code: ErrorCode::PreconditionFailed,
                ..
            }) => Ok(false),
            _ => Err(error),
        },
    }
}

fn is_same_tenure(one: &AuthorityCopy, other: &AuthorityCopy) -> bool {
    (one.term, one.holder) == (other.term, other.holder)
}

/// Tells the service at once what was decided, from a command beside the server on `data`, which tells it too where this fails.
pub(super) fn keep_now(data: &Path) -> anyhow::Result<()> {
    let directory = ClusterDir::of(data);
    let Some(copy) = directory.authority()?.copy(directory.identity()?.peer().node)? else {
        return Ok(());
    };
    let kept = alone(async {
        let mut way = Way::to_service(data).await?;
        let kept = keep(&mut way, &copy).await;
        way.close().await;
        kept
    });
    match kept {
        Ok(Kept::Done) => {}
        Ok(Kept::TakenOver(newest)) => bail!(
            "node {} has taken the authority over: this node's no longer counts, do it there",
            newest.holder
        ),
        Err(error) => writeln!(
            io::stderr().lock(),
            "cairn: done here; the metadata service does not know it yet, and hears of it from the server on {}: {error:#}",
            data.display()
        )?,
    }
    Ok(())
}

/// The authority of a node that runs, and the way to the service from the node's directory.
pub(super) struct Safekeeping {
    pub(super) data: PathBuf,
    pub(super) node: NodeId,
    pub(super) authority: Arc<AuthorityDir>,
}

impl Safekeeping {
    /// Keeps the copy up to date until the authority is another node's.
    pub(super) async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut sent, mut ask_at) = (None, Instant::now());
        let mut failing = Failing::default();
        loop {
            ticks.tick().await;
            let copy = match self.copy().await {
                Ok(Some(copy)) => copy,
                Ok(None) => continue,
                Err(error) => {
                    failing.tell(&error);
                    continue;
                }
            };
            if sent.as_ref() == Some(&copy) && Instant::now() < ask_at {
                continue;
            }
            match self.keep(&copy).await {
                Ok(Kept::Done) => {
                    (sent, ask_at) = (Some(copy), Instant::now() + ASK_INTERVAL);
                    failing = Failing::default();
                }
                Ok(Kept::TakenOver(newest)) => match self.give_up(&newest) {
                    Ok(()) => return,
                    Err(error) => failing.tell(&error),
                },
                Err(error) => failing.tell(&error),
            }
        }
    }

    async fn copy(&self) -> anyhow::Result<Option<AuthorityCopy>> {
        let (authority, node) = (Arc::clone(&self.authority), self.node);
        let read = tokio::task::spawn_blocking(move || authority.copy(node)).await;
        Ok(read.context("looking at the authority")??)
    }

    async fn keep(&self, copy: &AuthorityCopy) -> anyhow::Result<Kept> {
        let kept = async {
            let mut way = Way::to_service(&self.data).await?.in_silence();
            let kept = keep(&mut way, copy).await;
            way.close().await;
            kept
        };
        let kept = tokio::time::timeout(KEEP_TIMEOUT, kept).await;
        kept.context("the metadata service does not take it")?
    }

    /// From then on nothing can be read or written where the authority was, so nobody is let in.
    fn give_up(&self, newest: &AuthorityCopy) -> anyhow::Result<()> {
        let directory = ClusterDir::of(&self.data);
        let holder = NodeId::new(newest.holder);
        let addresses = Contacts::of(&directory).map_or_else(|_| Vec::new(), |contacts| contacts.addresses_of(holder));
        let aside = directory.give_up_authority(holder, newest.term, &addresses)?;
        tracing::error!(
            %holder,
            aside = %aside.display(),
            "another node has taken over the cluster's authority: this one lets nobody in any more"
        );
        Ok(())
    }
}

/// Since when keeping the copy fails. While a server starts it fails for some seconds, which nobody has to know.
#[derive(Default)]
struct Failing {
    since: Option<Instant>,
    is_told: bool,
}

impl Failing {
    fn tell(&mut self, error: &anyhow::Error) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= TELL_AFTER && !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                error = format!("{error:#}"),
                "the metadata service has no up-to-date copy of the cluster's authority; trying again"
            );
        }
    }
}
