//! The cryptography that everything here rests on, chosen in one place.
//!
//! Invariant: no other file names an implementation of TLS ciphers or of signature checks; keys are made and sign through
//! `rcgen` in `key`.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::alg_id;

use super::IdentityError;

/// The ciphers, key exchanges and signatures of all connections.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Whether `signature` is one of `message` by the Ed25519 key.
pub(super) fn verify_ed25519(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let provider = provider();
    let mut algorithms = provider.signature_verification_algorithms.all.iter();
    algorithms
        .find(|algorithm| algorithm.signature_alg_id() == alg_id::ED25519)
        .is_some_and(|ed25519| ed25519.verify_signature(public_key, message, signature).is_ok())
}

/// Bytes that nobody can guess.
pub(super) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], IdentityError> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| IdentityError::Crypto(format!("random bytes: {error}")))?;
    Ok(bytes)
}
