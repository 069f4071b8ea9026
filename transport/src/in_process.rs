//! The carrier within one process: a request is a function call, bulk bytes change hands without a copy.
//!
//! Invariant: it bounds what is in flight and checks who may ask as a network carrier would. All parts of a process are one
//! node to each other.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use cairn_common::{ids::NodeId, wire::kind::RequestKind};

use crate::{CallError, Peer, Request, Response, Service, Services, Transport};

/// Routes requests to the services of this process. Made whole before it is shared.
#[derive(Clone, Default)]
pub struct InProcess {
    nodes: HashMap<NodeId, Services>,
    others: Option<Arc<dyn Transport>>,
}

impl InProcess {
    /// A carrier without services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `service` answer requests of these kinds to `node`, at most `in_flight_max` at a time.
    #[must_use]
    pub fn with_service(
        mut self,
        node: NodeId,
        kinds: &[RequestKind],
        service: Arc<dyn Service>,
        in_flight_max: usize,
    ) -> Self {
        let services = self.nodes.remove(&node).unwrap_or_default();
        self.nodes.insert(node, services.with(kinds, service, in_flight_max));
        self
    }

    /// Lets requests to nodes that are not of this process go by another carrier.
    #[must_use]
    pub fn with_others(mut self, others: Arc<dyn Transport>) -> Self {
        self.others = Some(others);
        self
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        if let (None, Some(others)) = (self.nodes.get(&node), &self.others) {
            return others.send(node, request).await;
        }
        let services = self.nodes.get(&node).filter(|services| services.answers(request.kind));
        let Some(services) = services else {
            return Err(CallError::Unreachable {
                node,
                reason: format!("nothing in this process answers {} for it", request.kind.name()),
            });
        };
        let from = Peer::same_process(node);
        let place = services.admit(from, request.kind).map_err(CallError::Failed)?;
        place.handle(from, request).await.map_err(CallError::from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use cairn_common::wire::failure::FailureCode;
    use tokio::time::Instant;

    use super::*;
    use crate::Body;

    struct Echo;

    #[async_trait]
    impl Service for Echo {
        async fn handle(&self, _: Peer, request: Request) -> Result<Response, cairn_common::wire::failure::Failure> {
            if request.header.is_empty() {
                std::future::pending::<()>().await;
            }
            Ok(Response {
                header: request.header,
                body: request.body,
            })
        }
    }

    const SERVER: NodeId = NodeId::new(1);

    fn request(header: &'static [u8], body: Bytes) -> Request {
        let deadline = Instant::now() + Duration::from_millis(50);
        Request {
            kind: RequestKind::GetShard,
            header: Bytes::from_static(header),
            body: Body::from(body),
            deadline,
            trace: None,
        }
    }

    fn carrier() -> InProcess {
        InProcess::new().with_service(SERVER, &[RequestKind::GetShard], Arc::new(Echo), 1)
    }

    #[tokio::test]
    async fn bulk_bytes_are_not_copied() {
        let bulk = Bytes::from(vec![7; 1 << 20]);
        let mut response = carrier()
            .send(SERVER, request(b"echo", bulk.clone()))
            .await
            .expect("an answer");
        let received = response.body.next().await.expect("a piece").expect("no error");
        assert_eq!(received.as_ptr(), bulk.as_ptr());
    }

    #[tokio::test]
    async fn a_silent_service_meets_the_deadline() {
        let answer = carrier().send(SERVER, request(b"", Bytes::new())).await;
        assert_eq!(answer.err(), Some(CallError::DeadlineExceeded));
    }

    #[tokio::test]
    async fn beyond_the_bound_it_is_busy_and_cancelling_frees_the_place() {
        let carrier = carrier();
        let silent = carrier.send(SERVER, request(b"", Bytes::new()));
        tokio::pin!(silent);
        assert!(futures_poll_once(silent.as_mut()).await);
        let refused = carrier.send(SERVER, request(b"echo", Bytes::new())).await;
        assert!(matches!(refused, Err(CallError::Failed(failure)) if failure.code() == FailureCode::Busy));
        silent.set(carrier.send(SERVER, request(b"", Bytes::new())));
        assert!(carrier.send(SERVER, request(b"echo", Bytes::new())).await.is_ok());
    }

    #[tokio::test]
    async fn other_nodes_are_reached_by_the_other_carrier() {
        let others = InProcess::new().with_service(NodeId::new(2), &[RequestKind::GetShard], Arc::new(Echo), 1);
        let both = carrier().with_others(Arc::new(others));
        for node in [SERVER, NodeId::new(2)] {
            assert!(both.send(node, request(b"echo", Bytes::new())).await.is_ok());
        }
        let unknown = both.send(NodeId::new(3), request(b"echo", Bytes::new())).await;
        assert!(matches!(unknown, Err(CallError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn an_unknown_server_is_unreachable() {
        let answer = carrier().send(NodeId::new(2), request(b"echo", Bytes::new())).await;
        assert!(matches!(answer, Err(CallError::Unreachable { node, .. }) if node == NodeId::new(2)));
    }

    async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
