//! Which service answers which kind of request, to whom, and how many at a time.
//!
//! Every carrier hands requests over here. Invariant: nothing reaches a service that its sender's roles do not allow; what is
//! in flight is bounded, and beyond that the answer is "busy"; no request outlives its deadline.

use std::{collections::HashMap, sync::Arc};

use cairn_common::wire::{
    failure::{Failure, FailureCode},
    kind::RequestKind,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use crate::{Peer, Request, Response, Service, call::failure, trace};

/// The services of one node. Made whole before it is shared.
#[derive(Clone, Default)]
pub struct Services {
    routes: HashMap<RequestKind, Route>,
}

#[derive(Clone)]
struct Route {
    service: Arc<dyn Service>,
    in_flight: Arc<Semaphore>,
}

/// A request's place among those in flight, until it is dropped.
pub(crate) struct Place {
    service: Arc<dyn Service>,
    _permit: OwnedSemaphorePermit,
}

impl Services {
    /// No services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `service` answer requests of these kinds, at most `in_flight_max` at a time.
    #[must_use]
    pub fn with(mut self, kinds: &[RequestKind], service: Arc<dyn Service>, in_flight_max: usize) -> Self {
        let in_flight = Arc::new(Semaphore::new(in_flight_max));
        for kind in kinds {
            let route = Route {
                service: Arc::clone(&service),
                in_flight: Arc::clone(&in_flight),
            };
            self.routes.insert(*kind, route);
        }
        self
    }

    /// Whether requests of this kind are answered here.
    pub(crate) fn answers(&self, kind: RequestKind) -> bool {
        self.routes.contains_key(&kind)
    }

    /// Gives a request of `from` its place, or says why it has none.
    pub(crate) fn admit(&self, from: Peer, kind: RequestKind) -> Result<Place, Failure> {
        if !from.roles.has_any(kind.senders()) {
            let text = format!(
                "node {} has the roles [{}], and {} may be asked by [{}] only",
                from.node,
                from.roles,
                kind.name(),
                kind.senders()
            );
            return Err(failure(FailureCode::Forbidden, text));
        }
        let Some(route) = self.routes.get(&kind) else {
            let text = format!("this server does not answer {}", kind.name());
            return Err(failure(FailureCode::Unsupported, text));
        };
        let Ok(permit) = Arc::clone(&route.in_flight).try_acquire_owned() else {
            let text = "too many requests in flight: try again later";
            return Err(failure(FailureCode::Busy, text));
        };
        Ok(Place {
            service: Arc::clone(&route.service),
            _permit: permit,
        })
    }
}

impl Place {
    /// Has the request answered.
    pub(crate) async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        let (deadline, context) = (request.deadline, request.trace);
        let handling = trace::scope(context, self.service.handle(from, request));
        timeout_at(deadline, handling).await.unwrap_or_else(|_| {
            Err(failure(
                FailureCode::DeadlineExceeded,
                "the request's time ran out at the server",
            ))
        })
    }
}
