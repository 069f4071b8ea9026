//! Objects: made visible, looked at and removed.

use bytes::Bytes;
use cairn_common::{
    name::check_key,
    wire::{
        command::{Command, CopyObject, CopySource, DeleteObject, Outcome, PutObject, WriteCondition},
        object::{ObjectAttributes, ObjectInfo},
        query::{Answer, ObjectQuery, Query},
    },
};

use crate::{
    body_writer::StoredBody,
    error::{ClientError, unexpected},
    metadata::Client,
};

/// A commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// When it was made, in milliseconds since 1970.
    pub modified_ms: u64,
}

impl Client {
    /// Makes an object visible under `key`, in place of the one that was there.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &[u8],
        attributes: ObjectAttributes,
        body: StoredBody,
        condition: WriteCondition,
    ) -> Result<Committed, ClientError> {
        check_key(key)?;
        let put = PutObject {
            bucket: bucket.to_owned(),
            key: Bytes::copy_from_slice(key),
            attributes: Some(attributes),
            body: Some(body.body.clone()),
            condition: Some(condition),
        };
        self.commit(bucket, &body, Command::PutObject(put)).await
    }

    /// Makes an object of the chunks of another one of the bucket, which must still be the inode that was looked at. None
    /// where they cannot be shared by one command: then the bytes are to be read and put anew.
    pub async fn copy_by_reference(
        &self,
        bucket: &str,
        source: (&[u8], &ObjectInfo),
        key: &[u8],
        attributes: ObjectAttributes,
        condition: WriteCondition,
    ) -> Result<Option<Committed>, ClientError> {
        check_key(key)?;
        let copy = CopyObject {
            bucket: bucket.to_owned(),
            source: Some(CopySource {
                key: Bytes::copy_from_slice(source.0),
                inode: source.1.inode,
                condition: None,
            }),
            key: Bytes::copy_from_slice(key),
            attributes: Some(attributes),
            condition: Some(condition),
        };
        match self.write(Command::CopyObject(copy)).await {
            Ok(Outcome::Copied(copied)) => Ok(Some(Committed {
                modified_ms: copied.committed_ms,
            })),
            Ok(_) => Err(unexpected()),
            Err(ClientError::CopyInSteps) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the command that commits `body`, under the session that its chunks belong to.
    pub(crate) async fn commit(
        &self,
        bucket: &str,
        body: &StoredBody,
        command: Command,
    ) -> Result<Committed, ClientError> {
        let result = committed(self.shared.write(body.session(), command).await);
        self.forget_bucket_if_gone(bucket, &result);
        if matches!(result, Err(ClientError::OutcomeUnknown(_))) {
            body.reservation.outcome_unknown();
        }
        result
    }

    /// Removes `key`. That it was not there is no error, unless a condition says so.
    pub async fn delete_object(&self, bucket: &str, key: &[u8], condition: WriteCondition) -> Result<(), ClientError> {
        check_key(key)?;
        let key = Bytes::copy_from_slice(key);
        let delete = DeleteObject {
            bucket: bucket.to_owned(),
            key,
            condition: Some(condition),
        };
        self.write(Command::DeleteObject(delete)).await.map(|_| ())
    }

    /// What is stored under `key`, without its bytes.
    pub async fn object_info(&self, bucket: &str, key: &[u8]) -> Result<ObjectInfo, ClientError> {
        check_key(key)?;
        let key = Bytes::copy_from_slice(key);
        let query = ObjectQuery {
            bucket: bucket.to_owned(),
            key,
            with_plan: false,
            plan_from: 0,
        };
        match self.read(Query::Object(query)).await? {
            Answer::Object(answer) => answer.info.ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }
}

pub(crate) fn committed(result: Result<Outcome, ClientError>) -> Result<Committed, ClientError> {
    match result? {
        Outcome::CommittedMs(modified_ms) => Ok(Committed { modified_ms }),
        _ => Err(unexpected()),
    }
}
