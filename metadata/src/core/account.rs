//! Users, their access keys, and rights in buckets.
//!
//! Invariant: each key is of a user that is there, each right of a key and a bucket that are there; a user's keys and a
//! key's rights are so few that deleting either takes one command.

use cairn_common::{
    ids::BucketId,
    limits,
    wire::{
        account::{
            AccountAnswer, AccountChange, AccountCommand, AccountQuery, AccountQuestion, AccountReply, BucketRight,
            BucketRightsQuery, CreateKey, CreateUser, Grant, KeyAnswer, KeyInfo, KeysPage, Revoke, Rights, RightsPage,
            UpdateKey, UpdateUser, UserInfo, UsersPage, UsersQuery,
        },
        command::{ErrorCode, Outcome},
    },
};

use super::{
    apply::done,
    bucket,
    chunk::malformed,
    session,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::user::{self, AccessKeyRecord, GrantRecord, UserRecord};

/// Longest user name, as AWS has it.
const USER_NAME_LEN_MAX: usize = 64;
/// Shortest and longest id of an access key, as AWS has them but for short ids of tests.
const KEY_ID_LEN: std::ops::RangeInclusive<usize> = 3..=128;
/// Longest secret; AWS's have 40 bytes.
const SECRET_LEN_MAX: usize = 256;
/// Longest note.
const NOTE_LEN_MAX: usize = 256;

pub(crate) fn apply(tx: &mut Tx<'_>, command: &AccountCommand) -> Result<Outcome, ApplyError> {
    match &command.change {
        Some(AccountChange::CreateUser(create)) => create_user(tx, create)?,
        Some(AccountChange::UpdateUser(update)) => update_user(tx, update)?,
        Some(AccountChange::DeleteUser(delete)) => delete_user(tx, &delete.name)?,
        Some(AccountChange::CreateKey(create)) => create_key(tx, create)?,
        Some(AccountChange::UpdateKey(update)) => update_key(tx, update)?,
        Some(AccountChange::DeleteKey(delete)) => delete_key(tx, &delete.key_id)?,
        Some(AccountChange::Grant(grant)) => self::grant(tx, grant)?,
        Some(AccountChange::Revoke(revoke)) => self::revoke(tx, revoke)?,
        None => return Err(malformed("no change")),
    }
    Ok(done())
}

fn create_user(tx: &mut Tx<'_>, create: &CreateUser) -> Result<(), ApplyError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if create.name.is_empty() || create.name.len() > USER_NAME_LEN_MAX || !create.name.bytes().all(known) {
        return Err(malformed(
            "a user name other than 1 to 64 of letters, digits and +=,.@_-",
        ));
    }
    if find_user(tx, &create.name)?.is_some() {
        return Err(exists(format!("user {:?}", create.name)));
    }
    let mut store = session::store(tx)?;
    if store.users >= limits::USERS_MAX {
        return Err(refuse(
            ErrorCode::LimitExceeded,
            format!("there are {} users already", store.users),
        ));
    }
    store.users += 1;
    session::put_store(tx, &store);
    let record = UserRecord {
        admin: create.admin,
        may_create_buckets: create.may_create_buckets,
        created_ms: tx.time_ms,
        keys: 0,
    };
    tx.put(Family::User, user::user_key(&create.name), &record);
    Ok(())
}

fn update_user(tx: &mut Tx<'_>, update: &UpdateUser) -> Result<(), ApplyError> {
    let mut record = require_user(tx, &update.name)?;
    record.admin = update.admin.unwrap_or(record.admin);
    record.may_create_buckets = update.may_create_buckets.unwrap_or(record.may_create_buckets);
    tx.put(Family::User, user::user_key(&update.name), &record);
    Ok(())
}

fn delete_user(tx: &mut Tx<'_>, name: &str) -> Result<(), ApplyError> {
    require_user(tx, name)?;
    for key_id in keys_of(tx, name)? {
        let record = require_key(tx, &key_id)?;
        drop_key(tx, &key_id, &record)?;
    }
    tx.delete(Family::User, user::user_key(name));
    let mut store = session::store(tx)?;
    store.users = store.users.saturating_sub(1);
    session::put_store(tx, &store);
    Ok(())
}

fn create_key(tx: &mut Tx<'_>, create: &CreateKey) -> Result<(), ApplyError> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !KEY_ID_LEN.contains(&create.key_id.len()) || !create.key_id.bytes().all(known) {
        return Err(malformed(
            "an access key id other than 3 to 128 of letters, digits, _ and -",
        ));
    }
    check_secret(&create.secret)?;
    check_note(&create.note)?;
    let mut owner = require_user(tx, &create.user)?;
    if find_key(tx, &create.key_id)?.is_some() {
        return Err(exists(format!("access key {:?}", create.key_id)));
    }
    if owner.keys >= limits::KEYS_PER_USER_MAX {
        let detail = format!(
            "user {:?} has {} access keys: delete one first",
            create.user, owner.keys
        );
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    owner.keys += 1;
    tx.put(Family::User, user::user_key(&create.user), &owner);
    let record = AccessKeyRecord {
        user: create.user.clone(),
        secret: create.secret.clone(),
        disabled: false,
        created_ms: tx.time_ms,
        note: create.note.clone(),
        grants: 0,
    };
    tx.put(Family::User, user::access_key(&create.key_id), &record);
    tx.put_raw(Family::User, user::of_user(&create.user, &create.key_id), Vec::new());
    Ok(())
}

fn update_key(tx: &mut Tx<'_>, update: &UpdateKey) -> Result<(), ApplyError> {
    let mut record = require_key(tx, &update.key_id)?;
    if let Some(enabled) = update.enabled {
        record.disabled = !enabled;
    }
    if let Some(secret) = &update.secret {
        check_secret(secret)?;
        record.secret = secret.clone();
    }
    if let Some(note) = &update.note {
        check_note(note)?;
        record.note = note.clone();
    }
    tx.put(Family::User, user::access_key(&update.key_id), &record);
    Ok(())
}

fn delete_key(tx: &mut Tx<'_>, key_id: &str) -> Result<(), ApplyError> {
    let record = require_key(tx, key_id)?;
    drop_key(tx, key_id, &record)?;
    let mut owner = require_user(tx, &record.user)?;
    owner.keys = owner.keys.saturating_sub(1);
    tx.put(Family::User, user::user_key(&record.user), &owner);
    Ok(())
}

/// Removes a key and its rights.
fn drop_key(tx: &mut Tx<'_>, key_id: &str, record: &AccessKeyRecord) -> Result<(), ViewError> {
    for (bucket, _) in grants_of(tx, key_id)? {
        tx.delete(Family::User, user::grant(key_id, bucket));
        tx.delete(Family::User, user::in_bucket(bucket, key_id));
    }
    tx.delete(Family::User, user::of_user(&record.user, key_id));
    tx.delete(Family::User, user::access_key(key_id));
    Ok(())
}

fn grant(tx: &mut Tx<'_>, grant: &Grant) -> Result<(), ApplyError> {
    let rights = grant.rights.filter(|rights| !rights.is_empty());
    let rights = rights.ok_or_else(|| malformed("no right; to take all of them, revoke"))?;
    let bucket = bucket::require(tx, &grant.bucket)?.id;
    give(tx, &grant.key_id, bucket, rights)
}

/// Sets what a key may do in a bucket.
pub(crate) fn give(tx: &mut Tx<'_>, key_id: &str, bucket: BucketId, rights: Rights) -> Result<(), ApplyError> {
    let mut record = require_key(tx, key_id)?;
    if tx.get(Family::User, &user::grant(key_id, bucket))?.is_none() {
        let in_bucket = keys_in(tx, bucket)?.len();
        if record.grants >= limits::GRANTS_PER_KEY_MAX || in_bucket >= limits::GRANTS_PER_BUCKET_MAX {
            return Err(refuse(
                ErrorCode::LimitExceeded,
                "the key has rights in as many buckets, or the bucket as many keys with rights, as it may",
            ));
        }
        record.grants += 1;
        tx.put(Family::User, user::access_key(key_id), &record);
    }
    let given = GrantRecord { rights: Some(rights) };
    tx.put(Family::User, user::grant(key_id, bucket), &given);
    tx.put(Family::User, user::in_bucket(bucket, key_id), &given);
    Ok(())
}

fn revoke(tx: &mut Tx<'_>, revoke: &Revoke) -> Result<(), ApplyError> {
    let bucket = bucket::require(tx, &revoke.bucket)?.id;
    require_key(tx, &revoke.key_id)?;
    take(tx, &revoke.key_id, bucket)
}

fn take(tx: &mut Tx<'_>, key_id: &str, bucket: BucketId) -> Result<(), ApplyError> {
    let key = user::grant(key_id, bucket);
    if tx.get(Family::User, &key)?.is_none() {
        return Ok(());
    }
    tx.delete(Family::User, key);
    tx.delete(Family::User, user::in_bucket(bucket, key_id));
    let mut record = require_key(tx, key_id)?;
    record.grants = record.grants.saturating_sub(1);
    tx.put(Family::User, user::access_key(key_id), &record);
    Ok(())
}

/// A bucket goes: nobody has rights in it any more.
pub(crate) fn forget_bucket(tx: &mut Tx<'_>, bucket: BucketId) -> Result<(), ApplyError> {
    for key_id in keys_in(tx, bucket)? {
        take(tx, &key_id, bucket)?;
    }
    Ok(())
}

fn check_secret(secret: &[u8]) -> Result<(), ApplyError> {
    if secret.is_empty() || secret.len() > SECRET_LEN_MAX {
        return Err(malformed("a secret other than 1 to 256 bytes"));
    }
    Ok(())
}

fn check_note(note: &str) -> Result<(), ApplyError> {
    if note.len() > NOTE_LEN_MAX {
        return Err(malformed("a note of more than 256 bytes"));
    }
    Ok(())
}

fn exists(what: String) -> ApplyError {
    refuse(ErrorCode::AccountExists, format!("{what} exists already"))
}

fn find_user(view: &dyn View, name: &str) -> Result<Option<UserRecord>, ViewError> {
    read_record(view, Family::User, &user::user_key(name))
}

fn require_user(view: &dyn View, name: &str) -> Result<UserRecord, ApplyError> {
    find_user(view, name)?.ok_or_else(|| refuse(ErrorCode::NoSuchUser, format!("there is no user {name:?}")))
}

fn find_key(view: &dyn View, key_id: &str) -> Result<Option<AccessKeyRecord>, ViewError> {
    read_record(view, Family::User, &user::access_key(key_id))
}

fn require_key(view: &dyn View, key_id: &str) -> Result<AccessKeyRecord, ApplyError> {
    find_key(view, key_id)?
        .ok_or_else(|| refuse(ErrorCode::NoSuchAccessKey, format!("there is no access key {key_id:?}")))
}

/// Ids of a user's keys; [`limits::KEYS_PER_USER_MAX`] bounds them.
fn keys_of(view: &dyn View, name: &str) -> Result<Vec<String>, ViewError> {
    names_behind(view, &user::of_user_prefix(name))
}

/// Ids of the keys that have rights in a bucket; [`limits::GRANTS_PER_BUCKET_MAX`] bounds them.
fn keys_in(view: &dyn View, bucket: BucketId) -> Result<Vec<String>, ViewError> {
    names_behind(view, &user::in_bucket_prefix(bucket))
}

fn names_behind(view: &dyn View, prefix: &[u8]) -> Result<Vec<String>, ViewError> {
    let mut names = Vec::new();
    scan_prefix(view, Family::User, prefix, prefix, &mut |key, _| {
        names.extend(user::text_behind(key, prefix));
        Ok(true)
    })?;
    Ok(names)
}

/// A key's rights; [`limits::GRANTS_PER_KEY_MAX`] bounds them.
fn grants_of(view: &dyn View, key_id: &str) -> Result<Vec<(BucketId, Option<Rights>)>, ViewError> {
    let prefix = user::grants_prefix(key_id);
    let mut grants = Vec::new();
    scan_prefix(view, Family::User, &prefix, &prefix, &mut |key, value| {
        let bucket = user::bucket_behind(key, &prefix).ok_or_else(|| missing(Family::User, "a bucket in a key"))?;
        let record: GrantRecord = open_record(Family::User, value)?;
        grants.push((bucket, record.rights));
        Ok(true)
    })?;
    Ok(grants)
}

pub(crate) fn answer(view: &dyn View, query: &AccountQuery) -> Result<AccountAnswer, ApplyError> {
    let reply = match &query.question {
        Some(AccountQuestion::User(name)) => AccountReply::User(user_info(name.clone(), &require_user(view, name)?)),
        Some(AccountQuestion::Users(page)) => AccountReply::Users(users(view, page)?),
        Some(AccountQuestion::Key(key_id)) => AccountReply::Key(key(view, key_id)?),
        Some(AccountQuestion::KeysOfUser(name)) => {
            require_user(view, name)?;
            let info = |key_id: String| {
                let record = require_key(view, &key_id)?;
                Ok(key_info(key_id, &record))
            };
            let keys: Result<Vec<KeyInfo>, ApplyError> = keys_of(view, name)?.into_iter().map(info).collect();
            AccountReply::Keys(KeysPage { keys: keys? })
        }
        Some(AccountQuestion::RightsOfBucket(page)) => AccountReply::Rights(rights(view, page)?),
        None => return Err(malformed("no question")),
    };
    Ok(AccountAnswer { reply: Some(reply) })
}

fn user_info(name: String, record: &UserRecord) -> UserInfo {
    UserInfo {
        name,
        admin: record.admin,
        may_create_buckets: record.may_create_buckets,
        created_ms: record.created_ms,
        keys: record.keys,
    }
}

fn key_info(key_id: String, record: &AccessKeyRecord) -> KeyInfo {
    KeyInfo {
        key_id,
        user: record.user.clone(),
        enabled: !record.disabled,
        created_ms: record.created_ms,
        note: record.note.clone(),
    }
}

fn users(view: &dyn View, query: &UsersQuery) -> Result<UsersPage, ViewError> {
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let prefix = user::user_key("");
    let mut from = user::user_key(&query.after);
    from.push(0);
    let mut page = UsersPage::default();
    scan_prefix(view, Family::User, &prefix, &from, &mut |key, value| {
        page.more = page.users.len() == limit;
        if !page.more {
            let name = user::text_behind(key, &prefix).ok_or_else(|| missing(Family::User, "a name in a key"))?;
            page.users.push(user_info(name, &open_record(Family::User, value)?));
        }
        Ok(!page.more)
    })?;
    Ok(page)
}

fn key(view: &dyn View, key_id: &str) -> Result<KeyAnswer, ApplyError> {
    let record = require_key(view, key_id)?;
    let owner = require_user(view, &record.user)?;
    let mut rights = Vec::new();
    for (id, given) in grants_of(view, key_id)? {
        let bucket = bucket::require_id(view, id)?;
        rights.push(BucketRight {
            bucket: bucket.record.name,
            bucket_id: id.value(),
            key_id: key_id.to_owned(),
            rights: given,
        });
    }
    Ok(KeyAnswer {
        key: Some(key_info(key_id.to_owned(), &record)),
        secret: record.secret,
        user: Some(user_info(record.user, &owner)),
        rights,
    })
}

fn rights(view: &dyn View, query: &BucketRightsQuery) -> Result<RightsPage, ApplyError> {
    let bucket = bucket::require(view, &query.bucket)?;
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let prefix = user::in_bucket_prefix(bucket.id);
    let mut from = user::in_bucket(bucket.id, &query.after);
    from.push(0);
    let mut page = RightsPage::default();
    scan_prefix(view, Family::User, &prefix, &from, &mut |key, value| {
        page.more = page.rights.len() == limit;
        if !page.more {
            let key_id = user::text_behind(key, &prefix).ok_or_else(|| missing(Family::User, "a key id in a key"))?;
            let record: GrantRecord = open_record(Family::User, value)?;
            page.rights.push(BucketRight {
                bucket: bucket.record.name.clone(),
                bucket_id: bucket.id.value(),
                key_id,
                rights: record.rights,
            });
        }
        Ok(!page.more)
    })?;
    Ok(page)
}
