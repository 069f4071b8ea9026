//! The permit to delete data, which nobody gets while an operator holds all deletion.
//!
//! Old metadata that was restored does not know what was committed since: to it that looks like garbage. So what decides
//! about deleting takes a [`DeletionPermit`], and there is one way to get it. Invariant: while deletion is held nothing is
//! released, no chunk is deletable, and no shard is an orphan.

use cairn_common::wire::command::{HoldDeletion, Outcome};

use super::{
    apply::done,
    session,
    tx::{ApplyError, Tx},
    view::{View, ViewError},
};

/// Proof that deletion is not held in the state at hand.
pub(crate) struct DeletionPermit(());

/// The permit, unless deletion is held.
pub(crate) fn deletion(view: &dyn View) -> Result<Option<DeletionPermit>, ViewError> {
    let is_held = session::store(view)?.deletion_held;
    Ok((!is_held).then_some(DeletionPermit(())))
}

/// Holds all deletion, or lets it go on; and raises the generation of session ids.
pub(crate) fn hold_deletion(tx: &mut Tx<'_>, hold: &HoldDeletion) -> Result<Outcome, ApplyError> {
    let mut store = session::store(tx)?;
    if hold.generation > session::GENERATION_MAX {
        return Err(super::chunk::malformed("a generation of more than 24 bits"));
    }
    store.deletion_held = hold.held;
    store.generation = store.generation.max(hold.generation);
    session::put_store(tx, &store);
    Ok(done())
}
