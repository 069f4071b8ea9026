//! Chunkservers that the cluster has met.
//!
//! ```text
//! family system   key "server" | node u64 → ServerInfo
//! ```

use cairn_common::{ids::NodeId, wire::server::ServerInfo};

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// The first bytes of all keys.
pub(crate) const PREFIX: &[u8] = b"server";

pub(crate) fn key(node: NodeId) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.extend_from_slice(&KeyWriter::new().u64(node.value()).finish());
    key
}

/// A server for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let rest = key
        .strip_prefix(PREFIX)
        .ok_or_else(|| Unreadable("no key of a server".to_owned()))?;
    KeyReader::new(rest).u64("node")?.with::<ServerInfo>(value)
}
