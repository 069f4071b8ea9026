//! openraft's own conformance suite over the store, and restarts after a kill.

mod conformance;
mod restart;

use std::sync::Arc;

use cairn_common::ids::{ClusterId, NodeId};
use cairn_transport::{InProcess, NoAddresses};

use super::{Identity, Links};

/// The links of a member that has no others.
pub(crate) fn alone(server: NodeId) -> Links {
    Links {
        identity: Identity {
            cluster: ClusterId::new([0; 16]),
            server,
        },
        transport: Arc::new(InProcess::new()),
        addresses: Arc::new(NoAddresses),
    }
}
