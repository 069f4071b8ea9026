//! Whom a node believes during the TLS handshake.
//!
//! The checks are those of rustls (`webpki`): chain, time, purpose, name, revocation. Added to them: a joiner pins the CA by
//! its fingerprint, and a server that admits lets a joiner in by its token's key. Invariant: a certificate that the CA has
//! signed is judged by the checks of rustls alone; a token never mends a certificate that is expired or revoked.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use super::{
    IdentityError, TokenKeys,
    certificate::{CaCertificate, Certificate},
    revocation::RevocationList,
};

/// Where a server looks up the keys of tokens; empty on servers that admit nobody.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<RwLock<Option<Arc<dyn TokenKeys>>>>);

/// How a member that is called judges its callers.
#[derive(Debug)]
pub(super) struct CallerVerifier {
    members: Arc<dyn ClientCertVerifier>,
    tokens: Tokens,
}

/// How a joiner judges the server it calls.
#[derive(Debug)]
pub(super) struct PinnedVerifier {
    ca_fingerprint: [u8; 32],
    server: ServerName<'static>,
    provider: Arc<CryptoProvider>,
}

impl Tokens {
    /// From now on these are asked.
    pub(super) fn set(&self, tokens: Arc<dyn TokenKeys>) {
        *self.0.write() = Some(tokens);
    }

    fn knows(&self, public_key: &[u8; 32]) -> bool {
        let tokens = self.0.read().clone();
        tokens.is_some_and(|tokens| tokens.knows(public_key))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens(accepted: {})", self.0.read().is_some())
    }
}

impl CallerVerifier {
    /// Believes members of `authority` that are not revoked, and joiners with a key of `tokens`.
    pub(super) fn new(
        authority: &CaCertificate,
        revocations: &RevocationList,
        tokens: Tokens,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let members = WebPkiClientVerifier::builder_with_provider(roots(authority.der())?, provider)
            .with_crls([list(revocations)])
            .only_check_end_entity_revocation()
            .build()
            .map_err(|error| IdentityError::malformed("the CA certificate", error))?;
        Ok(Self { members, tokens })
    }

    fn is_joiner(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> bool {
        others.is_empty()
            && Certificate::read(certificate)
                .is_ok_and(|joiner| joiner.is_self_issued && self.tokens.knows(&joiner.public_key))
    }
}

/// How a member judges the servers it calls: members of `authority` that are not revoked.
pub(super) fn server_verifier(
    authority: &CaCertificate,
    revocations: &RevocationList,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, IdentityError> {
    WebPkiServerVerifier::builder_with_provider(roots(authority.der())?, provider)
        .with_crls([list(revocations)])
        .only_check_end_entity_revocation()
        .build()
        .map_err(|error| IdentityError::malformed("the CA certificate", error))
}

impl PinnedVerifier {
    /// Believes the node of this name whose CA certificate has this fingerprint.
    pub(super) fn new(ca_fingerprint: [u8; 32], server: ServerName<'static>, provider: Arc<CryptoProvider>) -> Self {
        Self {
            ca_fingerprint,
            server,
            provider,
        }
    }

    fn pinned(&self, others: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let authority = others
            .iter()
            .find(|other| CaCertificate::fingerprint(other) == self.ca_fingerprint)
            .ok_or(CertificateError::UnknownIssuer)?;
        let roots = roots(authority).map_err(|_| CertificateError::BadEncoding)?;
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|_| CertificateError::BadEncoding.into())
    }
}

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A joiner cannot know the CA by name, so no name is asked for.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.members.verify_client_cert(end_entity, intermediates, now);
        match verified {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if self.is_joiner(end_entity, intermediates) =>
            {
                Ok(ClientCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.members.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.members.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.members.supported_verify_schemes()
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *server_name != self.server {
            return Err(CertificateError::NotValidForName.into());
        }
        let pinned = self.pinned(intermediates)?;
        pinned.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn roots(authority: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.clone().into_owned())
        .map_err(|error| IdentityError::malformed("the CA certificate", error))?;
    Ok(Arc::new(roots))
}

fn list(revocations: &RevocationList) -> CertificateRevocationListDer<'static> {
    CertificateRevocationListDer::from(revocations.der().to_vec())
}
