//! openraft's own conformance suite over the store, and restarts after a kill.

mod conformance;
mod restart;

use std::sync::Arc;

use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::command::WriteReply,
};
use cairn_transport::{InProcess, NoAddresses};

use super::{AppliedEntry, HeldReply, Identity, Links, Observer};

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

/// Tells nobody of what entries have changed.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn applied(&self, _: &AppliedEntry<'_>, replies: Vec<WriteReply>) -> Vec<HeldReply> {
        replies.into_iter().map(HeldReply::of).collect()
    }
}
