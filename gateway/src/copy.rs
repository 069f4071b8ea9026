//! CopyObject and UploadPartCopy: within a bucket by reference where the copy gets the same digests, else read through the
//! data path and written anew.
//!
//! Invariant: the source is one version of one object, opened once: its conditions, its size and its bytes belong together.

use cairn_client::{ClientError, ObjectReader};
use cairn_common::{
    limits::PUT_SIZE_BYTES_MAX,
    wire::{
        command::WriteCondition,
        object::{ObjectAttributes, ObjectInfo},
    },
};
use http::HeaderMap;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
        MetadataDirective, UploadPartCopyInput, UploadPartCopyOutput,
    },
};

use crate::{
    attributes,
    checksum::{Algorithm, set_checksums},
    conditions::{self, ReadConditions},
    error::{self, from_client},
    gate::Gate,
    ingest::{self, DEFAULT_ALGORITHM},
    multipart, range, unsupported,
};

pub(crate) async fn copy_object(
    gate: &Gate,
    mut request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    unsupported::check(&request.headers)?;
    let metadata = request.input.metadata.take();
    let input = request.input;
    let replace = replaces_metadata(input.metadata_directive.as_ref())?;
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let (source_bucket, source_key) = source_of(&input.copy_source)?;
    if !replace && source_bucket == input.bucket && source_key == input.key {
        return Err(error::invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let condition = destination_condition(&request.headers)?;
    let source = open_source(gate, source_bucket, source_key, &conditions).await?;
    let size = source.info().size;
    if size > PUT_SIZE_BYTES_MAX {
        return Err(error::invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {PUT_SIZE_BYTES_MAX}"
        )));
    }
    let mut attributes = if replace {
        attributes::from_request(&request.headers, metadata)?
    } else {
        copied_attributes(source.info())
    };
    let asked = input
        .checksum_algorithm
        .as_ref()
        .map(|algorithm| parse_algorithm(algorithm.as_str()))
        .transpose()?;
    let algorithm = asked.unwrap_or_else(|| algorithm_of(source.info()));
    if source_bucket == input.bucket
        && let Some(same) = digests_of(source.info(), algorithm)
    {
        attributes.etag.clone_from(&same.etag);
        attributes.checksums.clone_from(&same.checksums);
        let source = (source_key.as_bytes(), source.info());
        let key = input.key.as_bytes();
        let copy = gate
            .client
            .copy_by_reference(&input.bucket, source, key, attributes.clone(), condition.clone());
        match copy.await {
            Ok(Some(committed)) => return Ok(S3Response::new(copied(&attributes, committed.modified_ms))),
            // The source was overwritten since it was opened, which is no fault of the client's: what was opened is still
            // there to be read. Where it was the client's own condition, the put says so.
            Ok(None) | Err(ClientError::PreconditionFailed) => {}
            Err(error) => return Err(from_client(error)),
        }
    }
    let ingested = ingest::from_object(&gate.client, &input.bucket, source, 0..size, algorithm).await?;
    attributes.etag = ingested.digests.etag();
    attributes.checksums = vec![ingested.digests.checksum()];
    let put = gate.client.put_object(
        &input.bucket,
        input.key.as_bytes(),
        attributes.clone(),
        ingested.body,
        condition,
    );
    let committed = put.await.map_err(from_client)?;
    Ok(S3Response::new(copied(&attributes, committed.modified_ms)))
}

/// The answer to a copy that was made.
fn copied(attributes: &ObjectAttributes, modified_ms: u64) -> CopyObjectOutput {
    let mut result = CopyObjectResult {
        e_tag: Some(attributes::etag(&attributes.etag)),
        last_modified: Some(attributes::timestamp(modified_ms)),
        ..Default::default()
    };
    set_checksums!(result, &attributes.checksums);
    CopyObjectOutput {
        copy_object_result: Some(result),
        ..CopyObjectOutput::default()
    }
}

/// The source's attributes where its entity tag and checksum are those that a copy of its bytes would get; what was
/// uploaded in parts, or written by a mount, gets others.
fn digests_of(info: &ObjectInfo, algorithm: Algorithm) -> Option<&ObjectAttributes> {
    let attributes = info.attributes.as_ref()?;
    let is_whole = !attributes.etag.is_empty() && !attributes.etag.contains('-');
    let [checksum] = attributes.checksums.as_slice() else {
        return None;
    };
    let is_same = !checksum.composite && Algorithm::from_name(&checksum.algorithm) == Some(algorithm);
    (is_whole && is_same).then_some(attributes)
}

pub(crate) async fn upload_part_copy(
    gate: &Gate,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    unsupported::check(&request.headers)?;
    let input = request.input;
    let number = multipart::part_number(input.part_number)?;
    let upload = multipart::parse_upload_id(&input.upload_id)?;
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let chosen = multipart::chosen_algorithm(gate, &input.bucket, input.key.as_bytes(), upload).await?;
    let (source_bucket, source_key) = source_of(&input.copy_source)?;
    let source = open_source(gate, source_bucket, source_key, &conditions).await?;
    let size = source.info().size;
    let range = match &input.copy_source_range {
        Some(text) => range::select_copy(text, size)?,
        None => 0..size,
    };
    if range.end - range.start > PUT_SIZE_BYTES_MAX {
        return Err(error::invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {PUT_SIZE_BYTES_MAX}"
        )));
    }
    let algorithm = chosen.unwrap_or(DEFAULT_ALGORITHM);
    let ingested = ingest::from_object(&gate.client, &input.bucket, source, range, algorithm).await?;
    let checksums = vec![ingested.digests.checksum()];
    let etag = ingested.digests.etag();
    let mut result = CopyPartResult {
        e_tag: Some(attributes::etag(&etag)),
        ..CopyPartResult::default()
    };
    set_checksums!(result, &checksums);
    let key = input.key.as_bytes();
    let put = gate
        .client
        .put_part(&input.bucket, key, upload, number, etag, checksums, ingested.body);
    let committed = put.await.map_err(from_client)?;
    result.last_modified = Some(attributes::timestamp(committed.modified_ms));
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..UploadPartCopyOutput::default()
    }))
}

fn replaces_metadata(directive: Option<&MetadataDirective>) -> S3Result<bool> {
    match directive.map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => Ok(false),
        Some(MetadataDirective::REPLACE) => Ok(true),
        Some(_) => Err(error::invalid_argument("Unknown metadata directive.")),
    }
}

fn parse_algorithm(name: &str) -> S3Result<Algorithm> {
    Algorithm::from_name(name).ok_or_else(|| error::invalid_request("Checksum algorithm provided is unsupported."))
}

/// The algorithm that the source was stored with.
fn algorithm_of(info: &ObjectInfo) -> Algorithm {
    let checksum = info
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.checksums.first());
    checksum
        .and_then(|checksum| Algorithm::from_name(&checksum.algorithm))
        .unwrap_or(DEFAULT_ALGORITHM)
}

/// All but the redirect, which AWS does not copy either.
fn copied_attributes(info: &ObjectInfo) -> ObjectAttributes {
    let mut copied = info.attributes.clone().unwrap_or_default();
    copied
        .headers
        .retain(|field| field.name != "x-amz-website-redirect-location");
    copied
}

/// Conditions on the object that is there already; s3s does not know them for copies.
fn destination_condition(headers: &HeaderMap) -> S3Result<WriteCondition> {
    let parse = |name: &str| {
        let condition = headers
            .get(name)
            .map(|value| ETagCondition::parse_http_header(value.as_bytes()));
        condition
            .transpose()
            .map_err(|_| error::invalid_argument(format!("The value of {name} is no entity tag.")))
    };
    conditions::write_condition(parse("if-match")?.as_ref(), parse("if-none-match")?.as_ref())
}

fn source_of(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id,
        } => {
            unsupported::check_version(version_id.as_deref())?;
            if key.is_empty() {
                return Err(error::invalid_argument(
                    "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                ));
            }
            Ok((bucket, key))
        }
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
            Err(error::not_implemented("Copy sources are named by bucket and key."))
        }
    }
}

async fn open_source(gate: &Gate, bucket: &str, key: &str, conditions: &ReadConditions) -> S3Result<ObjectReader> {
    let source = gate
        .client
        .open_object(bucket, key.as_bytes())
        .await
        .map_err(from_client)?;
    conditions.check_copy_source(source.info())?;
    Ok(source)
}
