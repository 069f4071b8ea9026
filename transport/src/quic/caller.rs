//! Sending requests: the QUIC carrier as those who ask see it.
//!
//! Invariant: a call that ends, however it ends, leaves nothing running at the other side: dropping its streams tells the
//! server to stop.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{failure::FailureCode, kind::RequestKind},
};
use quinn::{RecvStream, SendStream};
use tokio::{
    task::AbortHandle,
    time::{Instant, Sleep, timeout_at},
};

use super::{
    codes::StreamCode,
    dial::Dialer,
    pool::{NodeAddresses, Pool, Pooled},
    reason::connection_text,
    settings::QuicSettings,
    socket::BindError,
    stream::{HeadFault, Incoming, Outgoing, SendError},
};
use crate::{
    Body, BodyError, CallError, Identity, Request, Response, Transport, TransportMetrics,
    body::BodyStream,
    failure,
    frame::{self, REQUEST_TIMEOUT_MAX},
    metrics::Flight,
};

/// How often the certificates of live connections are looked at again.
const TRUST_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Carries requests to other nodes over QUIC.
pub struct QuicTransport {
    pool: Arc<Pool>,
    keeper: AbortHandle,
}

/// A request being sent, beside the wait for its answer.
type Sending = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

/// The rest of an answer, and of its request where that is still being sent.
struct Answer {
    incoming: Incoming,
    sending: Option<Sending>,
    flight: Flight,
    /// When the body must have come, once it is asked for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl QuicTransport {
    /// A carrier for the node of that `identity`, which finds others at `addresses`. Runs within a tokio runtime.
    pub fn new(
        identity: &Identity,
        addresses: NodeAddresses,
        settings: QuicSettings,
        metrics: TransportMetrics,
    ) -> Result<Self, BindError> {
        let dialer = Dialer::new(identity.clone(), settings)?;
        let pool = Pool::new(dialer, identity.clone(), addresses, metrics);
        let keeper = tokio::spawn(keep_trust(identity.clone(), Arc::clone(&pool))).abort_handle();
        Ok(Self { pool, keeper })
    }

    /// Closes all connections and tells the other ends, for which it waits at most `within`.
    pub async fn close(&self, within: Duration) {
        self.pool.close(within).await;
    }

    async fn exchange(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        let flight = self.pool.counts(node).of(request.kind).begin();
        let answered = self.exchange_counted(node, request, flight).await;
        answered.inspect_err(|error| {
            tracing::debug!(%node, %error, "a call failed");
        })
    }

    async fn exchange_counted(&self, node: NodeId, request: Request, flight: Flight) -> Result<Response, CallError> {
        let deadline = request.deadline.min(Instant::now() + REQUEST_TIMEOUT_MAX);
        let kind = request.kind;
        let opening = timeout_at(deadline, self.open(node, kind)).await;
        let opened = opening.unwrap_or(Err(CallError::DeadlineExceeded));
        let (pooled, send, receive) = opened.inspect_err(|error| flight.failed(failure_reason(error)))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let head = frame::encode_request_head(kind, left, &request.header, request.trace);
        let mut incoming = Incoming::new(receive);
        incoming.count_in(flight.received());
        let mut exchange = Exchange {
            node,
            pooled,
            answer: Answer {
                incoming,
                sending: None,
                flight,
                deadline: None,
            },
        };
        let mut outgoing = Outgoing::new(send, kind.priority());
        outgoing.count_in(exchange.answer.flight.sent());
        let answered = timeout_at(deadline, exchange.run(outgoing, head, request.body)).await;
        let answered = answered.unwrap_or(Err(CallError::DeadlineExceeded));
        if matches!(answered, Ok(_) | Err(CallError::Failed(_))) {
            exchange.answer.flight.answered();
        }
        let header = answered.inspect_err(|error| exchange.answer.flight.failed(failure_reason(error)))?;
        Ok(Response {
            header,
            body: exchange.answer.into_body(deadline),
        })
    }

    /// A stream to `node`. On a connection that turns out to have ended nothing was sent, so another is tried, once.
    async fn open(&self, node: NodeId, kind: RequestKind) -> Result<(Arc<Pooled>, SendStream, RecvStream), CallError> {
        let unreachable = |reason| CallError::Unreachable { node, reason };
        let mut tried = false;
        loop {
            let pooled = self.pool.connection(node, kind.class()).await.map_err(unreachable)?;
            match pooled.connection.open_bi().await {
                Ok((send, receive)) => return Ok((pooled, send, receive)),
                Err(error) if tried => return Err(unreachable(connection_text(&error))),
                Err(_) => {
                    tried = true;
                    pooled.counts.of(kind).retried();
                }
            }
        }
    }
}

/// One request and its answer on a stream.
struct Exchange {
    node: NodeId,
    pooled: Arc<Pooled>,
    answer: Answer,
}

impl Exchange {
    /// Sends the request and waits for the head of the answer; what is not sent by then goes on with the answer's body.
    async fn run(&mut self, mut outgoing: Outgoing, head: Bytes, body: Body) -> Result<Bytes, CallError> {
        if body.is_empty() {
            // What stops it is heard by the answer.
            let _ = outgoing.send(head, body).await;
        } else {
            self.answer.sending = Some(Box::pin(async move { outgoing.send(head, body).await }));
        }
        let head = {
            let Answer { incoming, sending, .. } = &mut self.answer;
            let mut receiving = std::pin::pin!(incoming.head(None));
            poll_fn(|context| {
                if let Poll::Ready(Err(error)) = poll_sending(sending, context) {
                    return Poll::Ready(Err(CallError::Body(error)));
                }
                receiving.as_mut().poll(context).map(Ok)
            })
            .await?
        };
        let head = head.map_err(|fault| self.call_error(fault))?;
        let answer = frame::decode_response_head(head).map_err(|error| CallError::Malformed(error.to_string()))?;
        answer.map_err(CallError::from)
    }

    fn call_error(&self, fault: HeadFault) -> CallError {
        let lost = |reason| CallError::ConnectionLost {
            node: self.node,
            reason,
        };
        match fault {
            HeadFault::Reset(StreamCode::Late) => CallError::DeadlineExceeded,
            HeadFault::Reset(StreamCode::Malformed) => {
                CallError::Malformed("the server could not decode the request".to_owned())
            }
            HeadFault::Reset(StreamCode::Cancelled | StreamCode::Cut) => {
                lost("the server gave the request up".to_owned())
            }
            HeadFault::Reset(StreamCode::Busy) | HeadFault::TooMany => {
                let text = "the server took no further request: try again later, or another";
                CallError::Failed(failure(FailureCode::Busy, text))
            }
            HeadFault::Lost(reason) => lost(reason),
            HeadFault::Malformed(reason) => match self.pooled.connection.close_reason() {
                Some(error) => lost(connection_text(&error)),
                None => CallError::Malformed(reason),
            },
        }
    }
}

impl Answer {
    fn into_body(mut self, deadline: Instant) -> Body {
        if self.sending.is_none() && self.incoming.has_ended() {
            return Body::empty();
        }
        self.deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
        let ready = self.incoming.take_pieces();
        Body::carried(ready, Box::new(self))
    }
}

impl BodyStream for Answer {
    fn poll_pieces(
        &mut self,
        context: &mut Context<'_>,
        pieces: &mut VecDeque<Bytes>,
    ) -> Poll<Result<bool, BodyError>> {
        if let Poll::Ready(Err(error)) = poll_sending(&mut self.sending, context) {
            self.flight.failed("body");
            return Poll::Ready(Err(error));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            self.flight.failed("deadline");
            return Poll::Ready(Err(BodyError::Lost("the request's time has run out".to_owned())));
        }
        self.incoming.poll_pieces(context, pieces)
    }
}

#[async_trait]
impl Transport for QuicTransport {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        self.exchange(node, request).await
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Sends on. Ready with an error only where the body's own source failed; a receiver that wants no more is heard by its
/// answer.
fn poll_sending(sending: &mut Option<Sending>, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
    let Some(running) = sending else {
        return Poll::Ready(Ok(()));
    };
    let Poll::Ready(sent) = running.as_mut().poll(context) else {
        return Poll::Pending;
    };
    *sending = None;
    match sent {
        Ok(()) | Err(SendError::Stopped) => {}
        Err(SendError::Body(error)) => return Poll::Ready(Err(error)),
    }
    Poll::Ready(Ok(()))
}

/// Closes connections whose other end is no longer trusted, whenever that may have changed.
async fn keep_trust(identity: Identity, pool: Arc<Pool>) {
    let mut changes = identity.changes();
    loop {
        let changed = tokio::time::timeout(TRUST_CHECK_INTERVAL, changes.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
        pool.close_untrusted();
    }
}

fn failure_reason(error: &CallError) -> &'static str {
    match error {
        CallError::Unreachable { .. } => "unreachable",
        CallError::ConnectionLost { .. } => "connection_lost",
        CallError::DeadlineExceeded => "deadline",
        CallError::Failed(_) => "answered",
        CallError::Malformed(_) => "malformed",
        CallError::Body(_) => "body",
    }
}
