//! What a device holds, at a glance.

use super::{scrub::ScrubState, usage::Usage};

/// Room of a file system, or of the part of it that a device may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) total_bytes: u64,
    pub(crate) free_bytes: u64,
}

/// What a device holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) space: Space,
    /// Of all segments together.
    pub(crate) usage: Usage,
    pub(crate) segments: usize,
    /// Segments that are kept only for shards that cannot be read.
    pub(crate) set_aside: usize,
    pub(crate) scrub: ScrubState,
}
