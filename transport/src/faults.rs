//! Faults put into requests on purpose, at the trait: for any pair of nodes and over any carrier.
//!
//! A [`FaultyTransport`] stands before a node's carrier and asks a table, [`Faults`], what is to go wrong with each request.
//! It must never decide by chance: what happens is what the table says. Invariant: without a rule that fits, a request
//! and its bytes go through as they are; bytes are changed on a copy, so that whoever else holds them sees no difference.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cairn_common::{ids::NodeId, wire::kind::RequestKind};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout_at};

use crate::{Body, BodySender, CallError, Request, Response, Transport};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request sets out later.
    Delay(Duration),
    /// The request never arrives: the caller meets its deadline.
    DropRequest,
    /// The request is carried out and its answer lost: the caller meets its deadline.
    DropResponse,
    /// The request's body ends without its end once so many bytes have gone by. The service reads `BodyError::Cut`, the
    /// caller gets `ConnectionLost` when the service has given up or the deadline has passed.
    CutRequest {
        /// Bytes that arrive.
        after_bytes: u64,
    },
    /// The response's body ends without its end once so many bytes have gone by: its reader gets `BodyError::Cut`.
    CutResponse {
        /// Bytes that arrive.
        after_bytes: u64,
    },
    /// One bit of the request's bulk bytes is another; none where there are fewer bytes.
    CorruptRequest {
        /// The byte, from 0.
        at_byte: u64,
    },
    /// One bit of the response's bulk bytes is another; none where there are fewer bytes.
    CorruptResponse {
        /// The byte, from 0.
        at_byte: u64,
    },
    /// The node is unreachable at once.
    Refuse,
}

/// A fault and the requests that it is put into: all, unless narrowed.
#[derive(Clone, Copy, Debug)]
pub struct FaultRule {
    fault: Fault,
    from: Option<NodeId>,
    to: Option<NodeId>,
    kind: Option<RequestKind>,
    left: Option<u64>,
}

/// Names a rule that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultId(u64);

/// The table of rules. Its clones are the same table; it may be changed while requests run, and counts for those that
/// set out afterwards.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    rules: Vec<(FaultId, FaultRule)>,
    last_id: u64,
}

/// A carrier of one node's requests, with the faults that the table has for them.
#[derive(Clone)]
pub struct FaultyTransport {
    from: NodeId,
    inner: Arc<dyn Transport>,
    faults: Faults,
}

/// What goes wrong with the bytes of a body.
#[derive(Clone, Copy)]
enum BodyFault {
    Cut { after_bytes: u64 },
    Corrupt { at_byte: u64 },
}

impl FaultRule {
    /// The fault, for all requests.
    pub const fn new(fault: Fault) -> Self {
        Self {
            fault,
            from: None,
            to: None,
            kind: None,
            left: None,
        }
    }

    /// Only requests that this node sends.
    #[must_use]
    pub const fn from(mut self, node: NodeId) -> Self {
        self.from = Some(node);
        self
    }

    /// Only requests to this node.
    #[must_use]
    pub const fn to(mut self, node: NodeId) -> Self {
        self.to = Some(node);
        self
    }

    /// Only requests of this kind.
    #[must_use]
    pub const fn kind(mut self, kind: RequestKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only the first `count` requests that fit.
    #[must_use]
    pub const fn first(mut self, count: u64) -> Self {
        self.left = Some(count);
        self
    }

    fn fits(&self, from: NodeId, to: NodeId, kind: RequestKind) -> bool {
        self.left != Some(0)
            && self.from.is_none_or(|node| node == from)
            && self.to.is_none_or(|node| node == to)
            && self.kind.is_none_or(|own| own == kind)
    }
}

impl Faults {
    /// A table without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule. Where several fit a request they all happen to it, in the order in which they were set.
    pub fn set(&self, rule: FaultRule) -> FaultId {
        let mut table = self.table.lock();
        table.last_id += 1;
        let id = FaultId(table.last_id);
        table.rules.push((id, rule));
        id
    }

    /// Takes a rule away, if it is still there.
    pub fn clear(&self, id: FaultId) {
        self.table.lock().rules.retain(|(own, _)| *own != id);
    }

    /// Takes all rules away.
    pub fn clear_all(&self) {
        self.table.lock().rules.clear();
    }

    /// The faults of one request, which counts as one of those that the rules are for.
    fn take(&self, from: NodeId, to: NodeId, kind: RequestKind) -> Vec<Fault> {
        let mut table = self.table.lock();
        let mut faults = Vec::new();
        for (_, rule) in &mut table.rules {
            if rule.fits(from, to, kind) {
                rule.left = rule.left.map(|left| left - 1);
                faults.push(rule.fault);
            }
        }
        faults
    }
}

impl FaultyTransport {
    /// Puts the faults that the table has for requests of `from` before `inner`, which carries them.
    pub fn new(from: NodeId, inner: Arc<dyn Transport>, faults: Faults) -> Self {
        Self { from, inner, faults }
    }

    async fn send_faulty(&self, node: NodeId, mut request: Request, faults: &[Fault]) -> Result<Response, CallError> {
        let (deadline, cut) = (request.deadline, Arc::new(AtomicBool::new(false)));
        let carried = async {
            if !set_out(&mut request, faults, &cut).await {
                let reason = "a fault that was asked for".to_owned();
                return Err(CallError::Unreachable { node, reason });
            }
            let response = self.inner.send(node, request).await?;
            Ok(come_back(response, faults).await)
        };
        let outcome = timeout_at(deadline, carried)
            .await
            .unwrap_or(Err(CallError::DeadlineExceeded));
        if cut.load(Ordering::Relaxed) {
            let reason = "the request's body was cut, as was asked for".to_owned();
            return Err(CallError::ConnectionLost { node, reason });
        }
        outcome
    }
}

#[async_trait]
impl Transport for FaultyTransport {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        let faults = self.faults.take(self.from, node, request.kind);
        if faults.is_empty() {
            return self.inner.send(node, request).await;
        }
        self.send_faulty(node, request, &faults).await
    }
}

/// What happens on the way there; `false` where there is no way. Does not end where the request is lost.
async fn set_out(request: &mut Request, faults: &[Fault], cut: &Arc<AtomicBool>) -> bool {
    for fault in faults {
        match *fault {
            Fault::Refuse => return false,
            Fault::Delay(time) => sleep(time).await,
            Fault::DropRequest => std::future::pending().await,
            Fault::CutRequest { after_bytes } => {
                let on_cut = Some(Arc::clone(cut));
                request.body = with_fault(
                    std::mem::take(&mut request.body),
                    BodyFault::Cut { after_bytes },
                    on_cut,
                );
            }
            Fault::CorruptRequest { at_byte } => {
                let body = std::mem::take(&mut request.body);
                request.body = with_fault(body, BodyFault::Corrupt { at_byte }, None);
            }
            Fault::DropResponse | Fault::CutResponse { .. } | Fault::CorruptResponse { .. } => {}
        }
    }
    true
}

/// What happens on the way back. Does not end where the response is lost.
async fn come_back(mut response: Response, faults: &[Fault]) -> Response {
    for fault in faults {
        match *fault {
            Fault::DropResponse => std::future::pending().await,
            Fault::CutResponse { after_bytes } => {
                response.body = with_fault(response.body, BodyFault::Cut { after_bytes }, None);
            }
            Fault::CorruptResponse { at_byte } => {
                response.body = with_fault(response.body, BodyFault::Corrupt { at_byte }, None);
            }
            Fault::Refuse
            | Fault::Delay(_)
            | Fault::DropRequest
            | Fault::CutRequest { .. }
            | Fault::CorruptRequest { .. } => {}
        }
    }
    response
}

/// The body with a fault in it. `on_cut` is raised when it is cut.
fn with_fault(body: Body, fault: BodyFault, on_cut: Option<Arc<AtomicBool>>) -> Body {
    let (sender, faulty) = Body::channel(1);
    tokio::spawn(pass_on(body, sender, fault, on_cut));
    faulty
}

/// Moves pieces on until the end, the cut, or a receiver that has gone. A body that its own sender cuts stays cut, since
/// its new sender is dropped unfinished.
async fn pass_on(mut body: Body, sender: BodySender, fault: BodyFault, on_cut: Option<Arc<AtomicBool>>) {
    let mut passed = 0_u64;
    loop {
        if matches!(fault, BodyFault::Cut { after_bytes } if passed == after_bytes) {
            on_cut.inspect(|cut| cut.store(true, Ordering::Relaxed));
            return;
        }
        let piece = match body.next().await {
            Some(Ok(piece)) => changed(piece, passed, fault),
            Some(Err(_)) => return,
            None => break,
        };
        passed += piece.len() as u64;
        if sender.send(piece).await.is_err() {
            return;
        }
    }
    sender.finish();
}

/// The piece that starts at byte `start` of its body, as the fault leaves it.
fn changed(mut piece: Bytes, start: u64, fault: BodyFault) -> Bytes {
    let offset = |at: u64| {
        usize::try_from(at.checked_sub(start)?)
            .ok()
            .filter(|at| *at < piece.len())
    };
    match fault {
        BodyFault::Cut { after_bytes } => {
            if let Some(kept) = offset(after_bytes) {
                piece.truncate(kept);
            }
            piece
        }
        BodyFault::Corrupt { at_byte } => {
            let Some(at) = offset(at_byte) else {
                return piece;
            };
            let mut copy = BytesMut::from(&piece[..]);
            copy[at] ^= 1;
            copy.freeze()
        }
    }
}
