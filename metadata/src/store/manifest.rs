//! The manifest of a checkpoint: its files with length and hash, made once and kept beside them.
//!
//! ```text
//! snapshots/N/cairn-manifest    sealed CheckpointManifest (common/src/wire/checkpoint.rs)
//! ```
//!
//! RocksDB's own housekeeping files (info logs, locks) are no part of a checkpoint. Invariant: a manifest is whole or not
//! there, and what it says of a checkpoint never changes.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

use bytes::Bytes;
use cairn_common::{
    checksum::Hash,
    envelope::seal,
    limits::CHECKPOINT_PIECE_BYTES,
    wire::checkpoint::{CheckpointFile, CheckpointManifest},
};

use super::{
    StoreError, directory,
    record::{AppliedRecord, MembershipRecord, decode},
    state::Checkpoint,
};

/// The manifest's name in a checkpoint's directory.
pub(super) const MANIFEST: &str = "cairn-manifest";

const MANIFEST_ASIDE: &str = "cairn-manifest.new";
const WHAT_MANIFEST: &str = "the manifest of a checkpoint";
const WHAT_READING: &str = "reading a checkpoint of the metadata";

/// Files of one checkpoint at most: tables of 64 MiB make this terabytes.
const FILES_MAX: usize = 100_000;

/// The manifest that was kept with the checkpoint at `path`.
pub(super) fn load(path: &Path) -> Result<Option<CheckpointManifest>, StoreError> {
    match fs::read(path.join(MANIFEST)) {
        Ok(bytes) => Ok(Some(decode(WHAT_MANIFEST, &bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::from_io(WHAT_READING, &error)),
    }
}

/// Makes the manifest of the checkpoint at `path` and keeps it there. Reads all files: `each` is called before each of them.
pub(super) fn make(path: &Path, number: u64, each: impl Fn()) -> Result<CheckpointManifest, StoreError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut files = Vec::new();
    for name in directory::names(path)?
        .into_iter()
        .filter(|name| directory::is_part(name))
    {
        each();
        let (length, hash) = hash_file(&path.join(&name))?;
        let hash = Bytes::copy_from_slice(hash.as_bytes());
        files.push(CheckpointFile { name, length, hash });
    }
    files.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let manifest = CheckpointManifest {
        number,
        files,
        applied: seal(&checkpoint.applied).into(),
        membership: seal(&checkpoint.membership).into(),
    };
    let keep = || {
        let aside = path.join(MANIFEST_ASIDE);
        let mut file = File::create(&aside)?;
        file.write_all(&seal(&manifest))?;
        file.sync_all()?;
        fs::rename(&aside, path.join(MANIFEST))?;
        directory::sync_directory(path)
    };
    keep().map_err(|error| StoreError::from_io("writing the manifest of a checkpoint", &error))?;
    Ok(manifest)
}

/// The manifest of the checkpoint at `path`, kept or made.
pub(crate) fn load_or_make(path: &Path, number: u64) -> Result<CheckpointManifest, StoreError> {
    load(path)?.map_or_else(|| make(path, number, || {}), Ok)
}

/// Decodes a manifest that came from elsewhere, and checks what its reader relies on.
pub(super) fn decode_foreign(bytes: &[u8]) -> Result<CheckpointManifest, String> {
    let manifest: CheckpointManifest = decode(WHAT_MANIFEST, bytes).map_err(|error| error.to_string())?;
    check(&manifest).map(|()| manifest)
}

/// Checks what the reader of a manifest relies on; the error says what is wrong with it.
pub(crate) fn check(manifest: &CheckpointManifest) -> Result<(), String> {
    let ascending = manifest.files.windows(2).all(|pair| pair[0].name < pair[1].name);
    if manifest.files.is_empty() || manifest.files.len() > FILES_MAX || !ascending {
        return Err("the manifest names no files, too many, or one twice".to_owned());
    }
    let wrong = |file: &&CheckpointFile| !directory::is_part(&file.name) || Hash::from_slice(&file.hash).is_none();
    match manifest.files.iter().find(wrong) {
        Some(file) => Err(format!(
            "the manifest names {:?}, which is no file of a checkpoint",
            file.name
        )),
        None => Ok(()),
    }
}

/// The state's position and members in a manifest.
pub(super) fn position(manifest: &CheckpointManifest) -> Result<(AppliedRecord, MembershipRecord), StoreError> {
    Ok((
        decode(WHAT_MANIFEST, &manifest.applied)?,
        decode(WHAT_MANIFEST, &manifest.membership)?,
    ))
}

/// Length and BLAKE3 of a file.
pub(super) fn hash_file(path: &Path) -> Result<(u64, Hash), StoreError> {
    let read = || {
        let mut file = File::open(path)?;
        let (mut hasher, mut length) = (blake3::Hasher::new(), 0_u64);
        let mut piece = vec![0; CHECKPOINT_PIECE_BYTES];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok((length, Hash::new(*hasher.finalize().as_bytes())));
            }
            hasher.update(&piece[..count]);
            length += count as u64;
        }
    };
    read().map_err(|error| StoreError::from_io(WHAT_READING, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_manifest_is_taken_only_as_a_list_of_plain_files() {
        let file = |name: &str| CheckpointFile {
            name: name.to_owned(),
            length: 1,
            hash: Bytes::from_static(&[1; 32]),
        };
        let manifest = |files: Vec<CheckpointFile>| {
            seal(&CheckpointManifest {
                files,
                ..CheckpointManifest::default()
            })
        };
        assert!(decode_foreign(&manifest(vec![file("000001.sst"), file("CURRENT")])).is_ok());
        for files in [
            vec![],
            vec![file("CURRENT"), file("000001.sst")],
            vec![file("CURRENT"), file("CURRENT")],
            vec![file("../CURRENT")],
            vec![CheckpointFile {
                hash: Bytes::new(),
                ..file("CURRENT")
            }],
        ] {
            assert!(decode_foreign(&manifest(files)).is_err());
        }
        assert!(decode_foreign(b"rubbish").is_err());
    }
}
