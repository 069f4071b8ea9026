//! The copy of the cluster's authority that the replicated state keeps: what another node needs to go on with it.
//!
//! Invariant: the CA's private key is in it sealed only, by a recovery key that no node keeps; a copy takes the place of the
//! one that its sender knew, or of none, and never that of one of a later term.

use bytes::Bytes;
use prost::Message;

use crate::envelope::Record;

/// The authority, as its holder last told. Also the stored record.
#[derive(Clone, PartialEq, Message)]
pub struct AuthorityCopy {
    /// Counts the copies of this cluster, from 1.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// The node that holds the authority.
    #[prost(uint64, tag = "2")]
    pub holder: u64,
    /// The CA certificate, DER.
    #[prost(bytes = "bytes", tag = "3")]
    pub ca_certificate: Bytes,
    /// The CA's private key, sealed: its bytes mean nothing here.
    #[prost(bytes = "bytes", tag = "4")]
    pub sealed_key: Bytes,
    /// What was decided: nodes, tokens' public keys, certificates.
    #[prost(string, tag = "5")]
    pub ledger: String,
    /// Since when its holder holds it: 0 of the first node, and greater with each that took over.
    #[prost(uint64, tag = "6")]
    pub term: u64,
}

impl Record for AuthorityCopy {
    const VERSION: u8 = 1;
}

/// Keeps a copy of the authority. Refused where another version is there than the one before, where the CA is another, and
/// where it is neither of a later term nor of the same holder in the same term.
#[derive(Clone, PartialEq, Message)]
pub struct KeepAuthority {
    /// The copy; its version is one more than that which the sender knows.
    #[prost(message, optional, tag = "1")]
    pub copy: Option<AuthorityCopy>,
}

/// The copy of the authority.
#[derive(Clone, PartialEq, Message)]
pub struct AuthorityQuery {}

/// The answer to an [`AuthorityQuery`].
#[derive(Clone, PartialEq, Message)]
pub struct AuthorityAnswer {
    /// None where none was ever kept.
    #[prost(message, optional, tag = "1")]
    pub copy: Option<AuthorityCopy>,
}
