//! The service that lets nodes in, renews their certificates and tells which were revoked.
//!
//! It decides nothing: [`AuthorityDir`] does. Invariant: whoever joins has shown in the request itself that it holds a
//! token, whatever carried the request; who renews is the peer that the carrier has made sure of.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_common::wire::{
    failure::{Failure, FailureCode},
    kind::RequestKind,
    node,
};
use prost::Message;

use super::{AdmitError, AuthorityDir, provider::verify_ed25519};
use crate::{Body, Peer, Request, Response, Service, failure, reply};

/// Answers [`Admission::KINDS`] with an authority.
pub struct Admission {
    authority: Arc<AuthorityDir>,
}

impl Admission {
    /// What it answers.
    pub const KINDS: [RequestKind; 3] = [
        RequestKind::Join,
        RequestKind::RenewCertificate,
        RequestKind::Revocations,
    ];

    /// Answers with this authority.
    pub fn new(authority: Arc<AuthorityDir>) -> Self {
        Self { authority }
    }

    async fn join(&self, header: Bytes) -> Result<Response, Failure> {
        let join = node::Join::decode(header).map_err(|error| malformed(&error))?;
        let token = token_of(&join)?;
        let csr = join.certificate_request;
        self.issue(move |authority| authority.admit(&token, &csr, SystemTime::now()))
            .await
    }

    async fn renew(&self, from: Peer, header: Bytes) -> Result<Response, Failure> {
        let renew = node::RenewCertificate::decode(header).map_err(|error| malformed(&error))?;
        let csr = renew.certificate_request;
        self.issue(move |authority| authority.renew(from, &csr, SystemTime::now()))
            .await
    }

    async fn revocations(&self) -> Result<Response, Failure> {
        let list = self.blocking(|authority| authority.revocations()).await?;
        let revocations = list.map_err(|error| failure(FailureCode::Internal, error.to_string()))?;
        Ok(reply(&node::RevocationsReply { revocations }, Body::empty()))
    }

    async fn issue(
        &self,
        ask: impl FnOnce(&AuthorityDir) -> Result<node::Certificate, AdmitError> + Send + 'static,
    ) -> Result<Response, Failure> {
        let certificate = self.blocking(ask).await?.map_err(|error| refusal(&error))?;
        Ok(reply(&certificate, Body::empty()))
    }

    /// A request that is dropped meanwhile is done all the same: the ledger is never left half-changed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AuthorityDir) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let authority = Arc::clone(&self.authority);
        let done = tokio::task::spawn_blocking(move || work(&authority)).await;
        done.map_err(|error| failure(FailureCode::Internal, format!("the authority stopped: {error}")))
    }
}

#[async_trait]
impl Service for Admission {
    async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
        match request.kind {
            RequestKind::Join => self.join(request.header).await,
            RequestKind::RenewCertificate => self.renew(from, request.header).await,
            RequestKind::Revocations => self.revocations().await,
            kind => {
                let text = format!("the authority does not answer {}", kind.name());
                Err(failure(FailureCode::Unsupported, text))
            }
        }
    }
}

/// The public key of the token that the sender has shown to hold.
fn token_of(join: &node::Join) -> Result<[u8; 32], Failure> {
    let key: [u8; 32] = join.token_public_key.as_ref().try_into().map_err(|_| {
        let text = format!("a token's public key has 32 bytes, not {}", join.token_public_key.len());
        failure(FailureCode::Malformed, text)
    })?;
    let message = [node::JOIN_SIGNATURE_DOMAIN, &join.certificate_request].concat();
    if !verify_ed25519(&key, &message, &join.token_signature) {
        let text = "the request to join was not signed with the token: copy the token again, and try again";
        return Err(failure(FailureCode::Forbidden, text));
    }
    Ok(key)
}

fn malformed(error: &prost::DecodeError) -> Failure {
    failure(FailureCode::Malformed, error.to_string())
}

fn refusal(error: &AdmitError) -> Failure {
    let code = match error {
        AdmitError::UnknownToken
        | AdmitError::UsedToken
        | AdmitError::ExpiredToken
        | AdmitError::RevokedNode(_)
        | AdmitError::UnknownNode(_) => FailureCode::Forbidden,
        AdmitError::BadRequest(_) => FailureCode::Malformed,
        AdmitError::Storage(_) => FailureCode::Internal,
    };
    failure(code, error.to_string())
}
