//! Access keys, for whoever checks requests by them.
//!
//! Must never keep an answer: how long one may be gone by is the caller's to decide. Invariant: an answer holds a secret, so
//! it is printed nowhere.

use cairn_common::wire::{
    account::{AccountAnswer, AccountQuery, AccountQuestion, AccountReply, KeyAnswer},
    query::{Answer, Query},
};

use crate::{
    error::{ClientError, unexpected},
    metadata::Client,
};

impl Client {
    /// The access key of this id as it is now: its secret, its user and its rights.
    pub async fn access_key(&self, key_id: &str) -> Result<KeyAnswer, ClientError> {
        let question = Some(AccountQuestion::Key(key_id.to_owned()));
        match self.read(Query::Account(AccountQuery { question })).await? {
            Answer::Account(AccountAnswer {
                reply: Some(AccountReply::Key(answer)),
            }) => Ok(answer),
            _ => Err(unexpected()),
        }
    }
}
