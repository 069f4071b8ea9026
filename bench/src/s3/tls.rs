//! The bytes of a connection, in plain or by TLS 1.3, and whom a certificate is trusted by. Invariant: no byte of a request
//! leaves before the certificate was looked at, unless the user has said not to.

use std::io::{ErrorKind as IoKind, IoSlice, Read as _, Result as IoResult, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::failure::OpError;
use crate::s3::endpoint::Endpoint;

/// Where distributions keep the certificates that the system trusts.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// A socket that can be read and written.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Takes any certificate; the handshake's signatures are checked all the same.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl Wire {
    /// Shakes hands where the endpoint wants TLS.
    pub(crate) fn open(
        stream: TcpStream,
        endpoint: &Endpoint,
        limit: Duration,
        halt: &AtomicBool,
    ) -> Result<Self, OpError> {
        let Some((config, name)) = &endpoint.tls else {
            return Ok(Self::Plain(stream));
        };
        let failed = |reason: String| OpError::Tls {
            host: endpoint.host.clone(),
            reason,
        };
        let mut connection =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(|error| failed(error.to_string()))?;
        let mut stream = stream;
        let deadline = Instant::now() + limit;
        while connection.is_handshaking() {
            if halt.load(Ordering::Relaxed) {
                return Err(OpError::Interrupted);
            }
            match connection.complete_io(&mut stream) {
                Ok(_) => {}
                Err(error) if is_wait(&error) && Instant::now() < deadline => {}
                Err(error) if is_wait(&error) => {
                    return Err(OpError::Stalled {
                        doing: "shaking hands",
                        limit,
                    });
                }
                Err(error) if error.kind() == IoKind::InvalidData => return Err(failed(error.to_string())),
                Err(_) => {
                    return Err(OpError::Closed {
                        doing: "shaking hands: does it speak TLS 1.3?",
                    });
                }
            }
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// Whether the server has neither closed nor sent anything that was not asked for. Waits for nothing.
    pub(crate) fn is_idle(&mut self) -> bool {
        match self {
            Self::Plain(stream) => is_silent(stream),
            Self::Tls(stream) => {
                // What comes beside answers, such as tickets, is taken; the end of the session is among that.
                while !is_silent(&stream.sock) {
                    let StreamOwned { conn, sock } = stream.as_mut();
                    let received = conn.read_tls(sock);
                    let state = conn.process_new_packets();
                    let goes_on =
                        state.is_ok_and(|state| !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0);
                    if !goes_on || !received.is_ok_and(|received| received > 0) {
                        return false;
                    }
                }
                true
            }
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // A server that closes without saying so in TLS has closed all the same: lengths tell what is missing.
                Err(error) if error.kind() == IoKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }

    pub(crate) fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> IoResult<usize> {
        match self {
            Self::Plain(stream) => stream.write_vectored(pieces),
            Self::Tls(stream) => stream.write_vectored(pieces),
        }
    }

    /// Nothing stays in the session's own buffers.
    pub(crate) fn flush(&mut self) -> IoResult<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Whether a read would have to wait.
fn is_silent(stream: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(stream, &mut [0_u8; 1], flags), Err(Errno::WOULDBLOCK))
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        IoKind::WouldBlock | IoKind::TimedOut | IoKind::Interrupted
    )
}

/// Whom to trust: the certificates of `bundle`, or the system's, or anyone.
///
/// # Errors
/// A file that cannot be read or holds no certificate.
pub(crate) fn client_config(bundle: Option<&Path>, insecure: bool) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .context("TLS cannot be used")?;
    if insecure {
        let anyone = Arc::new(TrustAnyone(provider));
        let config = builder.dangerous().with_custom_certificate_verifier(anyone);
        return Ok(Arc::new(config.with_no_client_auth()));
    }
    let bundle = bundle
        .or_else(|| SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists()))
        .context("this system has no list of trusted certificates: give one by --ca")?;
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(bundle).with_context(|| format!("cannot read {}", bundle.display()))?;
    for certificate in certificates {
        let certificate = certificate.with_context(|| format!("{} is damaged", bundle.display()))?;
        // A system's list may hold some that this library does not take; the others still count.
        let _ = roots.add(certificate);
    }
    ensure!(
        !roots.is_empty(),
        "{} holds no certificate that can be trusted",
        bundle.display()
    );
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// The name that a certificate must have.
///
/// # Errors
/// A host that is neither a name nor an address.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>> {
    let host = host.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host.clone()).with_context(|| format!("{host} is no name that a certificate could have"))
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
