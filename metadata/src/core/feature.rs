//! The feature level: which commands all servers are known to understand.
//!
//! A command above the level in force is refused by every replica alike, so that servers of different versions never come to
//! differ. Invariant: a level is raised only by a command; what a level once held, every later one holds.

use cairn_common::wire::{
    command::{Command, ErrorCode},
    file::FileAction,
};

use super::{
    session,
    tx::{ApplyError, Tx, refuse},
    view::{View, ViewError},
};

/// The level of a store whose level was never raised.
const LEVEL_MIN: u32 = 1;

/// The level in force.
pub fn feature_level(view: &dyn View) -> Result<u32, ViewError> {
    Ok(session::store(view)?.feature_level.max(LEVEL_MIN))
}

/// The level that a command needs.
pub fn required_level(command: &Command) -> u32 {
    match command {
        Command::OpenSession(_)
        | Command::Heartbeat(_)
        | Command::EndSession(_)
        | Command::InstallMap(_)
        | Command::CreateBucket(_)
        | Command::DeleteBucket(_)
        | Command::PutObject(_)
        | Command::DeleteObject(_)
        | Command::CreateUpload(_)
        | Command::PutPart(_)
        | Command::CompleteUpload(_)
        | Command::AbortUpload(_)
        | Command::ReleaseStep(_)
        | Command::ForgetChunks(_)
        | Command::RaiseFeatureLevel(_) => LEVEL_MIN,
        Command::UpdateBucket(_)
        | Command::PutBucketDocument(_)
        | Command::CopyObject(_)
        | Command::CopyPart(_)
        | Command::ExpireUploads(_)
        | Command::HoldDeletion(_)
        | Command::Lock(_)
        | Command::Account(_)
        | Command::RegisterServer(_)
        | Command::KeepAuthority(_)
        | Command::Chunk(_) => 2,
        Command::File(file) => match &file.action {
            Some(FileAction::ReserveInodes(_) | FileAction::CreateWritten(_)) => 3,
            _ => 2,
        },
    }
}

/// Why a command that needs `required` is refused at `level`; none where it is not.
pub fn refused_at(level: u32, required: u32) -> Option<String> {
    (required > level).then(|| {
        format!(
            "the command needs feature level {required}, and {level} is in force: upgrade every metadata server, then raise it"
        )
    })
}

/// Refuses a command that the level in force does not hold.
pub(crate) fn check(tx: &Tx<'_>, command: &Command) -> Result<(), ApplyError> {
    let required = required_level(command);
    if required <= LEVEL_MIN {
        return Ok(());
    }
    match refused_at(feature_level(tx)?, required) {
        None => Ok(()),
        Some(detail) => Err(refuse(ErrorCode::NotSupportedYet, detail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_needs_its_level() {
        assert_eq!(refused_at(1, 1), None);
        assert_eq!(refused_at(3, 2), None);
        assert!(refused_at(1, 2).is_some_and(|text| text.contains("level 2")));
    }
}
