//! Copies of the store's own files beside each voter, from which its directory can be made again.
//!
//! Invariant: they are as private as what they are copies of.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cairn_common::ids::ClusterId;

use super::list::VoterList;
use crate::data_dir::{self, replace_file, replace_secret_file};

const SETTINGS: &str = "store.toml";
const CREDENTIALS: &str = "credentials.toml";

/// What the copies beside one voter hold.
pub(super) struct Copies {
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
        settings: text(SETTINGS)?,
        credentials: text(CREDENTIALS)?,
        list: VoterList::parse(&list, &path)?,
    })
}

/// The directories of voters in a device that have copies.
pub(super) fn find(device: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(device).with_context(|| format!("reading {}", device.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", device.display()))?.path();
        let is_voter = path
            .file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.starts_with("voter-"));
        if is_voter && VoterList::file(&path).exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a device holds what a lost store's directory can be made of.
pub(crate) fn is_recoverable(device: &Path) -> bool {
    find(device).is_ok_and(|found| !found.is_empty())
}

/// The newest copies in a device.
pub(super) fn newest(device: &Path) -> anyhow::Result<Copies> {
    let mut newest: Option<Copies> = None;
    for directory in find(device)? {
        let copies = read(&directory)?;
        if newest
            .as_ref()
            .is_none_or(|newest| copies.list.revision > newest.list.revision)
        {
            newest = Some(copies);
        }
    }
    match newest {
        Some(newest) => Ok(newest),
        None => bail!(
            "{} holds no metadata of a store: name one of its other devices, or restore a backup (`cairn metadata restore`)",
            device.display()
        ),
    }
}
