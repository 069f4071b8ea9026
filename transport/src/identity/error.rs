//! Why an identity does not hold, by what is to be done about it.

/// Why a certificate, a key or a list of revoked certificates is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are damaged or not what they are given out for: fetch them again.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// What the bytes should be.
        what: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// Key and certificate are of two pairs: load both from one place.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// Another CA has signed it, or nobody whom this node trusts: the sender is of another cluster.
    #[error("{what} was not signed by this cluster's CA")]
    ForeignCa {
        /// What was shown.
        what: &'static str,
    },
    /// The CA signed it, and still it does not name one node and its roles: made by a version that does not fit.
    #[error("the certificate's names do not fit: {0}")]
    Names(String),
    /// Credentials of another node or cluster: they cannot take the place of these.
    #[error("the new credentials are of {found}, and this is {expected}")]
    OtherNode {
        /// Who this is.
        expected: String,
        /// Whose they are.
        found: String,
    },
    /// Its time is over: the node has to renew it, or to join again.
    #[error("the certificate has expired")]
    Expired,
    /// It was revoked: the node is to be shut out.
    #[error("the certificate was revoked")]
    Revoked,
    /// A join token opens no other door than joining: join first.
    #[error("a join token can only be used to join: join first")]
    JoinerOnly,
    /// Signing failed, or there is no randomness. A person should look.
    #[error("cryptography failed: {0}")]
    Crypto(String),
}

impl IdentityError {
    pub(super) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Self::Malformed {
            what,
            reason: reason.to_string(),
        }
    }
}
