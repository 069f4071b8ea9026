//! The replies kept for commands that are sent again.
//!
//! While an entry is applied they are held decoded, and each block that changed is written once, at its end. Invariant: a
//! reply is forgotten only once its session says that it was received, or has ended.

use std::collections::BTreeMap;

use cairn_common::{ids::SessionId, wire::command::WriteReply};

use super::{
    tx::{Tx, read_record, scan_prefix},
    view::{Family, ViewError},
};
use crate::record::reply::{self, KeptReply, ReplyBlock};

/// The blocks that an entry has met.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    blocks: BTreeMap<(u64, u16), Met>,
}

#[derive(Debug)]
struct Met {
    block: ReplyBlock,
    is_changed: bool,
}

/// The reply to a command that was applied before.
pub(crate) fn find(tx: &mut Tx<'_>, session: SessionId, sequence: u64) -> Result<Option<WriteReply>, ViewError> {
    let met = meet(tx, session, sequence)?;
    let found = met.block.replies.iter().find(|kept| kept.sequence == sequence);
    Ok(found.map(|kept| kept.reply.clone()))
}

/// Keeps the reply to a command of a session that has received all below `answered_below`.
pub(crate) fn keep(
    tx: &mut Tx<'_>,
    session: SessionId,
    answered_below: u64,
    sequence: u64,
    reply: WriteReply,
) -> Result<(), ViewError> {
    let met = meet(tx, session, sequence)?;
    met.block.replies.retain(|kept| kept.sequence >= answered_below);
    met.block.replies.push(KeptReply { sequence, reply });
    met.is_changed = true;
    Ok(())
}

/// Forgets all replies of a session; a window of blocks bounds the work. Called when nothing can refuse the command any more.
pub(crate) fn forget(tx: &mut Tx<'_>, session: SessionId) -> Result<(), ViewError> {
    let prefix = reply::prefix(session);
    let mut keys = Vec::new();
    scan_prefix(tx, Family::Reply, &prefix, &prefix, &mut |key, _| {
        keys.push(key.to_vec());
        Ok(true)
    })?;
    for key in keys {
        tx.delete(Family::Reply, key);
    }
    tx.replies.blocks.retain(|(of, _), _| *of != session.value());
    Ok(())
}

/// Writes the blocks that have changed: at the end of an entry.
pub(crate) fn store(tx: &mut Tx<'_>) {
    for ((session, block), met) in std::mem::take(&mut tx.replies).blocks {
        if met.is_changed {
            let key = reply::key(SessionId::new(session), block);
            tx.put(Family::Reply, key, &met.block);
        }
    }
    tx.accept();
}

fn meet<'t>(tx: &'t mut Tx<'_>, session: SessionId, sequence: u64) -> Result<&'t mut Met, ViewError> {
    let block = reply::block_of(sequence);
    let at = (session.value(), block);
    if !tx.replies.blocks.contains_key(&at) {
        let found: Option<ReplyBlock> = read_record(tx, Family::Reply, &reply::key(session, block))?;
        let met = Met {
            block: found.unwrap_or_default(),
            is_changed: false,
        };
        tx.replies.blocks.insert(at, met);
    }
    Ok(tx.replies.blocks.get_mut(&at).expect("it was put there"))
}
