//! Multipart uploads.

use bytes::Bytes;
use cairn_common::{
    ids::UploadId,
    name::check_key,
    wire::{
        command::{AbortUpload, Command, CompleteUpload, CreateUpload, Outcome, PutPart},
        object::{ObjectAttributes, ObjectChecksum},
        query::{Answer, PartsPage, PartsQuery, Query, UploadsPage, UploadsQuery},
    },
};

use crate::{
    body_writer::StoredBody,
    error::{ClientError, unexpected},
    metadata::Client,
    objects::{Committed, committed},
};

impl Client {
    /// Starts an upload of `key`; the object will have these attributes.
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &[u8],
        attributes: ObjectAttributes,
    ) -> Result<UploadId, ClientError> {
        check_key(key)?;
        let key = Bytes::copy_from_slice(key);
        let create = CreateUpload {
            bucket: bucket.to_owned(),
            key,
            attributes: Some(attributes),
        };
        match self.write(Command::CreateUpload(create)).await? {
            Outcome::Upload(id) => Ok(UploadId::new(id)),
            _ => Err(unexpected()),
        }
    }

    /// Adds or replaces a part.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of the S3 request, each of another type"
    )]
    pub async fn put_part(
        &self,
        bucket: &str,
        key: &[u8],
        upload: UploadId,
        number: u32,
        etag: String,
        checksums: Vec<ObjectChecksum>,
        body: StoredBody,
    ) -> Result<Committed, ClientError> {
        check_key(key)?;
        let put = PutPart {
            bucket: bucket.to_owned(),
            key: Bytes::copy_from_slice(key),
            upload: upload.value(),
            number,
            etag,
            checksums,
            body: Some(body.body.clone()),
        };
        self.commit(bucket, &body, Command::PutPart(put)).await
    }

    /// Up to `limit` parts with numbers greater than `after`, and the upload's attributes and revision.
    pub async fn parts(
        &self,
        bucket: &str,
        key: &[u8],
        upload: UploadId,
        after: u32,
        limit: u32,
    ) -> Result<PartsPage, ClientError> {
        check_key(key)?;
        let key = Bytes::copy_from_slice(key);
        let query = PartsQuery {
            bucket: bucket.to_owned(),
            key,
            upload: upload.value(),
            after,
            limit,
        };
        match self.read(Query::Parts(query)).await? {
            Answer::Parts(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    /// Makes the chosen parts visible as one object.
    pub async fn complete_upload(&self, complete: CompleteUpload) -> Result<Committed, ClientError> {
        committed(self.write(Command::CompleteUpload(complete)).await)
    }

    /// Ends an upload and gives up its parts.
    pub async fn abort_upload(&self, bucket: &str, key: &[u8], upload: UploadId) -> Result<(), ClientError> {
        check_key(key)?;
        let key = Bytes::copy_from_slice(key);
        let abort = AbortUpload {
            bucket: bucket.to_owned(),
            key,
            upload: upload.value(),
        };
        self.write(Command::AbortUpload(abort)).await.map(|_| ())
    }

    /// A page of uploads.
    pub async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, ClientError> {
        match self.read(Query::Uploads(query)).await? {
            Answer::Uploads(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }
}
