//! Who nodes are: the cluster's CA, certificates with id and roles, join tokens, rotation and revocation.
//!
//! ```text
//! name, certificate, revocation             what stands in certificates and in lists of revoked ones, and how it is read
//! credentials, node_identity, verify        what a node shows and whom it believes, for TLS
//! secret_text, token, recovery              what a person carries from one node to another
//! authority, ledger, authority_dir          who gets a certificate (the decisions are `ledger`, without I/O)
//! files                                     credentials on the disk
//! admission, join                           the same over a carrier: the service, and its callers
//! endpoint                                  certificates for clients that are no nodes
//! ```
//!
//! It must never take a name, a role or an expiry from a certificate that the cluster's CA has not signed, and never print
//! or send a private key. Invariant: one CA for a cluster; a node id is given out once; a token lets one key in.

mod admission;
mod authority;
mod authority_dir;
mod certificate;
mod credentials;
mod endpoint;
mod error;
mod files;
mod join;
mod key;
mod ledger;
mod name;
mod node_identity;
mod pem;
mod provider;
mod recovery;
mod revocation;
mod secret_text;
mod token;
mod verify;

#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use authority::{CertificateAuthority, Issued};
pub use authority_dir::{AuthorityDir, AuthorityError};
pub use credentials::NodeCredentials;
pub use endpoint::SelfSigned;
pub use error::IdentityError;
pub use files::{FileError, load_credentials, save_credentials};
pub use join::{JoinError, fetch_revocations, join, renew};
pub use key::NodeKey;
pub use ledger::{AdmitError, Ledger, LedgerError, MemberEntry, RevokeError};
pub use node_identity::Identity;
pub use provider::provider;
pub use recovery::{RecoveryError, RecoveryKey};
pub use token::{JoinToken, TokenError, TokenKeys};
