//! The two halves of a request's stream: a sender that resets what it does not finish, and a receiver that gives heads and
//! bulk bytes as they come.
//!
//! Invariant: bulk bytes pass through as the `Bytes` that the library takes and gives; only heads are ever gathered. A
//! stream that is given up is reset, never finished: its receiver cannot take it for a whole one.

use std::{
    collections::VecDeque,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use cairn_common::wire::head::HEAD_LENGTH_BYTES;
use prometheus_client::metrics::counter::Counter;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::Semaphore;

use super::{codes::StreamCode, reason::connection_text};
use crate::{
    Body, BodyError,
    body::BodyStream,
    frame::{self, HeadError},
};

/// Pieces taken off a stream at a time.
const PIECES: usize = 16;

/// Up to this length heads are gathered without asking: those of all a connection's streams together fit in memory.
const SMALL_HEAD_BYTES: usize = 16 << 10;

/// Why a message was not sent whole.
#[derive(Debug)]
pub(super) enum SendError {
    /// The receiver wants no more of it, or the connection is lost: what it answers tells more.
    Stopped,
    /// The body's source ended early; the stream is reset.
    Body(BodyError),
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadFault {
    /// The sender gave the stream up, and why.
    Reset(StreamCode),
    /// The connection is lost, for this reason.
    Lost(String),
    /// The stream ended before it, or it is no head.
    Malformed(String),
    /// It is large, and too many such are being gathered.
    TooMany,
}

/// A stream's sending half. Dropped before its end, it is reset.
pub(super) struct Outgoing {
    stream: SendStream,
    open: bool,
    counter: Option<Counter>,
}

/// A stream's receiving half.
pub(super) struct Incoming {
    stream: RecvStream,
    /// Bulk bytes that have come.
    pieces: VecDeque<Bytes>,
    ended: bool,
    /// Why nothing more comes. The library tells it once, and would then have the stream end well.
    fault: Option<ReadError>,
    /// Bytes received that no counter knows of yet.
    uncounted: u64,
    counter: Option<Counter>,
}

impl Outgoing {
    /// Sends `stream` in its turn by `priority`.
    pub(super) fn new(stream: SendStream, priority: i32) -> Self {
        // Refused only by a stream that is closed; what is sent on it then tells.
        let _ = stream.set_priority(priority);
        Self {
            stream,
            open: true,
            counter: None,
        }
    }

    /// Has all that is sent counted.
    pub(super) fn count_in(&mut self, counter: Counter) {
        self.counter = Some(counter);
    }

    /// Sends a head and the body behind it, to the end.
    pub(super) async fn send(&mut self, mut head: Bytes, mut body: Body) -> Result<(), SendError> {
        let ready = body.take_ready();
        if ready.is_empty() {
            self.write(std::slice::from_mut(&mut head)).await?;
        } else {
            let mut pieces = Vec::with_capacity(1 + ready.len());
            pieces.push(head);
            pieces.extend(ready);
            self.write(&mut pieces).await?;
        }
        while let Some(piece) = body.next().await {
            match piece {
                Ok(mut piece) => self.write(std::slice::from_mut(&mut piece)).await?,
                Err(error) => {
                    self.give_up(StreamCode::Cut);
                    return Err(SendError::Body(error));
                }
            }
        }
        self.open = false;
        // Refused only where the receiver has stopped it: it has what it wants.
        let _ = self.stream.finish();
        Ok(())
    }

    async fn write(&mut self, pieces: &mut [Bytes]) -> Result<(), WriteError> {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.stream.write_all_chunks(pieces).await?;
        if let Some(counter) = &self.counter {
            counter.inc_by(length);
        }
        Ok(())
    }

    /// Resets the stream and says why.
    pub(super) fn give_up(&mut self, code: StreamCode) {
        if self.open {
            self.open = false;
            // Refused only where it is closed already.
            let _ = self.stream.reset(code.number());
        }
    }

    /// Waits until the receiver wants no more of it.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let stopped = self.stream.stopped();
        async move {
            let _ = stopped.await;
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.give_up(StreamCode::Cancelled);
    }
}

impl Incoming {
    /// Receives from `stream`.
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            pieces: VecDeque::new(),
            ended: false,
            fault: None,
            uncounted: 0,
            counter: None,
        }
    }

    /// Takes the head off the front of the stream; a large one only where `gate` has room for it, so that a peer that sends
    /// many makes nobody keep them all.
    pub(super) async fn head(&mut self, gate: Option<&Semaphore>) -> Result<Bytes, HeadFault> {
        let prefix = self.take(HEAD_LENGTH_BYTES).await?;
        let prefix = prefix.as_ref().try_into().expect("as many bytes as were asked for");
        let length = frame::checked_length(prefix)?;
        let _room = match gate.filter(|_| length > SMALL_HEAD_BYTES) {
            Some(gate) => Some(gate.try_acquire().map_err(|_| HeadFault::TooMany)?),
            None => None,
        };
        let head = self.take(length).await?;
        // Most streams end here; knowing it spares the end another look.
        std::future::poll_fn(|context| {
            if self.pieces.is_empty() {
                let _ = self.poll_more(context);
            }
            Poll::Ready(())
        })
        .await;
        Ok(head)
    }

    /// Whether nothing follows what has come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended && self.pieces.is_empty()
    }

    /// Tells the sender to stop, and why.
    pub(super) fn refuse(&mut self, code: StreamCode) {
        // Refused only where the stream has ended.
        let _ = self.stream.stop(code.number());
    }

    /// What follows the head.
    pub(super) fn into_body(mut self) -> Body {
        if self.has_ended() {
            return Body::empty();
        }
        let ready = std::mem::take(&mut self.pieces);
        if self.ended {
            return Body::from(Vec::from(ready));
        }
        Body::carried(ready, Box::new(self))
    }

    /// Pieces that have come and were not taken yet.
    pub(super) fn take_pieces(&mut self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.pieces)
    }

    /// Has all that comes, and came, counted.
    pub(super) fn count_in(&mut self, counter: Counter) {
        counter.inc_by(std::mem::take(&mut self.uncounted));
        self.counter = Some(counter);
    }

    /// The next `length` bytes: a slice of what came where they came together.
    async fn take(&mut self, length: usize) -> Result<Bytes, HeadFault> {
        let mut gathered = BytesMut::new();
        loop {
            if let Some(piece) = self.pieces.front_mut() {
                let wanted = length - gathered.len();
                if gathered.is_empty() && piece.len() >= wanted {
                    let head = piece.split_to(wanted);
                    self.drop_empty_front();
                    return Ok(head);
                }
                // Grown by what has come, not by what was announced: a liar gets no memory for it.
                gathered.extend_from_slice(&piece.split_to(wanted.min(piece.len())));
                self.drop_empty_front();
                if gathered.len() == length {
                    return Ok(gathered.freeze());
                }
                continue;
            }
            let more = std::future::poll_fn(|context| self.poll_more(context)).await;
            if !more.map_err(head_fault)? {
                return Err(HeadFault::Malformed("the stream ended within the head".to_owned()));
            }
        }
    }

    fn drop_empty_front(&mut self) {
        if self.pieces.front().is_some_and(Bytes::is_empty) {
            self.pieces.pop_front();
        }
    }

    /// Waits for more pieces; `false` at the end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone()));
        }
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        let mut pieces = [const { Bytes::new() }; PIECES];
        // The library's future keeps nothing between polls, so it can be made anew for each.
        let count = {
            let reading = pin!(self.stream.read_chunks(&mut pieces));
            ready!(reading.poll(context))
        };
        match count {
            Err(fault) => {
                self.fault = Some(fault.clone());
                Poll::Ready(Err(fault))
            }
            Ok(Some(count)) => {
                let received = pieces[..count].iter().map(|piece| piece.len() as u64).sum();
                match &self.counter {
                    Some(counter) => drop(counter.inc_by(received)),
                    None => self.uncounted += received,
                }
                self.pieces.extend(pieces.into_iter().take(count));
                Poll::Ready(Ok(true))
            }
            Ok(None) => {
                self.ended = true;
                Poll::Ready(Ok(false))
            }
        }
    }
}

impl BodyStream for Incoming {
    fn poll_pieces(
        &mut self,
        context: &mut Context<'_>,
        pieces: &mut VecDeque<Bytes>,
    ) -> Poll<Result<bool, BodyError>> {
        let more = ready!(self.poll_more(context));
        pieces.append(&mut self.pieces);
        Poll::Ready(more.map_err(body_error))
    }
}

impl From<WriteError> for SendError {
    fn from(_: WriteError) -> Self {
        Self::Stopped
    }
}

impl From<HeadError> for HeadFault {
    fn from(error: HeadError) -> Self {
        Self::Malformed(error.to_string())
    }
}

fn head_fault(error: ReadError) -> HeadFault {
    match error {
        ReadError::Reset(code) => HeadFault::Reset(StreamCode::of(code)),
        ReadError::ConnectionLost(error) => HeadFault::Lost(connection_text(&error)),
        error @ (ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => {
            HeadFault::Lost(error.to_string())
        }
    }
}

fn body_error(error: ReadError) -> BodyError {
    match head_fault(error) {
        HeadFault::Reset(_) => BodyError::Cut,
        HeadFault::Lost(reason) | HeadFault::Malformed(reason) => BodyError::Lost(reason),
        HeadFault::TooMany => BodyError::Cut,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use cairn_common::{
        ids::{ClusterId, NodeId},
        wire::role::Roles,
    };
    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

    use super::*;
    use crate::identity::{CertificateAuthority, Identity};

    /// The two ends of a connection, and what keeps them alive.
    async fn connected() -> [(quinn::Endpoint, quinn::Connection); 2] {
        let authority = CertificateAuthority::create(ClusterId::new([1; 16])).unwrap();
        let identity = |node| {
            let now = SystemTime::now();
            let credentials = authority.make_credentials(node, Roles::MEMBER, now..now + Duration::from_secs(600));
            Identity::member(credentials.unwrap()).unwrap()
        };
        let (caller, server) = (identity(NodeId::new(1)), identity(NodeId::new(2)));
        let crypto = QuicServerConfig::try_from(server.server_config(&[]).unwrap()).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let listening = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let calling = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let crypto = QuicClientConfig::try_from(caller.client_config(&[]).unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let name = caller.server_name(NodeId::new(2)).to_str().into_owned();
        let connecting = calling
            .connect_with(config, listening.local_addr().unwrap(), &name)
            .unwrap();
        let accepting = async { listening.accept().await.unwrap().await.unwrap() };
        let (called, accepted) = tokio::join!(connecting, accepting);
        [(calling, called.unwrap()), (listening, accepted)]
    }

    /// The library tells of a reset once, and then of a good end: whoever looks again must not take it for one.
    #[tokio::test]
    async fn a_reset_is_told_as_often_as_it_is_asked_for() {
        let [(_calling, called), (_listening, accepted)] = connected().await;
        let (mut send, _receive) = called.open_bi().await.unwrap();
        send.write_all(b"begun").await.unwrap();
        let (_send, receive) = accepted.accept_bi().await.unwrap();
        let mut incoming = Incoming::new(receive);
        assert_eq!(poll_fn(|context| incoming.poll_more(context)).await, Ok(true));
        send.reset(StreamCode::Cut.number()).unwrap();
        for _ in 0..3 {
            let told = poll_fn(|context| incoming.poll_more(context)).await;
            assert_eq!(told, Err(ReadError::Reset(StreamCode::Cut.number())));
        }
        let mut body = incoming.into_body();
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"begun"))));
        assert_eq!(body.next().await, Some(Err(BodyError::Cut)));
    }
}
