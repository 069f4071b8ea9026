//! Taking locks and giving them back.
//!
//! Nobody waits in the store. Who waits here asks whether the lock is free, at once when a program of this mount gives one back,
//! else at growing intervals.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use cairn_client::FileError;
use cairn_common::wire::lock::{HeldLock, LockKind};
use fuser::Errno;

use crate::{
    convert::{Outcome, errno},
    deadlock::Waiting,
    locks::{NO_END, Wanted},
    volume::Volume,
    waiting::is_interrupted,
};

/// First and longest time between two questions whether a lock is free.
const ASK_INTERVAL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

impl Volume {
    /// Takes a lock, and waits for it where that is asked for.
    pub(crate) async fn lock(&self, wanted: Wanted) -> Outcome<()> {
        // Known before it is asked for: a file that is closed meanwhile releases it.
        self.locks.enter(&wanted);
        let locked = self.lock_entered(&wanted).await;
        // The session may be another than when it was asked for; a lock that is thought held and is not does no harm.
        self.locks
            .answered(&wanted, locked.is_ok().then(|| self.files.session()));
        locked
    }

    async fn lock_entered(&self, wanted: &Wanted) -> Outcome<()> {
        self.settle_inode(wanted.inode).await;
        let mut interval = ASK_INTERVAL.0;
        let mut waiting = None;
        loop {
            let released = self.locks.released.notified();
            let conflict = self
                .files
                .lock(wanted.inode, wanted.range())
                .await
                .map_err(lock_errno)?;
            let Some(conflict) = conflict else {
                return Ok(());
            };
            let Some(thread) = wanted.waits else {
                return Err(Errno::EAGAIN);
            };
            let waiting = waiting.get_or_insert_with(|| self.locks.waits.begin(wanted.owner, Instant::now()));
            self.note_wait(wanted, waiting, &conflict)?;
            self.wait_until_free(wanted, (thread, waiting), released, &mut interval)
                .await?;
        }
    }

    /// Waits until a lock looks free: asking is cheaper than trying, which the store writes down.
    async fn wait_until_free(
        &self,
        wanted: &Wanted,
        (thread, waiting): (u32, &Waiting<'_>),
        released: tokio::sync::futures::Notified<'_>,
        interval: &mut Duration,
    ) -> Outcome<()> {
        tokio::pin!(released);
        loop {
            tokio::select! {
                () = &mut released => return Ok(()),
                () = self.stopped.notified() => return Err(Errno::EINTR),
                () = tokio::time::sleep(*interval) => {}
            }
            *interval = (*interval * 2).min(ASK_INTERVAL.1);
            if self.stopping.load(Ordering::Acquire) || is_interrupted(thread) {
                return Err(Errno::EINTR);
            }
            let test = self.files.test_lock(wanted.inode, wanted.range()).await;
            match test.map_err(errno)? {
                Some(conflict) => self.note_wait(wanted, waiting, &conflict)?,
                None => {
                    waiting.clear();
                    return Ok(());
                }
            }
        }
    }

    /// Notes who is in the way of a lock, and refuses to wait where that would be for ever. POSIX asks for it of the locks of `fcntl`.
    fn note_wait(&self, wanted: &Wanted, waiting: &Waiting<'_>, conflict: &HeldLock) -> Outcome<()> {
        let holder = conflict.lock.as_ref().filter(|lock| lock.kind() == LockKind::Range);
        match holder {
            Some(lock) if wanted.kind == LockKind::Range && conflict.session == self.files.session() => {
                if waiting.confirm(lock.owner, Instant::now()) {
                    return Err(Errno::EDEADLK);
                }
            }
            _ => waiting.clear(),
        }
        Ok(())
    }

    pub(crate) async fn unlock(&self, wanted: Wanted) -> Outcome<()> {
        if !self.locks.knows(&wanted) {
            return Ok(());
        }
        self.files
            .unlock(wanted.inode, wanted.range())
            .await
            .map_err(lock_errno)?;
        self.locks.leave(&wanted);
        Ok(())
    }

    /// Releases all that an owner holds of a file, as closing it does.
    pub(crate) async fn unlock_all(&self, inode: u64, owner: u64, kind: LockKind) -> Outcome<()> {
        self.unlock(Wanted {
            inode,
            kind,
            owner,
            first: 0,
            last: NO_END,
            exclusive: false,
            pid: 0,
            waits: None,
        })
        .await
    }

    /// The lock that is in the way of this one: its first and last byte, whether it is exclusive, and its process.
    pub(crate) async fn conflicting_lock(&self, wanted: Wanted) -> Outcome<Option<(u64, u64, bool, u32)>> {
        self.settle_inode(wanted.inode).await;
        let held = self
            .files
            .test_lock(wanted.inode, wanted.range())
            .await
            .map_err(errno)?;
        let Some(HeldLock { lock: Some(lock), .. }) = held else {
            return Ok(None);
        };
        Ok(Some((lock.first, lock.last.min(NO_END), lock.exclusive, lock.pid)))
    }
}

/// Of locks there are at most so many; of all else a limit is a failure.
fn lock_errno(error: FileError) -> Errno {
    match error {
        FileError::TooMuch(_) => Errno::ENOLCK,
        error => errno(error),
    }
}
