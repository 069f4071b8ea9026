//! Sessions and the replies kept for them.

use cairn_common::{envelope, wire::command::WriteReply};

use super::{super::error::MaintenanceError, check::Check};
use crate::{
    core::view::Family,
    record::{
        key::u64_at,
        session::SessionRecord,
        system::{STORE_KEY, StoreRecord},
    },
};

pub(super) fn pass(check: &mut Check<'_>) -> Result<(), MaintenanceError> {
    let stored = check.state.value(Family::System, STORE_KEY)?;
    let store: StoreRecord = stored.and_then(|value| envelope::open(&value).ok()).unwrap_or_default();
    let mut sessions = check.cursor(Family::Session)?;
    let mut replies = check.cursor(Family::Reply)?;
    let mut count = 0_u64;
    while let Some((key, value)) = sessions.take(check) {
        count += 1;
        let Some(number) = u64_at(&key, 0).filter(|_| key.len() == 8) else {
            check.damaged(Family::Session, &key, "the key is no session's number");
            continue;
        };
        check.open::<SessionRecord>(Family::Session, &key, &value);
        if number >> 48 > u64::from(store.generation) || number & ((1 << 48) - 1) > store.last_session {
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
            reply_of(check, &reply_key, &reply, of == Some(number));
        }
    }
    while let Some((key, value)) = replies.take(check) {
        reply_of(check, &key, &value, false);
    }
    if count != store.sessions {
        let what = format!("it counts {} sessions, there are {count}", store.sessions);
        check.wrong(Family::System, STORE_KEY, what);
    }
    Ok(())
}

fn reply_of(check: &mut Check<'_>, key: &[u8], value: &[u8], has_session: bool) {
    check.open::<WriteReply>(Family::Reply, key, value);
    if !has_session {
        check.wrong(Family::Reply, key, "the session that it is kept for is not there");
    }
}
