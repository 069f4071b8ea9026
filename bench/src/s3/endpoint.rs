//! Where the server is: the endpoint's URL, taken apart and resolved once. Opens no connection.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::s3::tls::server_name;
use crate::url::shown_url;

/// A resolved endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Value of the `host` header: without the port where it is the protocol's own.
    pub(crate) host: String,
    /// Tried in this order; never empty.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where the endpoint speaks TLS: whom to trust, and the name that the certificate must have.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A URL's parts.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    tls: bool,
    host: &'a str,
    port: u16,
}

impl Endpoint {
    /// `bucket`, where it stands in the host; `trust` for URLs that want TLS.
    ///
    /// # Errors
    /// A URL that is not `http[s]://HOST[:PORT]`, or a host without an address.
    pub(crate) fn resolve(url: &str, bucket: Option<&str>, trust: Option<Arc<ClientConfig>>) -> Result<Self> {
        let Parts { tls, host, port } = split(url)?;
        let url = shown_url(url);
        let addresses: Vec<SocketAddr> = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve the endpoint {url}"))?
            .collect();
        ensure!(!addresses.is_empty(), "the endpoint {url} has no address");
        let name = match bucket {
            Some(bucket) => format!("{bucket}.{host}"),
            None => host.to_owned(),
        };
        let tls = match trust.filter(|_| tls) {
            Some(config) => Some((config, server_name(&name)?)),
            None => None,
        };
        let host = if port == default_port(tls.is_some()) {
            name
        } else {
            format!("{name}:{port}")
        };
        Ok(Self { host, addresses, tls })
    }
}

/// Whether the URL wants TLS.
pub(crate) fn wants_tls(url: &str) -> bool {
    url.starts_with("https://")
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn split(url: &str) -> Result<Parts<'_>> {
    let tls = wants_tls(url);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.unwrap_or(url).trim_end_matches('/');
    let url = shown_url(url);
    ensure!(
        !authority.contains('/'),
        "the endpoint {url} has a path; the bucket is given by --bucket"
    );
    ensure!(
        !authority.contains('@'),
        "the endpoint {url} has a user; keys are given by --access-key"
    );
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port
                .parse()
                .with_context(|| format!("the endpoint {url} has no valid port"))?;
            ensure!(!host.is_empty(), "the endpoint {url} has no host");
            Ok(Parts { tls, host, port })
        }
        _ => {
            ensure!(!authority.is_empty(), "the endpoint {url} has no host");
            let port = default_port(tls);
            Ok(Parts {
                tls,
                host: authority,
                port,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        let cases = [
            ("http://127.0.0.1:9000", (false, "127.0.0.1", 9000)),
            ("http://localhost/", (false, "localhost", 80)),
            ("localhost:3900", (false, "localhost", 3900)),
            ("http://[::1]:9000", (false, "[::1]", 9000)),
            ("http://[::1]", (false, "[::1]", 80)),
            ("https://s3.example.com", (true, "s3.example.com", 443)),
            ("https://h:9443/", (true, "h", 9443)),
        ];
        for (url, (tls, host, port)) in cases {
            assert_eq!(split(url).unwrap(), Parts { tls, host, port }, "{url}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for url in [
            "http://",
            "http://host:port",
            "http://h:1/bucket",
            "http://a:b@h:1",
            ":80",
        ] {
            let error = split(url).unwrap_err();
            assert!(!error.to_string().contains("a:b"), "{error}");
        }
    }

    #[test]
    fn the_host_header_names_an_unusual_port_only() {
        let host = |url, bucket| Endpoint::resolve(url, bucket, None).unwrap().host;
        assert_eq!(host("http://127.0.0.1:9000", None), "127.0.0.1:9000");
        assert_eq!(host("http://127.0.0.1:80", None), "127.0.0.1");
        assert_eq!(host("http://localhost:9000", Some("b")), "b.localhost:9000");
    }
}
