//! Tests of the simulated network: times, crashes, partitions, and that a seed decides everything.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{failure::Failure, kind::RequestKind, role::Roles},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    Body, BodyError, CallError, Fault, FaultRule, Peer, Request, Response, Service, Services, SimulatedLinks,
    SimulatedNetwork,
};

const CALLER: NodeId = NodeId::new(1);
const SERVER: NodeId = NodeId::new(2);
const LATENCY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// Events with the virtual time since the start.
#[derive(Clone)]
struct Log {
    start: Instant,
    events: Arc<Mutex<Vec<(Duration, String)>>>,
    added: Arc<Notify>,
}

impl Log {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            events: Arc::default(),
            added: Arc::default(),
        }
    }

    fn add(&self, event: String) {
        let event = (self.start.elapsed(), event);
        self.events.lock().expect("no panic").push(event);
        self.added.notify_one();
    }

    fn events(&self) -> Vec<(Duration, String)> {
        self.events.lock().expect("no panic").clone()
    }

    fn times(&self, event: &str) -> Vec<Duration> {
        let events = self.events();
        events
            .into_iter()
            .filter(|(_, own)| own == event)
            .map(|(time, _)| time)
            .collect()
    }
}

/// Logs what arrives and sends it back; hangs where the header says so.
struct Echo(Log);

struct LogOnDrop(Log);

impl Drop for LogOnDrop {
    fn drop(&mut self) {
        self.0.add("handler ended".to_owned());
    }
}

#[async_trait]
impl Service for Echo {
    async fn handle(&self, from: Peer, mut request: Request) -> Result<Response, Failure> {
        let _on_drop = LogOnDrop(self.0.clone());
        let name = String::from_utf8_lossy(&request.header).into_owned();
        self.0.add(format!("{name} from {} arrives", from.node));
        if name == "hang" {
            std::future::pending::<()>().await;
        }
        let mut pieces = Vec::new();
        while let Some(Ok(piece)) = request.body.next().await {
            self.0.add(format!("{name}: {} bytes", piece.len()));
            pieces.push(piece);
        }
        Ok(Response {
            header: request.header,
            body: Body::from(pieces),
        })
    }
}

fn network(seed: u64, jitter: Duration, bytes_per_second: u64) -> (SimulatedNetwork, Log) {
    let links = SimulatedLinks {
        latency: LATENCY,
        jitter,
        bytes_per_second,
    };
    let (network, log) = (SimulatedNetwork::new(seed, links), Log::new());
    network.add_node(CALLER, Roles::MEMBER, Services::new());
    network.add_node(SERVER, Roles::MEMBER, services(&log));
    (network, log)
}

fn services(log: &Log) -> Services {
    Services::new().with(&[RequestKind::GetShard], Arc::new(Echo(log.clone())), 64)
}

fn send(
    network: &SimulatedNetwork,
    from: NodeId,
    name: impl Into<Bytes>,
    body: Body,
) -> JoinHandle<Result<Response, CallError>> {
    let request = Request {
        kind: RequestKind::GetShard,
        header: name.into(),
        body,
        deadline: Instant::now() + PATIENCE,
        trace: None,
    };
    let transport = network.transport(from);
    tokio::spawn(async move { transport.send(SERVER, request).await })
}

async fn outcome(call: JoinHandle<Result<Response, CallError>>) -> Result<Response, CallError> {
    let ended = timeout(PATIENCE * 2, call).await;
    ended.expect("a call ends by its deadline").expect("no panic")
}

/// Waits until the log holds the event.
async fn until(log: &Log, event: &str) {
    let seen = async {
        while log.times(event).is_empty() {
            log.added.notified().await;
        }
    };
    timeout(PATIENCE, seen).await.expect("it happens in time");
}

async fn traffic(seed: u64) -> Vec<(Duration, String)> {
    let (network, log) = network(seed, Duration::from_millis(40), 1 << 20);
    let others: Vec<NodeId> = (3..6).map(NodeId::new).collect();
    for node in &others {
        network.add_node(*node, Roles::MEMBER, Services::new());
    }
    network
        .faults()
        .set(FaultRule::new(Fault::Delay(Duration::from_millis(7))).from(others[0]));
    let mut calls = Vec::new();
    for (number, node) in others.iter().cycle().take(12).enumerate() {
        let name = format!("call {number}");
        let pieces: Vec<Bytes> = (1..4).map(|piece| Bytes::from(vec![0; piece * 1000])).collect();
        let call = send(&network, *node, name.clone(), Body::from(pieces));
        let log = log.clone();
        calls.push(tokio::spawn(async move {
            let mut body = outcome(call).await.expect("an answer").body;
            log.add(format!("{name} answered"));
            while let Some(piece) = body.next().await {
                log.add(format!("{name} gets {}", piece.expect("no cut").len()));
            }
            log.add(format!("{name} ends"));
        }));
    }
    for call in calls {
        call.await.expect("no panic");
    }
    log.events()
}

#[tokio::test(start_paused = true)]
async fn a_seed_decides_order_and_times_of_everything() {
    let first = traffic(5).await;
    assert!(first.len() > 12 * 8, "{} events", first.len());
    assert_eq!(first, traffic(5).await);
    let other = traffic(6).await;
    let order = |events: &[(Duration, String)]| -> Vec<String> { events.iter().map(|(_, own)| own.clone()).collect() };
    assert_ne!(first, other);
    assert_ne!(order(&first), order(&other));
}

#[tokio::test(start_paused = true)]
async fn bytes_take_their_latency_and_bandwidth_and_are_not_copied() {
    let (network, log) = network(1, Duration::ZERO, 1000);
    let bulk = Bytes::from(vec![1; 500]);
    let call = send(&network, CALLER, "", Body::from(bulk.clone()));
    let mut body = outcome(call).await.expect("an answer").body;
    let piece = body.next().await.expect("a piece").expect("no cut");
    assert_eq!(piece.as_ptr(), bulk.as_ptr());
    let sent = Duration::from_millis(500);
    assert_eq!(log.times(" from 1 arrives"), [LATENCY]);
    assert_eq!(log.times(": 500 bytes"), [LATENCY + sent]);
    assert_eq!(log.start.elapsed(), (LATENCY + sent) * 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_slows_its_sender() {
    let (network, _log) = network(1, Duration::ZERO, 0);
    let (sender, body) = Body::channel(1);
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while let Ok(Ok(())) = timeout(PATIENCE / 2, sender.send(Bytes::from_static(b"piece"))).await {
            sent += 1;
        }
        sent
    });
    let hang = send(&network, CALLER, "hang", body);
    let sent = sending.await.expect("no panic");
    assert!((1..=20).contains(&sent), "{sent} pieces were sent and none was read");
    hang.abort();
}

#[tokio::test(start_paused = true)]
async fn cancelling_reaches_the_handler_one_latency_later() {
    let (network, log) = network(1, Duration::ZERO, 0);
    let call = send(&network, CALLER, "hang", Body::empty());
    until(&log, "hang from 1 arrives").await;
    let cancelled = log.start.elapsed();
    call.abort();
    until(&log, "handler ended").await;
    assert_eq!(log.times("handler ended"), [cancelled + LATENCY]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_what_is_under_way_and_is_unreachable() {
    for crashed in [CALLER, SERVER] {
        let (network, log) = network(1, Duration::ZERO, 0);
        let call = send(&network, CALLER, "hang", Body::empty());
        until(&log, "hang from 1 arrives").await;
        network.remove_node(crashed);
        let lost = outcome(call).await;
        assert!(
            matches!(lost, Err(CallError::ConnectionLost { node: SERVER, .. })),
            "{lost:?}"
        );
        let later = outcome(send(&network, CALLER, "later", Body::empty())).await;
        assert!(
            matches!(later, Err(CallError::Unreachable { node: SERVER, .. })),
            "{later:?}"
        );
        until(&log, "handler ended").await;
        let back = if crashed == SERVER {
            services(&log)
        } else {
            Services::new()
        };
        network.add_node(crashed, Roles::MEMBER, back);
        let again = outcome(send(&network, CALLER, "again", Body::empty())).await;
        assert!(again.is_ok(), "{again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_cuts_bodies() {
    let (network, _log) = network(1, Duration::ZERO, 1000);
    let pieces = vec![Bytes::from(vec![1; 500]), Bytes::from(vec![2; 500])];
    let call = send(&network, CALLER, "", Body::from(pieces));
    let mut body = outcome(call).await.expect("an answer").body;
    assert!(matches!(body.next().await, Some(Ok(_))));
    network.remove_node(SERVER);
    assert_eq!(body.next().await, Some(Err(BodyError::Cut)));
}

#[tokio::test(start_paused = true)]
async fn a_partition_holds_messages_until_it_is_healed() {
    let (network, log) = network(1, Duration::ZERO, 0);
    network.partition(SERVER, CALLER);
    let never = outcome(send(&network, CALLER, "never", Body::empty())).await;
    assert_eq!(never.err(), Some(CallError::DeadlineExceeded));
    assert_eq!(log.start.elapsed(), PATIENCE);
    network.add_node(NodeId::new(3), Roles::MEMBER, Services::new());
    let other = outcome(send(&network, NodeId::new(3), "other", Body::empty())).await;
    assert!(other.is_ok(), "only the two are apart: {other:?}");
    let late = send(&network, CALLER, "late", Body::empty());
    tokio::time::advance(LATENCY * 5).await;
    assert!(log.times("late from 1 arrives").is_empty());
    network.heal(CALLER, SERVER);
    assert!(outcome(late).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_built_in_faults_are_those_of_every_carrier() {
    let (network, _log) = network(1, Duration::ZERO, 0);
    let rule = network
        .faults()
        .set(FaultRule::new(Fault::Refuse).from(CALLER).to(SERVER));
    let refused = outcome(send(&network, CALLER, "", Body::empty())).await;
    assert!(matches!(refused, Err(CallError::Unreachable { .. })));
    network.faults().clear(rule);
    assert!(outcome(send(&network, CALLER, "", Body::empty())).await.is_ok());
}
