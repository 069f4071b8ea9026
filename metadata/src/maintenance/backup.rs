//! A backup: one checkpoint of the state in one file.
//!
//! ```text
//! offset    size   field
//! 0         8      magic "CAIRNBKP"
//! 8         4      h, length of the header, little-endian
//! 12        h      header: a sealed BackupHeader, the table of files in it
//! 12 + h           the files' bytes, one behind the other, in the order of the table
//! end - 32  32     BLAKE3 of all bytes before
//! ```
//!
//! Invariant: a file under the name that was asked for is a whole backup; reading one checks its length, its hash, and the
//! hash of every file before any byte of it is used.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cairn_common::{
    checksum::Hash,
    envelope::{Record, open, seal},
    ids::NodeId,
    limits::{CHECKPOINT_PIECE_BYTES, METADATA_DEADLINE_MS},
    wire::{
        checkpoint::{BackUp, BackUpReply, CheckpointFile, CheckpointManifest},
        kind::RequestKind,
    },
};
use cairn_transport::{Body, Transport, call};
use prost::Message;

use super::error::{MaintenanceError, io_error};
use crate::store::{self, AppliedRecord, CheckpointName, Progress, fetch_checkpoint};

const MAGIC: &[u8; 8] = b"CAIRNBKP";
const HEADER_BYTES_MAX: u32 = 32 << 20;

/// How long the server may take to make the checkpoint: it flushes what is in memory.
const MAKING_DEADLINE: Duration = Duration::from_secs(120);

/// What stands before the files.
#[derive(Clone, PartialEq, Message)]
pub(super) struct BackupHeader {
    /// The store's cluster id, 32 hexadecimal digits; empty where it was not known.
    #[prost(string, tag = "1")]
    pub(super) store: String,
    /// When it was made, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub(super) created_ms: u64,
    /// Version of the program that made it.
    #[prost(string, tag = "3")]
    pub(super) program: String,
    /// The `store.toml` of a store in one process; empty otherwise.
    #[prost(string, tag = "4")]
    pub(super) settings: String,
    /// The files, and the state's position, chained hash and members.
    #[prost(message, required, tag = "5")]
    pub(super) manifest: CheckpointManifest,
}

impl Record for BackupHeader {
    const VERSION: u8 = 1;
}

/// What a backup says of the store that it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The store's cluster id, 32 hexadecimal digits; empty where it is not known.
    pub store: String,
    /// The `store.toml` of a store in one process; empty otherwise.
    pub settings: String,
}

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The store.
    pub about: About,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Version of the program that made it.
    pub program: String,
    /// Log index of the newest entry in it.
    pub applied_index: u64,
    /// The chained hash at that entry.
    pub chain: Hash,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Backs up the metadata of the running server `from` into `file`, which is not there yet.
pub async fn back_up(
    transport: &dyn Transport,
    from: NodeId,
    file: &Path,
    about: About,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<BackupInfo, MaintenanceError> {
    if file.exists() {
        return Err(MaintenanceError::Exists(file.to_owned()));
    }
    let fetched = beside(file, ".fetching");
    private_directory(&fetched).map_err(io_error(&fetched))?;
    let number = ask(transport, from, BackUp { done_with: None }, MAKING_DEADLINE).await?;
    let name = CheckpointName { number, backup: true };
    let fetching = fetch_checkpoint(transport, from, name, &fetched, progress).await;
    // What it would take up until its time is over is all that a lost answer costs.
    let timeout = Duration::from_millis(METADATA_DEADLINE_MS);
    let let_go = ask(
        transport,
        from,
        BackUp {
            done_with: Some(number),
        },
        timeout,
    )
    .await;
    if let Err(error) = let_go {
        tracing::warn!(%error, "the server keeps the checkpoint of this backup for a while");
    }
    fetching?;
    let (target, source) = (file.to_owned(), fetched.clone());
    let packing = tokio::task::spawn_blocking(move || pack(&source, number, about, &target));
    let packed = packing
        .await
        .unwrap_or_else(|error| Err(io_error(file)(io::Error::other(error))));
    let info = packed?;
    fs::remove_dir_all(&fetched).map_err(io_error(&fetched))?;
    Ok(info)
}

async fn ask(
    transport: &dyn Transport,
    from: NodeId,
    message: BackUp,
    timeout: Duration,
) -> Result<u64, MaintenanceError> {
    let answer = call(transport, from, RequestKind::BackUp, &message, Body::empty(), timeout).await;
    let (reply, _): (BackUpReply, _) = answer?;
    Ok(reply.number)
}

/// What the backup in `file` says of itself. Its header is checked, its files are not.
pub fn read_info(file: &Path) -> Result<BackupInfo, MaintenanceError> {
    let mut reader = Reading::begin(file)?;
    let header = reader.header()?;
    reader.info(&header)
}

/// Packs the checkpoint in `directory` into `file`.
pub(super) fn pack(directory: &Path, number: u64, about: About, file: &Path) -> Result<BackupInfo, MaintenanceError> {
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let header = BackupHeader {
        store: about.store,
        created_ms: created.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        settings: about.settings,
        manifest: store::checkpoint_manifest(directory, number)?,
    };
    let aside = beside(file, ".part");
    write(&header, directory, &aside).map_err(io_error(&aside))?;
    // Another process may have made it meanwhile; a link, unlike a renaming, never replaces it.
    fs::hard_link(&aside, file).map_err(io_error(file))?;
    fs::remove_file(&aside).map_err(io_error(&aside))?;
    sync_parent(file)?;
    read_info(file)
}

fn write(header: &BackupHeader, directory: &Path, aside: &Path) -> io::Result<()> {
    let sealed = seal(header);
    let length = u32::try_from(sealed.len())
        .ok()
        .filter(|length| *length <= HEADER_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("the state has too many files for one backup"))?;
    // Users' keys are in it: nobody else may read it.
    let mut options = OpenOptions::new();
    let new = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(aside)?;
    let mut out = Hashing::new(BufWriter::with_capacity(CHECKPOINT_PIECE_BYTES, new));
    out.write_all(MAGIC)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&sealed)?;
    for file in &header.manifest.files {
        let mut from = File::open(directory.join(&file.name))?;
        let copied = io::copy(&mut from, &mut out)?;
        if copied != file.length {
            return Err(io::Error::other(format!("{} has another length now", file.name)));
        }
    }
    let hash = *out.hasher.finalize().as_bytes();
    let mut inner = out.inner;
    inner.write_all(&hash)?;
    inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Verifies the whole backup in `file` and puts its files, synced, into the directory `into`.
pub(super) fn unpack(file: &Path, into: &Path) -> Result<BackupHeader, MaintenanceError> {
    let mut reader = Reading::begin(file)?;
    let header = reader.header()?;
    for listed in &header.manifest.files {
        reader.copy(listed, &into.join(&listed.name))?;
    }
    reader.end()?;
    File::open(into)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error(into))?;
    Ok(header)
}

/// A backup that is being read, from its start to its end.
struct Reading<'f> {
    path: &'f Path,
    from: Hashing<BufReader<File>>,
    length: u64,
}

impl<'f> Reading<'f> {
    fn begin(path: &'f Path) -> Result<Self, MaintenanceError> {
        let file = File::open(path).map_err(io_error(path))?;
        let length = file.metadata().map_err(io_error(path))?.len();
        let from = Hashing::new(BufReader::with_capacity(CHECKPOINT_PIECE_BYTES, file));
        Ok(Self { path, from, length })
    }

    fn header(&mut self) -> Result<BackupHeader, MaintenanceError> {
        let mut start = [0; 12];
        self.read(&mut start)?;
        let (magic, length) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(MaintenanceError::NoSource {
                path: self.path.to_owned(),
                detail: "it does not begin as a backup does".to_owned(),
            });
        }
        let length = u32::from_le_bytes(length.try_into().expect("four bytes are left"));
        if length > HEADER_BYTES_MAX {
            return Err(self.damaged("its header is too long"));
        }
        let mut sealed = vec![0; length as usize];
        self.read(&mut sealed)?;
        let header: BackupHeader = open(&sealed).map_err(|error| self.damaged(&format!("its header: {error}")))?;
        store::check_manifest(&header.manifest).map_err(|error| self.damaged(&error))?;
        let content: u64 = header.manifest.files.iter().map(|file| file.length).sum();
        let expected = u64::from(length) + content + 12 + Hash::LEN as u64;
        if expected == self.length {
            return Ok(header);
        }
        Err(self.damaged(&format!("it has {} bytes instead of {expected}", self.length)))
    }

    fn info(&self, header: &BackupHeader) -> Result<BackupInfo, MaintenanceError> {
        let applied: AppliedRecord =
            open(&header.manifest.applied).map_err(|error| self.damaged(&error.to_string()))?;
        Ok(BackupInfo {
            about: About {
                store: header.store.clone(),
                settings: header.settings.clone(),
            },
            created_ms: header.created_ms,
            program: header.program.clone(),
            applied_index: applied.index(),
            chain: applied.chain_hash()?,
            bytes: header.manifest.files.iter().map(|file| file.length).sum(),
        })
    }

    fn copy(&mut self, listed: &CheckpointFile, to: &Path) -> Result<(), MaintenanceError> {
        let new = OpenOptions::new().write(true).create_new(true).open(to);
        let mut out = Hashing::new(new.map_err(io_error(to))?);
        let mut left = listed.length;
        let mut piece = vec![0; CHECKPOINT_PIECE_BYTES];
        while left > 0 {
            let length = left.min(piece.len() as u64);
            let part = &mut piece[..usize::try_from(length).expect("a piece fits memory")];
            self.read(part)?;
            out.write_all(part).map_err(io_error(to))?;
            left -= length;
        }
        if out.hasher.finalize().as_bytes().as_slice() != listed.hash {
            return Err(self.damaged(&format!("the hash of {} in it is wrong", listed.name)));
        }
        out.inner.sync_all().map_err(io_error(to))
    }

    fn end(mut self) -> Result<(), MaintenanceError> {
        let expected = *self.from.hasher.finalize().as_bytes();
        let mut found = [0; Hash::LEN];
        self.read(&mut found)?;
        if found == expected {
            return Ok(());
        }
        Err(self.damaged("its hash is wrong"))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), MaintenanceError> {
        match self.from.read_exact(into) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it ends early")),
            Err(error) => Err(io_error(self.path)(error)),
            Ok(()) => Ok(()),
        }
    }

    fn damaged(&self, detail: &str) -> MaintenanceError {
        MaintenanceError::Damaged {
            path: self.path.to_owned(),
            detail: detail.to_owned(),
        }
    }
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        let hasher = blake3::Hasher::new();
        Self { inner, hasher }
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.hasher.update(&into[..read]);
        Ok(read)
    }
}

/// Makes a directory that nobody else may look into, unless it is there.
pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The file's path with `suffix` behind its name.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// Makes a change of names in the file's directory durable.
pub(super) fn sync_parent(file: &Path) -> Result<(), MaintenanceError> {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(io_error(parent))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn header() -> BackupHeader {
        let file = CheckpointFile {
            name: "CURRENT".to_owned(),
            length: 1,
            hash: Bytes::from_static(&[7; 32]),
        };
        BackupHeader {
            store: "ab".to_owned(),
            created_ms: 2,
            program: "3".to_owned(),
            settings: "s".to_owned(),
            manifest: CheckpointManifest {
                number: 4,
                files: vec![file],
                applied: Bytes::from_static(b"a"),
                membership: Bytes::from_static(b"m"),
            },
        }
    }

    #[test]
    fn the_header_is_written_as_version_1_wrote_it() {
        let sealed = seal(&header());
        let sample = "018728fc340a02616210021a01332201732a370804122d0a0743555252454e5410011a2007070707070707070707070707070707070707070707070707070707070707071a016122016d";
        assert_eq!(crate::record::description::hex(&sealed), sample);
        assert_eq!(open::<BackupHeader>(&sealed), Ok(header()));
        for length in 0..sealed.len() {
            assert!(open::<BackupHeader>(&sealed[..length]).is_err(), "{length} bytes");
        }
    }
}
