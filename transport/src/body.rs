//! Bulk bytes of a request or response: at hand, streamed through a bounded channel, or pulled off a network.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Why a body ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender went away before the end.
    #[error("the sender stopped before the end of the body")]
    Cut,
    /// The way to the sender was lost before the end.
    #[error("the connection was lost before the end of the body: {0}")]
    Lost(String),
    /// More bytes came than the receiver takes.
    #[error("the body is longer than the {limit} bytes taken")]
    TooLong {
        /// Bytes taken at most.
        limit: usize,
    },
}

/// Where a carrier's bulk bytes come from.
pub(crate) trait BodyStream: Send {
    /// Adds pieces that have come to `pieces`. Ready with `false` at the end; with `true` where at least one was added.
    fn poll_pieces(&mut self, context: &mut Context<'_>, pieces: &mut VecDeque<Bytes>)
    -> Poll<Result<bool, BodyError>>;
}

/// Bulk bytes, in order.
#[derive(Debug, Default)]
pub struct Body {
    ready: VecDeque<Bytes>,
    rest: Rest,
    kept: Option<Kept>,
}

/// What a body keeps until its bytes have changed hands.
pub(crate) type Kept = Box<dyn Any + Send + Sync>;

/// What follows the pieces at hand.
#[derive(Default)]
enum Rest {
    #[default]
    Nothing,
    /// It has ended well only if `finished` says so: a sender that is merely gone has cut it.
    Channel {
        receiver: mpsc::Receiver<Bytes>,
        finished: Arc<AtomicBool>,
    },
    Carried(Box<dyn BodyStream>),
}

/// The sending end of a streamed body. Dropping it without [`BodySender::finish`] cuts the body.
#[derive(Debug)]
pub struct BodySender {
    sender: mpsc::Sender<Bytes>,
    finished: Arc<AtomicBool>,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is streamed; up to `capacity` pieces wait between sender and receiver.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(capacity);
        let finished = Arc::new(AtomicBool::new(false));
        let rest = Rest::Channel {
            receiver,
            finished: Arc::clone(&finished),
        };
        let body = Self {
            rest,
            ..Self::default()
        };
        (BodySender { sender, finished }, body)
    }

    /// A body whose `ready` pieces are at hand and whose others come out of `stream`.
    pub(crate) fn carried(ready: VecDeque<Bytes>, stream: Box<dyn BodyStream>) -> Self {
        Self {
            ready,
            rest: Rest::Carried(stream),
            kept: None,
        }
    }

    /// Keeps `what` while its bytes are on their way: until a receiver in this process has taken them over, or one on another host has
    /// them.
    #[must_use]
    pub fn keeping(mut self, what: impl Send + Sync + 'static) -> Self {
        self.kept = Some(Box::new(what));
        self
    }

    /// What is to be kept until the bytes have arrived, for a carrier whose way is longer than this value.
    pub(crate) fn take_kept(&mut self) -> Option<Kept> {
        self.kept.take()
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The pieces at hand, which [`Body::next`] will not give again.
    pub(crate) fn take_ready(&mut self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.ready)
    }

    /// Whether it is known to have no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && matches!(self.rest, Rest::Nothing)
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(piece) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(piece)));
        }
        match &mut self.rest {
            Rest::Nothing => Poll::Ready(None),
            Rest::Channel { receiver, finished } => {
                if let Some(piece) = ready!(receiver.poll_recv(context)) {
                    return Poll::Ready(Some(Ok(piece)));
                }
                let whole = finished.load(Ordering::Acquire);
                self.rest = Rest::Nothing;
                Poll::Ready((!whole).then_some(Err(BodyError::Cut)))
            }
            Rest::Carried(stream) => {
                let more = ready!(stream.poll_pieces(context, &mut self.ready));
                if !matches!(more, Ok(true)) {
                    self.rest = Rest::Nothing;
                }
                match more {
                    Ok(_) => Poll::Ready(self.ready.pop_front().map(Ok)),
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }

    /// All pieces, of at most `limit` bytes together.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<Bytes>, BodyError> {
        let mut pieces = Vec::new();
        let mut total = 0_usize;
        while let Some(piece) = self.next().await {
            let piece = piece?;
            total = total.saturating_add(piece.len());
            if total > limit {
                return Err(BodyError::TooLong { limit });
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Channel { .. } => "Channel",
            Self::Carried(_) => "Carried",
        })
    }
}

impl From<Bytes> for Body {
    fn from(piece: Bytes) -> Self {
        Self::from(vec![piece])
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self {
            ready: pieces.into_iter().filter(|piece| !piece.is_empty()).collect(),
            ..Self::default()
        }
    }
}

impl BodySender {
    /// Sends a piece; waits while the receiver is behind. An error means that the receiver has gone.
    pub async fn send(&self, piece: Bytes) -> Result<(), BodyError> {
        self.sender.send(piece).await.map_err(|_| BodyError::Cut)
    }

    /// Marks the end: all bytes were sent.
    pub fn finish(self) {
        self.finished.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_gives_back_its_own_bytes_without_copy() {
        let piece = Bytes::from(vec![1, 2, 3]);
        let address = piece.as_ptr();
        let mut body = Body::from(piece);
        let received = body.next().await.expect("one piece").expect("no error");
        assert_eq!(received.as_ptr(), address);
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_sender_cuts_and_a_finished_one_ends() {
        for finish in [true, false] {
            let (sender, body) = Body::channel(1);
            sender
                .send(Bytes::from_static(b"x"))
                .await
                .expect("the receiver is there");
            if finish {
                sender.finish();
            } else {
                drop(sender);
            }
            let expected = if finish {
                Ok(vec![Bytes::from_static(b"x")])
            } else {
                Err(BodyError::Cut)
            };
            assert_eq!(body.collect(10).await, expected);
        }
    }

    #[tokio::test]
    async fn what_a_body_keeps_goes_with_it_and_not_with_its_bytes() {
        let kept = Arc::new(());
        let body = Body::from(Bytes::from_static(b"some")).keeping(Arc::clone(&kept));
        assert_eq!(Arc::strong_count(&kept), 2);
        let pieces = body.collect(4).await;
        assert_eq!(pieces, Ok(vec![Bytes::from_static(b"some")]));
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[tokio::test]
    async fn collect_is_bounded() {
        let body = Body::from(vec![Bytes::from_static(b"four"), Bytes::from_static(b"more")]);
        assert_eq!(body.collect(7).await, Err(BodyError::TooLong { limit: 7 }));
    }
}
