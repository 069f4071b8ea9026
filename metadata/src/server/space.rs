//! Room on the store's disk: data is refused while enough is left for what makes room.
//!
//! Invariant: deleting, ending and releasing are never refused for want of space, and nothing is deleted to make some.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cairn_common::{
    limits::METADATA_RESERVE_BYTES,
    wire::{
        command::Command,
        failure::{Failure, FailureCode},
    },
};
use cairn_transport::failure;
use parking_lot::Mutex;

/// Time between two looks at the disk: in it commands fill far less than the reserve.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Watches the disk of the store.
pub(super) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    looked: Mutex<Option<(Instant, bool)>>,
}

impl Space {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            reserve_bytes: METADATA_RESERVE_BYTES,
            looked: Mutex::default(),
        }
    }

    /// Whether there is hardly room left. A disk that cannot be asked is left to its writes to judge.
    pub(super) fn is_low(&self) -> bool {
        let mut looked = self.looked.lock();
        if let Some((_, is_low)) = looked.filter(|(at, _)| at.elapsed() < LOOK_EVERY) {
            return is_low;
        }
        let disk = rustix::fs::statvfs(&self.dir);
        let is_low = disk.is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < self.reserve_bytes);
        *looked = Some((Instant::now(), is_low));
        is_low
    }

    /// Refuses a command that adds data where this store, or that of another member, has hardly room left.
    pub(super) fn check(&self, command: &Command, other_is_low: bool) -> Result<(), Failure> {
        if adds_data(command) && (other_is_low || self.is_low()) {
            let whose = if other_is_low {
                "another metadata server"
            } else {
                "the metadata store"
            };
            let text = format!(
                "the disk of {whose} has less than {} MiB left: delete objects or add room",
                self.reserve_bytes >> 20
            );
            return Err(failure(FailureCode::DeviceFull, text));
        }
        Ok(())
    }
}

fn adds_data(command: &Command) -> bool {
    match command {
        Command::CreateBucket(_)
        | Command::PutObject(_)
        | Command::CopyObject(_)
        | Command::CreateUpload(_)
        | Command::PutPart(_)
        | Command::CopyPart(_) => true,
        Command::PutBucketDocument(put) => put.content.is_some(),
        Command::Lock(command) => command.adds_data(),
        Command::Account(command) => command.adds_data(),
        Command::File(command) => command.adds_data(),
        Command::OpenSession(_)
        | Command::Heartbeat(_)
        | Command::EndSession(_)
        | Command::InstallMap(_)
        | Command::DeleteBucket(_)
        | Command::UpdateBucket(_)
        | Command::DeleteObject(_)
        | Command::CompleteUpload(_)
        | Command::AbortUpload(_)
        | Command::ExpireUploads(_)
        | Command::ReleaseStep(_)
        | Command::ForgetChunks(_)
        | Command::RaiseFeatureLevel(_)
        | Command::HoldDeletion(_)
        | Command::RegisterServer(_)
        | Command::KeepAuthority(_)
        | Command::Chunk(_) => false,
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
            looked: Mutex::default(),
        };
        let put = full.check(&Command::PutObject(PutObject::default()), false);
        assert!(put.is_err_and(|failure| failure.code() == FailureCode::DeviceFull));
        assert!(
            full.check(&Command::DeleteObject(DeleteObject::default()), true)
                .is_ok()
        );
        let roomy = Space {
            reserve_bytes: 0,
            looked: Mutex::default(),
            ..full
        };
        let put = Command::PutObject(PutObject::default());
        assert!(roomy.check(&put, false).is_ok());
        assert!(roomy.check(&put, true).is_err());
    }
}
