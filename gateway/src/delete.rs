//! DeleteObject and DeleteObjects.
//!
//! Invariant: removing what is not there succeeds, unless a condition says otherwise; in a batch each key has its own outcome,
//! told in the order of the request.

use cairn_common::{limits::DELETE_MANY_MAX, wire::command::WriteCondition};
use futures::{StreamExt as _, stream};
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error,
        ObjectIdentifier,
    },
};

use crate::{
    conditions,
    error::{self, from_client},
    gate::Gate,
    unsupported,
};

/// Deletes of one batch under way at once: enough to share a sync, few enough to leave room for others.
const CONCURRENT_DELETES: usize = 64;

pub(crate) async fn delete_object(
    gate: &Gate,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
        return Err(error::not_implemented(
            "Conditions on size and time are not implemented for DELETE.",
        ));
    }
    unsupported::check_version(input.version_id.as_deref())?;
    let condition = conditions::write_condition(input.if_match.as_ref(), None)?;
    let delete = gate
        .client
        .delete_object(&input.bucket, input.key.as_bytes(), condition);
    delete.await.map_err(from_client)?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(crate) async fn delete_objects(
    gate: &Gate,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let DeleteObjectsInput { bucket, delete, .. } = request.input;
    if delete.objects.is_empty() || delete.objects.len() > DELETE_MANY_MAX {
        return Err(error::answer(
            S3ErrorCode::MalformedXML,
            error::standard_text("MalformedXML"),
        ));
    }
    gate.client.bucket(&bucket).await.map_err(from_client)?;
    let quiet = delete.quiet.unwrap_or(false);
    let deletes = delete
        .objects
        .into_iter()
        .map(|object| delete_one(gate, &bucket, object));
    let mut outcomes = stream::iter(deletes).buffered(CONCURRENT_DELETES);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    while let Some((key, outcome)) = outcomes.next().await {
        match outcome {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject {
                key: Some(key),
                ..DeletedObject::default()
            }),
            Err(error) => errors.push(to_entry(key, &error)),
        }
    }
    let output = DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        ..DeleteObjectsOutput::default()
    };
    Ok(S3Response::new(output))
}

async fn delete_one(gate: &Gate, bucket: &str, object: ObjectIdentifier) -> (String, S3Result<()>) {
    let condition = WriteCondition {
        must_be_absent: false,
        etag: object.e_tag.map(|etag| etag.into_value()).unwrap_or_default(),
        ..WriteCondition::default()
    };
    let unsupported = object.size.is_some() || object.last_modified_time.is_some();
    let outcome = match unsupported::check_version(object.version_id.as_deref()) {
        Err(error) => Err(error),
        Ok(()) if unsupported => Err(error::not_implemented(
            "Conditions on size and time are not implemented for DELETE.",
        )),
        Ok(()) => gate
            .client
            .delete_object(bucket, object.key.as_bytes(), condition)
            .await
            .map_err(from_client),
    };
    (object.key, outcome)
}

fn to_entry(key: String, error: &S3Error) -> Error {
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(key),
        message: error.message().map(str::to_owned),
        version_id: None,
    }
}
