//! What the kernel is told besides answers: that pages it keeps of a file are no longer right.
//!
//! Invariant: nobody who holds up a write waits for this: the kernel locks the pages of a write until that is answered. So one
//! thread, which may be held up, tells it; what is asked for several times of one file meanwhile is told once.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, OnceLock},
};

use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// The way to tell it, once the mount stands.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    queue: OnceLock<Arc<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

/// What is not told yet: of each file that the kernel knows one at most.
#[derive(Debug, Default)]
struct Waiting {
    files: HashMap<u64, Pages>,
    is_over: bool,
}

/// Pages of a file that are no longer right.
#[derive(Debug, Default)]
struct Pages {
    from: u64,
    /// Who waits until the kernel was told.
    told: Vec<oneshot::Sender<()>>,
}

impl Kernel {
    pub(crate) fn connect(&self, notifier: Notifier) -> io::Result<()> {
        let queue = Arc::clone(self.queue.get_or_init(Arc::default));
        let tell = move || {
            while let Some((number, pages)) = queue.next() {
                invalidate(&notifier, INodeNo(number), pages.from);
                for told in pages.told {
                    // One that has given up waiting does not listen.
                    let _ = told.send(());
                }
            }
        };
        std::thread::Builder::new()
            .name("invalidate".to_owned())
            .spawn(tell)
            .map(drop)
    }

    /// Lets the kernel forget the pages of a file from `offset` on, some time soon.
    pub(crate) fn forget_pages(&self, number: INodeNo, offset: u64) {
        if let Some(queue) = self.queue.get() {
            queue.add(number.0, offset, None);
        }
    }

    /// The same for all pages, done when this returns. Not for who holds up a write.
    pub(crate) async fn pages_forgotten(&self, number: INodeNo) {
        let Some(queue) = self.queue.get() else {
            return;
        };
        let (tell, told) = oneshot::channel();
        queue.add(number.0, 0, Some(tell));
        if told.await.is_err() {
            tracing::debug!("the mount ends before the kernel was told of a change");
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.get() {
            queue.waiting.lock().is_over = true;
            queue.more.notify_all();
        }
    }
}

impl Queue {
    fn add(&self, number: u64, from: u64, told: Option<oneshot::Sender<()>>) {
        let mut waiting = self.waiting.lock();
        let pages = waiting
            .files
            .entry(number)
            .or_insert_with(|| Pages { from, told: Vec::new() });
        pages.from = pages.from.min(from);
        pages.told.extend(told);
        self.more.notify_one();
    }

    /// Waits for what is to be told next; nothing once the mount has ended.
    fn next(&self) -> Option<(u64, Pages)> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.is_over {
                return None;
            }
            let first = waiting.files.keys().next().copied();
            if let Some(number) = first {
                return waiting.files.remove_entry(&number);
            }
            self.more.wait(&mut waiting);
        }
    }
}

fn invalidate(notifier: &Notifier, number: INodeNo, offset: u64) {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    match notifier.inval_inode(number, offset, 0) {
        Ok(()) => {}
        // The kernel does not know the inode any more.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => tracing::debug!(%error, "the kernel was not told of a change"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_twice_is_told_once_and_from_the_first_page_on() {
        let queue = Queue::default();
        let (tell, _told) = oneshot::channel();
        queue.add(7, 100, None);
        queue.add(7, 50, Some(tell));
        queue.add(7, 80, None);
        let (number, pages) = queue.next().expect("one waits");
        assert_eq!((number, pages.from, pages.told.len()), (7, 50, 1));
        queue.waiting.lock().is_over = true;
        assert!(queue.next().is_none());
    }
}
