//! The cluster's CA: signs certificates and the list of revoked ones.
//!
//! It must never decide who gets a certificate: it signs what it is told, and takes nothing but the key out of a request.
//! Invariant: what it signs can be told apart from another CA's by the issuer alone, for the issuer names the CA's key.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::role::Roles,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject as _};

use super::{
    IdentityError, NodeCredentials, NodeKey,
    certificate::{CaCertificate, Certificate},
    key::common_name,
    name,
    provider::random,
};
use crate::Peer;

/// How far the clocks of two nodes may differ: certificates hold from this long before they are made.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// RFC 5280 wants a date of the next list. Nobody enforces it: see `revocation`.
const NEXT_LIST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A request of an Ed25519 key has about 200 bytes.
const REQUEST_BYTES_MAX: usize = 4096;
const SERIAL_BYTES: usize = 16;

/// A cluster's CA, with its private key.
#[derive(Debug)]
pub struct CertificateAuthority {
    certificate: CaCertificate,
    key: NodeKey,
}

/// A certificate that was just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its serial number, by which it can be revoked.
    pub serial: Vec<u8>,
}

impl CertificateAuthority {
    /// Makes the CA of a new cluster.
    pub fn create(cluster: ClusterId) -> Result<Self, IdentityError> {
        let key = NodeKey::make()?;
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + CA_LIFETIME).into();
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = common_name(format!("cairn ca {cluster} {}", hex::encode(&key.public_key()[..8])));
        params.subject_alt_names = vec![dns(name::authority_name(cluster))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&**key.pair()).map_err(signing)?;
        let certificate = CaCertificate::read(certificate.der().clone())?;
        Ok(Self { certificate, key })
    }

    /// The CA of these PEM texts.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| IdentityError::malformed("the CA certificate", error))?;
        let (certificate, key) = (CaCertificate::read(der)?, NodeKey::from_pem(key)?);
        if certificate.public_key != key.public_key() {
            return Err(IdentityError::KeyMismatch);
        }
        Ok(Self { certificate, key })
    }

    /// The private key, PEM. Only a file of mode 0600 may hold it.
    pub(super) fn key_pem(&self) -> String {
        self.key.to_pem()
    }

    /// The CA certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.certificate.cluster
    }

    /// What certificates and lists of this CA are checked against.
    #[cfg(test)]
    pub(super) fn ca_certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// Signs a certificate for the key of a PKCS#10 request, which must be signed by that key. What else the request asks
    /// for is passed over.
    pub fn issue(
        &self,
        request_der: &[u8],
        node: NodeId,
        roles: Roles,
        validity: Range<SystemTime>,
    ) -> Result<Issued, IdentityError> {
        let request = read_request(request_der)?;
        let names = name::member_names(self.cluster(), Peer { node, roles });
        name::member_of(self.cluster(), &names)?;
        let mut params = CertificateParams::default();
        params.not_before = validity.start.into();
        params.not_after = validity.end.into();
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = common_name(format!("cairn node {node}"));
        params.subject_alt_names = names.into_iter().map(dns).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&request.public_key, &self.issuer()?);
        let certificate = CertificateDer::from(certificate.map_err(signing)?);
        let serial = Certificate::read(&certificate)?.serial;
        Ok(Issued { certificate, serial })
    }

    /// Credentials with a new key, made here, and a list of nobody revoked: for nodes of the authority's own process.
    pub fn make_credentials(
        &self,
        node: NodeId,
        roles: Roles,
        validity: Range<SystemTime>,
    ) -> Result<NodeCredentials, IdentityError> {
        let key = NodeKey::make()?;
        let request = key.certificate_request(self.cluster())?;
        let now = validity.start;
        Ok(NodeCredentials {
            certificate: self.issue(&request, node, roles, validity)?.certificate,
            key,
            ca_certificate: self.certificate().clone(),
            revocations: self.revocations([], 1, now)?,
        })
    }

    /// Signs the list of revoked certificates, DER. `number` rises with every change.
    pub fn revocations(
        &self,
        serials: impl IntoIterator<Item = Vec<u8>>,
        number: u64,
        now: SystemTime,
    ) -> Result<Bytes, IdentityError> {
        let revoked = |serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + NEXT_LIST).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.into_iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer()?).map_err(signing)?;
        Ok(Bytes::copy_from_slice(list.der()))
    }

    fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, IdentityError> {
        Issuer::from_ca_cert_der(self.certificate.der(), &**self.key.pair())
            .map_err(|error| IdentityError::malformed("the CA certificate", error))
    }
}

/// The public key that a request is for.
pub(super) fn requested_key(request_der: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let request = read_request(request_der)?;
    Ok(rcgen::PublicKeyData::der_bytes(&request.public_key).to_vec())
}

/// A PKCS#10 request whose own signature holds.
fn read_request(der: &[u8]) -> Result<CertificateSigningRequestParams, IdentityError> {
    const WHAT: &str = "the certificate request";
    if der.len() > REQUEST_BYTES_MAX {
        return Err(IdentityError::malformed(
            WHAT,
            format!("more than {REQUEST_BYTES_MAX} bytes"),
        ));
    }
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
        .map_err(|error| IdentityError::malformed(WHAT, error))?;
    if *request.public_key.algorithm() != PKCS_ED25519 {
        return Err(IdentityError::malformed(WHAT, "its key is not an Ed25519 key"));
    }
    Ok(request)
}

/// A random serial number whose DER has exactly these bytes: positive, and without a leading zero.
fn random_serial() -> Result<SerialNumber, IdentityError> {
    let mut serial: [u8; SERIAL_BYTES] = random()?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

fn dns(name: String) -> Result<SanType, IdentityError> {
    let name = name
        .try_into()
        .map_err(|error| IdentityError::Names(format!("{error}")))?;
    Ok(SanType::DnsName(name))
}

fn signing(error: rcgen::Error) -> IdentityError {
    IdentityError::Crypto(format!("signing: {error}"))
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::role::Role;

    use super::*;
    use crate::identity::{pem::pem, revocation::RevocationList};

    const CLUSTER: ClusterId = ClusterId::new([1; 16]);

    fn validity() -> Range<SystemTime> {
        let now = SystemTime::now();
        now - CLOCK_SKEW..now + Duration::from_secs(3600)
    }

    #[test]
    fn a_certificate_says_what_it_was_issued_for_and_not_what_was_asked_for() {
        let authority = CertificateAuthority::create(CLUSTER).expect("a CA");
        let key = NodeKey::make().expect("a key");
        let mut wished = CertificateParams::new(vec!["1.node.example.com".to_owned()]).expect("valid names");
        wished.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wished.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let request = wished.serialize_request(&**key.pair()).expect("a request");
        let roles = Roles::of(&[Role::Client]);
        let issued = authority
            .issue(request.der(), NodeId::new(7), roles, validity())
            .expect("issued");
        let certificate = Certificate::read(&issued.certificate).expect("readable");
        let member = Peer {
            node: NodeId::new(7),
            roles,
        };
        assert_eq!(name::member_of(CLUSTER, &certificate.names), Ok(member));
        assert_eq!(certificate.serial, issued.serial);
        assert_eq!(issued.serial.len(), SERIAL_BYTES);
        assert_eq!(certificate.public_key, key.public_key());
        assert!(authority.ca_certificate().has_signed(&certificate));
        let (_, parsed) = x509_parser::parse_x509_certificate(&issued.certificate).expect("readable");
        assert!(!parsed.is_ca());
        assert!(
            !parsed
                .key_usage()
                .expect("readable")
                .expect("present")
                .value
                .key_cert_sign()
        );
    }

    #[test]
    fn requests_that_are_damaged_long_or_of_other_keys_are_refused() {
        let authority = CertificateAuthority::create(CLUSTER).expect("a CA");
        let request = NodeKey::make()
            .expect("a key")
            .certificate_request(CLUSTER)
            .expect("a request");
        let mut forged = request.to_vec();
        *forged.last_mut().expect("bytes") ^= 1;
        let elliptic = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let elliptic = CertificateParams::default()
            .serialize_request(&elliptic)
            .expect("a request");
        let roles = Roles::of(&[Role::Client]);
        for bad in [
            &forged[..],
            &request[..request.len() - 1],
            &[],
            &[0; 5000],
            elliptic.der(),
        ] {
            let answer = authority.issue(bad, NodeId::new(7), roles, validity());
            assert!(matches!(answer, Err(IdentityError::Malformed { .. })), "{answer:?}");
        }
        for (node, roles) in [(0, roles), (7, Roles::NONE), (7, Roles::of(&[Role::Joiner]))] {
            let answer = authority.issue(&request, NodeId::new(node), roles, validity());
            assert!(matches!(answer, Err(IdentityError::Names(_))), "{answer:?}");
        }
    }

    #[test]
    fn a_ca_survives_its_pem_and_does_not_take_another_key() {
        let authority = CertificateAuthority::create(CLUSTER).expect("a CA");
        let text = pem("CERTIFICATE", authority.certificate());
        let again = CertificateAuthority::from_pem(&text, &authority.key_pem()).expect("the same CA");
        assert_eq!(again.certificate(), authority.certificate());
        assert_eq!(again.cluster(), CLUSTER);
        let other = CertificateAuthority::create(CLUSTER).expect("a CA");
        let mixed = CertificateAuthority::from_pem(&text, &other.key_pem());
        assert_eq!(mixed.err(), Some(IdentityError::KeyMismatch));
    }

    #[test]
    fn a_list_names_the_revoked_and_is_bound_to_its_ca() {
        let authority = CertificateAuthority::create(CLUSTER).expect("a CA");
        let revoked = vec![0x41; SERIAL_BYTES];
        for number in [1, 255, 256, u64::MAX] {
            let list = authority
                .revocations([revoked.clone()], number, SystemTime::now())
                .expect("a list");
            let read = RevocationList::read(list.clone(), authority.ca_certificate()).expect("readable");
            assert_eq!(read.number(), number);
            assert_eq!(read.has(&revoked), Ok(true));
            assert_eq!(read.has(&[0x42; SERIAL_BYTES]), Ok(false));
            let other = CertificateAuthority::create(CLUSTER).expect("a CA");
            let foreign = RevocationList::read(list, other.ca_certificate());
            assert!(matches!(foreign, Err(IdentityError::ForeignCa { .. })), "{foreign:?}");
        }
    }
}
