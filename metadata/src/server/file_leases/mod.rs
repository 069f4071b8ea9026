//! Leases of files: mounts go by what they were told of an inode until it is recalled, and changes wait for the recalls.
//!
//! They are in the memory of the leader alone. Whoever leads next knows none of them, so its first replies to commands wait until every
//! mount has said that it holds none any more, or for the length of a lease. Invariant: a leader renews a lease only after a quorum has
//! said, later than the mount asked, that it still leads: so no lease outlives the leader that gave it by more than its length, from when
//! the next one is elected.

mod alone;
mod gate;
mod table;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use cairn_common::{
    ids::SessionId,
    limits::{FILE_LEASE_MS, LEASE_POLL_MS},
    wire::{
        command::{Command, ErrorCode, Outcome, WriteReply, WriteRequest},
        failure::Failure,
        file::{FileAction, FileAnswer, FileAttributes, FileId, FileQuery, FileQuestion, FileReply},
        lease::{LeaseNews, LeasePoll, OwnChange},
        query::{Answer, ReadReply},
    },
};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use self::table::Table;
use super::{
    metrics::{Metrics, gauge_value},
    service::{Inner, check_group, for_now},
};
use crate::{
    core::Touched,
    raft::{AppliedEntry, Doing, HeldReply, Hold, Observer, ProposeError},
};

const LENGTH: Duration = Duration::from_millis(FILE_LEASE_MS);

/// Time between looks for mounts that were not heard of.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The leases of files.
pub(super) struct FileLeases {
    started: Instant,
    state: Mutex<State>,
    metrics: Metrics,
}

struct State {
    /// The term in which this member leads, once it knows who may have leases from before.
    term: Option<u64>,
    table: Table,
    /// Mounts that may go by leases of the leader before, and until when.
    former: (HashSet<SessionId>, Duration),
    /// Replies wait for this until nobody does.
    opening: Option<Doing>,
    /// What replies to the commands of entries wait for: those that are asked for again wait for the same.
    held: BTreeMap<u64, Vec<Hold>>,
}

impl FileLeases {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            started: Instant::now(),
            state: Mutex::new(State::closed()),
            metrics,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// This member leads: `mounts` are those that may go by leases of another. `applied` is at least the index of the last entry that was
    /// applied before this is called.
    fn open(&self, term: u64, mounts: Vec<SessionId>, applied: u64) {
        let ends = self.now() + LENGTH;
        let mut state = self.state.lock();
        state.term = Some(term);
        let alone = std::mem::take(&mut state.table.alone).without_holders();
        state.table = Table::new(LENGTH, applied);
        state.table.alone = alone;
        state.former = (mounts.into_iter().collect(), ends);
        state.open_if_nobody_is_left();
    }

    /// This member leads no more: who waits for recalls is told that they are not known to have been followed.
    fn close(&self) {
        self.state.lock().close();
    }

    fn look(&self) {
        let now = self.now();
        let mut state = self.state.lock();
        for session in state.table.expire(now) {
            tracing::info!(%session, "a mount has not renewed its leases of files: changes wait for it no longer");
            self.metrics.file_leases_expired.inc();
        }
        if state.former.1 <= now {
            state.former.0.clear();
        }
        if state.term.is_some() {
            state.open_if_nobody_is_left();
        }
        state.table.alone.expire(now);
        state.held.retain(|_, holds| holds.iter().any(|hold| !hold.is_over()));
        self.metrics.file_leases.set(gauge_value(state.table.count()));
        self.metrics
            .directories_alone
            .set(gauge_value(state.table.alone.count()));
        self.metrics.file_leases_recalled.inc_by(state.table.take_recalled());
    }

    /// Gives leases of what was read; says in which term.
    fn grant(&self, session: SessionId, read_at: u64, files: &[FileId]) -> Option<u64> {
        let now = self.now();
        let mut state = self.state.lock();
        let term = state.term?;
        state.table.grant(session, read_at, files, now).then_some(term)
    }

    /// Recalls that others have not followed yet.
    fn recalls_of(&self, files: &[FileId], but: SessionId) -> Vec<Hold> {
        self.state.lock().table.recalls_of(files, but)
    }
}

impl State {
    fn closed() -> Self {
        Self {
            term: None,
            table: Table::new(LENGTH, u64::MAX),
            former: (HashSet::new(), Duration::ZERO),
            opening: Some(Doing::new().0),
            held: BTreeMap::new(),
        }
    }

    /// Nothing is known any more but which commands are under way.
    fn close(&mut self) {
        let alone = std::mem::take(&mut self.table.alone).without_holders();
        *self = Self::closed();
        self.table.alone = alone;
    }

    fn open_if_nobody_is_left(&mut self) {
        if self.former.0.is_empty()
            && let Some(opening) = self.opening.take()
        {
            opening.done();
        }
    }

    fn forget(&mut self, session: SessionId) {
        self.table.remove(session);
        self.former.0.remove(&session);
        if self.term.is_some() {
            self.open_if_nobody_is_left();
        }
    }

    /// Takes note of what a command has changed, and completes its reply.
    fn note(
        &mut self,
        entry: &AppliedEntry<'_>,
        request: &WriteRequest,
        touched: &[Touched],
        reply: &mut HeldReply,
        looks: &mut Looks,
        now: Duration,
    ) {
        let (by, log_index) = (SessionId::new(request.session), entry.log_index);
        let mut changed: Vec<FileId> = Vec::new();
        for touched in touched {
            let Some(file) = touched.file() else { continue };
            if !changed.contains(&file) {
                changed.push(file);
                self.table.changed(by, log_index, file, &mut reply.waits_for);
            }
            if !self.table.holds(by, file) {
                continue;
            }
            let name = touched.name();
            let attributes = if name.is_none() { looks.at(entry, file) } else { None };
            let own = OwnChange {
                inode: file.inode,
                name: name.unwrap_or_default(),
                attributes,
            };
            if !reply.reply.changed.contains(&own) {
                reply.reply.changed.push(own);
            }
        }
        if request.resent || reply.reply.log_index != log_index {
            // It may have been given before, or was to be.
            let held = self.held.get(&reply.reply.log_index).into_iter().flatten();
            reply.waits_for.extend(held.cloned());
        }
        if reply.reply.log_index != log_index {
            // It says what was then.
            return;
        }
        if !reply.waits_for.is_empty() {
            let held = self.held.entry(log_index).or_default();
            held.extend(reply.waits_for.iter().cloned());
        }
        if let (Some(term), Some(file)) = (self.term, told_of(request, &reply.reply))
            && self.table.grant(by, log_index, &[file], now)
        {
            reply.reply.lease_term = term;
        }
        if self.opening.is_none() {
            for file in used_of(request, &reply.reply) {
                // Who may change a directory may remove one that was just made in it.
                if !self.table.holds(by, file) || !self.table.give_alone(by, file, now) {
                    break;
                }
                reply.reply.alone.push(file.inode);
            }
        }
    }
}

/// The directories that a mount has entered something new in, or made there: it is likely to go on with them.
fn used_of(request: &WriteRequest, reply: &WriteReply) -> Vec<FileId> {
    let (Some(Command::File(command)), Some(Outcome::File(outcome))) = (&request.command, &reply.outcome) else {
        return Vec::new();
    };
    let made = outcome.attributes.as_ref().map(|made| made.inode);
    let inodes = match &command.action {
        Some(FileAction::Create(create)) => vec![create.parent],
        Some(FileAction::CreateWritten(made)) => made.create.iter().map(|create| create.parent).collect(),
        Some(FileAction::MakeDirectory(make)) => std::iter::once(make.parent).chain(made).collect(),
        _ => Vec::new(),
    };
    let bucket = command.bucket;
    inodes.into_iter().map(|inode| FileId { bucket, inode }).collect()
}

/// What inodes are after an entry, each looked at once.
#[derive(Default)]
struct Looks(HashMap<FileId, Option<FileAttributes>>);

impl Looks {
    fn at(&mut self, entry: &AppliedEntry<'_>, file: FileId) -> Option<FileAttributes> {
        self.0.entry(file).or_insert_with(|| (entry.attributes)(file)).clone()
    }
}

/// The inode that the reply to a command tells of.
fn told_of(request: &WriteRequest, reply: &WriteReply) -> Option<FileId> {
    let (Some(Command::File(command)), Some(Outcome::File(outcome))) = (&request.command, &reply.outcome) else {
        return None;
    };
    Some(FileId {
        bucket: command.bucket,
        inode: outcome.attributes.as_ref()?.inode,
    })
}

impl Observer for FileLeases {
    fn applied(&self, entry: &AppliedEntry<'_>, replies: Vec<WriteReply>) -> Vec<HeldReply> {
        let mut replies: Vec<_> = replies.into_iter().map(HeldReply::of).collect();
        let now = self.now();
        let mut state = self.state.lock();
        if state.term.is_some_and(|term| term < entry.term) {
            // Another has led meanwhile, though that was not noticed yet.
            state.close();
        }
        if let Some(opening) = state.opening.as_ref().filter(|_| entry.is_awaited) {
            let requests = entry.batch.requests.iter().enumerate();
            for ((command, request), reply) in requests.zip(&mut replies) {
                // Nobody goes by what such a command changes.
                let is_harmless = request.settles
                    || request.sequence == 0 && entry.touched.iter().all(|touched| touched.command != command);
                if !is_harmless {
                    reply.waits_for.push(opening.hold());
                }
            }
        }
        if state.table.is_empty() && state.former.0.is_empty() {
            return replies;
        }
        let mut touched = entry.touched;
        let mut looks = Looks::default();
        for (command, (request, reply)) in entry.batch.requests.iter().zip(&mut replies).enumerate() {
            if let Some(Command::EndSession(end)) = &request.command {
                state.forget(SessionId::new(end.session));
            }
            let (of_command, others) = touched.split_at(touched.partition_point(|touched| touched.command <= command));
            touched = others;
            state.note(entry, request, of_command, reply, &mut looks, now);
        }
        replies
    }
}

/// The inodes of an answer to a mount's question that a lease can be given of.
fn leased_files(query: &FileQuery, answer: Option<&Answer>) -> Vec<FileId> {
    let file = |inode| FileId {
        bucket: query.bucket,
        inode,
    };
    let reply = match answer {
        Some(Answer::File(FileAnswer { reply: Some(reply) })) => reply,
        // That there is no such name can be gone by, too.
        Some(Answer::Refused(refusal)) if refusal.code() == ErrorCode::NoSuchEntry => {
            return match &query.question {
                Some(FileQuestion::Lookup(lookup)) => vec![file(lookup.parent)],
                _ => Vec::new(),
            };
        }
        _ => return Vec::new(),
    };
    match (&query.question, reply) {
        (Some(FileQuestion::Lookup(lookup)), FileReply::Attributes(found)) => {
            vec![file(lookup.parent), file(found.inode)]
        }
        (Some(FileQuestion::Attributes(asked)), FileReply::Attributes(_)) => vec![file(asked.inode)],
        (Some(FileQuestion::Directory(asked)), FileReply::Directory(page)) => {
            let entries = page.entries.iter().map(|entry| file(entry.inode));
            std::iter::once(file(asked.inode)).chain(entries).collect()
        }
        _ => Vec::new(),
    }
}

impl Inner {
    /// Gives the leases that a mount wants of the files in an answer. What others still go by an older state of is answered once they do
    /// not, so that mounts see changes in one order.
    pub(super) async fn lease(
        &self,
        session: SessionId,
        query: &FileQuery,
        reply: &mut ReadReply,
    ) -> Result<(), Failure> {
        let files = leased_files(query, reply.answer.as_ref());
        if files.is_empty() {
            return Ok(());
        }
        let term = self.file_leases.grant(session, reply.log_index, &files);
        for recall in self.file_leases.recalls_of(&files, session) {
            if !recall.wait().await {
                return Err(for_now(
                    "leadership changes while a file's leases are recalled".to_owned(),
                ));
            }
        }
        reply.lease_term = term.unwrap_or(0);
        Ok(())
    }

    /// Answers a mount that asks what of its leases was recalled.
    pub(super) async fn poll_leases(&self, poll: LeasePoll) -> Result<LeaseNews, Failure> {
        check_group(poll.group)?;
        let leases = &self.file_leases;
        let (received, answered_by) = (leases.now(), Instant::now() + Duration::from_millis(LEASE_POLL_MS));
        if self.node.leading_term().is_none() {
            return Err(self.node.failure(&ProposeError::NotLeader));
        }
        self.barrier.pass().await.map_err(|error| self.submit_failure(&error))?;
        // A mount whose other signs of life do not come through goes by its leases all the same.
        self.sessions.note_sign_of_life(SessionId::new(poll.session));
        let session = SessionId::new(poll.session);
        let begins = poll.term == 0;
        let (term, is_renewed) = {
            let mut state = leases.state.lock();
            // The barrier may have been passed on the word of another who leads by now.
            let leads_in = self.node.leading_term();
            let term = state.term.filter(|term| leads_in == Some(*term));
            let term = term.ok_or_else(|| for_now("this member is about to lead, or does no more".to_owned()))?;
            if begins && state.table.is_empty() {
                // What was changed while nobody had leases was not noted.
                state.table.forget_changes(self.node.state().applied().index());
            }
            let is_renewed = (begins || poll.term == term) && state.table.renew(session, begins, poll.begun, received);
            if is_renewed {
                state.table.released(session, poll.released);
                state.former.0.remove(&session);
                state.open_if_nobody_is_left();
            }
            (term, is_renewed)
        };
        let lost = LeaseNews {
            term,
            ..LeaseNews::default()
        };
        if !is_renewed {
            return Ok(lost);
        }
        // Looked at after it was entered, so that a session that ends meanwhile is not left behind.
        if begins && !self.is_mount(session).await? {
            leases.state.lock().forget(session);
            return Ok(lost);
        }
        loop {
            let told = leases.state.lock().table.recalls(session);
            let Some((recalls, more)) = told else {
                return Ok(lost);
            };
            if !recalls.files.is_empty() || begins || Instant::now() >= answered_by {
                return Ok(LeaseNews {
                    term,
                    length_ms: u32::try_from(FILE_LEASE_MS).unwrap_or(u32::MAX),
                    recalled: recalls.files,
                    newest: recalls.newest,
                });
            }
            // A question whose connection is gone may take the notice: when the time is over it is looked for recalls all the same.
            let _ = timeout_at(answered_by, more.notified()).await;
        }
    }

    async fn is_mount(&self, session: SessionId) -> Result<bool, Failure> {
        let mounts = self.read_state(|machine, view, _| machine.mount_sessions(view)).await;
        Ok(mounts.map_err(|error| self.read_failure(&error))?.contains(&session))
    }
}

/// Counts the leases while this member leads in `term`, for as long as it is polled.
pub(super) async fn run(inner: Arc<Inner>, term: u64) {
    let _closing = Closing(Arc::clone(&inner));
    while let Err(error) = begin(&inner, term).await {
        tracing::debug!(%error, "who may have leases of files is not known yet");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        inner.file_leases.look();
    }
}

async fn begin(inner: &Inner, term: u64) -> Result<(), super::local::RoundError> {
    inner.barrier.pass().await?;
    let (mounts, applied) = inner
        .read_state(|machine, view, applied| Ok((machine.mount_sessions(view)?, applied)))
        .await?;
    inner.file_leases.open(term, mounts, applied);
    Ok(())
}

/// Ends the leases with the leadership.
struct Closing(Arc<Inner>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.file_leases.close();
    }
}
