//! One connection, from its socket to its last answer.
//!
//! Must never know what S3 is. Invariant: without TLS the socket goes to hyper as it is; a connection ends when its client, its
//! stall or the drain says so, and never later than the cut.

use std::{pin::pin, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::{config::GatewayLimits, front::Front, handshake::Handshakes, stall::StallGuard};

/// How connections are served.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) front: Arc<Front>,
    pub(crate) limits: GatewayLimits,
    /// None where plain HTTP is spoken.
    pub(crate) tls: Option<Handshakes>,
    /// Requests under way are finished, and no more taken.
    pub(crate) drain: CancellationToken,
    /// Nothing is finished.
    pub(crate) cut: CancellationToken,
}

impl Connection {
    /// Serves one to its end.
    pub(crate) async fn serve(self, stream: TcpStream) {
        // Without it, an answer in two segments waits for the peer's delayed acknowledgement: 40 ms on every small GET.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away before it was served");
            return;
        }
        match &self.tls {
            None => self.speak(stream).await,
            // Boxed: connections without TLS are not to carry the room for it.
            Some(handshakes) => {
                let shaking = self.drain.run_until_cancelled(Box::pin(handshakes.accept(stream)));
                if let Some(Some(stream)) = shaking.await {
                    Box::pin(self.speak(stream)).await;
                }
            }
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| {
            let front = Arc::clone(&self.front);
            async move { front.handle(request).await }
        });
        let io = TokioIo::new(StallGuard::new(stream, self.limits.idle_timeout));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_timeout)
                .half_close(true)
                .serve_connection(io, service)
        );
        let served = tokio::select! {
            result = connection.as_mut() => result,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! { result = connection => result, () = self.cut.cancelled() => Ok(()) }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
