//! The disk's part: shards written durably the way the shard store does it, and read back around the page cache.
//!
//! One thread, one shard at a time, with nobody to share a sync with. Files are left until the end: removing them is no
//! part of a PUT.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use cairn_common::{
    aligned::AlignedBytes,
    limits::{CHUNK_SIZE_BYTES, READ_PIECE_BYTES},
    redundancy::Redundancy,
};
use rustix::fs::OFlags;
use tempfile::TempDir;

use crate::cpu::measure;

/// Chunks that are read in turn, so that the disk is asked for more than it may have just read.
const READ_CHUNKS: usize = 32;

/// Every shard of a chunk on a device of its own.
pub(crate) fn put(scheme: Redundancy) -> Result<f64> {
    let folder = folder()?;
    let devices = (0..scheme.width())
        .map(|index| Device::create(folder.path(), index))
        .collect::<Result<Vec<_>>>()?;
    let shard = payload(scheme.shard_len(CHUNK_SIZE_BYTES))?;
    let mut chunk = 0;
    measure(CHUNK_SIZE_BYTES, || {
        chunk += 1;
        devices
            .iter()
            .try_for_each(|device| device.put(&chunk.to_string(), &shard))
    })
}

/// Pieces as a reader asks for them; the same for whole chunks and for shards of them.
pub(crate) fn get() -> Result<f64> {
    let folder = folder()?;
    let device = Device::create(folder.path(), 0)?;
    let chunk = payload(CHUNK_SIZE_BYTES)?;
    let mut files = Vec::with_capacity(READ_CHUNKS);
    for index in 0..READ_CHUNKS {
        let name = index.to_string();
        device.put(&name, &chunk)?;
        files.push(open_direct(OpenOptions::new().read(true), &device.shards.join(name))?);
    }
    let mut memory = AlignedBytes::zeroed(READ_PIECE_BYTES);
    let pieces = CHUNK_SIZE_BYTES / READ_PIECE_BYTES;
    let mut places = (0..pieces)
        .flat_map(|piece| (0..READ_CHUNKS).map(move |chunk| (chunk, piece)))
        .cycle();
    measure(READ_PIECE_BYTES, || {
        let (chunk, piece) = places.next().context("there is nothing to read")?;
        let offset = (piece * READ_PIECE_BYTES) as u64;
        files[chunk]
            .read_exact_at(&mut memory, offset)
            .context("cannot read a shard")
    })
}

/// A device's directories.
struct Device {
    tmp: PathBuf,
    shards: PathBuf,
}

impl Device {
    fn create(folder: &Path, index: usize) -> Result<Self> {
        let root = folder.join(index.to_string());
        let device = Self {
            tmp: root.join("tmp"),
            shards: root.join("shards"),
        };
        for directory in [&device.tmp, &device.shards] {
            fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(device)
    }

    /// Written aside, synced, renamed, the directory synced.
    fn put(&self, name: &str, shard: &[u8]) -> Result<()> {
        let aside = self.tmp.join(name);
        let mut file = open_direct(OpenOptions::new().write(true).create_new(true), &aside)?;
        file.write_all(shard).context("cannot write a shard")?;
        file.sync_data().context("cannot sync a shard")?;
        fs::rename(&aside, self.shards.join(name)).context("cannot rename a shard")?;
        let directory = File::open(&self.shards).context("cannot open a directory")?;
        directory.sync_all().context("cannot sync a directory")
    }
}

/// Around the page cache; through it where the file system refuses that, as in the shard store.
fn open_direct(options: &mut OpenOptions, path: &Path) -> Result<File> {
    let opened = match options.custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => options.custom_flags(0).open(path),
        opened => opened,
    };
    opened.with_context(|| format!("cannot open {}", path.display()))
}

fn payload(len: usize) -> Result<AlignedBytes> {
    let mut memory = AlignedBytes::zeroed(len);
    ensure!(memory.len() == len, "shards are whole pages");
    for (index, byte) in memory.iter_mut().enumerate() {
        *byte = (index * 31 / 7) as u8;
    }
    Ok(memory)
}

/// In the build's own folder, which is on the disk that the server is measured on; a temporary one may be memory.
fn folder() -> Result<TempDir> {
    let parent = env!("CARGO_TARGET_TMPDIR");
    fs::create_dir_all(parent).with_context(|| format!("cannot create {parent}"))?;
    tempfile::tempdir_in(parent).with_context(|| format!("cannot create a folder in {parent}"))
}
