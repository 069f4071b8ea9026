//! Bulk bytes of a request or response: at hand, or streamed through a bounded channel.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;

/// Why a body ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender went away before the end.
    #[error("the sender stopped before the end of the body")]
    Cut,
    /// More bytes came than the receiver takes.
    #[error("the body is longer than the {limit} bytes taken")]
    TooLong {
        /// Bytes taken at most.
        limit: usize,
    },
}

/// Bulk bytes, in order.
#[derive(Debug, Default)]
pub struct Body {
    ready: VecDeque<Bytes>,
    stream: Option<mpsc::Receiver<Result<Bytes, BodyError>>>,
}

/// The sending end of a streamed body. Dropping it without [`BodySender::finish`] cuts the body.
#[derive(Debug)]
pub struct BodySender {
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
    finished: bool,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is streamed; up to `capacity` pieces wait between sender and receiver.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(capacity);
        (
            BodySender {
                sender,
                finished: false,
            },
            Self {
                ready: VecDeque::new(),
                stream: Some(receiver),
            },
        )
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(Ok(piece));
        }
        self.stream.as_mut()?.recv().await
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

impl From<Bytes> for Body {
    fn from(piece: Bytes) -> Self {
        let ready = if piece.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([piece])
        };
        Self { ready, stream: None }
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self {
            ready: pieces.into_iter().filter(|piece| !piece.is_empty()).collect(),
            stream: None,
        }
    }
}

impl BodySender {
    /// Sends a piece; waits while the receiver is behind. An error means that the receiver has gone.
    pub async fn send(&self, piece: Bytes) -> Result<(), BodyError> {
        self.sender.send(Ok(piece)).await.map_err(|_| BodyError::Cut)
    }

    /// Marks the end: all bytes were sent.
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if !self.finished {
            // A full channel delivers the cut once the receiver has caught up, so the send must not be given up.
            let sender = self.sender.clone();
            if let Err(mpsc::error::TrySendError::Full(cut)) = sender.try_send(Err(BodyError::Cut))
                && let Ok(runtime) = tokio::runtime::Handle::try_current()
            {
                runtime.spawn(async move { sender.send(cut).await });
            }
        }
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
    async fn collect_is_bounded() {
        let body = Body::from(vec![Bytes::from_static(b"four"), Bytes::from_static(b"more")]);
        assert_eq!(body.collect(7).await, Err(BodyError::TooLong { limit: 7 }));
    }
}
