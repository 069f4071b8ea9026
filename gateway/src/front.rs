//! What happens to a request before and after s3s: refusals, the shared body, and answers made whole.
//!
//! Owns request ids and the mending of answers (s3s knows no status beside that of an operation, names neither resource nor
//! request in its errors, and writes control characters raw into XML). Must never touch the bytes of an object. Invariant:
//! every request gets exactly one answer and is counted once.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use s3s::{Body, HttpError, HttpResponse, S3Error, S3Result, service::S3Service};

use crate::{
    auth, error,
    exchange::Exchange,
    metrics::{GatewayMetrics, Observation},
    xml,
    xml_check::XmlCheck,
};

/// Bytes that are read and dropped so that a client that is still sending sees the answer and not a reset connection.
const DRAIN_BYTES_MAX: u64 = 8 << 20;

/// Time that is spent on that.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// A status that an operation's handler asks for in place of s3s's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusOverride(pub(crate) StatusCode);

/// Answers requests.
pub(crate) struct Front {
    service: S3Service,
    metrics: GatewayMetrics,
    idle_timeout: Duration,
    ids: AtomicU64,
}

/// What is said about a request in its answer.
struct Described {
    id: String,
    resource: String,
    is_head: bool,
    expects_continue: bool,
    started: Instant,
}

impl Front {
    /// `first_id` starts the count of request ids, so that they differ between starts of the server.
    pub(crate) const fn new(
        service: S3Service,
        metrics: GatewayMetrics,
        idle_timeout: Duration,
        first_id: u64,
    ) -> Self {
        Self {
            service,
            metrics,
            idle_timeout,
            ids: AtomicU64::new(first_id),
        }
    }

    /// Answers one request.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        let (mut parts, incoming) = request.into_parts();
        let described = Described {
            id: format!("{:016X}", self.ids.fetch_add(1, Ordering::Relaxed)),
            resource: parts.uri.path().to_owned(),
            is_head: parts.method == Method::HEAD,
            expects_continue: parts.headers.contains_key(header::EXPECT),
            started: Instant::now(),
        };
        let (check, refused) = match examine(&parts) {
            Ok(check) => (check, None),
            Err(error) => (None, Some(error)),
        };
        let exchange = Exchange::new(incoming, self.idle_timeout, check);
        let response = match refused {
            Some(error) => to_response(error)?,
            None => {
                parts.extensions.insert(exchange.clone());
                let body = Body::http_body(exchange.clone());
                self.service.call(Request::from_parts(parts, body)).await?
            }
        };
        self.finish(response, &exchange, &described).await
    }

    async fn finish(
        &self,
        mut response: HttpResponse,
        exchange: &Exchange,
        described: &Described,
    ) -> Result<HttpResponse, HttpError> {
        let operation = exchange.operation().unwrap_or("Other");
        if let Some(StatusOverride(status)) = response.extensions_mut().remove::<StatusOverride>() {
            *response.status_mut() = status;
        }
        if response.status().is_client_error() || response.status().is_server_error() {
            if let Some(failure) = exchange.failure() {
                response = to_response(S3Error::from(failure))?;
            }
            let code = complete_error(&mut response, described);
            self.metrics.observe_error(operation, &code);
            drain(exchange, described).await;
        } else {
            finish_xml(&mut response, operation);
        }
        if exchange.owes_unasked_body(described.expects_continue) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if let Ok(id) = HeaderValue::try_from(&described.id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
            .headers_mut()
            .insert(header::SERVER, HeaderValue::from_static("Cairn"));
        self.metrics.observe(&Observation {
            operation,
            elapsed: described.started.elapsed(),
            received_bytes: exchange.received(),
            sent_bytes: if described.is_head {
                0
            } else {
                announced_length(&response)
            },
        });
        Ok(response)
    }
}

/// Refuses what must not reach s3s, and prepares the check of a body of XML.
fn examine(parts: &http::request::Parts) -> S3Result<Option<XmlCheck>> {
    if let Some(refused) = auth::refuse(parts) {
        return Err(refused);
    }
    let path = percent_encoding::percent_decode_str(parts.uri.path());
    if path.decode_utf8().is_err() {
        return Err(error::answer(
            s3s::S3ErrorCode::InvalidURI,
            "Couldn't parse the specified URI: a key must be valid UTF-8.",
        ));
    }
    if parts.method == Method::POST {
        XmlCheck::from_headers(&parts.headers)
    } else {
        Ok(None)
    }
}

fn to_response(error: S3Error) -> Result<HttpResponse, HttpError> {
    error
        .to_http_response()
        .map_err(|error| HttpError::new(Box::new(error)))
}

/// Adds text, resource and request id to an error; tells its code.
fn complete_error(response: &mut HttpResponse, described: &Described) -> String {
    let body = response.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let code = xml::element(&text, "Code").unwrap_or_default().to_owned();
    let mut added = String::new();
    if xml::element(&text, "Message").is_none() {
        added.push_str(&format!(
            "<Message>{}</Message>",
            xml::escape(error::standard_text(&code))
        ));
    }
    added.push_str(&format!("<Resource>{}</Resource>", xml::escape(&described.resource)));
    added.push_str(&format!("<RequestId>{}</RequestId>", described.id));
    let whole = xml::escape_controls(text.replacen("</Error>", &format!("{added}</Error>"), 1));
    if described.is_head {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    } else {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        *response.body_mut() = Body::from(whole);
    }
    code
}

/// Mends an answer of XML: control characters are escaped, since XML 1.0 has no raw form for them, and the entity tag of
/// GetObjectAttributes goes without the quotes that it has everywhere else.
fn finish_xml(response: &mut HttpResponse, operation: &str) {
    let is_xml = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/xml");
    // An object of that type is a stream, or said so by its length; XML by s3s has neither.
    if !is_xml || response.headers().contains_key(header::ETAG) {
        return;
    }
    let has_bare_etag = operation == "GetObjectAttributes";
    let Some(bytes) = response
        .body()
        .bytes()
        .filter(|bytes| has_bare_etag || xml::has_controls(bytes))
    else {
        return;
    };
    if let Ok(text) = String::from_utf8(bytes.into()) {
        let text = if has_bare_etag { xml::with_bare_etag(text) } else { text };
        *response.body_mut() = Body::from(xml::escape_controls(text));
    }
}

async fn drain(exchange: &Exchange, described: &Described) {
    if !exchange.unread(described.expects_continue) {
        return;
    }
    let reading = async {
        let limit = exchange.received() + DRAIN_BYTES_MAX;
        while exchange.received() < limit && matches!(exchange.next().await, Some(Ok(_))) {}
    };
    // A client slower than this sees the connection close, as it would have at once.
    let _elapsed = tokio::time::timeout(DRAIN_TIME_MAX, reading).await;
}

fn announced_length(response: &Response<Body>) -> u64 {
    let header = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    header
        .or_else(|| response.body().bytes().map(|bytes| bytes.len() as u64))
        .unwrap_or(0)
}
