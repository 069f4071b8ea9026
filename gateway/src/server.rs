//! The sockets: accepted, bounded, served by hyper, drained at the end.
//!
//! Must never know what S3 is. Invariant: every connection runs in a task of its own, so its panic or its stall is its own; no
//! more than the bound are open; after `shutdown` returns none is left.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use cairn_client::Client;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{
    config::{S3Config, StaticConfigProvider},
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{Access, Domains},
    config::{GatewayConfig, GatewayLimits},
    front::Front,
    gate::Gate,
    keys::Keys,
    metrics::GatewayMetrics,
    stall::StallGuard,
};

/// How long accepting rests after the system refused a socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody could ever sign a request.
    #[error("no credentials are configured")]
    NoCredentials,
}

/// A running gateway.
pub struct Gateway {
    local_addr: SocketAddr,
    drain: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    acceptor: JoinHandle<()>,
}

impl Gateway {
    /// Listens and serves from now on.
    pub async fn start(config: GatewayConfig, client: Client, metrics: GatewayMetrics) -> Result<Self, GatewayError> {
        if config.credentials.is_empty() {
            return Err(GatewayError::NoCredentials);
        }
        let failed = |source| GatewayError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let limits = config.limits;
        let first_id = request_ids();
        let front = Arc::new(Front::new(
            s3_service(config, client),
            metrics.clone(),
            limits.idle_timeout,
            first_id,
        ));
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let connections = TaskTracker::new();
        let acceptor = Acceptor {
            front,
            metrics,
            limits,
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            drain: drain.clone(),
            cut: cut.clone(),
            connections: connections.clone(),
        };
        let acceptor = tokio::spawn(acceptor.run(listener));
        tracing::info!(%local_addr, "the S3 gateway listens");
        Ok(Self {
            local_addr,
            drain,
            cut,
            connections,
            acceptor,
        })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Accepts no more, lets requests under way finish for up to `grace`, then cuts what is left.
    pub async fn shutdown(self, grace: Duration) {
        self.drain.cancel();
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            tracing::warn!(
                left = self.connections.len(),
                "connections are cut at the end of the grace time"
            );
            self.cut.cancel();
            self.connections.wait().await;
        }
        if let Err(error) = self.acceptor.await {
            tracing::error!(%error, "the acceptor failed");
        }
    }
}

/// Request ids start at the time, so that those of two starts do not meet.
fn request_ids() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_secs() << 24
}

fn s3_service(config: GatewayConfig, client: Client) -> S3Service {
    let mut s3_config = S3Config::default();
    s3_config.xml_max_body_size = config.limits.xml_bytes_max;
    // Upload forms are refused before s3s sees them; should one pass, it must not be gathered in memory.
    s3_config.post_object_max_file_size = 0;
    let keys = Keys::new(&config.credentials, Arc::new(client.clone()));
    let mut builder = S3ServiceBuilder::new(Gate::new(client, &config.region));
    builder.set_auth(keys.clone());
    builder.set_access(Access(keys));
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(s3_config))));
    if !config.virtual_host_domains.is_empty() {
        builder.set_host(Domains::new(&config.virtual_host_domains));
    }
    builder.build()
}

struct Acceptor {
    front: Arc<Front>,
    metrics: GatewayMetrics,
    limits: GatewayLimits,
    permits: Arc<Semaphore>,
    drain: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        while let Some(()) = self.drain.run_until_cancelled(self.accept(&listener)).await {}
    }

    async fn accept(&self, listener: &TcpListener) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = self.serve(stream);
                self.connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let front = Arc::clone(&self.front);
        let (drain, cut) = (self.drain.clone(), self.cut.clone());
        let limits = self.limits;
        let open = self.metrics.connection_opened();
        async move {
            let _open = open;
            // Without it, an answer in two segments waits for the peer's delayed acknowledgement: 40 ms on every small GET.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection went away before it was served");
                return;
            }
            let service = service_fn(move |request| {
                let front = Arc::clone(&front);
                async move { front.handle(request).await }
            });
            let io = TokioIo::new(StallGuard::new(stream, limits.idle_timeout));
            let mut connection = pin!(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.header_timeout)
                    .half_close(true)
                    .serve_connection(io, service)
            );
            let served = tokio::select! {
                result = connection.as_mut() => result,
                () = drain.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! { result = connection => result, () = cut.cancelled() => Ok(()) }
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}
