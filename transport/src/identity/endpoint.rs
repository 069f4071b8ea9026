//! Certificates for endpoints whose clients are no nodes, such as S3 over HTTPS, signed by nobody but themselves.
//!
//! Must never be taken for a node's: no CA has signed it, and it says nothing of a cluster. Invariant: whoever trusts the
//! certificate trusts this one key under these names, and nothing else.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};

use super::{IdentityError, key::common_name, pem::pem, provider};

/// It is made once for a trial, and its clients are given it by hand.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Clients whose clocks are behind accept it at once.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// A certificate that its own key has signed.
pub struct SelfSigned {
    /// The certificate, PEM; for anyone.
    pub certificate_pem: String,
    /// The private key, PEM. Only a file of mode 0600 may hold it.
    pub key_pem: String,
}

impl SelfSigned {
    /// A new one for `names`, which are DNS names (also with `*.` in front) or IP addresses. Its key is of the kind that all
    /// S3 clients know.
    pub fn make(names: &[String]) -> Result<Self, IdentityError> {
        let failed =
            |error: rcgen::Error| IdentityError::Crypto(format!("making a certificate for {names:?}: {error}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        let now = SystemTime::now();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + LIFETIME).into();
        let serial: [u8; 16] = provider::random()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = common_name(format!("cairn endpoint {}", hex::encode(&serial[..4])));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            certificate_pem: pem("CERTIFICATE", certificate.der()),
            key_pem: pem("PRIVATE KEY", key.serialized_der()),
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::sign::CertifiedKey;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    use webpki::EndEntityCert;

    use super::*;

    #[test]
    fn one_is_for_its_names_and_no_ca() {
        let names = ["localhost", "*.s3.example.com", "127.0.0.1", "::1"].map(str::to_owned);
        let made = SelfSigned::make(&names).expect("made");
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(made.key_pem.as_bytes()).expect("PEM");
        CertifiedKey::from_der(vec![der.clone()], key, &provider()).expect("a pair");
        let read = EndEntityCert::try_from(&der).expect("a certificate");
        let found: Vec<&str> = read.valid_dns_names().collect();
        assert_eq!(found, ["localhost", "*.s3.example.com"]);
        let other = SelfSigned::make(&names).expect("made");
        assert_ne!(other.certificate_pem, made.certificate_pem);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(SelfSigned::make(&["käse".to_owned()]).is_err());
    }
}
