//! Commands of an operator to the metadata service.
//!
//! Invariant: changes are numbered under a session of their own, so each happens once however often it is sent.

use std::path::Path;

use anyhow::{bail, ensure};
use cairn_common::wire::{
    command::{Command, EndSession, OpenSession, Outcome, WriteRequest},
    query::{Answer, Query},
};

use super::Way;

/// The way to the service of a store or cluster.
pub(crate) struct Operator {
    way: Way,
    /// Opened for the first change.
    session: Option<u64>,
    sequence: u64,
}

impl Operator {
    /// That of the store or cluster that the directory `data` is of.
    pub(crate) async fn reach(data: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            way: Way::to_service(data).await?,
            session: None,
            sequence: 0,
        })
    }

    /// The answer to a query.
    pub(crate) async fn query(&mut self, query: Query) -> anyhow::Result<Answer> {
        self.way.query(query).await
    }

    /// Has a command carried out that answers nothing but that it is done.
    pub(crate) async fn change(&mut self, command: Command) -> anyhow::Result<()> {
        let session = self.session().await?;
        self.sequence += 1;
        let request = WriteRequest {
            session,
            sequence: self.sequence,
            answered_below: self.sequence,
            command: Some(command),
            ..WriteRequest::default()
        };
        let outcome = self.way.command(&request).await?;
        ensure!(
            matches!(outcome, Outcome::Done(_)),
            "the metadata service answered something else than that it is done"
        );
        Ok(())
    }

    /// Ends the session, if one was opened; one that is not ended ends with its lease.
    pub(crate) async fn close(mut self) {
        if let Some(session) = self.session {
            let end = Command::EndSession(EndSession { session });
            let ended = self.way.command(&unnumbered(end)).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "the session was not ended");
            }
        }
        self.way.close().await;
    }

    async fn session(&mut self) -> anyhow::Result<u64> {
        if let Some(session) = self.session {
            return Ok(session);
        }
        let open = Command::OpenSession(OpenSession { mounts: false });
        let Outcome::Session(session) = self.way.command(&unnumbered(open)).await? else {
            bail!("the metadata service opened no session");
        };
        self.session = Some(session);
        Ok(session)
    }
}

fn unnumbered(command: Command) -> WriteRequest {
    WriteRequest {
        command: Some(command),
        ..WriteRequest::default()
    }
}
