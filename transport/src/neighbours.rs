//! The carrier among several members of a group that live in one process.
//!
//! Invariant: each speaks under its own number, as it would over a network. A member that is not there, not yet or not any
//! more, is unreachable, or belongs to the carrier beyond.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use cairn_common::ids::NodeId;
use parking_lot::RwLock;

use crate::{CallError, Peer, Request, Response, Services, Transport};

/// Who lives in this process. Clones share it: a member can be given its way to the others before they are there.
#[derive(Clone, Default)]
pub struct Neighbours {
    nodes: Arc<RwLock<HashMap<NodeId, Arc<Services>>>>,
}

/// The way of one member to the others.
struct Way {
    own: NodeId,
    neighbours: Neighbours,
    beyond: Arc<dyn Transport>,
}

impl Neighbours {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `services` answer what is asked of `node`.
    pub fn move_in(&self, node: NodeId, services: Services) {
        self.nodes.write().insert(node, Arc::new(services));
    }

    /// From now on nobody answers for `node`.
    pub fn move_out(&self, node: NodeId) {
        self.nodes.write().remove(&node);
    }

    /// The way of `own` to them all; what none of them answers goes by `beyond`.
    pub fn way_of(&self, own: NodeId, beyond: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Way {
            own,
            neighbours: self.clone(),
            beyond,
        })
    }
}

#[async_trait]
impl Transport for Way {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        let services = self.neighbours.nodes.read().get(&node).cloned();
        let Some(services) = services.filter(|services| services.answers(request.kind)) else {
            return self.beyond.send(node, request).await;
        };
        let from = Peer::same_process(self.own);
        let place = services.admit(from, request.kind).map_err(CallError::Failed)?;
        place.handle(from, request).await.map_err(CallError::from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use cairn_common::wire::{failure::Failure, kind::RequestKind};
    use tokio::time::Instant;

    use super::*;
    use crate::{Body, InProcess, Service};

    /// Answers with the number of who asks.
    struct WhoAsks;

    #[async_trait]
    impl Service for WhoAsks {
        async fn handle(&self, from: Peer, _: Request) -> Result<Response, Failure> {
            Ok(Response {
                header: Bytes::copy_from_slice(&from.node.value().to_be_bytes()),
                body: Body::empty(),
            })
        }
    }

    const FIRST: NodeId = NodeId::new(1);
    const SECOND: NodeId = NodeId::new(2);

    fn who_asks() -> Services {
        Services::new().with(&[RequestKind::RaftVote], Arc::new(WhoAsks), 1)
    }

    async fn ask(way: &dyn Transport, node: NodeId, kind: RequestKind) -> Result<u64, CallError> {
        let request = Request {
            kind,
            header: Bytes::new(),
            body: Body::empty(),
            deadline: Instant::now() + Duration::from_secs(5),
            trace: None,
        };
        let answer = way.send(node, request).await?;
        Ok(u64::from_be_bytes(answer.header[..].try_into().expect("a number")))
    }

    #[tokio::test]
    async fn each_speaks_under_its_own_number_and_can_come_and_go() {
        let neighbours = Neighbours::new();
        let way = neighbours.way_of(FIRST, Arc::new(InProcess::new()));
        let asked = ask(&*way, SECOND, RequestKind::RaftVote).await;
        assert!(matches!(asked, Err(CallError::Unreachable { .. })), "{asked:?}");
        neighbours.move_in(SECOND, who_asks());
        assert_eq!(ask(&*way, SECOND, RequestKind::RaftVote).await, Ok(1));
        neighbours.move_out(SECOND);
        let asked = ask(&*way, SECOND, RequestKind::RaftVote).await;
        assert!(matches!(asked, Err(CallError::Unreachable { .. })), "{asked:?}");
    }

    #[tokio::test]
    async fn what_a_neighbour_does_not_answer_goes_beyond() {
        let beyond = InProcess::new().with_service(SECOND, &[RequestKind::GetShard], Arc::new(WhoAsks), 1);
        let neighbours = Neighbours::new();
        neighbours.move_in(SECOND, who_asks());
        let way = neighbours.way_of(FIRST, Arc::new(beyond));
        assert_eq!(ask(&*way, SECOND, RequestKind::RaftVote).await, Ok(1));
        assert_eq!(ask(&*way, SECOND, RequestKind::GetShard).await, Ok(2));
    }
}
