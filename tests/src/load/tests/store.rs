//! A store in memory that can be wrong in one way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::task::yield_now;

use super::super::{MetadataClient, Missed};
use crate::content::Sequence;
use crate::history::{Action, KeyReply, Tag};

/// In which way. A flaw shows in one of some operations only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// An answer is lost on its way, or the question was. No promise is broken.
    LosesAnswers,
    /// It says that it does not do it. No promise is broken.
    Refuses,
    /// A reader is told what was there before.
    ReadsStale,
    /// A listing shows what was there before.
    ListsStale,
    /// A write is acknowledged and forgotten.
    LosesWrites,
    /// A write takes effect again later.
    AppliesTwice,
    /// A condition that does not hold is taken to hold.
    IgnoresConditions,
    /// It says that it does not do it, and does it.
    FailsAndDoes,
}

/// The store.
pub(super) struct Store {
    inner: Mutex<Inner>,
}

struct Inner {
    flaw: Flaw,
    now: BTreeMap<String, Tag>,
    /// What each key held before.
    before: BTreeMap<String, Option<Tag>>,
    /// A write to be applied again.
    again: Option<(String, Tag)>,
    sequence: Sequence,
}

impl Store {
    pub(super) fn new(flaw: Flaw) -> Self {
        let inner = Mutex::new(Inner {
            flaw,
            now: BTreeMap::new(),
            before: BTreeMap::new(),
            again: None,
            sequence: Sequence::new(7),
        });
        Self { inner }
    }

    /// From now on it is right.
    pub(super) fn heal(&self) {
        self.lock().flaw = Flaw::None;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }

    async fn act(&self, key: &str, action: Action) -> Result<KeyReply, Missed> {
        yield_now().await;
        let result = self.lock().act(key, action);
        yield_now().await;
        result
    }
}

impl Inner {
    fn act(&mut self, key: &str, action: Action) -> Result<KeyReply, Missed> {
        let shows = self.sequence.below(20) == 0;
        if let Some((key, tag)) = self.again.take_if(|_| shows) {
            self.now.insert(key, tag);
        }
        let old = self.now.get(key).copied();
        let (next, reply) = action.apply(old);
        let is_write = action != Action::Get;
        match self.flaw {
            Flaw::LosesAnswers if shows => {
                if self.sequence.below(2) == 0 {
                    self.set(key, old, next);
                }
                return Err(Missed::Unknown("no answer".to_owned()));
            }
            Flaw::Refuses if shows => return Err(Missed::NotDone("no leader".to_owned())),
            Flaw::FailsAndDoes if shows => {
                self.set(key, old, next);
                return Err(Missed::NotDone("no leader".to_owned()));
            }
            Flaw::ReadsStale if shows && !is_write => {
                let stale = self.before.get(key).copied().flatten();
                return Ok(KeyReply::Found(stale));
            }
            Flaw::LosesWrites if shows && is_write => return Ok(reply),
            Flaw::IgnoresConditions => {
                if let Action::CompareAndSwap { tag, .. } = action {
                    self.set(key, old, Some(tag));
                    return Ok(KeyReply::Done);
                }
            }
            Flaw::AppliesTwice => {
                if let Action::Put(tag) = action {
                    self.again.get_or_insert_with(|| (key.to_owned(), tag));
                }
            }
            _ => {}
        }
        self.set(key, old, next);
        Ok(reply)
    }

    fn set(&mut self, key: &str, old: Option<Tag>, next: Option<Tag>) {
        if old == next {
            return;
        }
        self.before.insert(key.to_owned(), old);
        match next {
            Some(tag) => self.now.insert(key.to_owned(), tag),
            None => self.now.remove(key),
        };
    }
}

impl MetadataClient for Store {
    async fn put(&self, key: &str, tag: Tag) -> Result<KeyReply, Missed> {
        self.act(key, Action::Put(tag)).await
    }

    async fn put_if_absent(&self, key: &str, tag: Tag) -> Result<KeyReply, Missed> {
        self.act(key, Action::PutIfAbsent(tag)).await
    }

    async fn compare_and_swap(&self, key: &str, expected: Tag, tag: Tag) -> Result<KeyReply, Missed> {
        self.act(key, Action::CompareAndSwap { expected, tag }).await
    }

    async fn read(&self, key: &str) -> Result<KeyReply, Missed> {
        self.act(key, Action::Get).await
    }

    async fn delete(&self, key: &str) -> Result<KeyReply, Missed> {
        self.act(key, Action::Delete).await
    }

    async fn compare_and_delete(&self, key: &str, expected: Tag) -> Result<KeyReply, Missed> {
        self.act(key, Action::CompareAndDelete { expected }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Tag)>, Missed> {
        yield_now().await;
        let inner = self.lock();
        let mut page: BTreeMap<String, Tag> = inner.now.clone();
        if inner.flaw == Flaw::ListsStale {
            for (key, old) in &inner.before {
                match old {
                    Some(tag) => page.insert(key.clone(), *tag),
                    None => page.remove(key),
                };
            }
        }
        page.retain(|key, _| key.starts_with(prefix));
        Ok(page.into_iter().collect())
    }
}
