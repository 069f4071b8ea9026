//! The trait that all carriers implement, and calls made of messages.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{
        failure::{Failure, FailureCode},
        head::TraceContext,
        kind::RequestKind,
        role::Roles,
    },
};
use prost::Message;
use tokio::time::Instant;

use crate::{Body, BodyError, trace};

/// Who sent a request, as its carrier has made sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// What it may ask.
    pub roles: Roles,
}

impl Peer {
    /// Another part of this very process, which is one node: it may ask all that a member may.
    pub const fn same_process(node: NodeId) -> Self {
        Self {
            node,
            roles: Roles::MEMBER,
        }
    }
}

/// A request.
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
    /// What it is a part of.
    pub trace: Option<TraceContext>,
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
    /// Nothing was sent: there is no such node, or no way to it now. Use another.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// The node called.
        node: NodeId,
        /// For a person: what was tried and how it ended.
        reason: String,
    },
    /// The connection went away after the request was sent; what was asked for may have happened.
    #[error("the connection to node {node} was lost: {reason}")]
    ConnectionLost {
        /// The node called.
        node: NodeId,
        /// For a person: how it ended.
        reason: String,
    },
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

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        if failure.code() == FailureCode::DeadlineExceeded {
            return Self::DeadlineExceeded;
        }
        Self::Failed(failure)
    }
}

/// Carries requests to nodes.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` to `node` and waits for the head of the response, at most until the request's deadline. Dropping the
    /// future, or the response before its body's end, cancels the request.
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError>;
}

/// Answers requests.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers `request`, which `from` sent and may send. The future is dropped where the caller has gone or its deadline
    /// has passed.
    async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure>;
}

/// Sends a message with bulk bytes and decodes the answer.
pub async fn call<Reply: Message + Default>(
    transport: &dyn Transport,
    node: NodeId,
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
        trace: trace::current(),
    };
    let response = transport.send(node, request).await?;
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
        ..Failure::default()
    }
}
