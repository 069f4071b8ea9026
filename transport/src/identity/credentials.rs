//! Credentials, and the check that they fit together.
//!
//! Invariant: a [`Member`] was checked as a whole: one CA has signed certificate and list, the key is the certificate's, the
//! names are those of one node. Whether its time is over is not asked here.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::wire::node;
use rustls_pki_types::CertificateDer;

use super::{
    IdentityError, JoinToken, NodeKey,
    certificate::{CaCertificate, Certificate},
    name, provider,
    revocation::RevocationList,
    verify::PinnedVerifier,
};
use crate::Peer;

/// What makes a process a node: its certificate and key, and what others are judged by.
#[derive(Clone, Debug)]
pub struct NodeCredentials {
    /// The node's certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key.
    pub key: NodeKey,
    /// The cluster's CA certificate.
    pub ca_certificate: CertificateDer<'static>,
    /// The newest list of revoked certificates, DER.
    pub revocations: Bytes,
}

impl NodeCredentials {
    /// What an authority has answered, for the key it was asked for.
    pub fn of(answer: node::Certificate, key: NodeKey) -> Self {
        Self {
            certificate: CertificateDer::from(answer.certificate.to_vec()),
            key,
            ca_certificate: CertificateDer::from(answer.ca_certificate.to_vec()),
            revocations: answer.revocations,
        }
    }
}

/// Credentials that were checked.
pub(super) struct Member {
    pub(super) credentials: NodeCredentials,
    pub(super) certificate: Certificate,
    pub(super) peer: Peer,
    pub(super) authority: CaCertificate,
    pub(super) revocations: Arc<RevocationList>,
}

/// A token, ready for use.
pub(super) struct Joiner {
    pub(super) token: JoinToken,
    pub(super) key: NodeKey,
    pub(super) certificate: CertificateDer<'static>,
}

impl Member {
    /// Checks that key, certificate, CA and list fit together.
    pub(super) fn new(credentials: NodeCredentials) -> Result<Self, IdentityError> {
        let authority = CaCertificate::read(credentials.ca_certificate.clone())?;
        let certificate = Certificate::read(&credentials.certificate)?;
        if !authority.has_signed(&certificate) {
            return Err(IdentityError::ForeignCa {
                what: "the node's certificate",
            });
        }
        if certificate.public_key != credentials.key.public_key() {
            return Err(IdentityError::KeyMismatch);
        }
        let peer = name::member_of(authority.cluster, &certificate.names)?;
        let revocations = Arc::new(RevocationList::read(credentials.revocations.clone(), &authority)?);
        Ok(Self {
            credentials,
            certificate,
            peer,
            authority,
            revocations,
        })
    }

    /// Whether `next` is the same node of the same cluster, by the same CA.
    pub(super) fn check_successor(&self, next: &Self) -> Result<(), IdentityError> {
        if next.authority.cluster != self.authority.cluster || next.peer.node != self.peer.node {
            return Err(IdentityError::OtherNode {
                expected: self.text(),
                found: next.text(),
            });
        }
        if next.authority.der() != self.authority.der() {
            return Err(IdentityError::ForeignCa {
                what: "the new certificate",
            });
        }
        Ok(())
    }

    /// The same with another list.
    pub(super) fn with_revocations(&self, revocations: RevocationList) -> Self {
        Self {
            credentials: self.credentials.clone(),
            certificate: self.certificate.clone(),
            peer: self.peer,
            authority: self.authority.clone(),
            revocations: Arc::new(revocations),
        }
    }

    /// What is shown to others. The CA goes along, so that a joiner finds the one whose fingerprint it has.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.credentials.certificate.clone(), self.authority.der().clone()]
    }

    fn text(&self) -> String {
        format!("node {} of cluster {}", self.peer.node, self.authority.cluster)
    }
}

impl Joiner {
    /// Of this token.
    pub(super) fn new(token: JoinToken) -> Result<Self, IdentityError> {
        let key = token.key();
        let certificate = key.self_signed()?;
        Ok(Self {
            token,
            key,
            certificate,
        })
    }

    /// How the server is judged.
    pub(super) fn verifier(&self) -> PinnedVerifier {
        let server = name::server_name(self.token.cluster, self.token.node);
        PinnedVerifier::new(self.token.ca_fingerprint, server, provider())
    }

    /// The CA in a server's chain that the token pins.
    pub(super) fn authority(&self, chain: &[CertificateDer<'_>]) -> Result<CaCertificate, IdentityError> {
        let pinned = chain
            .iter()
            .find(|der| CaCertificate::fingerprint(der) == self.token.ca_fingerprint)
            .ok_or(IdentityError::ForeignCa {
                what: "the server's certificate",
            })?;
        CaCertificate::read(pinned.clone().into_owned())
    }
}
