//! Drives clients: each does one operation after the other, chosen by its seed, and records what came of it.
//!
//! *Invariant*: every written tag is written by one operation alone. No operation is sent before it is in the history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use super::client::{MetadataClient, Missed, perform};
use super::ledger::{Ledger, Listing};
use crate::content::Sequence;
use crate::history::{Action, Invocation, KeyCall, KeyReply, ObjectKeys, Recorder, Tag};

/// The key of the ledger.
const LEDGER: &str = "ledger";
/// The process that reads at the end.
const READER: usize = usize::MAX;

/// How a load looks.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Keys, in groups by prefix.
    pub groups: u64,
    pub keys_per_group: u64,
    /// Clients that append to the ledger; the others work on the keys.
    pub ledger_clients: usize,
    /// What a client leaves between the beginnings of two operations at least. It bounds the history, and the attempts
    /// while nobody answers.
    pub pace: Duration,
    pub length: Length,
    pub seed: u64,
}

/// When a load ends.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// Operations of each client.
    Operations(u64),
    Duration(Duration),
}

/// A load and its record.
pub struct Load {
    plan: Plan,
    pub history: Recorder<ObjectKeys>,
    pub ledger: Ledger,
    is_over: AtomicBool,
}

impl Load {
    #[must_use]
    pub fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            plan,
            history: Recorder::new(Instant::now()),
            ledger: Ledger::default(),
            is_over: AtomicBool::new(false),
        })
    }

    /// Lets every client finish what it does and no more.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Runs the load to its end, one task per client.
    ///
    /// # Errors
    /// A listing shows what nobody can have written, or a client panicked. That operations fail is no error.
    pub async fn run<C: MetadataClient>(self: &Arc<Self>, clients: &[Arc<C>]) -> Result<()> {
        let mut workers = JoinSet::new();
        for (process, client) in clients.iter().enumerate() {
            let worker = Worker {
                load: Arc::clone(self),
                client: Arc::clone(client),
                process,
                sequence: Sequence::new(self.plan.seed ^ (process as u64 + 1) << 32),
                operations: 0,
                last_seen: None,
            };
            workers.spawn(worker.work());
        }
        while let Some(joined) = workers.join_next().await {
            joined.context("a client of the load panicked")??;
        }
        Ok(())
    }

    /// Reads every key and the ledger once more, so that the history shows what is left at the end, and audits the ledger.
    /// Returns how many values the ledger holds.
    ///
    /// # Errors
    /// A read is not answered, or the ledger is not what was acknowledged.
    pub async fn finish<C: MetadataClient>(&self, client: &C) -> Result<usize> {
        for number in 0..self.plan.groups * self.plan.keys_per_group {
            self.act(client, READER, &self.key(number), Action::Get).await?;
        }
        let KeyReply::Found(tag) = self.act(client, READER, LEDGER, Action::Get).await? else {
            bail!("a read was answered as a write");
        };
        Ok(self.ledger.audit(Listing::from(tag))?.len())
    }

    /// The key of that number, of all groups' keys.
    #[must_use]
    pub fn key(&self, number: u64) -> String {
        let group = number % self.plan.groups;
        format!("{}k{number}", group_prefix(group))
    }

    async fn act<C: MetadataClient>(
        &self,
        client: &C,
        process: usize,
        key: &str,
        action: Action,
    ) -> Result<KeyReply, Missed> {
        let invocation = self.begin(process, key, action);
        let result = perform(client, key, action).await;
        self.end(invocation, &result);
        result
    }

    fn begin(&self, process: usize, key: &str, action: Action) -> Invocation {
        let key = Arc::from(key);
        self.history.invoke(process, KeyCall { key, action })
    }

    fn end(&self, invocation: Invocation, result: &Result<KeyReply, Missed>) {
        match result {
            Ok(reply) => self.history.answered(invocation, *reply),
            Err(Missed::NotDone(_)) => self.history.failed(invocation),
            // It is unknown as long as nothing is said.
            Err(Missed::Unknown(_)) => {}
        }
    }
}

fn group_prefix(group: u64) -> String {
    format!("g{group}/")
}

/// One client at work.
struct Worker<C> {
    load: Arc<Load>,
    client: Arc<C>,
    process: usize,
    sequence: Sequence,
    operations: u64,
    /// What this client read or wrote last, which makes conditions that may hold.
    last_seen: Option<(u64, Tag)>,
}

impl<C: MetadataClient> Worker<C> {
    async fn work(mut self) -> Result<()> {
        let plan = self.load.plan;
        let until = match plan.length {
            Length::Operations(_) => None,
            Length::Duration(length) => Some(Instant::now() + length),
        };
        let mut ticks = (!plan.pace.is_zero()).then(|| time::interval(plan.pace));
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let is_over = match plan.length {
                Length::Operations(count) => self.operations >= count,
                Length::Duration(_) => until.is_some_and(|until| Instant::now() >= until),
            };
            if is_over || self.load.is_over.load(Ordering::Acquire) {
                return Ok(());
            }
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            self.operations += 1;
            if self.process < plan.ledger_clients {
                self.append().await;
            } else if self.sequence.below(32) == 0 {
                self.list().await?;
            } else {
                self.act().await;
            }
        }
    }

    /// One operation on one key.
    async fn act(&mut self) {
        let plan = self.load.plan;
        let fresh = Tag(u128::from(self.operations) << 64 | (self.process as u128 + 1));
        let mut number = self.sequence.below(plan.groups * plan.keys_per_group);
        let choice = self.sequence.below(16);
        // Conditions are mostly about what was seen; else they are about what is not there.
        let mut expected = Tag(0);
        if let Some((seen, tag)) = self.last_seen.filter(|_| choice >= 9) {
            (number, expected) = (seen, tag);
        }
        let action = match choice {
            0..5 => Action::Get,
            5..8 => Action::Put(fresh),
            8 => Action::Delete,
            9 | 10 => Action::PutIfAbsent(fresh),
            11..15 => Action::CompareAndSwap { expected, tag: fresh },
            _ => Action::CompareAndDelete { expected },
        };
        let key = self.load.key(number);
        let reply = self.load.act(self.client.as_ref(), self.process, &key, action).await;
        let seen = match (action, reply) {
            (Action::Get, Ok(KeyReply::Found(tag))) => tag,
            (Action::Put(tag) | Action::PutIfAbsent(tag) | Action::CompareAndSwap { tag, .. }, Ok(KeyReply::Done)) => {
                Some(tag)
            }
            _ => None,
        };
        self.last_seen = seen.map(|tag| (number, tag)).or(self.last_seen);
    }

    /// One listing of a group: a read of each of its keys, all at once.
    async fn list(&mut self) -> Result<()> {
        let plan = self.load.plan;
        let group = self.sequence.below(plan.groups);
        let keys: Vec<String> = (0..plan.keys_per_group)
            .map(|index| self.load.key(group + index * plan.groups))
            .collect();
        let begin = |key: &String| self.load.begin(self.process, key, Action::Get);
        let invocations: Vec<Invocation> = keys.iter().map(begin).collect();
        let page = self.client.list(&group_prefix(group)).await;
        if let Ok(page) = &page {
            let is_ordered = page.windows(2).all(|pair| pair[0].0 < pair[1].0);
            ensure!(is_ordered, "a listing is out of order or names a key twice: {page:?}");
            let strange = page.iter().find(|(key, _)| !keys.contains(key));
            ensure!(
                strange.is_none(),
                "a listing shows a key that nobody wrote: {strange:?}"
            );
        }
        for (key, invocation) in keys.iter().zip(invocations) {
            let found = |page: &Vec<(String, Tag)>| page.iter().find(|(listed, _)| listed == key).map(|(_, tag)| *tag);
            let reply = page
                .as_ref()
                .map(|page| KeyReply::Found(found(page)))
                .map_err(Clone::clone);
            self.load.end(invocation, &reply);
        }
        Ok(())
    }

    /// One append to the ledger. An attempt that was overtaken is given up: another is the next operation's business.
    async fn append(&mut self) {
        let (load, client) = (Arc::clone(&self.load), Arc::clone(&self.client));
        let Ok(KeyReply::Found(tag)) = load.act(client.as_ref(), self.process, LEDGER, Action::Get).await else {
            return;
        };
        let (onto, value) = (Listing::from(tag), self.operations << 16 | self.process as u64);
        let begun = load.ledger.begin(onto, value);
        match load
            .act(client.as_ref(), self.process, LEDGER, onto.append(value))
            .await
        {
            Ok(KeyReply::Done) => load.ledger.acknowledged(begun),
            Ok(KeyReply::Mismatch | KeyReply::Absent | KeyReply::Found(_)) | Err(Missed::NotDone(_)) => {
                load.ledger.not_done(begun);
            }
            Err(Missed::Unknown(_)) => {}
        }
    }
}
