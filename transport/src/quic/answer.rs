//! Answering one request on its stream.
//!
//! Invariant: a request whose caller has gone, or whose time has run out, is dropped where it is; the stream's head has a
//! deadline and a bound of its own, so that a caller that says nothing costs little.

use std::{sync::Arc, time::Duration};

use cairn_common::wire::{
    failure::{Failure, FailureCode},
    kind::RequestKind,
};
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument;

use super::{
    codes::StreamCode,
    stream::{HeadFault, Incoming, Outgoing, SendError},
};
use crate::{
    Body, Peer, Request, Response, Services, failure,
    frame::{self, IncomingHead, IncomingKind},
    metrics::{Flight, PeerCounts},
    trace,
};

/// How long the head of a request may take to come.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long a refusal may take to leave.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(10);

/// What the requests of one connection share.
pub(super) struct Caller {
    /// Who asks.
    pub(super) peer: Peer,
    /// What its requests are counted by.
    pub(super) counts: PeerCounts,
    /// Who answers.
    pub(super) services: Arc<Services>,
    /// Lets few large heads be gathered at a time.
    pub(super) large_heads: Semaphore,
}

/// One request's stream.
struct Exchange {
    incoming: Option<Incoming>,
    outgoing: Outgoing,
}

/// Refuses a stream without looking at it.
pub(super) fn refuse_stream(send: SendStream, receive: RecvStream) {
    Incoming::new(receive).refuse(StreamCode::Busy);
    Outgoing::new(send, 0).give_up(StreamCode::Busy);
}

/// Answers the request on a stream of `caller`.
pub(super) async fn answer(caller: Arc<Caller>, send: SendStream, receive: RecvStream) {
    let mut incoming = Incoming::new(receive);
    let mut outgoing = Outgoing::new(send, 0);
    let head = match timeout(HEAD_DEADLINE, incoming.head(Some(&caller.large_heads))).await {
        Ok(Ok(head)) => frame::decode_request_head(head).map_err(|error| error.to_string()),
        Ok(Err(HeadFault::Malformed(reason))) => Err(reason),
        Ok(Err(HeadFault::Reset(_) | HeadFault::Lost(_))) => return,
        Ok(Err(HeadFault::TooMany)) => {
            incoming.refuse(StreamCode::Busy);
            return outgoing.give_up(StreamCode::Busy);
        }
        Err(_) => {
            incoming.refuse(StreamCode::Late);
            return outgoing.give_up(StreamCode::Late);
        }
    };
    let head = match head {
        Ok(head) => head,
        Err(reason) => {
            tracing::warn!(node = %caller.peer.node, reason, "a request cannot be decoded");
            incoming.refuse(StreamCode::Malformed);
            return outgoing.give_up(StreamCode::Malformed);
        }
    };
    let kind = match head.kind {
        IncomingKind::Known(kind) => kind,
        IncomingKind::Unknown(number) => {
            let text = format!("this server knows no request of kind {number}: upgrade it");
            return outgoing.refuse(failure(FailureCode::Unsupported, text)).await;
        }
    };
    let flight = caller.counts.of(kind).begin();
    outgoing.count_in(flight.sent());
    let exchange = Exchange {
        incoming: Some(incoming),
        outgoing,
    };
    let span = match head.trace {
        Some(context) => {
            tracing::debug_span!("request", kind = kind.name(), from = %caller.peer.node, trace = trace::id_text(context))
        }
        None => tracing::Span::none(),
    };
    exchange.run(&caller, kind, head, &flight).instrument(span).await;
}

impl Exchange {
    async fn run(mut self, caller: &Caller, kind: RequestKind, head: IncomingHead, flight: &Flight) {
        let deadline = Instant::now() + head.timeout;
        let place = match caller.services.admit(caller.peer, kind) {
            Ok(place) => place,
            Err(refusal) => {
                flight.failed("refused");
                return self.outgoing.refuse(refusal).await;
            }
        };
        let mut incoming = self.incoming.take().expect("taken once, here");
        incoming.count_in(flight.received());
        let request = Request {
            kind,
            header: head.message,
            body: incoming.into_body(),
            deadline,
            trace: head.trace,
        };
        let gone = self.outgoing.stopped();
        let handled = tokio::select! {
            biased;
            handled = place.handle(caller.peer, request) => handled,
            () = gone => {
                flight.failed("cancelled");
                return;
            }
        };
        flight.answered();
        // The place is kept until the answer is on its way: what it holds in memory counts.
        let mut kept = None;
        match handled {
            Ok(mut response) => {
                kept = response.body.take_kept();
                self.respond(response, deadline, flight).await;
            }
            Err(refusal) => {
                flight.failed("answered");
                self.outgoing.refuse(refusal).await;
            }
        }
        drop(place);
        // Closing a connection takes back what has not arrived, so the request is under way until then: a server that stops
        // waits for it. Whoever does not say in time has gone.
        let _ = timeout_at(deadline, self.outgoing.stopped()).await;
        drop(kept);
    }

    async fn respond(&mut self, response: Response, deadline: Instant, flight: &Flight) {
        let head = frame::encode_response_head(&Ok(response.header));
        let gone = self.outgoing.stopped();
        let sent = tokio::select! {
            biased;
            sent = timeout_at(deadline, self.outgoing.send(head, response.body)) => sent,
            () = gone => Ok(Err(SendError::Stopped)),
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(SendError::Stopped)) => flight.failed("cancelled"),
            Ok(Err(SendError::Body(_))) => flight.failed("body"),
            Err(_) => {
                flight.failed("deadline");
                self.outgoing.give_up(StreamCode::Late);
            }
        }
    }
}

impl Outgoing {
    /// Answers with a failure.
    async fn refuse(&mut self, refusal: Failure) {
        let head = frame::encode_response_head(&Err(refusal));
        // Where nobody takes it, nobody waits for it.
        let _ = timeout(REFUSAL_DEADLINE, self.send(head, Body::empty())).await;
    }
}
