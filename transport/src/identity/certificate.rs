//! Reads certificates.
//!
//! Names, serial and public key are read by the parser with which TLS verifies (`webpki`); it does not give the time of
//! validity, which a second one reads. Invariant: reading trusts nothing: only [`CaCertificate::has_signed`] says whether
//! what was read may be believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_common::ids::ClusterId;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::{prelude::FromDer, time::ASN1Time};

use super::{IdentityError, name, provider::verify_ed25519};

/// What precedes the 32 bytes of an Ed25519 public key in its SubjectPublicKeyInfo (RFC 8410).
const ED25519_SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The object identifier of Ed25519 signatures.
const ED25519: &str = "1.3.101.112";
const WHAT: &str = "a certificate";

/// What stands in a certificate, whoever signed it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// DNS names.
    pub(super) names: Vec<String>,
    /// Serial number, as DER has it.
    pub(super) serial: Vec<u8>,
    /// Ed25519 public key.
    pub(super) public_key: [u8; 32],
    /// Whether subject and issuer are the same.
    pub(super) is_self_issued: bool,
    /// Start of its validity.
    pub(super) not_before: SystemTime,
    /// End of its validity.
    pub(super) not_after: SystemTime,
    /// The signed part, and its signature.
    signed: Signed,
}

/// Bytes with a signature.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    message: Vec<u8>,
    signature: Vec<u8>,
}

/// A cluster's CA certificate.
#[derive(Clone, Debug)]
pub(super) struct CaCertificate {
    der: CertificateDer<'static>,
    /// The cluster.
    pub(super) cluster: ClusterId,
    /// Ed25519 public key.
    pub(super) public_key: [u8; 32],
}

impl Certificate {
    /// Reads one.
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let entity = EndEntityCert::try_from(der).map_err(|error| IdentityError::malformed(WHAT, error))?;
        let (rest, parsed) = x509_parser::certificate::X509Certificate::from_der(der)
            .map_err(|error| IdentityError::malformed(WHAT, error))?;
        if !rest.is_empty() {
            return Err(IdentityError::malformed(WHAT, "bytes follow it"));
        }
        let validity = parsed.validity();
        Ok(Self {
            names: entity.valid_dns_names().map(str::to_owned).collect(),
            serial: entity.serial().to_vec(),
            public_key: ed25519_key(&entity.subject_public_key_info())?,
            is_self_issued: entity.issuer() == entity.subject(),
            not_before: system_time(validity.not_before),
            not_after: system_time(validity.not_after),
            signed: Signed::new(
                parsed.tbs_certificate.as_ref(),
                &parsed.signature_algorithm.algorithm.to_id_string(),
                &parsed.signature_value.data,
            )?,
        })
    }
}

impl CaCertificate {
    /// Reads one, which must have signed itself.
    pub(super) fn read(der: CertificateDer<'static>) -> Result<Self, IdentityError> {
        let certificate = Certificate::read(&der)?;
        let cluster = name::authority_of(&certificate.names)
            .ok_or_else(|| IdentityError::Names("it is not a CA's of this program".to_owned()))?;
        let public_key = certificate.public_key;
        let authority = Self {
            der,
            cluster,
            public_key,
        };
        if !authority.has_signed(&certificate) {
            return Err(IdentityError::ForeignCa {
                what: "the CA certificate",
            });
        }
        Ok(authority)
    }

    /// Whether the CA has signed this certificate.
    pub(super) fn has_signed(&self, certificate: &Certificate) -> bool {
        certificate.signed.is_by(&self.public_key)
    }

    /// The certificate.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What a join token pins.
    pub(super) fn fingerprint(der: &CertificateDer<'_>) -> [u8; 32] {
        *blake3::hash(der).as_bytes()
    }
}

impl Signed {
    /// Bytes, and what is given out for their Ed25519 signature.
    pub(super) fn new(message: &[u8], algorithm: &str, signature: &[u8]) -> Result<Self, IdentityError> {
        if algorithm != ED25519 {
            return Err(IdentityError::malformed(
                WHAT,
                format!("its signature is of kind {algorithm}, not Ed25519"),
            ));
        }
        Ok(Self {
            message: message.to_vec(),
            signature: signature.to_vec(),
        })
    }

    /// Whether this key has signed them.
    pub(super) fn is_by(&self, public_key: &[u8; 32]) -> bool {
        verify_ed25519(public_key, &self.message, &self.signature)
    }
}

/// The Ed25519 public key in a SubjectPublicKeyInfo.
fn ed25519_key(spki: &[u8]) -> Result<[u8; 32], IdentityError> {
    spki.strip_prefix(&ED25519_SPKI_PREFIX)
        .and_then(|key| key.try_into().ok())
        .ok_or_else(|| IdentityError::malformed(WHAT, "its key is not an Ed25519 key"))
}

fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}
