//! What the kernel is told besides answers: that pages or attributes it keeps of a file are no longer right.
//!
//! Invariant: nobody who holds up a write waits for the one: the kernel locks the pages of a write until that is answered. So one
//! thread, which may be held up, tells it; what is asked for several times of one file meanwhile is told once. Attributes are told of by
//! another, which waits for no write.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cairn_common::limits::FILE_LEASE_MS;
use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// How long the kernel may go by attributes at most, the time counted that an answer is on its way to it.
pub(crate) const TRUSTED_AT_MOST: Duration = Duration::from_millis(2 * FILE_LEASE_MS);

/// Inodes from which on those are looked for that the kernel trusts no more.
const TRUSTED_MANY: usize = 1 << 16;

/// Stands for where the pages begin that are no longer right: no pages are.
const ATTRIBUTES_ALONE: i64 = -1;

/// The way to tell it, once the mount stands.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    queue: OnceLock<Arc<Queue>>,
    attributes: OnceLock<Arc<Stale>>,
    trusted: Mutex<Trusted>,
    /// Whether it can be told of changes while answers are on their way to it.
    is_reliable: AtomicBool,
}

/// Inodes whose attributes the kernel may go by.
#[derive(Debug)]
struct Trusted {
    /// Until when at most.
    until: HashMap<u64, Instant>,
    /// With so many, those are taken out that are trusted no more.
    many: usize,
}

impl Default for Trusted {
    fn default() -> Self {
        Self {
            until: HashMap::new(),
            many: TRUSTED_MANY,
        }
    }
}

/// Inodes whose attributes are no longer right.
#[derive(Debug, Default)]
struct Stale {
    waiting: Mutex<StaleWaiting>,
    more: Condvar,
}

/// What is not told yet: each inode that the kernel trusts once at most.
#[derive(Debug, Default)]
struct StaleWaiting {
    numbers: HashSet<u64>,
    /// Who waits until the kernel was told of all of them.
    told: Vec<oneshot::Sender<()>>,
    is_over: bool,
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
    pub(crate) fn connect(&self, notifier: &Notifier) -> io::Result<()> {
        let attributes = notifier.clone();
        let stale = Arc::clone(self.attributes.get_or_init(Arc::default));
        let tell = move || {
            while let Some((numbers, told)) = stale.next() {
                for number in numbers {
                    invalidate(&attributes, INodeNo(number), ATTRIBUTES_ALONE);
                }
                for told in told {
                    // One that has given up waiting does not listen.
                    let _ = told.send(());
                }
            }
        };
        spawn("attributes", tell)?;
        let notifier = notifier.clone();
        let queue = Arc::clone(self.queue.get_or_init(Arc::default));
        let tell = move || {
            while let Some((number, pages)) = queue.next() {
                invalidate(
                    &notifier,
                    INodeNo(number),
                    i64::try_from(pages.from).unwrap_or(i64::MAX),
                );
                for told in pages.told {
                    // One that has given up waiting does not listen.
                    let _ = told.send(());
                }
            }
        };
        spawn("invalidate", tell)
    }

    pub(crate) fn set_reliable(&self, is_reliable: bool) {
        self.is_reliable.store(is_reliable, Ordering::Release);
    }

    /// Whether the kernel can be told of changes while answers are on their way to it.
    pub(crate) fn is_reliable(&self) -> bool {
        self.is_reliable.load(Ordering::Acquire)
    }

    /// The kernel is about to be told attributes of an inode that it may go by for a while: for `TRUSTED_AT_MOST`.
    pub(crate) fn will_trust(&self, number: INodeNo) {
        let now = Instant::now();
        let mut trusted = self.trusted.lock();
        trusted.until.insert(number.0, now + TRUSTED_AT_MOST);
        if trusted.until.len() >= trusted.many {
            trusted.until.retain(|_, until| *until > now);
            trusted.many = TRUSTED_MANY.max(2 * trusted.until.len());
        }
    }

    /// Lets the kernel forget the attributes of inodes, some time soon.
    pub(crate) fn forget_attributes(&self, numbers: &[u64]) {
        self.tell_stale(Some(numbers), None);
    }

    /// The same, or of all inodes, done when this returns.
    pub(crate) async fn attributes_forgotten(&self, numbers: Option<&[u64]>) {
        let (tell, told) = oneshot::channel();
        if self.tell_stale(numbers, Some(tell)) && told.await.is_err() {
            tracing::debug!("the mount ends before the kernel was told of a change");
        }
    }

    /// Whether there is anything to be told.
    fn tell_stale(&self, numbers: Option<&[u64]>, told: Option<oneshot::Sender<()>>) -> bool {
        // They stay noted: an answer that is on its way may let the kernel trust one again.
        let numbers: Vec<u64> = {
            let (now, trusted) = (Instant::now(), self.trusted.lock());
            let is_trusted = |number: &u64| trusted.until.get(number).is_some_and(|until| *until > now);
            match numbers {
                Some(numbers) => numbers.iter().copied().filter(is_trusted).collect(),
                None => trusted.until.keys().copied().filter(is_trusted).collect(),
            }
        };
        let stale = self.attributes.get().filter(|_| !numbers.is_empty());
        stale.inspect(|stale| stale.add(&numbers, told)).is_some()
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
        if let Some(stale) = self.attributes.get() {
            stale.waiting.lock().is_over = true;
            stale.more.notify_all();
        }
    }
}

impl Stale {
    fn add(&self, numbers: &[u64], told: Option<oneshot::Sender<()>>) {
        let mut waiting = self.waiting.lock();
        waiting.numbers.extend(numbers);
        waiting.told.extend(told);
        self.more.notify_one();
    }

    /// Waits for what is to be told next, all at once; nothing once the mount has ended.
    fn next(&self) -> Option<(HashSet<u64>, Vec<oneshot::Sender<()>>)> {
        let mut waiting = self.waiting.lock();
        while !waiting.is_over && waiting.numbers.is_empty() {
            self.more.wait(&mut waiting);
        }
        let numbers = std::mem::take(&mut waiting.numbers);
        let told = std::mem::take(&mut waiting.told);
        (!waiting.is_over).then_some((numbers, told))
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

fn spawn(name: &str, tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(tell).map(drop)
}

fn invalidate(notifier: &Notifier, number: INodeNo, offset: i64) {
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
    fn of_an_inode_that_changes_again_and_again_the_kernel_is_told_once() {
        let stale = Stale::default();
        let (tell, _told) = oneshot::channel();
        for _ in 0..1000 {
            stale.add(&[7, 8], None);
        }
        stale.add(&[9], Some(tell));
        let (numbers, told) = stale.next().expect("some wait");
        assert_eq!((numbers, told.len()), (HashSet::from([7, 8, 9]), 1));
        stale.waiting.lock().is_over = true;
        assert!(stale.next().is_none());
    }

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
