//! What a command looks at: files that no server uses, or a running server's state, fetched first.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cairn_common::ids::NodeId;
use cairn_metadata::maintenance::{Source, fetch_live};
use cairn_transport::{LocalTransport, Transport};

use super::block_on;
use crate::{cli::SourceArgs, progress::Progress};

/// All parts of one process are this node to an operator on its machine.
pub(super) const LOCAL: NodeId = NodeId::new(1);

/// What is looked at, for as long as it lives.
pub(crate) struct Place {
    pub(super) source: Source,
    pub(super) scratch: PathBuf,
    /// Held so that no server starts meanwhile.
    _lock: Option<File>,
    fetched: Option<PathBuf>,
}

impl Place {
    pub(super) fn of(args: &SourceArgs) -> anyhow::Result<Self> {
        let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let path = args.path.as_ref().or(args.data.as_ref());
        let path = path.context("name what to look at: --data DIR, or a path")?;
        if args.live {
            return Self::live(path, scratch);
        }
        let lock = lock_stopped(path)?;
        Ok(Self {
            source: Source::find(path)?,
            scratch,
            _lock: lock,
            fetched: None,
        })
    }

    fn live(data: &Path, scratch: PathBuf) -> anyhow::Result<Self> {
        block_on(Self::fetched(&LocalTransport::new(data), LOCAL, scratch))
    }

    /// The state that the metadata server `node` has now.
    pub(crate) async fn fetched(transport: &dyn Transport, node: NodeId, scratch: PathBuf) -> anyhow::Result<Self> {
        let fetched = scratch.join(format!("cairn-checkpoint-{}", std::process::id()));
        // Made before it is filled, so that it is removed whatever happens.
        let made = fs::DirBuilder::new().mode(0o700).create(&fetched);
        made.with_context(|| format!("making {}", fetched.display()))?;
        let mut place = Self {
            source: Source::Checkpoint(fetched.clone()),
            scratch,
            _lock: None,
            fetched: Some(fetched.clone()),
        };
        let progress = Progress::new("fetching");
        let show = |now: cairn_metadata::Progress| progress.bytes(now.bytes_done, now.bytes_total);
        place.source = fetch_live(transport, node, &fetched, &show).await?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(fetched) = &self.fetched
            && let Err(error) = fs::remove_dir_all(fetched)
        {
            tracing::warn!(path = %fetched.display(), %error, "a fetched checkpoint stays behind: remove it");
        }
    }
}

/// The lock of a store's directory that no server uses; none where the path is no such directory.
fn lock_stopped(data: &Path) -> anyhow::Result<Option<File>> {
    let path = data.join("lock");
    if !path.is_file() {
        return Ok(None);
    }
    let lock = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => bail!(
            "a server runs on {}: look at what it holds now with --live, or stop it first",
            data.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}
