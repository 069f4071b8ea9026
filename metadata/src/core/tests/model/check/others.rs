//! Locks, users, keys and rights.

use cairn_common::wire::{
    account::{
        AccountAnswer, AccountQuery, AccountQuestion, AccountReply, BucketRightsQuery, KeyAnswer, KeysPage, RightsPage,
        UsersPage, UsersQuery,
    },
    command::ErrorCode,
    file::FileId,
    lock::{HeldLock, LockAnswer, LockPageQuery, LockQuery, LockQuestion, LockRange},
    query::{Answer, Query},
};

use super::{Questions, Sample};

impl Questions<'_> {
    pub(super) fn locks(&mut self, name: &str, sample: Sample) -> Result<(), String> {
        let bucket = &self.world.buckets[name];
        let there = bucket.inodes.iter().filter(|(_, inode)| !inode.may_be_gone);
        let (cases, most) = sample.bounds();
        for (number, _) in self.rng.sample(there, cases, most) {
            let file = FileId {
                bucket: bucket.id,
                inode: *number,
            };
            let query = |question| {
                Query::Lock(LockQuery {
                    bucket_id: bucket.id,
                    inode: *number,
                    question: Some(question),
                })
            };
            let locks = self.world.locks_of(file);
            let limit = *self.rng.pick(&[1_usize, 3, 1000]);
            let after = locks.iter().filter(|_| self.rng.percent(20)).last().cloned();
            let behind = after
                .as_ref()
                .and_then(|after| locks.iter().position(|lock| lock == after))
                .map_or(0, |at| at + 1);
            let page = LockAnswer {
                locks: locks[behind..].iter().take(limit).cloned().collect(),
                more: locks.len() - behind > limit,
            };
            let limit = limit as u32;
            let asked = query(LockQuestion::Page(LockPageQuery { after, limit }));
            self.expect(&asked, Ok(Answer::Lock(page)))?;
            let first = self.rng.below(20);
            let range = LockRange {
                kind: 2,
                owner: 1,
                pid: 1,
                exclusive: self.rng.percent(50),
                first,
                last: first + self.rng.below(9),
            };
            let conflict = self.world.lock_conflict(file, 1, &range);
            let test = HeldLock {
                session: 1,
                lock: Some(range),
            };
            let expected = LockAnswer {
                locks: conflict.into_iter().collect(),
                more: false,
            };
            self.expect(&query(LockQuestion::Test(test)), Ok(Answer::Lock(expected)))?;
        }
        Ok(())
    }

    pub(super) fn accounts(&mut self) -> Result<(), String> {
        let query = |question| {
            Query::Account(AccountQuery {
                question: Some(question),
            })
        };
        let answer = |reply| Ok(Answer::Account(AccountAnswer { reply: Some(reply) }));
        let limit = *self.rng.pick(&[1_usize, 2, 1000]);
        let page = UsersPage {
            users: self
                .world
                .users
                .keys()
                .take(limit)
                .filter_map(|name| self.world.user_info(name))
                .collect(),
            more: self.world.users.len() > limit,
        };
        let users = UsersQuery {
            after: String::new(),
            limit: limit as u32,
        };
        self.expect(&query(AccountQuestion::Users(users)), answer(AccountReply::Users(page)))?;
        let name = format!("user{}", self.rng.below(4));
        let expected = match self.world.user_info(&name) {
            Some(info) => answer(AccountReply::User(info)),
            None => Err(vec![ErrorCode::NoSuchUser]),
        };
        self.expect(&query(AccountQuestion::User(name.clone())), expected)?;
        let of_user = self.world.keys.iter().filter(|(_, key)| key.user == name);
        let keys = of_user.filter_map(|(id, _)| self.world.key_info(id)).collect();
        let expected = match self.world.users.contains_key(&name) {
            true => answer(AccountReply::Keys(KeysPage { keys })),
            false => Err(vec![ErrorCode::NoSuchUser]),
        };
        self.expect(&query(AccountQuestion::KeysOfUser(name)), expected)?;
        let id = format!("key{}", self.rng.below(20));
        let expected = match self.world.keys.get(&id) {
            Some(key) => answer(AccountReply::Key(KeyAnswer {
                key: self.world.key_info(&id),
                secret: key.secret.clone(),
                user: self.world.user_info(&key.user),
                rights: self.world.rights_of(&id),
            })),
            None => Err(vec![ErrorCode::NoSuchAccessKey]),
        };
        self.expect(&query(AccountQuestion::Key(id)), expected)?;
        let Some(bucket) = self.world.buckets.keys().next() else {
            return Ok(());
        };
        let all = self.world.keys.keys().flat_map(|id| self.world.rights_of(id));
        let rights: Vec<_> = all.filter(|right| right.bucket == *bucket).collect();
        let expected = RightsPage {
            more: rights.len() > limit,
            rights: rights.into_iter().take(limit).collect(),
        };
        let rights = BucketRightsQuery {
            bucket: bucket.clone(),
            after: String::new(),
            limit: limit as u32,
        };
        self.expect(
            &query(AccountQuestion::RightsOfBucket(rights)),
            answer(AccountReply::Rights(expected)),
        )
    }
}
