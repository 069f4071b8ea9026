//! `cairn metadata recover`: makes a store's directory again, whose disk was lost, out of what its devices keep.
//!
//! Invariant: nothing is made unless a majority of the metadata voters is there: only they know all that was acknowledged.

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use anyhow::ensure;

use super::{
    copies::{self, Copies},
    list::{Voter, VoterList},
};
use crate::{
    cli::RecoverStoreArgs,
    data_dir::{DataDir, credentials_file, replace_secret_file, restore_settings, stored_settings},
};

pub(crate) fn run(args: &RecoverStoreArgs) -> anyhow::Result<ExitCode> {
    // Before anything is made: what is no device of a store should leave no trace.
    copies::newest(&args.device)?;
    let data = DataDir::open(&args.data.data)?;
    let root = data.root();
    let copies = newest(root, &args.device)?;
    ensure!(
        !data.metadata().exists(),
        "{} has metadata: give an empty or absent directory or, where that metadata is damaged, move it away first",
        root.display()
    );
    check_majority(root, &copies)?;
    let settings = stored_settings(root)?;
    let mut list = match &settings {
        Some((_, store)) => {
            let list = VoterList::load(root)?;
            ensure!(
                copies.store()? == *store && list.revision >= copies.list.revision,
                "{} is the directory of another store, or an old copy: give an empty or absent one",
                root.display()
            );
            // Without any where a restore was begun and did not come about.
            if list.has_others() { list } else { copies.list }
        }
        None => copies.list,
    };
    list.is_own_lost = true;
    list.save(root)?;
    if settings.is_none() {
        replace_secret_file(&credentials_file(root), &copies.credentials)?;
        // Last: with it there is a store.
        restore_settings(root, &copies.settings)?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "recovered   {}", root.display())?;
    writeln!(
        out,
        "next        start `cairn server --data {}`: its metadata comes from the other voters. Give devices that were lost with \
         the disk a new life first: `cairn chunkserver replace-device --data {} DEVICE`",
        root.display(),
        root.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The newest copies that the voters keep of whom those in `device` know.
fn newest(root: &Path, device: &Path) -> anyhow::Result<Copies> {
    let mut newest = copies::newest(device)?;
    for voter in newest.list.voters.clone() {
        let found = copies::read(&voter.directory(root));
        if let Ok(other) = found
            && other.list.revision > newest.list.revision
        {
            newest = other;
        }
    }
    Ok(newest)
}

fn check_majority(root: &Path, copies: &Copies) -> anyhow::Result<()> {
    let used: Vec<&Voter> = copies.list.voters.iter().filter(|voter| voter.is_used).collect();
    let (mut present, mut missing) = (0, Vec::new());
    for voter in &used {
        if voter.has_files(root)? {
            present += 1;
        } else {
            missing.push(voter.directory(root).display().to_string());
        }
    }
    let all = used.len() + 1;
    ensure!(
        present * 2 > all,
        "only {present} of the store's {all} metadata voters are there, which is no majority; missing besides the store's directory: {}. \
         Bring their disks back, or restore a backup (`cairn metadata restore`)",
        missing.join(", ")
    );
    Ok(())
}
