//! Tests of faults: each happens to the requests that it is for and to no other.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{
        failure::{Failure, FailureCode},
        kind::RequestKind,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    Body, BodyError, CallError, Fault, FaultRule, Faults, FaultyTransport, InProcess, Peer, Request, Response, Service,
    Transport, failure,
};

const CALLER: NodeId = NodeId::new(1);
const SERVER: NodeId = NodeId::new(2);
const PATIENCE: Duration = Duration::from_secs(1);
const BULK: &[u8] = b"0123456789";

/// Tells what it was asked with, whole or not, and sends that back.
struct Echo {
    asked: mpsc::UnboundedSender<Result<Vec<Bytes>, BodyError>>,
}

#[async_trait]
impl Service for Echo {
    async fn handle(&self, _: Peer, request: Request) -> Result<Response, Failure> {
        let pieces = request.body.collect(1 << 20).await;
        self.asked.send(pieces.clone()).expect("the test listens");
        let pieces = pieces.map_err(|error| failure(FailureCode::Malformed, error.to_string()))?;
        Ok(Response {
            header: request.header,
            body: Body::from(pieces),
        })
    }
}

struct Bench {
    faults: Faults,
    transport: FaultyTransport,
    asked: mpsc::UnboundedReceiver<Result<Vec<Bytes>, BodyError>>,
}

impl Bench {
    fn new() -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let kinds = [RequestKind::GetShard, RequestKind::DeviceStatus];
        let carrier = InProcess::new().with_service(SERVER, &kinds, Arc::new(Echo { asked: sender }), 8);
        let faults = Faults::new();
        Self {
            transport: FaultyTransport::new(CALLER, Arc::new(carrier), faults.clone()),
            faults,
            asked,
        }
    }

    async fn ask(&self, kind: RequestKind, body: Body) -> Result<Response, CallError> {
        let request = Request {
            kind,
            header: Bytes::from_static(b"header"),
            body,
            deadline: Instant::now() + PATIENCE,
            trace: None,
        };
        timeout(PATIENCE * 2, self.transport.send(SERVER, request))
            .await
            .expect("a call ends by its deadline")
    }

    async fn get(&self, bulk: &Bytes) -> Result<Response, CallError> {
        self.ask(RequestKind::GetShard, Body::from(bulk.clone())).await
    }
}

fn bulk() -> Bytes {
    Bytes::from(BULK.to_vec())
}

async fn whole(response: Response) -> Result<Vec<u8>, BodyError> {
    Ok(response.body.collect(1 << 20).await?.concat())
}

fn flipped(at: usize) -> Vec<u8> {
    let mut bytes = BULK.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_the_bytes_are_the_same_ones() {
    let bench = Bench::new();
    let other = FaultRule::new(Fault::CorruptRequest { at_byte: 0 }).to(NodeId::new(9));
    bench.faults.set(other);
    let bulk = bulk();
    let mut response = bench.get(&bulk).await.expect("an answer");
    let piece = response.body.next().await.expect("a piece").expect("no error");
    assert_eq!(piece.as_ptr(), bulk.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn lost_requests_never_arrive_and_lost_answers_do() {
    for (fault, arrives) in [(Fault::DropRequest, false), (Fault::DropResponse, true)] {
        let mut bench = Bench::new();
        bench.faults.set(FaultRule::new(fault));
        let outcome = bench.get(&bulk()).await;
        assert_eq!(outcome.err(), Some(CallError::DeadlineExceeded), "{fault:?}");
        assert_eq!(bench.asked.try_recv().is_ok(), arrives, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_unreachable_at_once_and_a_delayed_one_is_late() {
    let mut bench = Bench::new();
    let start = Instant::now();
    let refusal = bench.faults.set(FaultRule::new(Fault::Refuse));
    let outcome = bench.get(&bulk()).await;
    assert!(matches!(outcome, Err(CallError::Unreachable { node: SERVER, .. })));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(bench.asked.try_recv().is_err());
    bench.faults.clear(refusal);
    let delay = Duration::from_millis(300);
    bench.faults.set(FaultRule::new(Fault::Delay(delay)));
    bench.get(&bulk()).await.expect("an answer");
    assert_eq!(start.elapsed(), delay);
    bench.faults.clear_all();
    bench.faults.set(FaultRule::new(Fault::Delay(PATIENCE * 3)));
    assert_eq!(bench.get(&bulk()).await.err(), Some(CallError::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_cut_request_is_seen_as_cut_by_both_sides() {
    for after_bytes in [0, 4, 10] {
        let mut bench = Bench::new();
        bench.faults.set(FaultRule::new(Fault::CutRequest { after_bytes }));
        let outcome = bench.get(&bulk()).await;
        assert!(
            matches!(outcome, Err(CallError::ConnectionLost { node: SERVER, .. })),
            "{after_bytes}"
        );
        assert_eq!(bench.asked.recv().await, Some(Err(BodyError::Cut)), "{after_bytes}");
    }
    let bench = Bench::new();
    bench.faults.set(FaultRule::new(Fault::CutRequest { after_bytes: 11 }));
    let response = bench.get(&bulk()).await.expect("shorter bodies are not cut");
    assert_eq!(whole(response).await, Ok(BULK.to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_cut_response_brings_so_many_bytes_and_the_cut() {
    for after_bytes in [0_usize, 4, 10] {
        let bench = Bench::new();
        let fault = Fault::CutResponse {
            after_bytes: after_bytes as u64,
        };
        bench.faults.set(FaultRule::new(fault));
        let mut body = bench.get(&bulk()).await.expect("the head comes").body;
        let mut received = Vec::new();
        let end = loop {
            match body.next().await {
                Some(Ok(piece)) => received.extend_from_slice(&piece),
                end => break end,
            }
        };
        assert_eq!(
            (received.as_slice(), end),
            (&BULK[..after_bytes], Some(Err(BodyError::Cut)))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bit_is_flipped_on_a_copy() {
    for at in [0, 4, 9] {
        let mut bench = Bench::new();
        let at_byte = at as u64;
        let request_fault = bench.faults.set(FaultRule::new(Fault::CorruptRequest { at_byte }));
        let bulk = bulk();
        let pieces = vec![bulk.slice(..3), bulk.slice(3..)];
        let response = bench
            .ask(RequestKind::GetShard, Body::from(pieces))
            .await
            .expect("an answer");
        assert_eq!(whole(response).await, Ok(flipped(at)));
        let asked = bench.asked.recv().await.expect("it was asked").expect("the whole body");
        assert_eq!(asked.concat(), flipped(at));
        assert_eq!(bulk, BULK, "the sender's own bytes");
        bench.faults.clear(request_fault);
        bench.faults.set(FaultRule::new(Fault::CorruptResponse { at_byte }));
        let response = bench.get(&bulk).await.expect("an answer");
        assert_eq!(whole(response).await, Ok(flipped(at)));
        let asked = bench.asked.recv().await.expect("it was asked").expect("the whole body");
        assert_eq!(asked.concat(), BULK);
        assert_eq!(bulk, BULK, "the server's own bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_are_for_the_requests_they_name() {
    let refuse = FaultRule::new(Fault::Refuse);
    let cases = [
        (refuse, true),
        (refuse.from(CALLER), true),
        (refuse.from(SERVER), false),
        (refuse.to(SERVER), true),
        (refuse.to(CALLER), false),
        (refuse.kind(RequestKind::GetShard), true),
        (refuse.kind(RequestKind::DeviceStatus), false),
        (refuse.from(CALLER).to(SERVER).kind(RequestKind::GetShard), true),
        (refuse.from(CALLER).to(CALLER), false),
        (refuse.first(0), false),
    ];
    for (rule, refused) in cases {
        let bench = Bench::new();
        bench.faults.set(rule);
        assert_eq!(bench.get(&bulk()).await.is_err(), refused, "{rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_counted_rule_is_for_the_first_that_fit() {
    let bench = Bench::new();
    bench
        .faults
        .set(FaultRule::new(Fault::Refuse).kind(RequestKind::GetShard).first(2));
    let kinds = [
        (RequestKind::GetShard, false),
        (RequestKind::DeviceStatus, true),
        (RequestKind::GetShard, false),
        (RequestKind::GetShard, true),
    ];
    for (kind, answered) in kinds {
        assert_eq!(bench.ask(kind, Body::empty()).await.is_ok(), answered, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_its_sender_cuts_stays_cut_behind_a_fault() {
    let mut bench = Bench::new();
    bench.faults.set(FaultRule::new(Fault::CorruptRequest { at_byte: 100 }));
    let (sender, body) = Body::channel(1);
    sender.send(bulk()).await.expect("there is room");
    drop(sender);
    assert!(bench.ask(RequestKind::GetShard, body).await.is_err());
    assert_eq!(bench.asked.recv().await, Some(Err(BodyError::Cut)));
}
