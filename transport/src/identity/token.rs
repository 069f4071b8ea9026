//! Join tokens: what a person carries from the cluster to a new node.
//!
//! ```text
//! cairn-join-1.<base64url without padding of: prost message | CRC32C of what stands before it, big-endian>
//!            ^ version of the layout; the checksum covers `cairn-join-1.` too
//! ```
//!
//! Invariant: the text is the secret. It is written by `Display` for the person who asked for it, and nowhere else: `Debug`
//! leaves it out. The authority keeps the public half alone.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cairn_common::ids::{ClusterId, NodeId};
use prost::Message;

use super::{NodeKey, secret_text};

const PREFIX: &str = "cairn-join-";
const PREFIX_AND_VERSION: &str = "cairn-join-1.";

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster.
    pub cluster: ClusterId,
    /// The server that admits.
    pub node: NodeId,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// BLAKE3 of the CA certificate, DER: by this the new node knows whom it talks to.
    pub ca_fingerprint: [u8; 32],
    /// Ed25519 seed: by this the server knows the new node.
    pub secret: [u8; 32],
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// Why a text is no join token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is something else: take the right text.
    #[error("this is not a join token: one starts with `{PREFIX}` and is made by `cairn cluster token`")]
    NotAToken,
    /// Another version of the program has made it: use that version, or have a token made by this one.
    #[error(
        "the join token has version {0}, this program reads version 1: use the version of cairn that the cluster runs"
    )]
    UnknownVersion(String),
    /// Characters were lost or changed: copy it again.
    #[error("the join token is damaged or incomplete: copy it again, from the first to the last character")]
    Damaged,
}

/// Says which tokens there are.
pub trait TokenKeys: Send + Sync + 'static {
    /// Whether a token with this public key was ever made and is remembered. Used and expired ones are: their holders get
    /// a clear error as the answer to their join. It is asked within handshakes, so it must be quick.
    fn knows(&self, public_key: &[u8; 32]) -> bool;
}

/// The message in a token's text.
#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(bytes = "bytes", tag = "1")]
    cluster: Bytes,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(string, repeated, tag = "3")]
    addresses: Vec<String>,
    #[prost(bytes = "bytes", tag = "4")]
    ca_fingerprint: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    secret: Bytes,
    #[prost(uint64, tag = "6")]
    expires_ms: u64,
}

impl JoinToken {
    /// By which the authority knows it.
    pub fn public_key(&self) -> [u8; 32] {
        self.key().public_key()
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        unix_ms(now) >= self.expires_ms
    }

    /// The key pair that shows that its holder has the token.
    pub(super) fn key(&self) -> NodeKey {
        NodeKey::from_seed(&self.secret)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = Content {
            cluster: Bytes::copy_from_slice(&self.cluster.to_bytes()),
            node: self.node.value(),
            addresses: self.addresses.clone(),
            ca_fingerprint: Bytes::copy_from_slice(&self.ca_fingerprint),
            secret: Bytes::copy_from_slice(&self.secret),
            expires_ms: self.expires_ms,
        };
        f.write_str(&secret_text::write(PREFIX_AND_VERSION, &content.encode_to_vec()))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        let (version, encoded) = rest.split_once('.').ok_or(TokenError::Damaged)?;
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TokenError::Damaged);
        }
        if version != "1" {
            return Err(TokenError::UnknownVersion(version.to_owned()));
        }
        let message = secret_text::read(PREFIX_AND_VERSION, encoded).ok_or(TokenError::Damaged)?;
        let content = Content::decode(message.as_slice()).map_err(|_| TokenError::Damaged)?;
        Ok(Self {
            cluster: ClusterId::new(fixed(&content.cluster)?),
            node: NodeId::new(content.node),
            addresses: content.addresses,
            ca_fingerprint: fixed(&content.ca_fingerprint)?,
            secret: fixed(&content.secret)?,
            expires_ms: content.expires_ms,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .field("addresses", &self.addresses)
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

/// A time in milliseconds since 1970; what is before is 0.
pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn fixed<const LENGTH: usize>(bytes: &[u8]) -> Result<[u8; LENGTH], TokenError> {
    bytes.try_into().map_err(|_| TokenError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            cluster: ClusterId::new([0xab; 16]),
            node: NodeId::new(1),
            addresses: vec!["192.0.2.1:7440".to_owned(), "[2001:db8::1]:7440".to_owned()],
            ca_fingerprint: [3; 32],
            secret: [0xfe; 32],
            expires_ms: 1_700_000_000_000,
        }
    }

    /// The first version, as it was first written: it must always be read.
    const STORED: &str = "cairn-join-1.ChCrq6urq6urq6urq6urq6urEAEaDjE5Mi4wLjIuMTo3NDQwGhJbMjAwMTpkYjg6OjFdOjc0NDAiIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDKiD-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_jCA0JX_vDHLvaDu";

    proptest! {
        #[test]
        fn tokens_survive_their_text(
            cluster: [u8; 16],
            node: u64,
            addresses in vec("[ -~]{0,40}", 0..4),
            ca_fingerprint: [u8; 32],
            secret: [u8; 32],
            expires_ms: u64,
        ) {
            let cluster = ClusterId::new(cluster);
            let token = JoinToken { cluster, node: NodeId::new(node), addresses, ca_fingerprint, secret, expires_ms };
            prop_assert_eq!(token.to_string().parse(), Ok(token.clone()));
            prop_assert_eq!(format!("  {token}\n").parse(), Ok(token));
        }

        #[test]
        fn no_text_makes_reading_panic(text in "(cairn-join-1\\.)?[-_A-Za-z0-9]{0,200}") {
            prop_assert!(text.parse::<JoinToken>().is_err());
        }
    }

    #[test]
    fn the_stored_token_is_read() {
        assert_eq!(token().to_string(), STORED);
        assert_eq!(STORED.parse(), Ok(token()));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let text = token().to_string();
        for length in 0..text.len() {
            assert!(text[..length].parse::<JoinToken>().is_err(), "{length} characters");
        }
        for position in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[position] ^= 1 << bit;
                let flipped = String::from_utf8(bytes).expect("ASCII stays ASCII");
                assert!(
                    flipped.parse::<JoinToken>().is_err(),
                    "bit {bit} of character {position}"
                );
            }
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let text = token().to_string();
        let cases = [
            ("", "made by `cairn cluster token`"),
            ("AKIAIOSFODNN7EXAMPLE", "made by `cairn cluster token`"),
            (&text.replace("join-1.", "join-2."), "version 2"),
            (&text[..40], "copy it again"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<JoinToken>().expect_err("no token").to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let shown = format!("{:?}", token());
        assert!(!shown.contains("254") && !shown.contains("fefe"), "{shown}");
        let key = token().key();
        assert!(!format!("{key:?}").contains("fefe"));
        assert_eq!(token().public_key(), key.public_key());
    }
}
