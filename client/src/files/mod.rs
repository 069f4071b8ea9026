//! Files for a mount: names, attributes, data and locks of one bucket, by inode, with POSIX's rules.
//!
//! Each family has a file here. Invariant: what is refused is told apart from what failed; a command is sent again under its own
//! number for as long as the mount is told to be patient, and under another only where it was certainly not carried out.

mod alone;
mod append;
mod attributes;
mod data;
mod error;
mod locks;
mod names;
mod plan;
mod space;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_common::wire::{
    command::{Command, ErrorCode, Outcome, Refusal},
    file::{
        FileAction, FileAnswer, FileAttributes, FileCommand, FileId, FileOutcome, FileQuery, FileQuestion, FileReply,
    },
    query::{Answer, Query, ReadReply},
};
use tokio::time::Instant;

pub use self::{
    alone::NewFile,
    data::Piece,
    error::FileError,
    plan::{PlannedFile, PlannedRange, StoredRange},
};
use crate::{
    error::{ClientError, unexpected},
    leases::{Asked, LeaseHolder},
    metadata::{Client, is_passing},
    session::Session,
};

/// First and longest pause before something is asked again that was put off.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The files of one bucket. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    pub(crate) client: Client,
    bucket: u64,
    name: Arc<str>,
    /// How long to go on where the store does not answer.
    patience: Duration,
}

impl Client {
    /// The files of a bucket. Where the store does not answer, an operation goes on for `patience` before it fails.
    pub async fn files(&self, bucket: &str, patience: Duration) -> Result<Files, ClientError> {
        let info = self.bucket(bucket).await?;
        Ok(Files {
            client: self.clone(),
            bucket: info.id,
            name: bucket.into(),
            patience,
        })
    }
}

impl Files {
    /// The bucket's number.
    pub const fn bucket(&self) -> u64 {
        self.bucket
    }

    /// The number of the session in force: with another, all locks are gone that were held under the one before.
    pub fn session(&self) -> u64 {
        self.client.shared.session().id().value()
    }

    /// How long an operation goes on where the store does not answer.
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Goes by leases from now on; `holder` lets go of them, too.
    pub fn hold_leases(&self, holder: Arc<dyn LeaseHolder>) {
        self.client.shared.hold_leases(holder);
    }

    /// Whether what is asked for now comes with leases.
    pub fn has_leases(&self) -> bool {
        self.client.shared.leases.ask().is_some()
    }

    /// How long attributes that were told may still be gone by; not at all where there is no lease of them.
    pub fn lease_left(&self, attributes: &FileAttributes) -> Duration {
        self.client.shared.leases.left(self.file(attributes.inode), attributes)
    }

    /// The attributes of an inode, where they are known under a lease.
    pub fn known_attributes(&self, inode: u64) -> Option<FileAttributes> {
        self.client.shared.leases.attributes(self.file(inode))
    }

    /// How long what a name stands for, with these attributes, or nothing, may still be gone by.
    pub fn name_left(&self, directory: u64, name: &Bytes, found: Option<&FileAttributes>) -> Duration {
        let leases = &self.client.shared.leases;
        leases.name_left(self.file(directory), name, found)
    }

    /// How long this mount may still be certain that nobody else does anything in a directory; not at all where it is not.
    pub fn alone_left(&self, directory: u64) -> Duration {
        self.client.shared.leases.alone_left(self.file(directory))
    }

    const fn file(&self, inode: u64) -> FileId {
        let bucket = self.bucket;
        FileId { bucket, inode }
    }

    /// Asks; goes on asking for as long as the mount is patient.
    async fn ask(&self, question: FileQuestion) -> Result<FileReply, FileError> {
        let (answer, _) = self.ask_patiently(self.query(question), false).await?;
        file_reply(answer)
    }

    /// The same, under a lease of what is answered where one can be had: then it says when it was asked for.
    async fn ask_under_lease(
        &self,
        question: FileQuestion,
    ) -> Result<(Result<FileReply, FileError>, Option<Asked>), FileError> {
        let (answer, asked) = self.ask_patiently(self.query(question), true).await?;
        Ok((file_reply(answer), asked))
    }

    const fn query(&self, question: FileQuestion) -> Query {
        Query::File(FileQuery {
            bucket: self.bucket,
            question: Some(question),
        })
    }

    /// The answer, or why there is none; and when it was asked for, where there is a lease of what it tells.
    async fn ask_patiently(
        &self,
        query: Query,
        wants_lease: bool,
    ) -> Result<(Result<Answer, Refusal>, Option<Asked>), FileError> {
        let shared = &self.client.shared;
        let deadline = self.deadline();
        let mut pause = PAUSE.0;
        loop {
            let asked = shared.leases.ask().filter(|_| wants_lease);
            let session = if asked.is_some() { self.session() } else { 0 };
            let error = match shared.ask_under(query.clone(), session).await {
                Ok(ReadReply {
                    answer: Some(Answer::Refused(refusal)),
                    ..
                }) if is_put_off(&refusal) => ClientError::from(refusal),
                Ok(reply) => {
                    let asked = asked.filter(|asked| asked.is_of(reply.lease_term));
                    return match reply.answer {
                        Some(Answer::Refused(refusal)) => Ok((Err(refusal), asked)),
                        Some(answer) => Ok((Ok(answer), asked)),
                        None => Err(unexpected().into()),
                    };
                }
                Err(error) => error,
            };
            if !is_passing(&error) || Instant::now() >= deadline {
                return Err(error.into());
            }
            pause = wait(pause).await;
        }
    }

    /// Has a change made exactly once.
    async fn change(&self, action: FileAction) -> Result<FileOutcome, FileError> {
        let command = Command::File(FileCommand {
            bucket: self.bucket,
            action: Some(action),
        });
        match self.command(command).await? {
            Outcome::File(outcome) => Ok(outcome),
            _ => Err(unexpected().into()),
        }
    }

    async fn command(&self, command: Command) -> Result<Outcome, FileError> {
        let deadline = self.deadline();
        let mut pause = PAUSE.0;
        loop {
            let session = self.live_session(deadline).await?;
            let refusal = match self
                .client
                .shared
                .write_until(&session, command.clone(), deadline)
                .await?
            {
                Ok(outcome) => return Ok(outcome),
                Err(refusal) => refusal,
            };
            // Locks end with their session, so that one is set anew whether or not it was set before.
            let is_repeatable = matches!(command, Command::Lock(_)) && refusal.code() == ErrorCode::OutcomeUnknown;
            let again = refusal.code() == ErrorCode::SessionEnded || is_put_off(&refusal) || is_repeatable;
            if !again || Instant::now() >= deadline {
                return Err(refusal.into());
            }
            pause = wait(pause).await;
        }
    }

    /// The session in force, or another where that has ended; goes on until `deadline` where none can be opened now.
    async fn live_session(&self, deadline: Instant) -> Result<Arc<Session>, FileError> {
        let mut pause = PAUSE.0;
        loop {
            let session = self.client.shared.session();
            if !session.is_retired() {
                return Ok(session);
            }
            match self.client.shared.renew_session(&session).await {
                Ok(()) => {}
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    tracing::debug!(%error, "no session can be opened now; trying again");
                    pause = wait(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Attributes that an outcome has.
    fn attributes_of(outcome: FileOutcome) -> Result<FileAttributes, FileError> {
        Ok(outcome.attributes.ok_or_else(unexpected)?)
    }
}

fn file_reply(answer: Result<Answer, Refusal>) -> Result<FileReply, FileError> {
    match answer? {
        Answer::File(FileAnswer { reply: Some(reply) }) => Ok(reply),
        _ => Err(unexpected().into()),
    }
}

/// Whether a refusal says that the same is to be tried later.
fn is_put_off(refusal: &Refusal) -> bool {
    matches!(refusal.code(), ErrorCode::SlowDown | ErrorCode::NotLeader)
}

/// Waits, and gives the next pause.
async fn wait(pause: Duration) -> Duration {
    tokio::time::sleep(pause).await;
    (pause * 2).min(PAUSE.1)
}
