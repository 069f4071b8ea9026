//! Locks of files, which never wait here: who waits asks again.

use cairn_common::wire::{
    command::{Command, Outcome},
    lock::{HeldLock, LockAction, LockCommand, LockQuery, LockQuestion, LockRange},
    query::{Answer, Query},
};

use super::{FileError, Files};
use crate::error::unexpected;

impl Files {
    /// Sets a lock; where another is in the way nothing changes, and that one is the answer.
    pub async fn lock(&self, inode: u64, range: LockRange) -> Result<Option<HeldLock>, FileError> {
        self.change_locks(inode, LockAction::Set(range)).await
    }

    /// Releases what an owner holds of a range.
    pub async fn unlock(&self, inode: u64, range: LockRange) -> Result<(), FileError> {
        self.change_locks(inode, LockAction::Release(range)).await.map(drop)
    }

    /// The lock that is in the way of this one, if any.
    pub async fn test_lock(&self, inode: u64, range: LockRange) -> Result<Option<HeldLock>, FileError> {
        let test = HeldLock {
            session: self.session(),
            lock: Some(range),
        };
        let query = Query::Lock(LockQuery {
            bucket_id: self.bucket,
            inode,
            question: Some(LockQuestion::Test(test)),
        });
        match self.ask_patiently(query, false).await?.0? {
            Answer::Lock(answer) => Ok(answer.locks.into_iter().next()),
            _ => Err(unexpected().into()),
        }
    }

    async fn change_locks(&self, inode: u64, action: LockAction) -> Result<Option<HeldLock>, FileError> {
        let command = Command::Lock(LockCommand {
            bucket_id: self.bucket,
            inode,
            action: Some(action),
        });
        match self.command(command).await? {
            Outcome::Lock(outcome) => Ok(outcome.conflict),
            _ => Err(unexpected().into()),
        }
    }
}
