//! Names taken from inodes: fewer links, or none, and then the inode waits for release.
//!
//! Invariant: an inode without a name is queued for release in the command that took the last one, and carries the log index
//! of it; it gets no name again.

use cairn_common::ids::InodeId;

use super::{bucket::Bucket, lock, path, release, session, tx::Tx, usage, view::ViewError};
use crate::record::{
    garbage::Release,
    inode::{InodeKind, InodeRecord},
};

/// Accounts for a name less of an inode: its name was removed already. The empty-named child that is its directory itself is
/// no link. Gives the record as it is now.
pub(crate) fn drop_link(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    inode: InodeId,
    mut record: InodeRecord,
) -> Result<InodeRecord, ViewError> {
    if record.kind() == InodeKind::Directory {
        return Ok(record);
    }
    if record.links() <= 1 {
        usage::shrink(bucket, record.size);
        return drop_inode(tx, bucket, inode, record);
    }
    record.touch(tx.time_ms);
    record.posix_mut().links -= 1;
    path::put_inode(tx, bucket.id, inode, &record)?;
    Ok(record)
}

/// Gives up an inode that has no name any more. Gives the record as it is now.
pub(crate) fn drop_inode(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    inode: InodeId,
    mut record: InodeRecord,
) -> Result<InodeRecord, ViewError> {
    bucket.record.inodes = bucket.record.inodes.saturating_sub(1);
    record.unlinked_at = tx.log_index;
    if let Some(posix) = &mut record.posix {
        posix.ctime_ns = crate::record::inode::ns(tx.time_ms);
    }
    let holds_nothing = record.is_inline() && record.xattr_bytes() == 0;
    let may_be_open = record.kind() != InodeKind::Directory && session::store(tx)?.mounts > 0;
    if holds_nothing && !may_be_open && !lock::any(tx, bucket.id, inode)? {
        // Nothing but the record itself, and no reader comes back for it.
        path::delete_inode(tx, bucket.id, inode);
    } else {
        path::put_inode(tx, bucket.id, inode, &record)?;
        release::queue(tx, bucket.id, Release::Inode(inode.value()))?;
    }
    Ok(record)
}
