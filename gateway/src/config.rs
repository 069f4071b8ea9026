//! What a gateway is told at its start.
//!
//! Owns the settings and their defaults; reads no file and no environment. Invariant: every default here is safe to expose on
//! a network: requests are signed, connections and idle times are bounded.

use std::{fmt, net::SocketAddr, time::Duration};

use crate::certificate::ServerCertificate;

/// Settings of one gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where to accept connections; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The region that buckets are said to be in.
    pub region: String,
    /// Keys that may do everything, beside those of the metadata service. Requests without a valid signature are refused.
    pub credentials: Vec<Credentials>,
    /// Domains under which `bucket.domain` names a bucket. All other host names are taken as path style.
    pub virtual_host_domains: Vec<String>,
    /// What the endpoint shows to its clients; none where it speaks plain HTTP.
    pub tls: Option<ServerCertificate>,
    /// Bounds of time and number.
    pub limits: GatewayLimits,
}

/// An access key with its secret.
#[derive(Clone)]
pub struct Credentials {
    /// The name of the key, sent with each request.
    pub access_key: String,
    /// The secret that signs; never sent.
    pub secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Bounds of a gateway's connections and requests.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    /// Connections served at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long a connection may wait for the head of its next request to be complete.
    pub header_timeout: Duration,
    /// How long a client may send nothing of a body that it owes, or take nothing of an answer.
    pub idle_timeout: Duration,
    /// TLS handshakes under way at once; more wait for their turn.
    pub handshakes_max: usize,
    /// How long a client may take for its handshake, waiting for its turn included.
    pub handshake_timeout: Duration,
    /// Largest XML body of a request. A delete of 1,000 long keys and a list of 10,000 parts fit.
    pub xml_bytes_max: usize,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            handshakes_max: 256,
            handshake_timeout: Duration::from_secs(10),
            xml_bytes_max: 8 << 20,
        }
    }
}
