//! What the authority remembers: node ids, tokens, certificates; and its decisions: who is let in, renewed, shut out.
//!
//! Functions of (ledger, event, now), without I/O, clock or randomness; [`super::AuthorityDir`] is the shell around them.
//! Invariant: a node id is given out once; a token lets one key in; the number of the list of revoked certificates rises
//! with every change of the list.
//!
//! ```toml
//! version = 1
//! next_node = 3           # never goes back
//! crl_number = 1
//! term = 0                # since when this node holds it, in seconds since 1970: 0 of the first node, who takes over has a later one
//! changed_ms = 1700000000000
//! [[tokens]]              # forgotten 7 days after they expire
//! public_key = "<hex>"
//! roles = ["client"]
//! expires_ms = 1700000000000
//! [tokens.used]           # missing while unused
//! by = "<hex>"            # BLAKE3 of the public key that it let in
//! node = 2                # the id which that key got
//! [[certificates]]        # forgotten 7 days after they expire
//! serial = "<hex>"
//! node = 2
//! roles = ["client"]
//! expires_ms = 1700000000000
//! revoked = false
//! ```

use std::collections::BTreeMap;

use cairn_common::{
    ids::NodeId,
    wire::role::{Role, Roles},
};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
/// How long tokens and certificates are remembered beyond their end: so long they get a clear error.
const REMEMBERED_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Certificates of one node that hold at a time. One or two are usual; a node that asks without end must not fill the disk.
const CERTIFICATES_PER_NODE_MAX: usize = 16;

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Node ids that are passed over where an authority goes on from a copy, and one more for each minute of the copy's age: an id takes
/// part in a device's number, so there are not more than 2^24.
const NODES_MISSED_MIN: u64 = 1024;
const NODES_MISSED_BY_AGE_MAX: u64 = 1 << 20;

/// The authority's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    version: u32,
    next_node: u64,
    crl_number: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    term: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    changed_ms: u64,
    #[serde(default)]
    tokens: Vec<Token>,
    #[serde(default)]
    certificates: Vec<Certificate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(with = "hex_text")]
    public_key: [u8; 32],
    #[serde(with = "roles_text")]
    roles: Roles,
    expires_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<Used>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Used {
    #[serde(with = "hex_text")]
    by: [u8; 32],
    node: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    #[serde(with = "hex_text")]
    serial: Vec<u8>,
    node: u64,
    #[serde(with = "roles_text")]
    roles: Roles,
    expires_ms: u64,
    revoked: bool,
}

/// What a certificate may be issued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) node: NodeId,
    pub(super) roles: Roles,
}

/// A node that has, or lately had, a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberEntry {
    /// The node.
    pub node: NodeId,
    /// Its roles.
    pub roles: Roles,
    /// When its last certificate ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Whether it was shut out.
    pub revoked: bool,
}

/// Why a node gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The token was never made here, or is long forgotten.
    #[error("this cluster does not know the token: make a new one with `cairn cluster token`")]
    UnknownToken,
    /// Another key was let in with it.
    #[error("the token was used already: make a new one with `cairn cluster token`")]
    UsedToken,
    /// Its time is over, or the node that it let in was revoked.
    #[error("the token has expired: make a new one with `cairn cluster token`")]
    ExpiredToken,
    /// The node was shut out. It stays so; it may join again as another node.
    #[error("node {0} was revoked: to let it in again, make a token with `cairn cluster token` and have it join")]
    RevokedNode(NodeId),
    /// The ledger has no certificate of it that could be renewed.
    #[error("node {0} is not in the authority's ledger: have it join again with a token of `cairn cluster token`")]
    UnknownNode(NodeId),
    /// What was sent breaks a rule.
    #[error("the request for a certificate is refused: {0}")]
    BadRequest(String),
    /// The ledger could not be read or written, or signing failed. A person should look at the server.
    #[error("the authority cannot issue certificates now: {0}")]
    Storage(String),
}

/// Why nothing was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// No certificate of the node is remembered.
    #[error("node {0} has no certificate that still holds: `cairn cluster members` lists the nodes that have")]
    UnknownNode(NodeId),
}

/// Why a ledger or a change of it is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It is of another version.
    #[error("the ledger has version {0}, this program reads version 1: use a cairn that knows it")]
    UnknownVersion(u32),
    /// It cannot be read: restore it.
    #[error("the ledger is damaged, restore it from a backup: {0}")]
    Damaged(String),
    /// A token for roles that nobody can have: give others.
    #[error("a token needs one or more of the roles [{allowed}], not [{0}]", allowed = Roles::MEMBER)]
    BadRoles(Roles),
}

impl Ledger {
    /// Of a new cluster.
    pub fn new() -> Self {
        Self {
            version: VERSION,
            next_node: 1,
            crl_number: 1,
            term: 0,
            changed_ms: 0,
            tokens: Vec::new(),
            certificates: Vec::new(),
        }
    }

    /// Goes on from a copy, in a term of its own: what was decided since the copy was made, or by another who went on from it, is
    /// not known. Node ids are passed over that were given out since, and numbers of lists: what is numbered by the time is
    /// behind all that one change a second could have come to.
    #[must_use]
    pub(super) fn recovered(mut self, now_ms: u64) -> Self {
        let now_s = now_ms / 1000;
        let minutes = now_ms.saturating_sub(self.changed_ms) / 60_000;
        self.next_node += NODES_MISSED_MIN + minutes.min(NODES_MISSED_BY_AGE_MAX);
        self.crl_number = now_s.max(self.crl_number + 1);
        self.term = now_s.max(self.term + 1);
        self.changed_ms = now_ms;
        self
    }

    /// Since when its holder holds it.
    pub(super) fn term(&self) -> u64 {
        self.term
    }

    /// Notes when something was decided last.
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.changed_ms = now_ms;
    }

    /// Reads its text.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let damaged = |error: toml::de::Error| LedgerError::Damaged(error.message().to_owned());
        // The version first: what else is in a later one, this program cannot know.
        let head: Head = toml::from_str(text).map_err(damaged)?;
        if head.version != VERSION {
            return Err(LedgerError::UnknownVersion(head.version));
        }
        let ledger: Self = toml::from_str(text).map_err(damaged)?;
        let nodes = ledger.certificates.iter().map(|certificate| certificate.node);
        let nodes = nodes.chain(ledger.tokens.iter().filter_map(|token| Some(token.used.as_ref()?.node)));
        if let Some(node) = nodes.max().filter(|node| *node >= ledger.next_node) {
            let text = format!("node {node} is beyond next_node = {}", ledger.next_node);
            return Err(LedgerError::Damaged(text));
        }
        Ok(ledger)
    }

    /// Writes its text.
    pub fn to_text(&self) -> Result<String, LedgerError> {
        toml::to_string(self).map_err(|error| LedgerError::Damaged(error.to_string()))
    }

    /// Remembers a new token.
    pub(super) fn add_token(
        &mut self,
        public_key: [u8; 32],
        roles: Roles,
        expires_ms: u64,
        now_ms: u64,
    ) -> Result<(), LedgerError> {
        if roles.is_empty() || !roles.within(Roles::MEMBER) {
            return Err(LedgerError::BadRoles(roles));
        }
        self.forget(now_ms);
        self.tokens.push(Token {
            public_key,
            roles,
            expires_ms,
            used: None,
        });
        Ok(())
    }

    /// The public keys of all tokens that are remembered.
    pub(super) fn token_keys(&self) -> impl Iterator<Item = [u8; 32]> {
        self.tokens.iter().map(|token| token.public_key)
    }

    /// Lets the key in that hashes to `key_hash`: the first one that comes with the token. It may come again, for its answer
    /// can be lost, and is the same node then.
    pub(super) fn admit(
        &mut self,
        public_key: &[u8; 32],
        key_hash: [u8; 32],
        now_ms: u64,
    ) -> Result<Grant, AdmitError> {
        let next_node = self.next_node;
        let token = self.tokens.iter_mut().find(|token| token.public_key == *public_key);
        let token = token.ok_or(AdmitError::UnknownToken)?;
        if token.used.as_ref().is_some_and(|used| used.by != key_hash) {
            return Err(AdmitError::UsedToken);
        }
        if now_ms >= token.expires_ms {
            return Err(AdmitError::ExpiredToken);
        }
        let used = token.used.get_or_insert(Used {
            by: key_hash,
            node: next_node,
        });
        let grant = Grant {
            node: NodeId::new(used.node),
            roles: token.roles,
        };
        if used.node == next_node {
            self.next_node += 1;
        }
        self.check_room(grant.node, now_ms)?;
        Ok(grant)
    }

    /// Takes in a node without a token: the authority's own.
    pub(super) fn enrol(&mut self, roles: Roles) -> Grant {
        let node = NodeId::new(self.next_node);
        self.next_node += 1;
        Grant { node, roles }
    }

    /// What a node's next certificate is for: the same as its last one.
    pub(super) fn renew(&self, node: NodeId, now_ms: u64) -> Result<Grant, AdmitError> {
        let mut own = self
            .certificates
            .iter()
            .filter(|certificate| certificate.node == node.value());
        if own.clone().any(|certificate| certificate.revoked) {
            return Err(AdmitError::RevokedNode(node));
        }
        let last = own.next_back().ok_or(AdmitError::UnknownNode(node))?;
        self.check_room(node, now_ms)?;
        Ok(Grant {
            node,
            roles: last.roles,
        })
    }

    /// Remembers a certificate that was issued.
    pub(super) fn record(&mut self, grant: Grant, serial: Vec<u8>, expires_ms: u64, now_ms: u64) {
        self.forget(now_ms);
        self.certificates.push(Certificate {
            serial,
            node: grant.node.value(),
            roles: grant.roles,
            expires_ms,
            revoked: false,
        });
    }

    /// Shuts a node out: its certificates are revoked, and the token that let it in does not do so again. Says how many
    /// certificates were not revoked before.
    pub(super) fn revoke(&mut self, node: NodeId, now_ms: u64) -> Result<usize, RevokeError> {
        let mut own = self
            .certificates
            .iter_mut()
            .filter(|certificate| certificate.node == node.value())
            .peekable();
        if own.peek().is_none() {
            return Err(RevokeError::UnknownNode(node));
        }
        let mut count = 0;
        for certificate in own.filter(|certificate| !certificate.revoked) {
            certificate.revoked = true;
            count += 1;
        }
        let let_in = |token: &&mut Token| token.used.as_ref().is_some_and(|used| used.node == node.value());
        for token in self.tokens.iter_mut().filter(let_in) {
            token.expires_ms = token.expires_ms.min(now_ms);
        }
        if count > 0 {
            self.crl_number += 1;
        }
        Ok(count)
    }

    /// The serial numbers of revoked certificates.
    pub(super) fn revoked_serials(&self) -> impl Iterator<Item = Vec<u8>> {
        let revoked = self.certificates.iter().filter(|certificate| certificate.revoked);
        revoked.map(|certificate| certificate.serial.clone())
    }

    /// The number of the list of revoked certificates.
    pub(super) fn crl_number(&self) -> u64 {
        self.crl_number
    }

    /// The nodes, in order of their ids.
    pub fn members(&self) -> Vec<MemberEntry> {
        let mut members = BTreeMap::new();
        for certificate in &self.certificates {
            let entry = MemberEntry {
                node: NodeId::new(certificate.node),
                roles: certificate.roles,
                expires_ms: certificate.expires_ms,
                revoked: certificate.revoked,
            };
            members.insert(certificate.node, entry);
        }
        members.into_values().collect()
    }

    fn check_room(&self, node: NodeId, now_ms: u64) -> Result<(), AdmitError> {
        let holding = |certificate: &&Certificate| certificate.node == node.value() && certificate.expires_ms > now_ms;
        if self.certificates.iter().filter(holding).count() < CERTIFICATES_PER_NODE_MAX {
            return Ok(());
        }
        Err(AdmitError::BadRequest(format!(
            "node {node} has {CERTIFICATES_PER_NODE_MAX} certificates that still hold: find out why it asks for more"
        )))
    }

    fn forget(&mut self, now_ms: u64) {
        let remembered = |expires_ms: u64| expires_ms.saturating_add(REMEMBERED_MS) >= now_ms;
        self.tokens.retain(|token| remembered(token.expires_ms));
        self.certificates
            .retain(|certificate| remembered(certificate.expires_ms));
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes as hexadecimal digits.
mod hex_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(deserializer: D) -> Result<T, D::Error> {
        let bytes = hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        T::try_from(bytes).map_err(|_| D::Error::custom("not the right number of hexadecimal digits"))
    }
}

/// Roles as their names.
mod roles_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{Role, Roles};

    pub(super) fn serialize<S: Serializer>(roles: &Roles, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(roles.iter().map(Role::name))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Roles, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let role = |name: &String| Role::from_name(name).ok_or_else(|| D::Error::custom(format!("no role {name}")));
        let roles: Roles = names.iter().map(role).collect::<Result<_, _>>()?;
        if roles.is_empty() || !roles.within(Roles::MEMBER) {
            return Err(D::Error::custom("roles that no node can have"));
        }
        Ok(roles)
    }
}
