//! The admin address: metrics, health and status over HTTP. It changes nothing and tells no secret.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a request's head may take.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection may live, idle or not.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(60);

/// What the admin address tells about.
#[async_trait]
pub(crate) trait Observed: Send + Sync + 'static {
    /// The present values in the OpenMetrics text format.
    fn metrics(&self) -> Result<String, std::fmt::Error>;

    /// Whether requests are served; if not, why.
    async fn ready(&self) -> Result<(), String>;

    /// The state, as JSON.
    async fn status(&self) -> anyhow::Result<Vec<u8>>;
}

/// The running listener.
pub(crate) struct Admin {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Admin {
    /// Listens and answers from now on.
    pub(crate) async fn start(listen: SocketAddr, observed: Arc<dyn Observed>) -> anyhow::Result<Self> {
        let context = || format!("listening on {listen} for metrics and status: choose another with --admin");
        let listener = TcpListener::bind(listen).await.with_context(context)?;
        let address = listener.local_addr().with_context(context)?;
        Ok(Self {
            address,
            task: tokio::spawn(accept(listener, observed)),
        })
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, observed: Arc<dyn Observed>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin address was not accepted");
                continue;
            }
        };
        let observed = Arc::clone(&observed);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, observed.as_ref()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .serve_connection(TokioIo::new(stream), service);
            // A client that went away or was too slow needs no word.
            let _ended = tokio::time::timeout(CONNECTION_DEADLINE, connection).await;
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>, observed: &dyn Observed) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()));
    }
    let response = match request.uri().path() {
        "/metrics" => metrics(observed),
        "/health/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/health/ready" => match observed.ready().await {
            Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/status" => match observed.status().await {
            Ok(json) => typed(StatusCode::OK, "application/json", json.into()),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            "/metrics, /health/live, /health/ready and /status are here\n".to_owned(),
        ),
    };
    Ok(response)
}

fn metrics(observed: &dyn Observed) -> Response<Full<Bytes>> {
    match observed.metrics() {
        Ok(metrics) => typed(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics.into(),
        ),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", body.into())
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
