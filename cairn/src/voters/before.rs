//! What is looked at before a store's directory is opened.

use std::path::PathBuf;

use anyhow::{bail, ensure};

use super::{copies::is_recoverable, list::VoterList};
use crate::{config::DeviceChoice, data_dir::DataDir};

/// Whether metadata that is missing in the store's directory comes from the voters on other disks. Refuses to make a new store over
/// devices of another, and to start without metadata that others have before an operator has said so.
pub(crate) fn comes_from_elsewhere(data: &DataDir, devices: &DeviceChoice) -> anyhow::Result<bool> {
    if data.store_id()?.is_none() {
        let DeviceChoice::Paths(paths) = devices else {
            return Ok(false);
        };
        for path in paths {
            let path: PathBuf = data.root().join(path);
            ensure!(
                !is_recoverable(&path),
                "{} belongs to a store, whose directory is another one. Where that was lost, `cairn metadata recover --data {} {}` makes \
                 it again",
                path.display(),
                data.root().display(),
                path.display()
            );
        }
        return Ok(false);
    }
    let voters = VoterList::load(data.root())?;
    if !voters.is_own_lost && voters.has_others() && !data.metadata().exists() {
        bail!(
            "{} is missing though the store was made before: `cairn metadata recover` has it made again from the voters on the other \
             disks",
            data.metadata().display()
        );
    }
    Ok(voters.is_own_lost)
}
