//! Copies of the store's own files beside each voter, from which its directory can be made again.
//!
//! Invariant: they are as private as what they are copies of.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use cairn_common::ids::ClusterId;

use super::list::VoterList;
use crate::data_dir::{self, replace_file, replace_secret_file};

const SETTINGS: &str = "store.toml";
const CREDENTIALS: &str = "credentials.toml";

/// What the copies beside one voter hold.
pub(super) struct Copies {
    pub(super) directory: PathBuf,
    pub(super) settings: String,
    pub(super) credentials: String,
    pub(super) list: VoterList,
}

impl Copies {
    /// The store that they are of.
    pub(super) fn store(&self) -> anyhow::Result<ClusterId> {
        data_dir::store_of(&self.settings)
    }
}

/// Puts copies of the files in `root` into a voter's directory.
pub(super) fn write(root: &Path, list: &VoterList, directory: &Path) -> anyhow::Result<()> {
    if let Some((settings, _)) = data_dir::stored_settings(root)? {
        replace_file(&directory.join(SETTINGS), &settings)?;
    }
    let credentials = data_dir::credentials_file(root);
    if credentials.exists() {
        let text = fs::read_to_string(&credentials).with_context(|| format!("reading {}", credentials.display()))?;
        replace_secret_file(&directory.join(CREDENTIALS), &text)?;
    }
    replace_file(&VoterList::file(directory), &list.text()?)
}

/// Reads those beside a voter.
pub(super) fn read(directory: &Path) -> anyhow::Result<Copies> {
    let text = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let path = VoterList::file(directory);
    let list = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Copies {
        directory: directory.to_owned(),
        settings: text(SETTINGS)?,
        credentials: text(CREDENTIALS)?,
        list: VoterList::parse(&list, &path)?,
    })
}

/// The directories of voters in a device.
fn directories(device: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(device)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        if name.is_some_and(|name| name.starts_with("voter-")) && VoterList::file(&path).exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// All copies in a device that can be read.
pub(super) fn in_device(device: &Path) -> Vec<Copies> {
    // What is no directory, or is not mounted, has none.
    let mut found = Vec::new();
    for directory in directories(device).unwrap_or_default() {
        match read(&directory) {
            Ok(copies) => found.push(copies),
            Err(error) => tracing::warn!(
                directory = %directory.display(),
                error = format!("{error:#}"),
                "copies of the store's files beside a metadata voter cannot be read"
            ),
        }
    }
    found
}

/// Whether a device holds what a lost store's directory can be made of.
pub(super) fn is_recoverable(device: &Path) -> bool {
    directories(device).is_ok_and(|found| !found.is_empty())
}

/// The newest copies in a device.
pub(super) fn newest(device: &Path) -> anyhow::Result<Copies> {
    let newest = in_device(device).into_iter().max_by_key(|copies| copies.list.revision);
    newest.with_context(|| {
        format!(
            "{} holds no metadata of a store: name one of its other devices, or restore a backup (`cairn metadata restore`)",
            device.display()
        )
    })
}

/// Refuses to start on a store's directory that is older than what its devices keep of it: it was made again elsewhere, or this is
/// an old copy of it, and its metadata would say again what was settled otherwise since.
pub(super) fn check_newest(root: &Path, list: &VoterList, devices: &[PathBuf]) -> anyhow::Result<()> {
    let store = data_dir::stored_settings(root)?.map(|(_, store)| store);
    for copies in devices.iter().flat_map(|device| in_device(device)) {
        let is_ours = copies.store().ok() == store;
        ensure!(
            !is_ours || copies.list.revision <= list.revision,
            "{} is older than what {} keeps of it: the store's directory was made again elsewhere since, or is restored from an image. \
             Start the newer one or, where that is lost, move {} away and make it again: `cairn metadata recover`",
            root.display(),
            copies.directory.display(),
            root.display()
        );
    }
    Ok(())
}
