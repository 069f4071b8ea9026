//! The certificate that the endpoint shows, with its key.
//!
//! Must never show a certificate with another one's key. Invariant: a pair that does not fit together, or cannot be read, leaves
//! the one before in place; connections that are open keep the one that they began with.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// The protocol that is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// Why a certificate and its key are not used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text holds no chain of certificates.
    #[error("the certificate is no PEM of a certificate chain: {0}")]
    Certificate(String),
    /// The text holds no private key.
    #[error("the key is no PEM of a private key: {0}")]
    Key(String),
    /// They are not of one pair, or of a kind that is not known.
    #[error("the certificate and the key do not serve together: {0}")]
    Pair(rustls::Error),
    /// The cryptography has no TLS 1.3.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The certificate that an endpoint shows, with its key. Clones share it; it can be replaced while it is served.
#[derive(Clone)]
pub struct ServerCertificate {
    shown: Arc<Shown>,
    provider: Arc<CryptoProvider>,
    config: Arc<ServerConfig>,
}

struct Shown(RwLock<Arc<CertifiedKey>>);

impl ServerCertificate {
    /// A certificate chain, the server's own first, and its private key, both PEM.
    pub fn from_pem(certificate: &[u8], key: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let pair = read_pair(certificate, key, &provider)?;
        let shown = Arc::new(Shown(RwLock::new(Arc::new(pair))));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            shown,
            provider,
            config: Arc::new(config),
        })
    }

    /// When clients stop to accept what is shown now.
    pub fn expires(&self) -> SystemTime {
        let pair = Arc::clone(&self.shown.0.read());
        pair.cert.first().and_then(expiry).unwrap_or(UNIX_EPOCH)
    }

    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Shows another pair from now on.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let pair = read_pair(certificate, key, &self.provider)?;
        *self.shown.0.write() = Arc::new(pair);
        Ok(())
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

fn read_pair(certificate: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.first().and_then(expiry).is_none() {
        return Err(TlsError::Certificate("it does not begin with a certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Pair)
}

/// The end of a certificate's validity; none where it is no certificate.
fn expiry(certificate: &CertificateDer<'static>) -> Option<SystemTime> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    let seconds = read.validity().not_after.timestamp();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}
