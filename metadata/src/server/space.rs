//! Room on the store's disk: data is refused while enough is left for what makes room.
//!
//! Invariant: deleting, ending and releasing are never refused for want of space, and nothing is deleted to make some.

use std::path::PathBuf;

use cairn_common::{
    limits::METADATA_RESERVE_BYTES,
    wire::{
        command::Command,
        failure::{Failure, FailureCode},
    },
};
use cairn_transport::failure;

/// Watches the disk of the store.
pub(super) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
}

impl Space {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            reserve_bytes: METADATA_RESERVE_BYTES,
        }
    }

    /// Refuses a command that adds data to a store that has hardly room left. A disk that cannot be asked is left to its
    /// writes to judge.
    pub(super) fn check(&self, command: &Command) -> Result<(), Failure> {
        if !adds_data(command) {
            return Ok(());
        }
        match rustix::fs::statvfs(&self.dir) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < self.reserve_bytes => Err(failure(
                FailureCode::DeviceFull,
                format!(
                    "the disk of the metadata store has less than {} MiB left: delete objects or add room",
                    self.reserve_bytes >> 20
                ),
            )),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn adds_data(command: &Command) -> bool {
    match command {
        Command::CreateBucket(_) | Command::PutObject(_) | Command::CreateUpload(_) | Command::PutPart(_) => true,
        Command::OpenSession(_)
        | Command::Heartbeat(_)
        | Command::EndSession(_)
        | Command::InstallMap(_)
        | Command::DeleteBucket(_)
        | Command::DeleteObject(_)
        | Command::CompleteUpload(_)
        | Command::AbortUpload(_)
        | Command::ReleaseStep(_)
        | Command::ForgetChunks(_)
        | Command::RaiseFeatureLevel(_)
        | Command::HoldDeletion(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::command::{DeleteObject, PutObject};

    use super::*;

    #[test]
    fn a_full_disk_refuses_data_and_takes_deletes() {
        let dir = tempfile::tempdir().expect("a directory");
        let full = Space {
            dir: dir.path().to_owned(),
            reserve_bytes: u64::MAX,
        };
        let put = full.check(&Command::PutObject(PutObject::default()));
        assert!(put.is_err_and(|failure| failure.code() == FailureCode::DeviceFull));
        assert!(full.check(&Command::DeleteObject(DeleteObject::default())).is_ok());
        let roomy = Space {
            reserve_bytes: 0,
            ..full
        };
        assert!(roomy.check(&Command::PutObject(PutObject::default())).is_ok());
    }
}
