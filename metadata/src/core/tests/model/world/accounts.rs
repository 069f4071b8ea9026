//! Users, their keys, and what these may do.

use cairn_common::{
    limits,
    wire::{
        account::{
            AccountChange, AccountCommand, BucketRight, CreateKey, CreateUser, Grant, KeyInfo, Rights, UpdateKey,
            UpdateUser, UserInfo,
        },
        command::ErrorCode,
    },
};

use super::{Key, User, Verdict, World, done, no, refuse_if};

impl World {
    pub(crate) fn account(&mut self, command: &AccountCommand) -> Verdict {
        match &command.change {
            None => no(ErrorCode::Malformed),
            Some(AccountChange::CreateUser(create)) => self.create_user(create),
            Some(AccountChange::UpdateUser(update)) => self.update_user(update),
            Some(AccountChange::DeleteUser(delete)) => {
                if self.users.remove(&delete.name).is_none() {
                    return no(ErrorCode::NoSuchUser);
                }
                self.keys.retain(|_, key| key.user != delete.name);
                done()
            }
            Some(AccountChange::CreateKey(create)) => self.create_key(create),
            Some(AccountChange::UpdateKey(update)) => self.update_key(update),
            Some(AccountChange::DeleteKey(delete)) => match self.keys.remove(&delete.key_id) {
                Some(_) => done(),
                None => no(ErrorCode::NoSuchAccessKey),
            },
            Some(AccountChange::Grant(grant)) => self.grant(grant),
            Some(AccountChange::Revoke(revoke)) => {
                refuse_if(&[
                    (!self.buckets.contains_key(&revoke.bucket), ErrorCode::NoSuchBucket),
                    (!self.keys.contains_key(&revoke.key_id), ErrorCode::NoSuchAccessKey),
                ])?;
                if let Some(key) = self.keys.get_mut(&revoke.key_id) {
                    key.rights.remove(&revoke.bucket);
                }
                done()
            }
        }
    }

    fn create_user(&mut self, create: &CreateUser) -> Verdict {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        let sound = (1..=64).contains(&create.name.len()) && create.name.bytes().all(allowed);
        refuse_if(&[
            (!sound, ErrorCode::Malformed),
            (self.users.contains_key(&create.name), ErrorCode::AccountExists),
        ])?;
        let user = User {
            admin: create.admin,
            may_create_buckets: create.may_create_buckets,
            created_ms: self.time_ms,
        };
        self.users.insert(create.name.clone(), user);
        done()
    }

    fn update_user(&mut self, update: &UpdateUser) -> Verdict {
        let Some(user) = self.users.get_mut(&update.name) else {
            return no(ErrorCode::NoSuchUser);
        };
        user.admin = update.admin.unwrap_or(user.admin);
        user.may_create_buckets = update.may_create_buckets.unwrap_or(user.may_create_buckets);
        done()
    }

    fn create_key(&mut self, create: &CreateKey) -> Verdict {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let sound = (3..=128).contains(&create.key_id.len())
            && create.key_id.bytes().all(allowed)
            && (1..=256).contains(&create.secret.len())
            && create.note.len() <= 256;
        let of_user = self.keys.values().filter(|key| key.user == create.user).count();
        refuse_if(&[
            (!sound, ErrorCode::Malformed),
            (!self.users.contains_key(&create.user), ErrorCode::NoSuchUser),
            (self.keys.contains_key(&create.key_id), ErrorCode::AccountExists),
            (of_user >= limits::KEYS_PER_USER_MAX as usize, ErrorCode::LimitExceeded),
        ])?;
        let key = Key {
            user: create.user.clone(),
            secret: create.secret.clone(),
            note: create.note.clone(),
            enabled: true,
            created_ms: self.time_ms,
            rights: Default::default(),
        };
        self.keys.insert(create.key_id.clone(), key);
        done()
    }

    fn update_key(&mut self, update: &UpdateKey) -> Verdict {
        let sound = update
            .secret
            .as_ref()
            .is_none_or(|secret| (1..=256).contains(&secret.len()))
            && update.note.as_ref().is_none_or(|note| note.len() <= 256);
        refuse_if(&[
            (!sound, ErrorCode::Malformed),
            (!self.keys.contains_key(&update.key_id), ErrorCode::NoSuchAccessKey),
        ])?;
        let key = self.keys.get_mut(&update.key_id).expect("checked above");
        key.enabled = update.enabled.unwrap_or(key.enabled);
        key.secret = update.secret.clone().unwrap_or_else(|| key.secret.clone());
        key.note = update.note.clone().unwrap_or_else(|| key.note.clone());
        done()
    }

    fn grant(&mut self, grant: &Grant) -> Verdict {
        let rights = grant.rights.unwrap_or_default();
        refuse_if(&[
            (rights.is_empty(), ErrorCode::Malformed),
            (!self.buckets.contains_key(&grant.bucket), ErrorCode::NoSuchBucket),
            (!self.keys.contains_key(&grant.key_id), ErrorCode::NoSuchAccessKey),
        ])?;
        let key = self.keys.get_mut(&grant.key_id).expect("checked above");
        key.rights.insert(grant.bucket.clone(), rights);
        done()
    }

    /// Lets the key that made a bucket own it.
    pub(crate) fn own(&mut self, key: &str, bucket: &str) {
        if let Some(key) = self.keys.get_mut(key) {
            let all = Rights {
                read: true,
                write: true,
                owner: true,
            };
            key.rights.insert(bucket.to_owned(), all);
        }
    }

    pub(crate) fn user_info(&self, name: &str) -> Option<UserInfo> {
        let user = self.users.get(name)?;
        Some(UserInfo {
            name: name.to_owned(),
            admin: user.admin,
            may_create_buckets: user.may_create_buckets,
            created_ms: user.created_ms,
            keys: self.keys.values().filter(|key| key.user == name).count() as u32,
        })
    }

    pub(crate) fn key_info(&self, id: &str) -> Option<KeyInfo> {
        let key = self.keys.get(id)?;
        Some(KeyInfo {
            key_id: id.to_owned(),
            user: key.user.clone(),
            enabled: key.enabled,
            created_ms: key.created_ms,
            note: key.note.clone(),
        })
    }

    /// The rights of one key, by bucket number.
    pub(crate) fn rights_of(&self, id: &str) -> Vec<BucketRight> {
        let Some(key) = self.keys.get(id) else {
            return Vec::new();
        };
        let right = |(bucket, rights): (&String, &Rights)| BucketRight {
            bucket: bucket.clone(),
            bucket_id: self.buckets[bucket].id,
            key_id: id.to_owned(),
            rights: Some(*rights),
        };
        let mut rights: Vec<BucketRight> = key.rights.iter().map(right).collect();
        rights.sort_by_key(|right| right.bucket_id);
        rights
    }
}
