//! What others ask for waits here until whoever uses a directory alone has told of what it did there.
//!
//! Invariant: a command that may change a directory is proposed, and a mount's question about one is read, only once nobody else uses that
//! directory alone. Of a leader that does not know yet who does, all wait but those who tell.

use std::sync::Arc;

use cairn_common::{
    ids::SessionId,
    wire::{
        command::{Command, CompleteUpload, CopyObject, DeleteBucket, DeleteObject, PutObject, WriteRequest},
        failure::Failure,
        file::{FileAction, FileCommand, FileId, FileQuery, FileQuestion, FileReply, LookupQuery},
        query::{Answer, BucketQuery, Query},
    },
};

use super::{FileLeases, alone::Scope};
use crate::{
    core::view::ViewError,
    raft::{Doing, Hold, ProposeError},
    server::service::Inner,
};

/// A command on its way; for as long as this lives nobody else is given alone what it may change.
pub(in crate::server) struct Entered {
    leases: Arc<FileLeases>,
    number: u64,
    is_answered: bool,
}

impl Entered {
    /// The command was answered, or will not be carried out any more.
    pub(in crate::server) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let now = self.leases.now();
        let alone = &mut self.leases.state.lock().table.alone;
        if self.is_answered {
            alone.end(self.number);
        } else {
            alone.abandon(self.number, now);
        }
    }
}

/// Whether to go on, or what to wait for first.
enum Next {
    Go(u64),
    Wait(Vec<Hold>),
}

impl FileLeases {
    /// Whether no mount may hold leases, nor may have held some of a leader before.
    fn has_no_mounts(&self) -> bool {
        let state = self.state.lock();
        state.opening.is_none() && state.table.is_empty()
    }

    /// What a leader that does not know yet who uses what alone lets others wait for.
    fn opening(&self) -> Option<Hold> {
        self.state.lock().opening.as_ref().map(Doing::hold)
    }

    fn next(&self, session: SessionId, scope: &Scope) -> Next {
        let now = self.now();
        let mut state = self.state.lock();
        let holds = state.table.disturb(scope, session, now);
        if holds.is_empty() {
            Next::Go(state.table.alone.begin(session, scope.clone()))
        } else {
            Next::Wait(holds)
        }
    }
}

impl Inner {
    /// Lets a command through once nobody else uses alone what it may change.
    pub(in crate::server) async fn enter(&self, request: &WriteRequest, command: &Command) -> Result<Entered, Failure> {
        let leases = &self.file_leases;
        let session = SessionId::new(request.session);
        if changes_names(command) && !request.settles {
            self.opened().await;
        }
        let scope = if leases.has_no_mounts() {
            Scope::Unknown
        } else {
            self.scope(command).map_err(|error| self.read_failure(&error))?
        };
        Ok(Entered {
            number: self.pass_gate(session, &scope).await,
            leases: Arc::clone(leases),
            is_answered: false,
        })
    }

    /// Waits until nobody else uses alone the directory that a mount asks about.
    pub(in crate::server) async fn settle_asked(&self, session: SessionId, query: &FileQuery) -> Result<(), Failure> {
        let inode = match &query.question {
            Some(FileQuestion::Lookup(asked)) => asked.parent,
            Some(FileQuestion::Attributes(asked)) => asked.inode,
            Some(FileQuestion::Directory(asked)) => asked.inode,
            _ => return Ok(()),
        };
        if self.node.leading_term().is_none() {
            // Only who leads knows.
            return Err(self.node.failure(&ProposeError::NotLeader));
        }
        let bucket = query.bucket;
        let scope = Scope::Files(vec![FileId { bucket, inode }]);
        self.opened().await;
        let number = self.pass_gate(session, &scope).await;
        self.file_leases.state.lock().table.alone.end(number);
        Ok(())
    }

    /// Waits, where this member leads, until it knows who uses what alone.
    async fn opened(&self) {
        while self.node.leading_term().is_some()
            && let Some(opening) = self.file_leases.opening()
        {
            // Where it is not done, leadership has changed: the next round says what that means.
            opening.wait().await;
        }
    }

    async fn pass_gate(&self, session: SessionId, scope: &Scope) -> u64 {
        loop {
            match self.file_leases.next(session, scope) {
                Next::Go(number) => return number,
                Next::Wait(holds) => {
                    for hold in holds {
                        // Where it is not done, nobody here leads any more, and nothing is used alone.
                        hold.wait().await;
                    }
                }
            }
        }
    }

    /// What a command may change of directories that others use alone.
    fn scope(&self, command: &Command) -> Result<Scope, ViewError> {
        match command {
            Command::File(command) => self.scope_of_file(command),
            Command::PutObject(PutObject { bucket, .. })
            | Command::DeleteObject(DeleteObject { bucket, .. })
            | Command::CompleteUpload(CompleteUpload { bucket, .. })
            | Command::CopyObject(CopyObject { bucket, .. })
            | Command::DeleteBucket(DeleteBucket { name: bucket }) => self.scope_of_bucket(bucket),
            _ => Ok(Scope::Nothing),
        }
    }

    fn scope_of_bucket(&self, name: &str) -> Result<Scope, ViewError> {
        let answer = self.answer_now(&Query::Bucket(BucketQuery { name: name.to_owned() }))?;
        Ok(match answer {
            Some(Answer::Bucket(info)) => Scope::Bucket(info.id),
            _ => Scope::Nothing,
        })
    }

    fn scope_of_file(&self, command: &FileCommand) -> Result<Scope, ViewError> {
        let Some(action) = &command.action else {
            return Ok(Scope::Nothing);
        };
        let mut inodes = Vec::new();
        match action {
            FileAction::Create(create) => inodes.push(create.parent),
            FileAction::CreateWritten(made) => inodes.extend(made.create.as_ref().map(|create| create.parent)),
            FileAction::MakeDirectory(make) => inodes.push(make.parent),
            FileAction::Link(link) => inodes.push(link.parent),
            FileAction::Unlink(unlink) => inodes.push(unlink.parent),
            FileAction::RemoveDirectory(remove) => {
                inodes.push(remove.parent);
                inodes.extend(self.found(command.bucket, remove.parent, &remove.name)?);
            }
            FileAction::Rename(rename) => {
                inodes.extend([rename.parent, rename.new_parent]);
                inodes.extend(self.found(command.bucket, rename.new_parent, &rename.new_name)?);
            }
            FileAction::SetAttributes(set) => inodes.push(set.inode),
            FileAction::SetXattr(set) => inodes.push(set.inode),
            FileAction::RemoveXattr(remove) => inodes.push(remove.inode),
            FileAction::Write(_)
            | FileAction::ChangeSpace(_)
            | FileAction::CloneRange(_)
            | FileAction::Merge(_)
            | FileAction::ReserveInodes(_) => {}
        }
        let bucket = command.bucket;
        let file = |inode| FileId { bucket, inode };
        Ok(Scope::Files(inodes.into_iter().map(file).collect()))
    }

    /// The inode that a name stands for now.
    fn found(&self, bucket: u64, parent: u64, name: &bytes::Bytes) -> Result<Option<u64>, ViewError> {
        let name = name.clone();
        let question = Some(FileQuestion::Lookup(LookupQuery { parent, name }));
        let answer = self.answer_now(&Query::File(FileQuery { bucket, question }))?;
        Ok(match answer {
            Some(Answer::File(answer)) => match answer.reply {
                Some(FileReply::Attributes(found)) => Some(found.inode),
                _ => None,
            },
            _ => None,
        })
    }

    /// The answer by the state as it is here.
    fn answer_now(&self, query: &Query) -> Result<Option<Answer>, ViewError> {
        let answered = self
            .node
            .state()
            .read(|view, applied| self.machine.answer(view, applied.index(), query));
        Ok(answered?.answer)
    }
}

/// Whether a command may change names of a bucket.
const fn changes_names(command: &Command) -> bool {
    matches!(
        command,
        Command::File(_)
            | Command::PutObject(_)
            | Command::DeleteObject(_)
            | Command::CompleteUpload(_)
            | Command::CopyObject(_)
            | Command::DeleteBucket(_)
    )
}
