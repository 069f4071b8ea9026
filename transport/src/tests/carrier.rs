//! The rules that every carrier keeps, written against [`Transport`] alone.
//!
//! A carrier joins with a line of `carrier_rules!` and a function that starts it: an [`Offer`] in, a [`Carrier`] out. Rules
//! wait for conditions and are bounded by [`PATIENCE`], so they hold in real and in virtual time.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::{
        failure::{Failure, FailureCode},
        head::TraceContext,
        kind::RequestKind,
        role::Roles,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    Body, BodyError, CallError, Identity, InProcess, NodeAddresses, Peer, QuicServer, QuicSettings, QuicTransport,
    Request, Response, Service, Services, SimulatedLinks, SimulatedNetwork, Transport, TransportMetrics, failure,
    identity::CertificateAuthority, trace,
};

/// How long a rule waits for what must happen: far longer than it takes, so that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the node that a carrier reaches shall answer. The caller has the roles of a member.
pub(crate) struct Offer {
    pub(crate) kinds: &'static [RequestKind],
    pub(crate) service: Arc<dyn Service>,
    pub(crate) in_flight_max: usize,
}

/// A carrier that has been started.
pub(crate) struct Carrier {
    pub(crate) transport: Arc<dyn Transport>,
    /// The node that answers as was offered.
    pub(crate) node: NodeId,
    /// Dropped at the end of the rule: servers, directories, …
    pub(crate) guard: Box<dyn Any>,
}

async fn in_process(offer: Offer) -> Carrier {
    let node = NodeId::new(1);
    let carrier = InProcess::new().with_service(node, offer.kinds, offer.service, offer.in_flight_max);
    Carrier {
        transport: Arc::new(carrier),
        node,
        guard: Box::new(()),
    }
}

async fn simulated(offer: Offer) -> Carrier {
    let links = SimulatedLinks {
        latency: Duration::from_millis(3),
        jitter: Duration::from_millis(2),
        bytes_per_second: 100 << 20,
    };
    let network = SimulatedNetwork::new(1, links);
    let (caller, node) = (NodeId::new(1), NodeId::new(2));
    let services = Services::new().with(offer.kinds, offer.service, offer.in_flight_max);
    network.add_node(caller, Roles::MEMBER, Services::new());
    network.add_node(node, Roles::MEMBER, services);
    Carrier {
        transport: network.transport(caller),
        node,
        guard: Box::new(network),
    }
}

async fn quic(offer: Offer) -> Carrier {
    let cluster = ClusterId::new([1; 16]);
    let authority = CertificateAuthority::create(cluster).unwrap();
    let identity = |node| {
        let now = SystemTime::now();
        let credentials = authority.make_credentials(node, Roles::MEMBER, now..now + PATIENCE * 10);
        Identity::member(credentials.unwrap()).unwrap()
    };
    let (caller, node) = (NodeId::new(1), NodeId::new(2));
    let services = Services::new().with(offer.kinds, offer.service, offer.in_flight_max);
    let any_port = "127.0.0.1:0".parse().unwrap();
    let (settings, metrics) = (QuicSettings::default(), TransportMetrics::default());
    let server = QuicServer::start(
        &identity(node),
        any_port,
        &[any_port],
        services,
        settings.clone(),
        metrics.clone(),
    );
    let server = server.unwrap();
    let addresses = NodeAddresses::new();
    addresses.set(node, server.local_address());
    Carrier {
        transport: Arc::new(QuicTransport::new(&identity(caller), addresses, settings, metrics).unwrap()),
        node,
        guard: Box::new(server),
    }
}

/// Makes each rule a test of each carrier.
macro_rules! carrier_rules {
    ($($carrier:ident($($test_option:tt)*): $start:path;)*) => { $(
        carrier_rules!(@rules $carrier, ($($test_option)*), $start,
            echo_brings_back_header_and_bulk,
            empty_bodies_end_at_once,
            a_streamed_body_arrives_before_its_sender_has_finished,
            many_pieces_arrive_in_order,
            question_and_answer_take_turns_on_one_stream,
            a_silent_service_meets_the_deadline,
            dropping_the_call_drops_the_handler,
            dropping_the_response_reaches_its_sender,
            dropping_the_request_body_reaches_its_sender,
            beyond_the_bound_it_is_busy_and_then_free_again,
            roles_that_may_not_ask_are_forbidden,
            a_kind_that_nobody_answers_is_refused,
            a_failure_reaches_the_caller,
            a_cut_request_body_is_never_a_shorter_one,
            a_cut_response_body_is_never_a_shorter_one,
            the_handler_sees_the_trace,
        );
    )* };
    (@rules $carrier:ident, $test_options:tt, $start:path, $($rule:ident,)*) => {
        mod $carrier {
            $( carrier_rules!(@rule $test_options, $start, $rule); )*
        }
    };
    (@rule ($($test_option:tt)*), $start:path, $rule:ident) => {
        #[tokio::test($($test_option)*)]
        async fn $rule() {
            tokio::time::timeout(super::PATIENCE * 3, super::$rule($start))
                .await
                .expect("the rule hangs");
        }
    };
}

carrier_rules! {
    in_process(start_paused = true): super::super::carrier::in_process;
    simulated(start_paused = true): super::super::carrier::simulated;
    quic(flavor = "multi_thread", worker_threads = 2): super::super::carrier::quic;
}

/// What a [`Witness`] saw.
#[derive(Debug, PartialEq)]
enum Seen {
    Asked(Peer, RequestKind),
    Trace(Option<TraceContext>),
    Body(Result<Bytes, BodyError>),
    ReceiverGone,
    HandlerDropped,
}

/// Answers as the request's header says, and tells what it sees.
struct Witness {
    seen: mpsc::UnboundedSender<Seen>,
}

struct TellOnDrop {
    seen: mpsc::UnboundedSender<Seen>,
    armed: AtomicBool,
}

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        if self.armed.load(Ordering::Relaxed) {
            drop(self.seen.send(Seen::HandlerDropped));
        }
    }
}

#[async_trait]
impl Service for Witness {
    async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        let on_drop = TellOnDrop {
            seen: self.seen.clone(),
            armed: AtomicBool::new(true),
        };
        self.tell(Seen::Asked(from, request.kind));
        let response = match &request.header[..] {
            b"hang" => std::future::pending().await,
            b"fail" => Err(failure(FailureCode::DeviceFull, "no room")),
            b"trace" => {
                self.tell(Seen::Trace(trace::current()));
                Ok(Response::default())
            }
            b"first piece" => Ok(self.first_piece(request.body).await),
            b"refuse body" => {
                drop(request.body);
                std::future::pending().await
            }
            b"whole body" => Ok(self.whole_body(request.body).await),
            b"endless" => Ok(self.endless()),
            b"cut" => Ok(cut_after_two_pieces().await),
            _ => Ok(Response {
                header: request.header,
                body: request.body,
            }),
        };
        on_drop.armed.store(false, Ordering::Relaxed);
        response
    }
}

impl Witness {
    /// The service and what it sees.
    fn offer(in_flight_max: usize) -> (Offer, mpsc::UnboundedReceiver<Seen>) {
        let (seen, watch) = mpsc::unbounded_channel();
        let offer = Offer {
            kinds: &[RequestKind::GetShard, RequestKind::DeviceStatus, RequestKind::Join],
            service: Arc::new(Self { seen }),
            in_flight_max,
        };
        (offer, watch)
    }

    fn tell(&self, seen: Seen) {
        // A rule that has seen enough no longer listens.
        drop(self.seen.send(seen));
    }

    async fn first_piece(&self, mut body: Body) -> Response {
        let first = body.next().await.expect("a piece");
        self.tell(Seen::Body(first));
        Response {
            header: Bytes::from_static(b"have it"),
            body,
        }
    }

    async fn whole_body(&self, body: Body) -> Response {
        let whole = body.collect(1 << 20).await.map(|pieces| Bytes::from(pieces.concat()));
        self.tell(Seen::Body(whole));
        Response::default()
    }

    fn endless(&self) -> Response {
        let (sender, body) = Body::channel(1);
        let seen = self.seen.clone();
        tokio::spawn(async move {
            while sender.send(Bytes::from(vec![1; 64 << 10])).await.is_ok() {}
            drop(seen.send(Seen::ReceiverGone));
        });
        Response {
            header: Bytes::new(),
            body,
        }
    }
}

async fn cut_after_two_pieces() -> Response {
    let (sender, body) = Body::channel(4);
    for piece in [&b"one"[..], b"two"] {
        sender.send(Bytes::from_static(piece)).await.expect("there is room");
    }
    Response {
        header: Bytes::new(),
        body,
    }
}

fn request(header: &'static [u8], body: Body) -> Request {
    Request {
        kind: RequestKind::GetShard,
        header: Bytes::from_static(header),
        body,
        deadline: Instant::now() + PATIENCE,
        trace: None,
    }
}

async fn see(watch: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    let seen = timeout(PATIENCE, watch.recv()).await;
    seen.expect("the service sees it in time")
        .expect("the service is there")
}

/// Waits for what the service must see, passing over the rest.
async fn see_at_last(watch: &mut mpsc::UnboundedReceiver<Seen>, expected: Seen) {
    while see(watch).await != expected {}
}

fn code_of(outcome: Result<Response, CallError>) -> FailureCode {
    match outcome {
        Err(CallError::Failed(failure)) => failure.code(),
        other => panic!("a failure is due, not {other:?}"),
    }
}

async fn whole(body: Body) -> Result<Vec<u8>, BodyError> {
    let pieces = timeout(PATIENCE, body.collect(64 << 20)).await;
    Ok(pieces.expect("the body ends in time")?.concat())
}

async fn echo_brings_back_header_and_bulk(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    for length in [1, 1000, 5 << 20] {
        let bulk: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[at as usize % 3]).collect();
        let body = Body::from(Bytes::from(bulk.clone()));
        let response = carrier.transport.send(carrier.node, request(b"echo", body)).await;
        let response = response.expect("an answer");
        assert_eq!(response.header, Bytes::from_static(b"echo"));
        assert!(whole(response.body).await == Ok(bulk), "{length} bytes");
        let Seen::Asked(peer, kind) = see(&mut watch).await else {
            panic!("the service was asked first");
        };
        assert_eq!((peer.roles, kind), (Roles::MEMBER, RequestKind::GetShard));
    }
}

async fn empty_bodies_end_at_once(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let response = carrier.transport.send(carrier.node, request(b"", Body::empty())).await;
    let response = response.expect("an answer");
    assert!(response.header.is_empty());
    assert_eq!(whole(response.body).await, Ok(Vec::new()));
}

async fn a_streamed_body_arrives_before_its_sender_has_finished(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let (sender, body) = Body::channel(1);
    let first = Bytes::from_static(b"first");
    sender.send(first.clone()).await.expect("there is room");
    let response = carrier
        .transport
        .send(carrier.node, request(b"first piece", body))
        .await;
    let response = response.expect("an answer while the body goes on");
    see_at_last(&mut watch, Seen::Body(Ok(first))).await;
    let rest = tokio::spawn(whole(response.body));
    sender.send(Bytes::from_static(b"second")).await.expect("it is read");
    sender.finish();
    assert_eq!(rest.await.expect("no panic"), Ok(b"second".to_vec()));
}

async fn question_and_answer_take_turns_on_one_stream(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let (sender, body) = Body::channel(1);
    let response = carrier.transport.send(carrier.node, request(b"echo", body)).await;
    let mut answer = response.expect("an answer before the first question").body;
    for turn in 0..100_u8 {
        let question = Bytes::from(vec![turn; 3]);
        sender.send(question.clone()).await.expect("it is read");
        let mut received = Vec::new();
        while received.len() < question.len() {
            let piece = timeout(PATIENCE, answer.next()).await.expect("an answer in time");
            received.extend_from_slice(&piece.expect("no end yet").expect("no error"));
        }
        assert_eq!(received, question);
    }
    sender.finish();
    assert!(
        timeout(PATIENCE, answer.next())
            .await
            .expect("an end in time")
            .is_none()
    );
}

async fn many_pieces_arrive_in_order(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let (sender, body) = Body::channel(2);
    let sending = tokio::spawn(async move {
        for number in 0..5000_u32 {
            sender
                .send(Bytes::copy_from_slice(&number.to_be_bytes()))
                .await
                .expect("it is read");
        }
        sender.finish();
    });
    let response = carrier.transport.send(carrier.node, request(b"echo", body)).await;
    let received = whole(response.expect("an answer").body).await;
    let expected: Vec<u8> = (0..5000_u32).flat_map(u32::to_be_bytes).collect();
    assert!(received == Ok(expected));
    sending.await.expect("all was sent");
}

async fn a_silent_service_meets_the_deadline(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let mut silent = request(b"hang", Body::empty());
    silent.deadline = Instant::now() + Duration::from_millis(200);
    let outcome = carrier.transport.send(carrier.node, silent).await;
    assert_eq!(outcome.err(), Some(CallError::DeadlineExceeded));
    see_at_last(&mut watch, Seen::HandlerDropped).await;
}

async fn dropping_the_call_drops_the_handler(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    {
        let call = carrier.transport.send(carrier.node, request(b"hang", Body::empty()));
        tokio::select! {
            outcome = call => panic!("nothing answers, yet it ended: {outcome:?}"),
            seen = see(&mut watch) => assert!(matches!(seen, Seen::Asked(..))),
        }
    }
    assert_eq!(see(&mut watch).await, Seen::HandlerDropped);
}

async fn dropping_the_response_reaches_its_sender(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let response = carrier
        .transport
        .send(carrier.node, request(b"endless", Body::empty()))
        .await;
    let mut body = response.expect("an answer").body;
    assert!(matches!(body.next().await, Some(Ok(_))));
    drop(body);
    see_at_last(&mut watch, Seen::ReceiverGone).await;
}

async fn dropping_the_request_body_reaches_its_sender(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let (sender, body) = Body::channel(1);
    let call = carrier.transport.send(carrier.node, request(b"refuse body", body));
    let sending = async { while sender.send(Bytes::from(vec![1; 64 << 10])).await.is_ok() {} };
    tokio::select! {
        outcome = call => panic!("nothing answers, yet it ended: {outcome:?}"),
        () = sending => {}
    }
}

async fn beyond_the_bound_it_is_busy_and_then_free_again(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let echo = || carrier.transport.send(carrier.node, request(b"echo", Body::empty()));
    {
        let occupied = async {
            assert!(matches!(see(&mut watch).await, Seen::Asked(..)));
            assert_eq!(code_of(echo().await), FailureCode::Busy);
        };
        tokio::select! {
            outcome = carrier.transport.send(carrier.node, request(b"hang", Body::empty())) => {
                panic!("nothing answers, yet it ended: {outcome:?}")
            }
            () = occupied => {}
        }
    }
    assert_eq!(see(&mut watch).await, Seen::HandlerDropped);
    // The place is given back right behind the handler, but a thread may come between.
    let mut outcome = echo().await;
    while matches!(&outcome, Err(CallError::Failed(failure)) if failure.code() == FailureCode::Busy) {
        tokio::task::yield_now().await;
        outcome = echo().await;
    }
    assert!(outcome.is_ok(), "{outcome:?}");
}

async fn roles_that_may_not_ask_are_forbidden(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, mut watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let mut join = request(b"echo", Body::empty());
    join.kind = RequestKind::Join;
    assert_eq!(
        code_of(carrier.transport.send(carrier.node, join).await),
        FailureCode::Forbidden
    );
    assert!(watch.try_recv().is_err(), "the service was asked");
}

async fn a_kind_that_nobody_answers_is_refused(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let mut stranger = request(b"echo", Body::empty());
    stranger.kind = RequestKind::Revocations;
    match carrier.transport.send(carrier.node, stranger).await {
        // Known without asking, where all services are at hand.
        Err(CallError::Unreachable { node, .. }) => assert_eq!(node, carrier.node),
        outcome => assert_eq!(code_of(outcome), FailureCode::Unsupported),
    }
}

async fn a_failure_reaches_the_caller(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let outcome = carrier
        .transport
        .send(carrier.node, request(b"fail", Body::empty()))
        .await;
    let expected = CallError::Failed(failure(FailureCode::DeviceFull, "no room"));
    assert_eq!(outcome.err(), Some(expected));
}

async fn a_cut_request_body_is_never_a_shorter_one(start: impl AsyncFn(Offer) -> Carrier) {
    for pieces in [0, 1, 40] {
        let (offer, mut watch) = Witness::offer(1);
        let carrier = start(offer).await;
        let (sender, body) = Body::channel(1);
        let sending = async {
            for _ in 0..pieces {
                // Where the cut is known before all is sent, the receiver may have gone.
                if sender.send(Bytes::from_static(b"piece")).await.is_err() {
                    break;
                }
            }
            drop(sender);
        };
        // What the caller gets is the carrier's affair: the service may answer, or the stream may be gone.
        let call = carrier.transport.send(carrier.node, request(b"whole body", body));
        let _ = tokio::join!(call, sending);
        // On a network the cut may overtake the request, of which the service then never hears. A whole one after it ends
        // the wait for what is not to be seen.
        let whole = Bytes::from_static(b"a whole body");
        let probe = || request(b"whole body", Body::from(whole.clone()));
        while carrier.transport.send(carrier.node, probe()).await.is_err() {}
        loop {
            match see(&mut watch).await {
                Seen::Asked(..) | Seen::Body(Err(_)) | Seen::HandlerDropped => {}
                Seen::Body(Ok(bytes)) if bytes == whole => break,
                other => panic!("{pieces} pieces and a cut became {other:?}"),
            }
        }
    }
}

async fn a_cut_response_body_is_never_a_shorter_one(start: impl AsyncFn(Offer) -> Carrier) {
    let (offer, _watch) = Witness::offer(1);
    let carrier = start(offer).await;
    let response = carrier
        .transport
        .send(carrier.node, request(b"cut", Body::empty()))
        .await;
    // On a network the cut may overtake the answer's head.
    if let Ok(response) = response {
        let received = whole(response.body).await;
        assert!(received.is_err(), "{received:?}");
    }
}

async fn the_handler_sees_the_trace(start: impl AsyncFn(Offer) -> Carrier) {
    let context = TraceContext {
        trace_id_high: 1,
        trace_id_low: 2,
        span_id: 3,
    };
    for trace in [None, Some(context)] {
        let (offer, mut watch) = Witness::offer(1);
        let carrier = start(offer).await;
        let mut traced = request(b"trace", Body::empty());
        traced.trace = trace;
        carrier.transport.send(carrier.node, traced).await.expect("an answer");
        see_at_last(&mut watch, Seen::Trace(trace)).await;
        drop(carrier.guard);
    }
}
