//! The copy of the cluster's authority.
//!
//! ```text
//! family system   key "authority" → AuthorityCopy
//! ```

use cairn_common::wire::authority::AuthorityCopy;

use super::description::{Description, KeyReader, Unreadable};

/// The one key.
pub(crate) const KEY: &[u8] = b"authority";

/// The copy for a person: not the key, sealed as it is.
pub(crate) fn describe(value: &[u8]) -> Result<Description, Unreadable> {
    let copy: AuthorityCopy = cairn_common::envelope::open(value).map_err(|error| Unreadable(error.to_string()))?;
    let (version, holder, ledger) = (copy.version, copy.holder, copy.ledger.len());
    KeyReader::new(KEY).name("key").with_text(format!(
        "copy {version} of the authority that node {holder} holds, its ledger has {ledger} bytes"
    ))
}
