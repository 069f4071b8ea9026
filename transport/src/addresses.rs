//! Telling a carrier where nodes are called.
//!
//! Invariant: an address that is told later takes the place of the one before; telling never waits.

use std::net::SocketAddr;

use cairn_common::ids::NodeId;

use crate::NodeAddresses;

/// What learns where nodes are called.
pub trait Addresses: Send + Sync + 'static {
    /// New connections to `node` are made to `address`, host and port.
    fn set(&self, node: NodeId, address: &str);
}

/// For carriers that need no addresses.
pub struct NoAddresses;

impl Addresses for NoAddresses {
    fn set(&self, _: NodeId, _: &str) {}
}

/// Names are looked up beside; a name that cannot be found now is looked up again when the address is next told.
impl Addresses for NodeAddresses {
    fn set(&self, node: NodeId, address: &str) {
        if let Ok(parsed) = address.parse::<SocketAddr>() {
            Self::set(self, node, parsed);
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::warn!(%node, address, "a node's name cannot be looked up here");
            return;
        };
        let (addresses, address) = (self.clone(), address.to_owned());
        runtime.spawn(async move {
            match tokio::net::lookup_host(&address).await.map(|mut found| found.next()) {
                Ok(Some(found)) => Self::set(&addresses, node, found),
                Ok(None) => tracing::warn!(%node, address, "the node's name has no address"),
                Err(error) => tracing::warn!(%node, address, %error, "the node's name cannot be looked up"),
            }
        });
    }
}
