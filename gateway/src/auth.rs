//! Who may ask for what: what must be covered by a signature, what its key must have a right to, and which bucket a host name
//! means.
//!
//! s3s verifies the signature itself; here stands what it leaves open. Invariant: no request without a valid signature version
//! 4, of a key that has what the request needs, over the host and every `x-amz-` header of the request, reaches a handler.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Extensions, HeaderMap, StatusCode, Uri};
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    dto::{CopyObjectInput, CopySource, UploadPartCopyInput},
    host::{S3Host, VirtualHost},
};

use crate::{
    error,
    exchange::Exchange,
    keys::{Freshness, Keys},
    metrics,
    rights::{AccessKey, Need},
};

/// Lets requests pass that are signed by a key that has what they need.
pub(crate) struct Access(pub(crate) Keys);

/// The key that signed a request, for its handler.
#[derive(Clone)]
struct Caller(Arc<AccessKey>);

/// The key that signed a request.
pub(crate) fn caller(extensions: &Extensions) -> S3Result<Arc<AccessKey>> {
    let caller = extensions.get::<Caller>();
    // Access is checked before anything is handled.
    caller
        .map(|Caller(key)| Arc::clone(key))
        .ok_or_else(|| Need::Valid.denied())
}

impl Access {
    /// The key of that id, if it has what is needed in `bucket`. Rights that are missing, and those that an answer is made of,
    /// are asked for anew: what was just given holds at once, through any gateway.
    async fn require(&self, id: &str, need: Need, bucket: Option<&str>) -> S3Result<Caller> {
        let mut key = self.0.find(id, Freshness::Bounded).await?;
        if !key.may_do_all() && (need == Need::Valid || !key.has(need, bucket)) {
            key = self.0.find(id, Freshness::Now).await?;
        }
        if key.has(need, bucket) {
            Ok(Caller(key))
        } else {
            Err(need.denied())
        }
    }

    /// The source of a copy must be readable too.
    async fn require_source(&self, extensions: &Extensions, source: &CopySource) -> S3Result<()> {
        let key = caller(extensions)?;
        let bucket = match source {
            CopySource::Bucket { bucket, .. } => Some(&**bucket),
            // Refused by the handlers, whoever asks.
            CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => None,
        };
        if key.has(Need::Read, bucket) {
            return Ok(());
        }
        self.require(key.id(), Need::Read, bucket).await.map(|_| ())
    }
}

#[async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let name = context.s3_op().name();
        let (operation, need) = (metrics::operation_name(name), Need::of(name));
        if let Some(exchange) = context.extensions_mut().get::<Exchange>() {
            exchange.set_operation(operation);
        }
        let Some(credentials) = context.credentials() else {
            return Err(error::answer(
                S3ErrorCode::AccessDenied,
                "Anonymous access is not allowed: sign the request.",
            ));
        };
        check_signed_headers(context.headers(), context.uri())?;
        let bucket = context.s3_path().get_bucket_name();
        let caller = self.require(&credentials.access_key, need, bucket).await?;
        context.extensions_mut().insert(caller);
        Ok(())
    }

    async fn copy_object(&self, request: &mut S3Request<CopyObjectInput>) -> S3Result<()> {
        self.require_source(&request.extensions, &request.input.copy_source)
            .await
    }

    async fn upload_part_copy(&self, request: &mut S3Request<UploadPartCopyInput>) -> S3Result<()> {
        self.require_source(&request.extensions, &request.input.copy_source)
            .await
    }
}

/// The parts of an `Authorization` header of signature version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    /// `day/region/service/aws4_request`.
    pub(crate) scope: &'a str,
    pub(crate) signed_headers: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(crate) fn parse(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix("AWS4-HMAC-SHA256")?;
        let field = |name: &str| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (_, scope) = field("Credential")?.split_once('/')?;
        Some(Self {
            scope,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }
}

/// The signature must cover the host and all that changes what the request means.
fn check_signed_headers(headers: &HeaderMap, uri: &Uri) -> S3Result<()> {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let presigned = query_value(uri, "X-Amz-SignedHeaders").map(|value| value.to_ascii_lowercase().replace("%3b", ";"));
    let signed = match (&presigned, authorization.and_then(Authorization::parse)) {
        (Some(presigned), _) => presigned.as_str(),
        (None, Some(authorization)) => authorization.signed_headers,
        (None, None) => {
            return Err(error::answer(
                S3ErrorCode::AccessDenied,
                "Signature version 4 is required.",
            ));
        }
    };
    let covers = |name: &str| signed.split(';').any(|signed| signed.eq_ignore_ascii_case(name));
    // The hash of the body is verified in any case; clients that sign in advance cannot know it.
    let exempt = |name: &str| presigned.is_some() && name == "x-amz-content-sha256";
    let mut names = headers.keys().map(|name| name.as_str());
    match names.find(|name| name.starts_with("x-amz-") && !covers(name) && !exempt(name)) {
        Some(name) => Err(unsigned_header(name)),
        None if !covers("host") => Err(unsigned_header("host")),
        None => Ok(()),
    }
}

fn unsigned_header(name: &str) -> S3Error {
    let text = format!("There were headers present in the request which were not signed: {name}");
    error::answer(S3ErrorCode::AccessDenied, text)
}

/// The raw value of a query parameter.
pub(crate) fn query_value<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Refuses what s3s would accept and we do not: signature version 2 (it never expires), other services' signatures, pre-signed
/// requests of over a week, and upload forms (s3s gathers them in memory).
pub(crate) fn refuse(request: &http::request::Parts) -> Option<S3Error> {
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let authorization = header("authorization");
    let has = |name: &str| query_value(&request.uri, name).is_some();
    if authorization.starts_with("AWS ") || (has("Signature") && !has("X-Amz-Signature")) {
        return Some(error::invalid_request(
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ));
    }
    let credential = query_value(&request.uri, "X-Amz-Credential").unwrap_or_default();
    if authorization.contains("/sts/aws4_request") || credential.contains("sts%2Faws4_request") {
        return Some(error::not_implemented(
            "Only requests to the service s3 are served here.",
        ));
    }
    let expires = query_value(&request.uri, "X-Amz-Expires").map(str::parse::<u32>);
    if expires.is_some_and(|seconds| !seconds.is_ok_and(|seconds| (1..=604_800).contains(&seconds))) {
        let text = "X-Amz-Expires must be a number from 1 to 604800 (seconds in a week)";
        return Some(error::custom(
            "AuthorizationQueryParametersError",
            StatusCode::BAD_REQUEST,
            text,
        ));
    }
    if request.method == http::Method::POST && header("content-type").starts_with("multipart/form-data") {
        return Some(error::not_implemented(
            "Uploads by HTML form are not implemented: use PUT, or a pre-signed PUT.",
        ));
    }
    None
}

/// Finds the bucket in a host name under one of our domains. All other names mean path style: s3s's own parser takes any
/// unknown host for a bucket.
pub(crate) struct Domains(Vec<String>);

impl Domains {
    pub(crate) fn new(domains: &[String]) -> Self {
        Self(
            domains
                .iter()
                .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
                .collect(),
        )
    }
}

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let lower = host.to_ascii_lowercase();
        let name = lower
            .rsplit_once(':')
            .map_or(lower.as_str(), |(name, _)| name)
            .trim_end_matches('.');
        let bucket = self
            .0
            .iter()
            .find_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix('.'));
        Ok(match bucket {
            Some(bucket) => VirtualHost::new(host).with_bucket(bucket.to_owned()),
            None => VirtualHost::new(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn hosts_name_buckets_only_under_our_domains() {
        let domains = Domains::new(&["s3.example.com".to_owned(), "localhost".to_owned()]);
        let cases = [
            ("b.s3.example.com", Some("b")),
            ("b.c.s3.example.com:9000", Some("b.c")),
            ("B.S3.Example.Com", Some("b")),
            ("s3.example.com", None),
            ("bucket.localhost:9000", Some("bucket")),
            ("localhost:9000", None),
            ("other.org", None),
            ("nots3.example.com", None),
        ];
        for (host, bucket) in cases {
            assert_eq!(domains.parse_host_header(host).unwrap().bucket(), bucket, "{host}");
        }
    }

    #[test]
    fn unsigned_meaning_is_refused() {
        let uri = Uri::from_static("/b/k");
        let signed = "AWS4-HMAC-SHA256 Credential=a/d/r/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=ff";
        let mut all = headers(&[("authorization", signed), ("x-amz-date", "d")]);
        assert!(check_signed_headers(&all, &uri).is_ok());
        all.insert("x-amz-copy-source", "b/other".parse().unwrap());
        assert_eq!(
            check_signed_headers(&all, &uri).unwrap_err().code(),
            &S3ErrorCode::AccessDenied
        );
        let without_host = "AWS4-HMAC-SHA256 Credential=a/d/r/s3/aws4_request,SignedHeaders=x-amz-date,Signature=ff";
        assert!(check_signed_headers(&headers(&[("authorization", without_host)]), &uri).is_err());
        let presigned = Uri::from_static("/b/k?X-Amz-SignedHeaders=host%3Bx-amz-acl&X-Amz-Signature=ff");
        assert!(check_signed_headers(&headers(&[("x-amz-acl", "private")]), &presigned).is_ok());
        assert!(check_signed_headers(&headers(&[("x-amz-meta-a", "b")]), &presigned).is_err());
    }

    #[test]
    fn what_s3s_would_accept_is_refused() {
        let parts = |method: &str, uri: &str, header: (&str, &str)| {
            let request = http::Request::builder()
                .method(method)
                .uri(uri)
                .header(header.0, header.1)
                .body(());
            request.unwrap().into_parts().0
        };
        let cases = [
            (
                "GET",
                "/b/k",
                ("authorization", "AWS key:signature"),
                Some("InvalidRequest"),
            ),
            (
                "GET",
                "/b/k?AWSAccessKeyId=a&Signature=b&Expires=9",
                ("host", "h"),
                Some("InvalidRequest"),
            ),
            (
                "POST",
                "/",
                ("authorization", "AWS4-HMAC-SHA256 Credential=a/d/r/sts/aws4_request"),
                Some("NotImplemented"),
            ),
            (
                "GET",
                "/b/k?X-Amz-Expires=604801",
                ("host", "h"),
                Some("AuthorizationQueryParametersError"),
            ),
            (
                "POST",
                "/b",
                ("content-type", "multipart/form-data; boundary=x"),
                Some("NotImplemented"),
            ),
            ("GET", "/b/k?X-Amz-Expires=60", ("host", "h"), None),
            ("GET", "/b/k", ("host", "h"), None),
        ];
        for (method, uri, header, code) in cases {
            let refused = refuse(&parts(method, uri, header));
            assert_eq!(
                refused.as_ref().map(|error| error.code().as_str()),
                code,
                "{method} {uri}"
            );
        }
    }
}
