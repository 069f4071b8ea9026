//! ListObjects, ListObjectsV2 and ListObjectVersions: three forms of the same page.
//!
//! Invariant: keys and common prefixes together number at most max-keys, and come in byte order. Nothing is versioned yet, so
//! each object is its own and only version, named `null` as in every bucket that never was.

use cairn_common::wire::query::ListEntry;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        ChecksumAlgorithm, ChecksumType, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput,
        ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, ObjectVersion,
        ObjectVersionStorageClass,
    },
};

use crate::{
    attributes, error,
    gate::Gate,
    list::{self, Encoding, Selector},
};

pub(crate) async fn list_objects(
    gate: &Gate,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let encoding = Encoding::from_request(input.encoding_type.as_ref())?;
    let max = list::page_size(input.max_keys, "max-keys")?;
    let selector = selector(input.bucket, input.prefix, input.delimiter);
    let marker = input.marker.unwrap_or_default();
    let page = list::collect(&gate.client, &selector, list::behind(&marker, &selector), max).await?;
    // Without a delimiter the last key serves as the marker; AWS tells none then.
    let tells_marker = page.next_from.is_some() && !selector.delimiter.is_empty();
    let next_marker = page
        .entries
        .last()
        .filter(|_| tells_marker)
        .map(|entry| encoding.encode_key(&entry.key));
    let output = ListObjectsOutput {
        common_prefixes: Some(list::common_prefixes(&page.entries, encoding)),
        contents: Some(contents(&page.entries, encoding, true)),
        delimiter: encoding.encode_filled(&selector.delimiter),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.next_from.is_some()),
        marker: Some(encoding.encode(&marker)),
        max_keys: Some(list::to_i32(max)),
        name: Some(selector.bucket),
        next_marker,
        prefix: Some(encoding.encode(&selector.prefix)),
        request_charged: None,
    };
    Ok(S3Response::new(output))
}

pub(crate) async fn list_objects_v2(
    gate: &Gate,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let encoding = Encoding::from_request(input.encoding_type.as_ref())?;
    let max = list::page_size(input.max_keys, "max-keys")?;
    let selector = selector(input.bucket, input.prefix, input.delimiter);
    let from = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => list::from_token(token)?,
        (None, Some(start_after)) => list::behind(start_after, &selector),
        (None, None) => bytes::Bytes::new(),
    };
    let page = list::collect(&gate.client, &selector, from, max).await?;
    let output = ListObjectsV2Output {
        common_prefixes: Some(list::common_prefixes(&page.entries, encoding)),
        contents: Some(contents(&page.entries, encoding, input.fetch_owner.unwrap_or(false))),
        continuation_token: input.continuation_token,
        delimiter: encoding.encode_filled(&selector.delimiter),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.next_from.is_some()),
        key_count: Some(list::to_i32(page.entries.len())),
        max_keys: Some(list::to_i32(max)),
        name: Some(selector.bucket),
        next_continuation_token: page.next_from.as_deref().map(list::to_token),
        prefix: Some(encoding.encode(&selector.prefix)),
        request_charged: None,
        start_after: input.start_after.map(|start_after| encoding.encode(&start_after)),
    };
    Ok(S3Response::new(output))
}

pub(crate) async fn list_object_versions(
    gate: &Gate,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let input = request.input;
    let encoding = Encoding::from_request(input.encoding_type.as_ref())?;
    let max = list::page_size(input.max_keys, "max-keys")?;
    let marker = input.key_marker.unwrap_or_default();
    if marker.is_empty() && input.version_id_marker.is_some() {
        return Err(error::invalid_argument(
            "A version-id marker cannot be specified without a key marker.",
        ));
    }
    let selector = selector(input.bucket, input.prefix, input.delimiter);
    let page = list::collect(&gate.client, &selector, list::behind(&marker, &selector), max).await?;
    let last = page.entries.last().filter(|_| page.next_from.is_some());
    let output = ListObjectVersionsOutput {
        common_prefixes: Some(list::common_prefixes(&page.entries, encoding)),
        delimiter: encoding.encode_filled(&selector.delimiter),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.next_from.is_some()),
        key_marker: Some(encoding.encode(&marker)),
        max_keys: Some(list::to_i32(max)),
        name: Some(selector.bucket),
        next_key_marker: last.map(|entry| encoding.encode_key(&entry.key)),
        next_version_id_marker: last.filter(|entry| !entry.is_prefix).map(|_| "null".to_owned()),
        prefix: Some(encoding.encode(&selector.prefix)),
        version_id_marker: input.version_id_marker,
        versions: Some(versions(&page.entries, encoding)),
        ..ListObjectVersionsOutput::default()
    };
    Ok(S3Response::new(output))
}

fn selector(bucket: String, prefix: Option<String>, delimiter: Option<String>) -> Selector {
    Selector {
        bucket,
        prefix: prefix.unwrap_or_default(),
        delimiter: delimiter.unwrap_or_default(),
    }
}

fn contents(entries: &[ListEntry], encoding: Encoding, with_owner: bool) -> Vec<Object> {
    let objects = entries.iter().filter(|entry| !entry.is_prefix);
    let to_object = |entry: &ListEntry| Object {
        checksum_algorithm: checksum_algorithms(entry),
        checksum_type: checksum_type(entry),
        e_tag: Some(attributes::etag(&entry.etag)),
        key: Some(encoding.encode_key(&entry.key)),
        last_modified: Some(attributes::timestamp(entry.modified_ms)),
        owner: with_owner.then(list::owner),
        restore_status: None,
        size: Some(entry.size.cast_signed()),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
    };
    objects.map(to_object).collect()
}

fn versions(entries: &[ListEntry], encoding: Encoding) -> Vec<ObjectVersion> {
    let objects = entries.iter().filter(|entry| !entry.is_prefix);
    let to_version = |entry: &ListEntry| ObjectVersion {
        checksum_algorithm: checksum_algorithms(entry),
        checksum_type: checksum_type(entry),
        e_tag: Some(attributes::etag(&entry.etag)),
        is_latest: Some(true),
        key: Some(encoding.encode_key(&entry.key)),
        last_modified: Some(attributes::timestamp(entry.modified_ms)),
        owner: Some(list::owner()),
        restore_status: None,
        size: Some(entry.size.cast_signed()),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        version_id: Some("null".to_owned()),
    };
    objects.map(to_version).collect()
}

fn checksum_algorithms(entry: &ListEntry) -> Option<Vec<ChecksumAlgorithm>> {
    let names = entry
        .checksums
        .iter()
        .map(|checksum| ChecksumAlgorithm::from(checksum.algorithm.clone()));
    Some(names.collect())
}

fn checksum_type(entry: &ListEntry) -> Option<ChecksumType> {
    entry
        .checksums
        .first()
        .map(|checksum| ChecksumType::from_static(attributes::checksum_type(checksum)))
}
