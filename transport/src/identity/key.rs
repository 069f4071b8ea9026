//! A node's key pair.
//!
//! Invariant: the private half leaves this type only as PEM for a file, as DER for TLS, and
//! hashed; it is never printed.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use cairn_common::ids::ClusterId;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};

use super::{IdentityError, pem::pem};

/// What precedes the 32 bytes of an Ed25519 seed in PKCS#8 (RFC 8410).
const ED25519_PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PEM_LABEL: &str = "PRIVATE KEY";

/// An Ed25519 key pair. Clones share it.
#[derive(Clone)]
pub struct NodeKey(Arc<KeyPair>);

impl NodeKey {
    /// A new random one.
    pub fn make() -> Result<Self, IdentityError> {
        KeyPair::generate_for(&PKCS_ED25519)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|error| IdentityError::Crypto(format!("making a key: {error}")))
    }

    /// The pair that a 32-byte seed stands for.
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        let der = [ED25519_PKCS8_PREFIX.as_slice(), seed].concat();
        Self::from_pkcs8(PrivatePkcs8KeyDer::from(der)).expect("any 32 bytes are an Ed25519 seed")
    }

    /// Reads one from PKCS#8 PEM; other sections of the text are passed over.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| IdentityError::malformed("the private key", error))?;
        Self::from_pkcs8(der)
    }

    /// PKCS#8 PEM. It is the secret itself: only a file of mode 0600 may hold it.
    pub fn to_pem(&self) -> String {
        pem(PEM_LABEL, self.0.serialized_der())
    }

    /// A PKCS#10 request for a certificate of this key, DER. It asks for no names: the authority decides them.
    pub fn certificate_request(&self, cluster: ClusterId) -> Result<Bytes, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(format!("a node of {cluster}"));
        let request = params.serialize_request(&*self.0);
        let request = request.map_err(|error| IdentityError::Crypto(format!("signing a request: {error}")))?;
        Ok(Bytes::copy_from_slice(request.der()))
    }

    /// A certificate that the key itself has signed: it says nothing but that its sender has the key.
    pub(super) fn self_signed(&self) -> Result<CertificateDer<'static>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("cairn join token".to_owned());
        let certificate = params.self_signed(&*self.0);
        let certificate = certificate.map_err(|error| IdentityError::Crypto(format!("signing: {error}")))?;
        Ok(certificate.der().clone())
    }

    /// The public half.
    pub fn public_key(&self) -> [u8; 32] {
        self.0
            .der_bytes()
            .try_into()
            .expect("an Ed25519 public key has 32 bytes")
    }

    /// Signs `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        self.0
            .sign(message)
            .map_err(|error| IdentityError::Crypto(format!("signing: {error}")))
    }

    /// A secret that only this key leads to, and that does not lead back.
    pub(super) fn derived_secret(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, self.0.serialized_der())
    }

    /// The private half, for TLS.
    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    /// The pair, for signing certificates.
    pub(super) fn pair(&self) -> &Arc<KeyPair> {
        &self.0
    }

    fn from_pkcs8(der: PrivatePkcs8KeyDer<'_>) -> Result<Self, IdentityError> {
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|error| IdentityError::malformed("the private key", error))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey(of public key {})", hex::encode(self.public_key()))
    }
}

/// A subject of one common name.
pub(super) fn common_name(name: String) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
