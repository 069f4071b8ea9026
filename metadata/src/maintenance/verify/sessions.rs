//! Sessions and the replies kept for them.

use cairn_common::{envelope, ids::SessionId};

use super::{super::error::MaintenanceError, check::Check};
use crate::{
    core::{session_parts, view::Family},
    record::{
        key::u64_at,
        reply::{self, ReplyBlock},
        session::SessionRecord,
        system::{STORE_KEY, StoreRecord},
    },
};

pub(super) fn pass(check: &mut Check<'_>) -> Result<(), MaintenanceError> {
    let stored = check.state.value(Family::System, STORE_KEY)?;
    let store: StoreRecord = stored.and_then(|value| envelope::open(&value).ok()).unwrap_or_default();
    let mut sessions = check.cursor(Family::Session)?;
    let mut replies = check.cursor(Family::Reply)?;
    let (mut count, mut mounts) = (0_u64, 0_u64);
    while let Some((key, value)) = sessions.take(check) {
        count += 1;
        let Some(number) = u64_at(&key, 0).filter(|_| key.len() == 8) else {
            check.damaged(Family::Session, &key, "the key is no session's number");
            continue;
        };
        let record = check
            .open::<SessionRecord>(Family::Session, &key, &value)
            .unwrap_or_default();
        mounts += u64::from(record.mounts);
        let (generation, counter) = session_parts(SessionId::new(number));
        if generation > u64::from(store.generation) || counter > store.last_session {
            check.wrong(
                Family::Session,
                &key,
                "the store says that it never opened this session",
            );
        }
        while let Some(reply) = replies.key() {
            let of = u64_at(reply, 0);
            if of.is_some_and(|of| of > number) {
                break;
            }
            let Some((reply_key, reply)) = replies.take(check) else {
                break;
            };
            reply_of(check, &reply_key, &reply, (of == Some(number)).then_some(&record));
        }
    }
    while let Some((key, value)) = replies.take(check) {
        reply_of(check, &key, &value, None);
    }
    if count != store.sessions {
        let what = format!("it counts {} sessions, there are {count}", store.sessions);
        check.wrong(Family::System, STORE_KEY, what);
    }
    if mounts != store.mounts {
        let what = format!("it counts {} mounts, there are {mounts}", store.mounts);
        check.wrong(Family::System, STORE_KEY, what);
    }
    Ok(())
}

/// A block of replies, each in its block of the ring, kept for a session that lives and has sent their commands.
fn reply_of(check: &mut Check<'_>, key: &[u8], value: &[u8], session: Option<&SessionRecord>) {
    let block = check.open::<ReplyBlock>(Family::Reply, key, value);
    let Some(session) = session else {
        check.wrong(Family::Reply, key, "the session that it is kept for is not there");
        return;
    };
    let number = SessionId::new(u64_at(key, 0).unwrap_or_default());
    for kept in block.unwrap_or_default().replies {
        if reply::key(number, reply::block_of(kept.sequence)) != key {
            let what = format!("the answer to command {} belongs into another block", kept.sequence);
            check.wrong(Family::Reply, key, what);
        }
        if kept.sequence > session.newest_sequence {
            let what = format!(
                "it answers command {}, and the session's newest is {}",
                kept.sequence, session.newest_sequence
            );
            check.wrong(Family::Reply, key, what);
        }
    }
}
