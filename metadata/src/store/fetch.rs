//! Fetches a checkpoint of another server, file by file; what had come before an interruption is not fetched again.
//!
//! ```text
//! INTO/NAME         whole, its hash checked, synced
//! INTO/NAME.part    as far as it has come
//! ```
//!
//! It must never take a byte on trust. Invariant: on success every file has the hash that the manifest says, and files and
//! directory are synced; tries without any progress are bounded.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    checksum::Hash,
    ids::NodeId,
    limits::CHECKPOINT_READ_BYTES_MAX,
    wire::{
        checkpoint::{CheckpointFile, CheckpointManifest, ReadCheckpoint, ReadCheckpointReply},
        failure::FailureCode,
        kind::RequestKind,
    },
};
use cairn_transport::{Body, CallError, Transport, call};
use tokio::time::Instant;

use super::{StoreError, directory, manifest, pins::CheckpointName, state::Checkpoint, transfer::blocking};

/// Bytes asked for at a time: what a request that is cut short costs at most is what had not come of it.
const REQUEST_BYTES: u64 = 16 << 20;

/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(60);

/// Requests in a row that fail without bringing a byte.
const TRIES_MAX: u32 = 8;

/// How long the other server may be busy without a byte: it may have to hash a large state first.
const BUSY_MAX: Duration = Duration::from_secs(600);

/// First and longest pause before a request is made again; doubled each time.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Times that a file may come with a wrong hash.
const WRONG_HASHES_MAX: u32 = 2;

/// Bytes of a manifest at most.
const MANIFEST_BYTES_MAX: usize = 32 << 20;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
    /// Files that are here and checked.
    pub files_done: u64,
    /// All files.
    pub files_total: u64,
}

/// Why a checkpoint could not be fetched. What has come stays for another try.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The checkpoint is no longer there: fetch the newest.
    #[error("the other server no longer has it: {0}")]
    Gone(String),
    /// What comes is not what the manifest says.
    #[error("the other server's checkpoint is damaged: {0}. Check its disk, and fetch from another server")]
    Damaged(String),
    /// The other server does not answer, or refuses.
    #[error("the other server does not hand it out: {0}")]
    Unanswered(CallError),
    /// The own disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Fetches snapshot `number` of server `from` into the directory `into`, or what is missing of it there.
pub(crate) async fn fetch(
    transport: &dyn Transport,
    from: NodeId,
    number: u64,
    into: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Checkpoint, FetchError> {
    let name = CheckpointName { number, backup: false };
    fetch_checkpoint(transport, from, name, into, progress).await
}

/// Fetches any checkpoint.
pub(crate) async fn fetch_checkpoint(
    transport: &dyn Transport,
    from: NodeId,
    name: CheckpointName,
    into: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Checkpoint, FetchError> {
    let fetching = Fetching {
        transport,
        from,
        name,
        into,
    };
    directory::create_directory(into)?;
    let manifest = fetching.manifest().await?;
    fetching.clear_strangers(&manifest).await?;
    let mut so_far = Progress {
        bytes_total: manifest.files.iter().map(|file| file.length).sum(),
        files_total: manifest.files.len() as u64,
        ..Progress::default()
    };
    for file in &manifest.files {
        let before = so_far;
        fetching
            .file(file, &|of_file| {
                progress(Progress {
                    bytes_done: before.bytes_done + of_file,
                    ..before
                });
            })
            .await?;
        so_far.bytes_done += file.length;
        so_far.files_done += 1;
        progress(so_far);
    }
    let (path, expected) = (into.to_owned(), manifest::position(&manifest)?);
    let opened = blocking(move || {
        let synced = directory::sync_directory(&path);
        synced.map_err(|error| StoreError::from_io("syncing a fetched checkpoint", &error))?;
        Checkpoint::open(&path)
    })
    .await?;
    if (&opened.applied, &opened.membership) == (&expected.0, &expected.1) {
        return Ok(opened);
    }
    Err(FetchError::Damaged(
        "the state in it is not the one that its manifest says".to_owned(),
    ))
}

struct Fetching<'a> {
    transport: &'a dyn Transport,
    from: NodeId,
    name: CheckpointName,
    into: &'a Path,
}

impl Fetching<'_> {
    async fn manifest(&self) -> Result<CheckpointManifest, FetchError> {
        let mut patience = Patience::default();
        loop {
            let asked = self.request("", 0, CHECKPOINT_READ_BYTES_MAX).await;
            let collected = match asked {
                Ok(body) => body.collect(MANIFEST_BYTES_MAX).await.map_err(CallError::from),
                Err(error) => Err(error),
            };
            match collected {
                Ok(pieces) => {
                    let manifest = manifest::decode_foreign(&pieces.concat()).map_err(FetchError::Damaged)?;
                    if manifest.number == self.name.number {
                        return Ok(manifest);
                    }
                    let detail = format!("its manifest is that of checkpoint {}", manifest.number);
                    return Err(FetchError::Damaged(detail));
                }
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }

    /// Removes files that are no part of the checkpoint: of another one that was fetched to the same place.
    async fn clear_strangers(&self, manifest: &CheckpointManifest) -> Result<(), StoreError> {
        let (into, manifest) = (self.into.to_owned(), manifest.clone());
        blocking(move || {
            for name in directory::names(&into)? {
                let whole = name.strip_suffix(PART_SUFFIX).unwrap_or(&name);
                if !manifest.files.iter().any(|file| file.name == whole) {
                    remove_file(&into.join(name))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Brings one file here. `progress` hears how many of its bytes are.
    async fn file(&self, file: &CheckpointFile, progress: &(dyn Fn(u64) + Sync)) -> Result<(), FetchError> {
        let whole = self.into.join(&file.name);
        let part = self.into.join(format!("{}{PART_SUFFIX}", file.name));
        if settle(&whole, &whole, file).await? {
            return Ok(());
        }
        for _ in 0..WRONG_HASHES_MAX {
            self.bytes(file, &part, progress).await?;
            if settle(&part, &whole, file).await? {
                return Ok(());
            }
        }
        Err(FetchError::Damaged(format!(
            "{} came with a wrong hash, {WRONG_HASHES_MAX} times",
            file.name
        )))
    }

    /// Fetches what is missing of `part`.
    async fn bytes(
        &self,
        file: &CheckpointFile,
        part: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), FetchError> {
        let (target, mut at) = open_part(part.to_owned(), file.length).await?;
        let mut patience = Patience::default();
        while at < file.length {
            let asked = self.request(&file.name, at, REQUEST_BYTES).await;
            let mut body = match asked {
                Ok(body) => body,
                Err(error) => {
                    patience.wait_after(error).await?;
                    continue;
                }
            };
            let before = at;
            while let Some(piece) = body.next().await {
                let piece = match piece {
                    Ok(piece) if at + piece.len() as u64 <= file.length => piece,
                    Ok(_) => {
                        return Err(FetchError::Damaged(format!(
                            "{} is longer than it should be",
                            file.name
                        )));
                    }
                    Err(error) => {
                        patience.wait_after(error.into()).await?;
                        break;
                    }
                };
                at += piece.len() as u64;
                append(&target, piece).await?;
                patience = Patience::default();
                progress(at);
            }
            if at == before {
                let detail = format!("{} ends early", file.name);
                patience.wait_after(CallError::Malformed(detail)).await?;
            }
        }
        Ok(())
    }

    async fn request(&self, file: &str, offset: u64, length: u64) -> Result<Body, CallError> {
        let request = ReadCheckpoint {
            number: self.name.number,
            backup: self.name.backup,
            file: file.to_owned(),
            offset,
            length,
        };
        let (_, body): (ReadCheckpointReply, _) = call(
            self.transport,
            self.from,
            RequestKind::ReadCheckpoint,
            &request,
            Body::empty(),
            REQUEST_DEADLINE,
        )
        .await?;
        Ok(body)
    }
}

/// What is left of the tries since the last byte came.
#[derive(Default)]
struct Patience {
    failed: u32,
    pauses: u32,
    busy_since: Option<Instant>,
}

impl Patience {
    /// Waits before another try after `error`, or says that there is none.
    async fn wait_after(&mut self, error: CallError) -> Result<(), FetchError> {
        let code = match &error {
            CallError::Failed(failure) => Some(failure.code()),
            CallError::Unreachable { .. }
            | CallError::ConnectionLost { .. }
            | CallError::DeadlineExceeded
            | CallError::Malformed(_)
            | CallError::Body(_) => None,
        };
        match code {
            Some(FailureCode::NotFound) => return Err(FetchError::Gone(error.to_string())),
            Some(FailureCode::Corrupt) => return Err(FetchError::Damaged(error.to_string())),
            Some(
                FailureCode::Malformed
                | FailureCode::Forbidden
                | FailureCode::Unsupported
                | FailureCode::WrongGroup
                | FailureCode::WrongEpoch,
            ) => {
                return Err(FetchError::Unanswered(error));
            }
            Some(FailureCode::Busy) => {
                if self.busy_since.get_or_insert_with(Instant::now).elapsed() > BUSY_MAX {
                    return Err(FetchError::Unanswered(error));
                }
            }
            Some(
                FailureCode::Unspecified
                | FailureCode::DeviceDown
                | FailureCode::DeviceFull
                | FailureCode::WrongDevice
                | FailureCode::NotLeader
                | FailureCode::Internal
                | FailureCode::DeadlineExceeded,
            )
            | None => {
                self.failed += 1;
                if self.failed >= TRIES_MAX {
                    return Err(FetchError::Unanswered(error));
                }
            }
        }
        let pause = PAUSE.0.saturating_mul(1 << self.pauses.min(10)).min(PAUSE.1);
        self.pauses += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

const PART_SUFFIX: &str = ".part";

/// Puts the file at `from` in its place where it is whole, synced; removes it where it is there and is not.
async fn settle(from: &Path, place: &Path, file: &CheckpointFile) -> Result<bool, StoreError> {
    let (from, place) = (from.to_owned(), place.to_owned());
    let expected = (file.length, Hash::from_slice(&file.hash));
    blocking(move || {
        if !from.exists() {
            return Ok(false);
        }
        let (length, hash) = manifest::hash_file(&from)?;
        if (length, Some(hash)) != expected {
            remove_file(&from)?;
            return Ok(false);
        }
        let place = || {
            File::open(&from)?.sync_all()?;
            fs::rename(&from, &place)
        };
        place().map_err(|error| StoreError::from_io("putting a fetched file in place", &error))?;
        Ok(true)
    })
    .await
}

/// Opens the part of a file of `length` bytes, and tells how far it has come.
async fn open_part(path: PathBuf, length: u64) -> Result<(Arc<File>, u64), StoreError> {
    blocking(move || {
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let mut found = file.metadata()?.len();
            if found > length {
                file.set_len(0)?;
                found = 0;
            }
            Ok((Arc::new(file), found))
        };
        open().map_err(|error: io::Error| StoreError::from_io("opening a part of a checkpoint", &error))
    })
    .await
}

async fn append(file: &Arc<File>, piece: Bytes) -> Result<(), StoreError> {
    let file = Arc::clone(file);
    blocking(move || {
        let written = (&*file).write_all(&piece);
        written.map_err(|error| StoreError::from_io("writing a part of a checkpoint", &error))
    })
    .await
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::from_io("removing a part of a checkpoint", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
