//! A node's side of joining, renewing, and learning what was revoked.
//!
//! It must never write files or take an answer into use: it checks what came and hands it back. Invariant: credentials that
//! are returned fit together, are of the token's (or the own) cluster and CA, and on renewal of the same node.

use std::time::Duration;

use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    wire::{failure::FailureCode, kind::RequestKind, node},
};

use super::{Identity, IdentityError, JoinToken, NodeCredentials, NodeKey, certificate::CaCertificate};
use crate::{Body, CallError, Transport, call};

/// Why the authority gave nothing, by what to do next.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// It refuses, and says what a person has to do. Asking again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// No answer, or no time to give one: try again. A join may be repeated with the same token and key.
    #[error(transparent)]
    Call(CallError),
    /// What it sent must not be used: it is damaged, or of another cluster or node.
    #[error("the authority's answer is not used: {0}")]
    BadAnswer(IdentityError),
    /// The own key could not be made, or cannot sign.
    #[error(transparent)]
    Key(IdentityError),
}

/// Asks for a node's first certificate, for `key`. `transport` must be of [`Identity::joiner`] with the same token. Where the
/// answer is lost, the same token and key may ask again and get the same node id.
pub async fn join(
    transport: &dyn Transport,
    token: &JoinToken,
    key: &NodeKey,
    timeout: Duration,
) -> Result<NodeCredentials, JoinError> {
    let request = join_request(token, key).map_err(JoinError::Key)?;
    let (answer, _): (node::Certificate, _) = call(
        transport,
        token.node,
        RequestKind::Join,
        &request,
        Body::empty(),
        timeout,
    )
    .await?;
    let credentials = NodeCredentials::of(answer, key.clone());
    if CaCertificate::fingerprint(&credentials.ca_certificate) != token.ca_fingerprint {
        let what = "the answer";
        return Err(JoinError::BadAnswer(IdentityError::ForeignCa { what }));
    }
    let member = Identity::member(credentials.clone()).map_err(JoinError::BadAnswer)?;
    if member.cluster() != token.cluster {
        return Err(JoinError::BadAnswer(IdentityError::OtherNode {
            expected: format!("a node of cluster {}", token.cluster),
            found: format!("a node of cluster {}", member.cluster()),
        }));
    }
    Ok(credentials)
}

/// Asks `node` for a new certificate, for a new key, in place of the one of `identity`. The caller saves what comes, then
/// hands it to [`Identity::replace`].
pub async fn renew(
    transport: &dyn Transport,
    node: NodeId,
    identity: &Identity,
    timeout: Duration,
) -> Result<NodeCredentials, JoinError> {
    let key = NodeKey::make().map_err(JoinError::Key)?;
    let certificate_request = key.certificate_request(identity.cluster()).map_err(JoinError::Key)?;
    let request = node::RenewCertificate { certificate_request };
    let kind = RequestKind::RenewCertificate;
    let (answer, _): (node::Certificate, _) = call(transport, node, kind, &request, Body::empty(), timeout).await?;
    let credentials = NodeCredentials::of(answer, key);
    identity.check_replacement(&credentials).map_err(JoinError::BadAnswer)?;
    Ok(credentials)
}

/// Asks `node` for the newest list of revoked certificates, DER. [`Identity::replace_revocations`] checks it.
pub async fn fetch_revocations(transport: &dyn Transport, node: NodeId, timeout: Duration) -> Result<Bytes, JoinError> {
    let request = node::Revocations {};
    let kind = RequestKind::Revocations;
    let (answer, _): (node::RevocationsReply, _) =
        call(transport, node, kind, &request, Body::empty(), timeout).await?;
    Ok(answer.revocations)
}

/// A request to join that shows that its sender holds the token.
pub(super) fn join_request(token: &JoinToken, key: &NodeKey) -> Result<node::Join, IdentityError> {
    let certificate_request = key.certificate_request(token.cluster)?;
    let token_key = token.key();
    let signature = token_key.sign(&[node::JOIN_SIGNATURE_DOMAIN, &certificate_request].concat())?;
    Ok(node::Join {
        certificate_request,
        token_signature: Bytes::from(signature),
        token_public_key: Bytes::copy_from_slice(&token_key.public_key()),
    })
}

impl From<CallError> for JoinError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(failure) if matches!(failure.code(), FailureCode::Forbidden | FailureCode::Malformed) => {
                Self::Refused(failure.detail)
            }
            error => Self::Call(error),
        }
    }
}
