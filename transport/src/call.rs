//! The trait that all carriers implement, and calls made of messages.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::ServerId,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
    },
};
use prost::Message;
use tokio::time::Instant;

use crate::{Body, BodyError};

/// A request as it reaches a server.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub kind: RequestKind,
    /// The encoded message.
    pub header: Bytes,
    /// Bulk bytes behind it.
    pub body: Body,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

/// A server's answer.
#[derive(Debug, Default)]
pub struct Response {
    /// The encoded message.
    pub header: Bytes,
    /// Bulk bytes behind it.
    pub body: Body,
}

/// Why a call brought no response, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: there is no such server, or no way to it. Use another.
    #[error("server {0} cannot be reached")]
    Unreachable(ServerId),
    /// The deadline passed; what was asked for may have happened.
    #[error("no answer within the deadline")]
    DeadlineExceeded,
    /// The server answered that it failed, and why.
    #[error("{} ({:?})", .0.detail, .0.code())]
    Failed(Failure),
    /// The answer is not of the kind asked for: a bug, or versions that do not fit.
    #[error("the answer cannot be decoded: {0}")]
    Malformed(String),
    /// The answer's bulk bytes did not all come.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Carries requests to servers.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `server` and waits for the response, at most until the request's deadline. Dropping the future
    /// cancels the request.
    async fn send(&self, server: ServerId, request: Request) -> Result<Response, CallError>;
}

/// Answers requests.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers `request`. The future is dropped where the caller has gone.
    async fn handle(&self, request: Request) -> Result<Response, Failure>;
}

/// Sends a message with bulk bytes and decodes the answer.
pub async fn call<Reply: Message + Default>(
    transport: &dyn Transport,
    server: ServerId,
    kind: RequestKind,
    message: &impl Message,
    body: Body,
    timeout: Duration,
) -> Result<(Reply, Body), CallError> {
    let header = Bytes::from(message.encode_to_vec());
    let request = Request {
        kind,
        header,
        body,
        deadline: Instant::now() + timeout,
    };
    let response = transport.send(server, request).await?;
    let reply = Reply::decode(response.header).map_err(|error| CallError::Malformed(error.to_string()))?;
    Ok((reply, response.body))
}

/// A response of a message and bulk bytes.
pub fn reply(message: &impl Message, body: Body) -> Response {
    Response {
        header: Bytes::from(message.encode_to_vec()),
        body,
    }
}

/// A failure with its reason for a person.
pub fn failure(code: FailureCode, detail: impl Into<String>) -> Failure {
    Failure {
        code: code.into(),
        detail: detail.into(),
    }
}
