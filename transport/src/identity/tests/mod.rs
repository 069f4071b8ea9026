//! A cluster's CA for tests, and the tests of several files together.

mod admission;
mod authority_dir;
mod handshake;
mod ledger;

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::role::{Role, Roles},
};

use super::{CertificateAuthority, NodeCredentials, NodeKey, authority::CLOCK_SKEW};

pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

/// A cluster and its CA.
pub(super) struct Cluster {
    pub(super) id: ClusterId,
    pub(super) authority: CertificateAuthority,
}

impl Cluster {
    pub(super) fn new(number: u8) -> Self {
        let id = ClusterId::new([number; 16]);
        let authority = CertificateAuthority::create(id).expect("a CA");
        Self { id, authority }
    }

    pub(super) fn member(&self, node: u64) -> NodeCredentials {
        let now = SystemTime::now();
        self.member_valid(node, now - CLOCK_SKEW..now + HOUR)
    }

    pub(super) fn member_valid(&self, node: u64, validity: Range<SystemTime>) -> NodeCredentials {
        self.certify(NodeKey::make().expect("a key"), node, validity)
    }

    pub(super) fn certify(&self, key: NodeKey, node: u64, validity: Range<SystemTime>) -> NodeCredentials {
        let request = key.certificate_request(self.id).expect("a request");
        let roles = Roles::of(&[Role::Chunkserver, Role::Client]);
        let issued = self.authority.issue(&request, NodeId::new(node), roles, validity);
        NodeCredentials {
            certificate: issued.expect("issued").certificate,
            key,
            ca_certificate: self.authority.certificate().clone(),
            revocations: self.revoked(&[], 1),
        }
    }

    /// The list, of that number, that revokes these.
    pub(super) fn revoked(&self, revoked: &[&NodeCredentials], number: u64) -> bytes::Bytes {
        let serial = |credentials: &&NodeCredentials| {
            let certificate = super::certificate::Certificate::read(&credentials.certificate);
            certificate.expect("readable").serial
        };
        let list = self
            .authority
            .revocations(revoked.iter().map(serial), number, SystemTime::now());
        list.expect("a list")
    }
}
