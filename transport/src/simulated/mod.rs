//! A simulated network: nodes of one process that reach each other as over real links, in virtual time.
//!
//! It reads no clock but tokio's and draws no randomness but its own: on a current-thread runtime with paused time, one
//! seed gives one order and one set of times. It never copies bulk bytes. Invariant: what a node learns of another, it
//! learns at least one latency later; a call between two nodes ends when one of them is removed.
//!
//! What a simulation of the whole cluster will need beside it: a runtime or group of tasks for each node, so that a crash
//! takes the tasks that its handlers started too; disks and identities that outlive a crash; virtual wall clocks that
//! drift apart; links that differ, lose one direction only, and break (a partition now holds messages back until it is
//! healed, however long that takes); a seed that also chooses faults and their times; timers finer than tokio's
//! milliseconds. Whatever else in the process is random (`HashMap` order, `select!` without `biased`, `watch`, threads)
//! must be kept out of what is simulated.

mod carry;
mod links;

use std::sync::Arc;

use async_trait::async_trait;
use cairn_common::{
    ids::NodeId,
    wire::{failure::Failure, role::Roles},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

pub use self::links::SimulatedLinks;
use self::{
    carry::carry,
    links::{Life, State},
};
use crate::{
    Body, CallError, Faults, FaultyTransport, Peer, Request, Response, Services, Transport, frame::REQUEST_TIMEOUT_MAX,
};

/// The network. Its clones are the same one.
#[derive(Clone)]
pub struct SimulatedNetwork {
    shared: Arc<Shared>,
    faults: Faults,
}

struct Shared {
    state: Mutex<State>,
    /// Told of every node removed and every link healed. It wakes in the order in which was waited.
    changed: Notify,
}

/// The carrier of one node's requests.
struct SimulatedTransport {
    from: NodeId,
    shared: Arc<Shared>,
}

/// Who asks whom.
#[derive(Clone, Copy)]
struct Call {
    caller: Life,
    callee: Life,
    peer: Peer,
}

/// A call that its caller waits for. Dropped, it is cancelled: the callee learns that as it learns everything.
struct UnderWay {
    shared: Arc<Shared>,
    call: Call,
    tasks: Option<(JoinHandle<()>, JoinHandle<()>)>,
}

impl SimulatedNetwork {
    /// A network without nodes. What happens by chance is chosen by `seed`.
    pub fn new(seed: u64, links: SimulatedLinks) -> Self {
        let shared = Shared {
            state: Mutex::new(State::new(seed, links)),
            changed: Notify::new(),
        };
        Self {
            shared: Arc::new(shared),
            faults: Faults::new(),
        }
    }

    /// Adds a node that may ask what its roles allow and answers with these services. Added again, it has crashed and come
    /// back.
    pub fn add_node(&self, node: NodeId, roles: Roles, services: Services) {
        self.shared.state.lock().add(node, roles, services);
        self.shared.changed.notify_waiters();
    }

    /// Lets a node crash: its handlers are dropped, calls from and to it end, and it is unreachable.
    pub fn remove_node(&self, node: NodeId) {
        self.shared.state.lock().remove(node);
        self.shared.changed.notify_waiters();
    }

    /// Severs the link of two nodes: what is under way or sent later stays under way until [`SimulatedNetwork::heal`].
    pub fn partition(&self, one: NodeId, other: NodeId) {
        self.shared.state.lock().sever(one, other);
    }

    /// Mends the link of two nodes: what was held back arrives now.
    pub fn heal(&self, one: NodeId, other: NodeId) {
        self.shared.state.lock().heal(one, other);
        self.shared.changed.notify_waiters();
    }

    /// The faults that are put into this network's requests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The carrier of a node's requests. They are unreachable while the node is not in the network.
    pub fn transport(&self, from: NodeId) -> Arc<dyn Transport> {
        let shared = Arc::clone(&self.shared);
        let carrier = Arc::new(SimulatedTransport { from, shared });
        Arc::new(FaultyTransport::new(from, carrier, self.faults.clone()))
    }
}

impl Shared {
    /// Waits until `holds`; looks again whenever a node or a link changed.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    async fn until_gone(&self, life: Life) {
        self.until(|state| state.living(life).is_none()).await;
    }

    async fn until_either_gone(&self, one: Life, other: Life) {
        self.until(|state| state.living(one).is_none() || state.living(other).is_none())
            .await;
    }

    /// Waits for what is due at `arrival`, and beyond that while the link is severed.
    async fn arrive(&self, arrival: Instant, one: NodeId, other: NodeId) {
        sleep_until(arrival).await;
        self.until(|state| !state.is_severed(one, other)).await;
    }

    /// Sends `bytes` that have set out now on their way.
    async fn travel(&self, from: NodeId, to: NodeId, bytes: usize) {
        let arrival = self.state.lock().arrival(from, to, bytes);
        self.arrive(arrival, from, to).await;
    }

    /// Who asks whom, or why nobody can.
    fn call(&self, from: NodeId, to: NodeId) -> Result<Call, &'static str> {
        let state = self.state.lock();
        let caller = state.life(from).ok_or("the caller is not in the network")?;
        let callee = state.life(to).ok_or("it is not in the network")?;
        let roles = state.living(caller).map_or(Roles::NONE, |node| node.roles);
        let peer = Peer { node: from, roles };
        Ok(Call { caller, callee, peer })
    }
}

#[async_trait]
impl Transport for SimulatedTransport {
    async fn send(&self, node: NodeId, mut request: Request) -> Result<Response, CallError> {
        let call = self.shared.call(self.from, node).map_err(|reason| {
            let reason = reason.to_owned();
            CallError::Unreachable { node, reason }
        })?;
        let deadline = request.deadline;
        let (sender, body) = Body::channel(1);
        let source = std::mem::replace(&mut request.body, body);
        let (answer, answered) = oneshot::channel();
        let handling = tokio::spawn(serve(Arc::clone(&self.shared), call, request, answer));
        let carrying = tokio::spawn(carry(
            Arc::clone(&self.shared),
            call.caller,
            call.callee,
            source,
            sender,
        ));
        let mut under_way = UnderWay {
            shared: Arc::clone(&self.shared),
            call,
            tasks: Some((handling, carrying)),
        };
        let lost = |reason: &str| CallError::ConnectionLost {
            node,
            reason: reason.to_owned(),
        };
        let outcome = tokio::select! {
            biased;
            () = self.shared.until_either_gone(call.caller, call.callee) => Err(lost("a node crashed")),
            answer = answered => match answer {
                Ok(answer) => answer.map_err(CallError::from),
                Err(_) => Err(lost("the handler ended without an answer")),
            },
            () = sleep_until(deadline) => Err(CallError::DeadlineExceeded),
        };
        if outcome.is_ok() {
            under_way.tasks = None;
        }
        outcome
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let (Some((mut handling, carrying)), Ok(runtime)) = (self.tasks.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (shared, call) = (Arc::clone(&self.shared), self.call);
        runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = &mut handling => {}
                () = shared.travel(call.caller.node, call.callee.node, 0) => handling.abort(),
            }
            carrying.abort();
        });
    }
}

/// What a call is at its callee: the request arrives, is answered, and the answer goes back.
async fn serve(
    shared: Arc<Shared>,
    call: Call,
    mut request: Request,
    answer: oneshot::Sender<Result<Response, Failure>>,
) {
    let (from, to) = (call.caller.node, call.callee.node);
    // The callee's clock is another than the caller's: only the time left is sent.
    let timeout = request.deadline.saturating_duration_since(Instant::now());
    let served = async {
        shared.travel(from, to, request.header.len()).await;
        request.deadline = Instant::now() + timeout.min(REQUEST_TIMEOUT_MAX);
        let outcome = handle(&shared, call, request).await;
        let length = outcome
            .as_ref()
            .map_or_else(|failure| failure.detail.len(), |response| response.header.len());
        // The head takes its place on the link before the body does.
        let arrival = shared.state.lock().arrival(to, from, length);
        let outcome = outcome.map(|response| carry_back(&shared, call, response));
        shared.arrive(arrival, from, to).await;
        outcome
    };
    tokio::select! {
        biased;
        () = shared.until_gone(call.callee) => {}
        // Where the caller has gone, nobody is left to tell.
        outcome = served => drop(answer.send(outcome)),
    }
}

async fn handle(shared: &Shared, call: Call, request: Request) -> Result<Response, Failure> {
    let services = shared
        .state
        .lock()
        .living(call.callee)
        .map(|node| node.services.clone());
    let Some(services) = services else {
        // The callee has gone, which ends the call; until then nothing is answered.
        return std::future::pending().await;
    };
    let place = services.admit(call.peer, request.kind)?;
    place.handle(call.peer, request).await
}

fn carry_back(shared: &Arc<Shared>, call: Call, mut response: Response) -> Response {
    let (sender, body) = Body::channel(1);
    let source = std::mem::replace(&mut response.body, body);
    tokio::spawn(carry(Arc::clone(shared), call.callee, call.caller, source, sender));
    response
}
