//! Files without a name that sessions hold open: both keys of each hold agree, and lead to what is there.

use cairn_common::ids::{BucketId, InodeId};

use super::{super::error::MaintenanceError, check::Check};
use crate::{
    core::view::Family,
    record::{hold, inode, session},
};

const FAMILY: Family = Family::Hold;

pub(super) fn pass(check: &mut Check<'_>) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    while let Some((key, _)) = cursor.take(check) {
        let Some((file, session)) = hold::parts_of(&key) else {
            check.damaged(FAMILY, &key, "the key is of no known kind");
            continue;
        };
        for other in hold::keys(session, file) {
            if check.state.value(FAMILY, &other)?.is_none() {
                check.wrong(FAMILY, &key, "the other key of the hold is not there");
            }
        }
        if check.state.value(Family::Session, &session::key(session))?.is_none() {
            check.wrong(FAMILY, &key, "the session that holds it has ended");
        }
        let inode = inode::key(BucketId::new(file.bucket), InodeId::new(file.inode));
        if check.state.value(Family::Inode, &inode)?.is_none() {
            check.wrong(FAMILY, &key, "the file that is held is not there");
        }
    }
    Ok(())
}
