//! The open files of a mount on behalf of its session: told with heartbeats, and taken over by the session that follows.

use std::sync::Arc;

use cairn_common::wire::{
    command::{ErrorCode, Heartbeat},
    file::{AttributesQuery, FileAnswer, FileId, FileQuery, FileQuestion, FileReply, OrphansPage},
    query::{Answer, Query},
};
use futures::{StreamExt as _, future, stream};

use crate::{
    metadata::{Client, Shared},
    open_files::{OpenFile, OpenFiles},
    session::Session,
};

/// Open files that are asked for at a time when a session takes the place of another.
const QUESTIONS_AT_ONCE: usize = 64;

impl Client {
    /// Enters a file as open. Who opens it asks for its attributes afterwards, and gives it up where it has no name.
    pub(crate) fn hold_open(&self, file: FileId) -> OpenFile {
        OpenFiles::enter(self.shared.open_files.as_ref(), file)
    }
}

impl Shared {
    /// Up to where what lost its name was compared with what is open.
    pub(crate) fn orphans_seen(&self) -> u64 {
        self.open_files.as_ref().map_or(0, |files| files.seen())
    }

    /// What the next heartbeat of `session` says.
    pub(crate) fn heartbeat_of(&self, session: &Session) -> Heartbeat {
        let heartbeat = session.heartbeat();
        match &self.open_files {
            Some(files) => files.tell(heartbeat),
            None => heartbeat,
        }
    }

    /// Compares files that lost their last name with those that are open. Says whether the service should be told at once.
    pub(crate) fn compare_orphans(&self, page: &OrphansPage) -> bool {
        // What is opened from now on is asked for, where it may have been told of before it lost its name.
        self.leases.forget(&page.orphans);
        self.open_files.as_ref().is_some_and(|files| files.compare(page))
    }

    /// Lets a new session, opened at `log_index`, hold what the one before it held.
    pub(crate) async fn take_over_open_files(&self, log_index: u64) {
        let Some(files) = self.open_files.as_ref().map(Arc::clone) else {
            return;
        };
        let questions =
            stream::iter(files.list()).map(|file| async move { self.may_be_nameless(file).await.then_some(file) });
        let nameless: Vec<FileId> = questions
            .buffer_unordered(QUESTIONS_AT_ONCE)
            .filter_map(future::ready)
            .collect()
            .await;
        files.take_over(&nameless, log_index);
    }

    /// Whether an open file has no name, or none is known: one that is held though it has one does no harm.
    async fn may_be_nameless(&self, file: FileId) -> bool {
        let FileId { bucket, inode } = file;
        let question = Some(FileQuestion::Attributes(AttributesQuery { inode }));
        match self
            .ask(Query::File(FileQuery { bucket, question }))
            .await
            .map(|reply| reply.answer)
        {
            Ok(Some(Answer::File(FileAnswer {
                reply: Some(FileReply::Attributes(attributes)),
            }))) => attributes.links == 0,
            Ok(Some(Answer::Refused(refusal))) => {
                !matches!(refusal.code(), ErrorCode::NoSuchInode | ErrorCode::NoSuchBucket)
            }
            Ok(_) | Err(_) => true,
        }
    }
}
