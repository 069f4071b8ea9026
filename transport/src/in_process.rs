//! The carrier within one process: a request is a function call, bulk bytes change hands without a copy.
//!
//! Invariant: it bounds what is in flight per service as a network carrier would, and answers "busy" beyond that.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use cairn_common::{
    ids::ServerId,
    wire::{failure::FailureCode, kind::RequestKind},
};
use tokio::sync::Semaphore;

use crate::{CallError, Request, Response, Service, Transport, call::failure};

#[derive(Clone)]
struct Route {
    service: Arc<dyn Service>,
    in_flight: Arc<Semaphore>,
}

/// Routes requests to the services of this process. Made whole before it is shared.
#[derive(Clone, Default)]
pub struct InProcess {
    routes: HashMap<(ServerId, RequestKind), Route>,
}

impl InProcess {
    /// A carrier without services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `service` answer requests of these kinds to `server`, at most `in_flight_max` at a time.
    #[must_use]
    pub fn with_service(
        mut self,
        server: ServerId,
        kinds: &[RequestKind],
        service: Arc<dyn Service>,
        in_flight_max: usize,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(in_flight_max));
        for kind in kinds {
            let route = Route {
                service: Arc::clone(&service),
                in_flight: Arc::clone(&in_flight),
            };
            self.routes.insert((server, *kind), route);
        }
        self
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, server: ServerId, request: Request) -> Result<Response, CallError> {
        let route = self
            .routes
            .get(&(server, request.kind))
            .ok_or(CallError::Unreachable(server))?;
        let Ok(_permit) = route.in_flight.try_acquire() else {
            return Err(CallError::Failed(failure(
                FailureCode::Busy,
                "too many requests in flight: try again later",
            )));
        };
        let deadline = request.deadline;
        match tokio::time::timeout_at(deadline, route.service.handle(request)).await {
            Ok(answer) => answer.map_err(CallError::Failed),
            Err(_) => Err(CallError::DeadlineExceeded),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;
    use crate::Body;

    struct Echo;

    #[async_trait]
    impl Service for Echo {
        async fn handle(&self, request: Request) -> Result<Response, cairn_common::wire::failure::Failure> {
            if request.header.is_empty() {
                std::future::pending::<()>().await;
            }
            Ok(Response {
                header: request.header,
                body: request.body,
            })
        }
    }

    const SERVER: ServerId = ServerId::new(1);

    fn request(header: &'static [u8], body: Bytes) -> Request {
        let deadline = Instant::now() + Duration::from_millis(50);
        Request {
            kind: RequestKind::GetShard,
            header: Bytes::from_static(header),
            body: Body::from(body),
            deadline,
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
    async fn an_unknown_server_is_unreachable() {
        let answer = carrier().send(ServerId::new(2), request(b"echo", Bytes::new())).await;
        assert_eq!(answer.err(), Some(CallError::Unreachable(ServerId::new(2))));
    }

    async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
