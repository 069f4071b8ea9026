//! The Raft log, beside the state that it goes on from.

use super::{super::error::MaintenanceError, check::Check};
use crate::store::{OfflineLog, StoreError};

pub(super) fn pass(check: &mut Check<'_>, log: &OfflineLog) -> Result<(), MaintenanceError> {
    let applied = check.state.applied()?;
    let bounds = match log.bounds() {
        Ok(bounds) => bounds,
        Err(error) => {
            check.wrong_log(error.to_string());
            return Ok(());
        }
    };
    let purged = bounds.purged.map(|position| position.index);
    let index = applied.position.map(|position| position.index);
    if purged.is_some() && index < purged {
        let what = format!(
            "it is purged up to {}, and the state holds the entries up to {} only: those between are nowhere",
            purged.unwrap_or_default(),
            applied.index()
        );
        check.wrong_log(what);
    }
    if index.is_some() && bounds.last.map(|position| position.index) < index {
        let what = format!("the state holds entry {}, the log ends before it", applied.index());
        check.wrong_log(what);
    }
    let mut expected = purged.map_or(0, |purged| purged + 1);
    for entry in log.entries()? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. })) => {
                check.wrong_log(error.to_string());
                break;
            }
            Err(error) => return Err(error.into()),
        };
        if entry.position.index != expected {
            let what = format!(
                "entry {} follows where entry {expected} should stand",
                entry.position.index
            );
            check.wrong_log(what);
        }
        if applied
            .position
            .is_some_and(|position| position.index == entry.position.index && position != entry.position)
        {
            let what = format!(
                "entry {} is of another term than the one that the state holds",
                applied.index()
            );
            check.wrong_log(what);
        }
        expected = entry.position.index + 1;
    }
    if bounds.last.is_some_and(|last| last.index + 1 != expected) {
        check.wrong_log(format!(
            "it ends before entry {expected}, which its newest entry does not say"
        ));
    }
    log.vote()?;
    log.server()?;
    Ok(())
}
