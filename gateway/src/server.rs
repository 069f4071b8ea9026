//! The sockets: accepted, bounded, served, drained at the end.
//!
//! Must never know what S3 is. Invariant: every connection runs in a task of its own, so its panic or its stall is its own; no
//! more than the bound are open; after `shutdown` returns none is left.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use cairn_client::Client;
use s3s::{
    config::{S3Config, StaticConfigProvider},
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{Access, Domains},
    config::GatewayConfig,
    connection::Connection,
    front::Front,
    gate::Gate,
    handshake::Handshakes,
    keys::Keys,
    metrics::GatewayMetrics,
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
    endpoint: String,
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
        let tls = config.tls.as_ref();
        let tls = tls.map(|certificate| Handshakes::new(certificate, &limits, metrics.clone()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let first_id = request_ids();
        let front = Arc::new(Front::new(
            s3_service(config, client),
            metrics.clone(),
            limits.idle_timeout,
            first_id,
        ));
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        let connections = TaskTracker::new();
        let connection = Connection {
            front,
            limits,
            tls,
            drain: drain.clone(),
            cut: cut.clone(),
        };
        let acceptor = Acceptor {
            connection,
            metrics,
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            connections: connections.clone(),
        };
        let acceptor = tokio::spawn(acceptor.run(listener));
        tracing::info!(%local_addr, scheme, "the S3 gateway listens");
        Ok(Self {
            endpoint: format!("{scheme}://{local_addr}"),
            drain,
            cut,
            connections,
            acceptor,
        })
    }

    /// The URL that it is reached at.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
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
    connection: Connection,
    metrics: GatewayMetrics,
    permits: Arc<Semaphore>,
    connections: TaskTracker,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        while let Some(()) = self.connection.drain.run_until_cancelled(self.accept(&listener)).await {}
    }

    async fn accept(&self, listener: &TcpListener) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = self.connection.clone().serve(stream);
                let open = self.metrics.connection_opened();
                self.connections.spawn(async move {
                    serving.await;
                    drop((permit, open));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
