//! The TLS handshake, and those who try to do without it.
//!
//! Must never let one client hold up another: each handshake has a deadline and runs in its connection's own task. Invariant: no
//! more than the bound are computed at once, and who says nothing is none of them.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{certificate::ServerCertificate, config::GatewayLimits, metrics::GatewayMetrics};

/// What a client is told that speaks HTTP without TLS.
const SPEAK_TLS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidRequest</Code><Message>This \
                         endpoint speaks TLS: use https:// in its URL.</Message></Error>";

/// Bytes that such a client may have sent before it reads that.
const PLAIN_BYTES_MAX: u64 = 64 << 10;

/// Shakes hands with clients.
#[derive(Clone)]
pub(crate) struct Handshakes {
    acceptor: TlsAcceptor,
    permits: Arc<Semaphore>,
    deadline: Duration,
    metrics: GatewayMetrics,
}

impl Handshakes {
    pub(crate) fn new(certificate: &ServerCertificate, limits: &GatewayLimits, metrics: GatewayMetrics) -> Self {
        Self {
            acceptor: TlsAcceptor::from(Arc::clone(certificate.config())),
            permits: Arc::new(Semaphore::new(limits.handshakes_max)),
            deadline: limits.handshake_timeout,
            metrics,
        }
    }

    /// The secured stream; none where there is nobody to talk to.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let shaken = timeout(self.deadline, self.shake_hands(stream)).await;
        let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = &shaken {
            tracing::debug!(%error, "a TLS handshake failed");
            self.metrics.handshake_failed();
        }
        shaken.ok()
    }

    /// Clients that say nothing take none of the places.
    async fn shake_hands(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A handshake begins with a control character, a request with its method.
        if first[0].is_ascii_alphabetic() {
            refuse_plain(stream).await?;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the client speaks HTTP without TLS",
            ));
        }
        let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
        self.acceptor.accept(stream).await
    }
}

/// Says what is wrong, and reads what comes so that the answer is not lost with a reset connection.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SPEAK_TLS}",
        SPEAK_TLS.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(PLAIN_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}
