//! The list of revoked certificates, as the CA signs it.
//!
//! Invariant: a list that exists was signed by the CA it was read for. How old it may be is not decided here: a node that
//! cannot fetch a newer one goes on with the one it has, so `nextUpdate` is not enforced.

use bytes::Bytes;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use super::{
    IdentityError,
    certificate::{CaCertificate, Signed},
};

const WHAT: &str = "the list of revoked certificates";

/// A list of revoked certificates.
#[derive(Debug)]
pub(super) struct RevocationList {
    der: Bytes,
    number: u64,
    list: CertRevocationList<'static>,
}

impl RevocationList {
    /// Reads one and checks that this CA has signed it.
    pub(super) fn read(der: Bytes, authority: &CaCertificate) -> Result<Self, IdentityError> {
        let (rest, parsed) =
            CertificateRevocationList::from_der(&der).map_err(|error| IdentityError::malformed(WHAT, error))?;
        if !rest.is_empty() {
            return Err(IdentityError::malformed(WHAT, "bytes follow it"));
        }
        let signed = Signed::new(
            parsed.tbs_cert_list.as_ref(),
            &parsed.signature_algorithm.algorithm.to_id_string(),
            &parsed.signature_value.data,
        )?;
        if !signed.is_by(&authority.public_key) {
            return Err(IdentityError::ForeignCa { what: WHAT });
        }
        let number = parsed.crl_number().and_then(|number| u64::try_from(number).ok());
        let number = number.ok_or_else(|| IdentityError::malformed(WHAT, "it has no number"))?;
        let list = OwnedCertRevocationList::from_der(&der).map_err(|error| IdentityError::malformed(WHAT, error))?;
        Ok(Self {
            der,
            number,
            list: list.into(),
        })
    }

    /// The list, DER.
    pub(super) fn der(&self) -> &Bytes {
        &self.der
    }

    /// Its number: the higher, the newer.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it names this serial number.
    pub(super) fn has(&self, serial: &[u8]) -> Result<bool, IdentityError> {
        let found = self.list.find_serial(serial);
        Ok(found.map_err(|error| IdentityError::malformed(WHAT, error))?.is_some())
    }
}
