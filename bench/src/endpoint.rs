//! Where the server is: the endpoint's URL, taken apart and resolved once. Opens no connection.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail, ensure};

/// A resolved plain-HTTP endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Value of the `host` header: without the port where it is HTTP's own.
    pub(crate) host: String,
    /// Tried in this order; never empty.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Endpoint {
    /// # Errors
    /// A URL that is not `http://HOST[:PORT]`, or a host without an address.
    pub(crate) fn resolve(url: &str) -> Result<Self> {
        let (host, port) = split(url)?;
        let addresses: Vec<SocketAddr> = (host.trim_matches(['[', ']']), port)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve the endpoint {url}"))?
            .collect();
        ensure!(!addresses.is_empty(), "the endpoint {url} has no address");
        let host = if port == 80 {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        Ok(Self { host, addresses })
    }
}

fn split(url: &str) -> Result<(&str, u16)> {
    if url.starts_with("https://") {
        bail!("the endpoint {url} wants TLS, which this tool leaves out to keep its own cost low; use http://");
    }
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
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
            Ok((host, port))
        }
        _ => {
            ensure!(!authority.is_empty(), "the endpoint {url} has no host");
            Ok((authority, 80))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        let cases = [
            ("http://127.0.0.1:9000", ("127.0.0.1", 9000)),
            ("http://localhost/", ("localhost", 80)),
            ("localhost:3900", ("localhost", 3900)),
            ("http://[::1]:9000", ("[::1]", 9000)),
            ("http://[::1]", ("[::1]", 80)),
        ];
        for (url, expected) in cases {
            assert_eq!(split(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_not_plain_http_is_refused() {
        for url in [
            "https://s3.amazonaws.com",
            "http://",
            "http://host:port",
            "http://h:1/bucket",
            "http://a:b@h:1",
            ":80",
        ] {
            assert!(split(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_host_header_names_an_unusual_port_only() {
        assert_eq!(
            Endpoint::resolve("http://127.0.0.1:9000").unwrap().host,
            "127.0.0.1:9000"
        );
        assert_eq!(Endpoint::resolve("http://127.0.0.1:80").unwrap().host, "127.0.0.1");
    }
}
