//! TLS 1.3: over TCP as a contender, and the certificate and cipher that QUIC uses as well.
//!
//! Owns: the rustls configurations. It must never give one contender another cipher than the next.
//!
//! Invariant: AES-128-GCM stands first on both sides and so is chosen, and each side trusts exactly one certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::contender::{Lane, MAX_BODY_BYTES, Target};
use crate::tcp::{self, Dial};

/// The name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "cairn.invalid";

/// A self-signed certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])?;
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()),
        })
    }

    pub(crate) fn server_config(&self) -> Result<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        Ok(ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)?)
    }
}

/// Trusts the target's certificate and no other.
pub(crate) fn client_config(target: &Target) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(target.certificate.clone()))?;
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// TCP with TLS.
pub(crate) struct TlsTcp {
    address: SocketAddr,
    connector: TlsConnector,
    name: ServerName<'static>,
}

#[async_trait]
impl Dial for TlsTcp {
    type Stream = TlsStream<TcpStream>;

    fn new(target: &Target, lane: Lane) -> Result<Self> {
        Ok(Self {
            address: target.addresses(lane).tls,
            connector: TlsConnector::from(Arc::new(client_config(target)?)),
            name: ServerName::try_from(SERVER_NAME).map_err(|error| anyhow!("{SERVER_NAME}: {error}"))?,
        })
    }

    async fn dial(&self) -> Result<Self::Stream> {
        let stream = tcp::connect(self.address).await?;
        Ok(self.connector.connect(self.name.clone(), stream).await?)
    }
}

/// Accepts TLS connections for as long as the process lives.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn listen(listener: TcpListener, config: ServerConfig) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let body = Bytes::from(vec![7; MAX_BODY_BYTES]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, body) = (acceptor.clone(), body.clone());
        // A client that goes away ends its connection with an error, which is nobody's loss.
        tokio::spawn(async move { tcp::serve(acceptor.accept(stream).await?, body).await });
    }
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = PROVIDER();
    // A stable sort: the others keep their order.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// Where the ciphers come from; the same for every contender.
const PROVIDER: fn() -> CryptoProvider = rustls::crypto::ring::default_provider;
