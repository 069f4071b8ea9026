//! One request on its way through the gateway: its body, shared between s3s and our own handlers, and what is learned of it.
//!
//! s3s decodes `aws-chunked` bodies a whole chunk at a time, in memory outside our budget, takes a body cut off between chunks
//! for complete, and tells no reason when a body fails. So our handlers read the raw body here, and s3s reads only XML from
//! it. Invariant: the first failure of a body is kept, and a body that stalls beyond the idle limit fails.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::future::poll_fn;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use s3s::{S3Error, S3ErrorCode};
use tokio::time::{Instant, Sleep};

use crate::{error, xml_check::XmlCheck};

/// Why a body failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFailure {
    /// The client went away, or the framing broke, before the body's end.
    #[error("the body ended early")]
    Truncated,
    /// The client sent nothing for too long.
    #[error("the client sent nothing for too long")]
    Idle,
    /// The body is not what its digests say.
    #[error("{text}")]
    Digest {
        /// The S3 code.
        code: S3ErrorCode,
        /// The text for the client.
        text: String,
    },
}

impl From<BodyFailure> for S3Error {
    fn from(failure: BodyFailure) -> Self {
        match failure {
            BodyFailure::Truncated => error::incomplete_body(),
            BodyFailure::Idle => error::answer(
                S3ErrorCode::RequestTimeout,
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ),
            BodyFailure::Digest { code, text } => {
                let mut error = error::answer(code, text);
                error.set_status_code(http::StatusCode::BAD_REQUEST);
                error
            }
        }
    }
}

impl From<S3Error> for BodyFailure {
    fn from(error: S3Error) -> Self {
        Self::Digest {
            code: error.code().clone(),
            text: error.message().unwrap_or_default().to_owned(),
        }
    }
}

/// A handle to one request; clones share it.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Shared>);

struct Shared {
    operation: OnceLock<&'static str>,
    idle_limit: Duration,
    body: Mutex<RequestBody>,
}

struct RequestBody {
    incoming: Incoming,
    idle: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    begun: bool,
    received: u64,
    check: Option<XmlCheck>,
    failure: Option<BodyFailure>,
}

impl Exchange {
    pub(crate) fn new(incoming: Incoming, idle_limit: Duration, check: Option<XmlCheck>) -> Self {
        let body = RequestBody {
            incoming,
            idle: None,
            waiting: false,
            begun: false,
            received: 0,
            check,
            failure: None,
        };
        Self(Arc::new(Shared {
            operation: OnceLock::new(),
            idle_limit,
            body: Mutex::new(body),
        }))
    }

    /// Notes which operation the request is.
    pub(crate) fn set_operation(&self, name: &'static str) {
        self.0.operation.get_or_init(|| name);
    }

    /// The operation, once it is known.
    pub(crate) fn operation(&self) -> Option<&'static str> {
        self.0.operation.get().copied()
    }

    /// The next bytes of the raw body; `None` at its end.
    pub(crate) async fn next(&self) -> Option<Result<Bytes, BodyFailure>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// Why the body failed, if it did.
    pub(crate) fn failure(&self) -> Option<BodyFailure> {
        self.0.body.lock().failure.clone()
    }

    /// Bytes of the raw body received so far.
    pub(crate) fn received(&self) -> u64 {
        self.0.body.lock().received
    }

    /// Whether the client may still be sending a body that nobody reads.
    pub(crate) fn unread(&self, expects_continue: bool) -> bool {
        let body = self.0.body.lock();
        body.failure.is_none() && !body.incoming.is_end_stream() && (body.begun || !expects_continue)
    }

    /// Whether a client that asked first was never told to send its body. It may send it or its next request, and nobody
    /// can tell which: the connection must not be used again.
    pub(crate) fn owes_unasked_body(&self, expects_continue: bool) -> bool {
        let body = self.0.body.lock();
        expects_continue && !body.begun && !body.incoming.is_end_stream()
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        self.0.body.lock().poll_data(cx, self.0.idle_limit)
    }
}

impl RequestBody {
    fn poll_data(&mut self, cx: &mut Context<'_>, idle_limit: Duration) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        self.begun = true;
        if let Some(failure) = &self.failure {
            return Poll::Ready(Some(Err(failure.clone())));
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.waiting = false;
                    // Trailers of the HTTP framing itself carry nothing that S3 defines.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(self.take(bytes)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(self.fail(BodyFailure::Truncated)))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.poll_idle(cx, idle_limit));
                    return Poll::Ready(Some(Err(self.fail(BodyFailure::Idle))));
                }
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<Bytes, BodyFailure> {
        self.received += bytes.len() as u64;
        let checked = self
            .check
            .as_mut()
            .map_or(Ok(()), |check| check.update(&bytes, self.received));
        match checked {
            Ok(()) => Ok(bytes),
            Err(error) => Err(self.fail(error.into())),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            idle.as_mut().reset(Instant::now() + limit);
        }
        idle.as_mut().poll(cx)
    }

    fn fail(&mut self, failure: BodyFailure) -> BodyFailure {
        self.failure.get_or_insert(failure).clone()
    }
}

impl Body for Exchange {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        self.poll_data(cx)
            .map(|data| data.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.lock().incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.lock().incoming.size_hint()
    }
}
