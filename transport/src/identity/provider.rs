//! The cryptography that everything here rests on, chosen in one place.
//!
//! Invariant: no other file names an implementation of TLS ciphers or of signature checks; keys are made and sign through
//! `rcgen` in `key`.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
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

/// Bytes of a nonce for [`seal`].
pub(super) const NONCE_BYTES: usize = 12;

/// Encrypts by AES-256-GCM; `bound` must be given again to open it. A nonce serves once for each key.
pub(super) fn seal(
    key: &[u8; 32],
    nonce: [u8; NONCE_BYTES],
    bound: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, IdentityError> {
    let failed = |_| IdentityError::Crypto("AES-256-GCM does not encrypt".to_owned());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(failed)?);
    let mut bytes = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), &mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// What [`seal`] encrypted; none where the key, the nonce, what it is bound to or a byte of it is another.
pub(super) fn open(key: &[u8; 32], nonce: [u8; NONCE_BYTES], bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
    let mut bytes = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = key.open_in_place(nonce, Aad::from(bound), &mut bytes).ok()?;
    Some(plain.to_vec())
}

/// Bytes that nobody can guess.
pub(super) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], IdentityError> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| IdentityError::Crypto(format!("random bytes: {error}")))?;
    Ok(bytes)
}
