//! Users, access keys and rights: each agrees with the others both ways, and counts are exact.

use cairn_common::{
    envelope::{self, Record},
    ids::BucketId,
};

use super::{super::error::MaintenanceError, check::Check};
use crate::{
    core::view::Family,
    record::{
        bucket,
        key::u64_at,
        system::{STORE_KEY, StoreRecord},
        user::{self, AccessKeyRecord, GrantRecord, UserRecord},
    },
};

const FAMILY: Family = Family::User;

pub(super) fn pass(check: &mut Check<'_>) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(FAMILY)?;
    let mut users = 0_u64;
    while let Some((key, value)) = cursor.take(check) {
        let text = |from: usize| user::text_behind(&key, &key[..from.min(key.len())]);
        match key.first() {
            Some(0) => {
                users += 1;
                of_user(check, &key, &value, &text(1).unwrap_or_default())?;
            }
            Some(1) => of_key(check, &key, &value, &text(1).unwrap_or_default())?,
            Some(2) => of_list(check, &key)?,
            Some(3) => of_grant(check, &key, &value)?,
            Some(4) => of_bucket(check, &key, &value, &text(9).unwrap_or_default())?,
            Some(_) | None => check.damaged(FAMILY, &key, "the key is of no known kind"),
        }
    }
    let stored = check.state.value(Family::System, STORE_KEY)?;
    let store: StoreRecord = stored.and_then(|value| envelope::open(&value).ok()).unwrap_or_default();
    if store.users != users {
        let what = format!("it counts {} users, there are {users}", store.users);
        check.wrong(Family::System, STORE_KEY, what);
    }
    Ok(())
}

fn of_user(check: &mut Check<'_>, key: &[u8], value: &[u8], name: &str) -> Result<(), MaintenanceError> {
    let keys = count_behind(check, &user::of_user_prefix(name))?;
    let record = check.open::<UserRecord>(FAMILY, key, value);
    if record.is_some_and(|record| u64::from(record.keys) != keys) {
        check.wrong(
            FAMILY,
            key,
            format!("the user counts other access keys than the {keys} that are there"),
        );
    }
    Ok(())
}

fn of_key(check: &mut Check<'_>, key: &[u8], value: &[u8], key_id: &str) -> Result<(), MaintenanceError> {
    let Some(record) = check.open::<AccessKeyRecord>(FAMILY, key, value) else {
        return Ok(());
    };
    if check.state.value(FAMILY, &user::user_key(&record.user))?.is_none() {
        check.wrong(FAMILY, key, "the user of the access key is not there");
    }
    if check
        .state
        .value(FAMILY, &user::of_user(&record.user, key_id))?
        .is_none()
    {
        check.wrong(FAMILY, key, "the list of its user's access keys does not name it");
    }
    let grants = count_behind(check, &user::grants_prefix(key_id))?;
    if u64::from(record.grants) != grants {
        let what = format!("it counts {} rights, there are {grants}", record.grants);
        check.wrong(FAMILY, key, what);
    }
    Ok(())
}

/// An access key in the list of its user's.
fn of_list(check: &mut Check<'_>, key: &[u8]) -> Result<(), MaintenanceError> {
    let parts = unescaped(key).and_then(|(name, rest)| Some((name, std::str::from_utf8(rest).ok()?.to_owned())));
    let Some((name, key_id)) = parts else {
        check.damaged(FAMILY, key, "the key holds no user and access key");
        return Ok(());
    };
    let record: Option<AccessKeyRecord> = record(check, &user::access_key(&key_id))?;
    if record.is_none_or(|record| record.user != name) {
        check.wrong(
            FAMILY,
            key,
            "the user's list names an access key that is not there or another's",
        );
    }
    Ok(())
}

/// A right, by access key.
fn of_grant(check: &mut Check<'_>, key: &[u8], value: &[u8]) -> Result<(), MaintenanceError> {
    let parts = unescaped(key).and_then(|(key_id, rest)| Some((key_id, BucketId::new(u64_at(rest, 0)?))));
    let Some((key_id, bucket)) = parts else {
        check.damaged(FAMILY, key, "the key holds no access key and bucket");
        return Ok(());
    };
    check.open::<GrantRecord>(FAMILY, key, value);
    if check.state.value(FAMILY, &user::access_key(&key_id))?.is_none() {
        check.wrong(FAMILY, key, "the access key that has the right is not there");
    }
    if check.state.value(Family::Bucket, &bucket::key(bucket))?.is_none() {
        check.wrong(FAMILY, key, "the bucket that the right is in is not there");
    }
    if check.state.value(FAMILY, &user::in_bucket(bucket, &key_id))?.as_deref() != Some(value) {
        check.wrong(FAMILY, key, "the right is another in the bucket's list");
    }
    Ok(())
}

/// A right, by bucket.
fn of_bucket(check: &mut Check<'_>, key: &[u8], value: &[u8], key_id: &str) -> Result<(), MaintenanceError> {
    let bucket = BucketId::new(u64_at(key, 1).unwrap_or_default());
    if check.state.value(FAMILY, &user::grant(key_id, bucket))?.as_deref() != Some(value) {
        check.wrong(FAMILY, key, "the right is another in the access key's list");
    }
    Ok(())
}

fn record<R: Record>(check: &Check<'_>, key: &[u8]) -> Result<Option<R>, MaintenanceError> {
    let stored = check.state.value(FAMILY, key)?;
    Ok(stored.and_then(|value| envelope::open(&value).ok()))
}

/// Records whose keys begin with `prefix`.
fn count_behind(check: &Check<'_>, prefix: &[u8]) -> Result<u64, MaintenanceError> {
    let mut count = 0;
    for record in check.state.records(FAMILY, prefix)? {
        if !record?.0.starts_with(prefix) {
            break;
        }
        count += 1;
    }
    Ok(count)
}

/// The escaped text behind the first byte of a key, and what follows it.
fn unescaped(key: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = key.get(1..)?;
    loop {
        match rest {
            [0, 1, behind @ ..] => return Some((String::from_utf8(text).ok()?, behind)),
            [0, 0xff, behind @ ..] => {
                text.push(0);
                rest = behind;
            }
            [byte, behind @ ..] if *byte != 0 => {
                text.push(*byte);
                rest = behind;
            }
            _ => return None,
        }
    }
}
