//! What every operation works on.
//!
//! Holds no state of its own. Invariant: cheap to share; all operations of a gateway go through the one client.

use cairn_client::Client;

/// The client, and what is said of the store.
pub(crate) struct Gate {
    pub(crate) client: Client,
    pub(crate) region: String,
}

impl Gate {
    pub(crate) fn new(client: Client, region: &str) -> Self {
        Self {
            client,
            region: region.to_owned(),
        }
    }
}
