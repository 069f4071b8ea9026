//! The recovery key of a cluster's authority: what opens the CA's private key where others keep it sealed.
//!
//! ```text
//! text     cairn-recovery-1.<the 32 bytes of the key, as secret_text writes them>
//! sealed   version u8 = 1 | nonce, 12 bytes | AES-256-GCM of the private key's PEM text, its tag at the end; what is sealed is
//!          bound to the CA certificate
//! ```
//!
//! Invariant: the key is drawn at random, told to one person once, and kept by no node; `Debug` leaves it out.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use super::{
    IdentityError,
    provider::{self, NONCE_BYTES, random},
    secret_text,
};

const PREFIX: &str = "cairn-recovery-";
const PREFIX_AND_VERSION: &str = "cairn-recovery-1.";
const SEALED_VERSION: u8 = 1;

/// The recovery key of a cluster's authority.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey([u8; 32]);

/// Why a text is no recovery key, or does not open what it is to open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// It is something else: take the right text.
    #[error(
        "this is not a recovery key: one starts with `{PREFIX}` and is told by `cairn cluster init` or `recovery-key`"
    )]
    NotAKey,
    /// Another version of the program has made it: use that version.
    #[error("the recovery key has version {0}, this program reads version 1: use the version of cairn that made it")]
    UnknownVersion(String),
    /// Characters were lost or changed: copy it again.
    #[error("the recovery key is damaged or incomplete: copy it again, from the first to the last character")]
    Damaged,
    /// It is of another cluster, or an older key: the newest one opens it.
    #[error(
        "the recovery key does not open this authority: it is another cluster's, or one that a later `cairn cluster recovery-key` \
         took the place of"
    )]
    WrongKey,
}

impl RecoveryKey {
    /// Draws one.
    pub fn make() -> Result<Self, IdentityError> {
        Ok(Self(random()?))
    }

    pub(super) fn seal(&self, private_key_pem: &str, ca_certificate: &[u8]) -> Result<Bytes, IdentityError> {
        let nonce = random()?;
        let sealed = provider::seal(&self.0, nonce, ca_certificate, private_key_pem.as_bytes())?;
        Ok([&[SEALED_VERSION][..], &nonce, &sealed].concat().into())
    }

    pub(super) fn open(&self, sealed: &[u8], ca_certificate: &[u8]) -> Result<String, RecoveryError> {
        let (version, rest) = sealed.split_first().ok_or(RecoveryError::WrongKey)?;
        if *version != SEALED_VERSION {
            return Err(RecoveryError::UnknownVersion(version.to_string()));
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(RecoveryError::WrongKey)?;
        let opened = provider::open(&self.0, *nonce, ca_certificate, sealed).ok_or(RecoveryError::WrongKey)?;
        String::from_utf8(opened).map_err(|_| RecoveryError::WrongKey)
    }
}

impl fmt::Display for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secret_text::write(PREFIX_AND_VERSION, &self.0))
    }
}

impl FromStr for RecoveryKey {
    type Err = RecoveryError;

    fn from_str(text: &str) -> Result<Self, RecoveryError> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(RecoveryError::NotAKey)?;
        let (version, encoded) = rest.split_once('.').ok_or(RecoveryError::Damaged)?;
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RecoveryError::Damaged);
        }
        if version != "1" {
            return Err(RecoveryError::UnknownVersion(version.to_owned()));
        }
        let bytes = secret_text::read(PREFIX_AND_VERSION, encoded).ok_or(RecoveryError::Damaged)?;
        Ok(Self(bytes.try_into().map_err(|_| RecoveryError::Damaged)?))
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first version, as it was first written: it must always be read.
    const STORED: &str = "cairn-recovery-1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwdvw6tQ";
    const SEALED: &str = "0109090909090909090909090957f7ede2df84a4f5c03d358ab13eaa8941c3b5025c0623";

    fn key() -> RecoveryKey {
        RecoveryKey([7; 32])
    }

    #[test]
    fn the_stored_key_opens_what_was_sealed_with_it() {
        assert_eq!(key().to_string(), STORED);
        assert_eq!(STORED.parse(), Ok(key()));
        let sealed = hex::decode(SEALED).expect("hexadecimal digits");
        assert_eq!(key().open(&sealed, b"ca").as_deref(), Ok("private"));
    }

    #[test]
    fn only_the_key_and_the_certificate_that_sealed_it_open_it() {
        let sealed = key().seal("private", b"ca").expect("sealed");
        assert_eq!(key().open(&sealed, b"ca").as_deref(), Ok("private"));
        assert_eq!(key().open(&sealed, b"other"), Err(RecoveryError::WrongKey));
        let other = RecoveryKey::make().expect("a key");
        assert_eq!(other.open(&sealed, b"ca"), Err(RecoveryError::WrongKey));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(key().open(&changed, b"ca").is_err(), "byte {at}");
            assert!(key().open(&sealed[..at], b"ca").is_err(), "{at} bytes");
        }
    }

    #[test]
    fn texts_that_are_no_key_are_refused_with_the_reason() {
        let text = key().to_string();
        for length in 0..text.len() {
            assert!(text[..length].parse::<RecoveryKey>().is_err(), "{length} characters");
        }
        let cases = [
            ("cairn-join-1.abc", "not a recovery key"),
            (&text.replace("-1.", "-2."), "version 2"),
            (&text[..30], "copy it again"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<RecoveryKey>().expect_err("no key").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(format!("{:?}", key()), "RecoveryKey");
    }
}
