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
    raft::{Hold, ProposeError},
    server::service::Inner,
};

/// A command or a question on its way; for as long as this lives nobody else is given alone what it is about.
pub(in crate::server) struct Entered {
    leases: Arc<FileLeases>,
    number: u64,
    /// Whether it may be carried out though nobody waits for it any more.
    lingers: bool,
}

impl Entered {
    /// The command was answered, or will not be carried out any more.
    pub(in crate::server) fn answered(mut self) {
        self.lingers = false;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let now = self.leases.now();
        let alone = &mut self.leases.state.lock().table.alone;
        if self.lingers {
            alone.abandon(self.number, now);
        } else {
            alone.end(self.number);
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

    /// Goes on where nobody else uses alone what is in a scope; and, unless it `settles`, where who does is known to a leader, of the
    /// term `leads`.
    fn next(&self, leads: Option<u64>, session: SessionId, scope: &Scope, settles: bool) -> Next {
        let now = self.now();
        let mut state = self.state.lock();
        let waits = leads.is_some() && !settles && !scope.is_nothing();
        if let Some(opening) = state.opening.as_ref().filter(|_| waits) {
            return Next::Wait(vec![opening.hold()]);
        }
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
        let session = SessionId::new(request.session);
        let scope = || {
            if self.file_leases.has_no_mounts() {
                return Ok(Scope::Unknown);
            }
            self.scope(command).map_err(|error| self.read_failure(&error))
        };
        let mut wanted = scope()?;
        loop {
            let mut entered = self.pass_gate(session, &wanted, request.settles).await?;
            // Names may have come to stand for other directories while it waited.
            let now = scope()?;
            if now == wanted || wanted == Scope::Unknown {
                entered.lingers = true;
                return Ok(entered);
            }
            wanted = now;
        }
    }

    /// Waits until nobody else uses alone the directory that a mount asks about; nobody does while what is given lives.
    pub(in crate::server) async fn settle_asked(
        &self,
        session: SessionId,
        query: &FileQuery,
    ) -> Result<Option<Entered>, Failure> {
        let mut inodes = match &query.question {
            Some(FileQuestion::Lookup(asked)) => vec![asked.parent],
            Some(FileQuestion::Attributes(asked)) => vec![asked.inode],
            Some(FileQuestion::Directory(asked)) => vec![asked.inode],
            _ => return Ok(None),
        };
        if self.node.leading_term().is_none() {
            // Only who leads knows.
            return Err(self.node.failure(&ProposeError::NotLeader));
        }
        if let Some(FileQuestion::Lookup(asked)) = &query.question {
            let found = self.found(query.bucket, asked.parent, &asked.name);
            inodes.extend(found.map_err(|error| self.read_failure(&error))?);
        }
        let bucket = query.bucket;
        let file = |inode| FileId { bucket, inode };
        let scope = Scope::Files(inodes.into_iter().map(file).collect());
        self.pass_gate(session, &scope, false).await.map(Some)
    }

    async fn pass_gate(&self, session: SessionId, scope: &Scope, settles: bool) -> Result<Entered, Failure> {
        let leads = self.node.leading_term();
        loop {
            match self.file_leases.next(leads, session, scope, settles) {
                Next::Go(number) => {
                    return Ok(Entered {
                        leases: Arc::clone(&self.file_leases),
                        number,
                        lingers: false,
                    });
                }
                Next::Wait(holds) => {
                    for hold in holds {
                        if !hold.wait().await {
                            // Who leads next knows who uses what alone.
                            return Err(self.node.failure(&ProposeError::NotLeader));
                        }
                    }
                }
            }
            if self.node.leading_term() != leads {
                return Err(self.node.failure(&ProposeError::NotLeader));
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
