//! The metadata that a command looks at: files that no server uses, or a running server's state, fetched first.
//!
//! Invariant: nothing of it is changed, and no server starts on it meanwhile.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cairn_common::ids::NodeId;
use cairn_metadata::maintenance::{Finding, Source, Verified, fetch_live, verify};
use cairn_transport::{LocalTransport, Transport};

use crate::{alone::alone, cli::SourceArgs, progress::Progress};

/// All parts of one process are this node to an operator on its machine.
pub(crate) const LOCAL: NodeId = NodeId::new(1);

/// What is looked at, for as long as it lives.
pub(crate) struct Place {
    pub(crate) source: Source,
    pub(crate) scratch: PathBuf,
    /// Held so that no server starts meanwhile.
    _lock: Option<File>,
    fetched: Option<PathBuf>,
}

impl Place {
    pub(crate) fn of(args: &SourceArgs) -> anyhow::Result<Self> {
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
        alone(Self::fetched(&LocalTransport::new(data), LOCAL, scratch))
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

/// Checks all records of a state; prints up to `show` findings.
pub(crate) fn check(place: &Place, show: u64) -> anyhow::Result<Verified> {
    let progress = Progress::new("verifying");
    let mut shown = 0;
    let mut written = Ok(());
    let mut report = |finding: &Finding| {
        if shown < show && written.is_ok() {
            shown += 1;
            written = print(finding);
        }
    };
    let mut advance = |kind: &'static str, count: u64| progress.records(kind, count);
    let verified = verify(&place.source, &place.scratch, &mut report, &mut advance)?;
    written.context("writing to standard output")?;
    Ok(verified)
}

fn print(finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} {}: {}", finding.family, finding.record, finding.what)?;
    writeln!(out, "    to do: {}", finding.advice)
}
