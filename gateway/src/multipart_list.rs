//! ListParts and ListMultipartUploads.
//!
//! Invariant: a page of uploads is in order of key and upload, each common prefix once, and its markers lead to the rest.

use bytes::Bytes;
use cairn_client::Client;
use cairn_common::{
    ids::UploadId,
    limits::LIST_PAGE_MAX,
    wire::query::{PartInfo, UploadInfo, UploadsQuery},
};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        ChecksumAlgorithm, ChecksumType, CommonPrefix, Initiator, ListMultipartUploadsInput,
        ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part, StorageClass,
    },
};

use crate::{
    attributes,
    checksum::set_checksums,
    error::{self, from_client},
    gate::Gate,
    list::{self, Encoding, Selector},
    multipart,
};

pub(crate) async fn list_parts(
    gate: &Gate,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let upload = multipart::parse_upload_id(&input.upload_id)?;
    let max = list::page_size(input.max_parts, "max-parts")?;
    let after = u32::try_from(input.part_number_marker.unwrap_or(0)).map_err(|_| {
        error::invalid_argument("Argument part-number-marker must be an integer between 0 and 2147483647")
    })?;
    let limit = u32::try_from(max).unwrap_or(u32::MAX);
    let page = gate
        .client
        .parts(&input.bucket, input.key.as_bytes(), upload, after, limit.max(1));
    let mut page = page.await.map_err(from_client)?;
    page.parts.truncate(max);
    let chosen = multipart::chosen_checksum(page.attributes.as_ref());
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: chosen.map(|chosen| ChecksumAlgorithm::from(chosen.algorithm.clone())),
        checksum_type: chosen.map(|chosen| ChecksumType::from_static(attributes::checksum_type(chosen))),
        initiator: Some(initiator()),
        is_truncated: Some(page.more && max > 0),
        key: Some(input.key),
        max_parts: Some(list::to_i32(max)),
        next_part_number_marker: page.parts.last().map(|part| part.number.cast_signed()),
        owner: Some(list::owner()),
        part_number_marker: Some(after.cast_signed()),
        parts: Some(page.parts.iter().map(to_part).collect()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(input.upload_id),
        ..ListPartsOutput::default()
    }))
}

fn to_part(stored: &PartInfo) -> Part {
    let mut part = Part {
        e_tag: Some(attributes::etag(&stored.etag)),
        last_modified: Some(attributes::timestamp(stored.modified_ms)),
        part_number: Some(stored.number.cast_signed()),
        size: Some(stored.size.cast_signed()),
        ..Part::default()
    };
    set_checksums!(part, &stored.checksums);
    part
}

fn initiator() -> Initiator {
    let owner = list::owner();
    Initiator {
        display_name: owner.display_name,
        id: owner.id,
    }
}

pub(crate) async fn list_uploads(
    gate: &Gate,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    let encoding = Encoding::from_request(input.encoding_type.as_ref())?;
    let max = list::page_size(input.max_uploads, "max-uploads")?;
    let key_marker = input.key_marker.unwrap_or_default();
    let upload_marker = input
        .upload_id_marker
        .filter(|marker| !marker.is_empty() && !key_marker.is_empty());
    let selector = Selector {
        bucket: input.bucket,
        prefix: input.prefix.unwrap_or_default(),
        delimiter: input.delimiter.unwrap_or_default(),
    };
    let start = match &upload_marker {
        Some(upload) => (
            Bytes::from(key_marker.clone()),
            multipart::parse_upload_id(upload)?.value(),
        ),
        // Behind all uploads of the marker's key; (k + "\0", 0) would lie before those of the next key as well.
        None => (list::behind(&key_marker, &selector), 0),
    };
    let page = collect(&gate.client, &selector, start, max).await?;
    let last = page.entries.last().filter(|_| page.truncated);
    let uploads = page.entries.iter().filter_map(|entry| match entry {
        Entry::Upload(upload) => Some(to_upload(upload, encoding)),
        Entry::Prefix(_) => None,
    });
    let prefixes = page.entries.iter().filter_map(|entry| match entry {
        Entry::Upload(_) => None,
        Entry::Prefix(prefix) => Some(CommonPrefix {
            prefix: Some(encoding.encode_key(prefix)),
        }),
    });
    let output = ListMultipartUploadsOutput {
        common_prefixes: Some(prefixes.collect()),
        delimiter: encoding.encode_filled(&selector.delimiter),
        encoding_type: input.encoding_type,
        is_truncated: Some(page.truncated),
        key_marker: Some(encoding.encode(&key_marker)),
        max_uploads: Some(list::to_i32(max)),
        next_key_marker: last.map(|entry| encoding.encode_key(entry.key())),
        next_upload_id_marker: last.and_then(Entry::upload_id),
        prefix: Some(encoding.encode(&selector.prefix)),
        upload_id_marker: upload_marker,
        uploads: Some(uploads.collect()),
        bucket: Some(selector.bucket),
        request_charged: None,
    };
    Ok(S3Response::new(output))
}

fn to_upload(upload: &UploadInfo, encoding: Encoding) -> MultipartUpload {
    let chosen = upload.checksums.first();
    MultipartUpload {
        checksum_algorithm: chosen.map(|chosen| ChecksumAlgorithm::from(chosen.algorithm.clone())),
        checksum_type: chosen.map(|chosen| ChecksumType::from_static(attributes::checksum_type(chosen))),
        initiated: Some(attributes::timestamp(upload.started_ms)),
        initiator: Some(initiator()),
        key: Some(encoding.encode_key(&upload.key)),
        owner: Some(list::owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(multipart::format_upload_id(UploadId::new(upload.upload))),
    }
}

enum Entry {
    Upload(UploadInfo),
    Prefix(Bytes),
}

impl Entry {
    const fn key(&self) -> &Bytes {
        match self {
            Self::Upload(upload) => &upload.key,
            Self::Prefix(prefix) => prefix,
        }
    }

    fn upload_id(&self) -> Option<String> {
        match self {
            Self::Upload(upload) => Some(multipart::format_upload_id(UploadId::new(upload.upload))),
            Self::Prefix(_) => None,
        }
    }
}

struct Page {
    entries: Vec<Entry>,
    truncated: bool,
}

/// Gathers up to `max` uploads and common prefixes behind `after`.
async fn collect(client: &Client, selector: &Selector, mut after: (Bytes, u64), max: usize) -> S3Result<Page> {
    let mut page = Page {
        entries: Vec::new(),
        truncated: false,
    };
    loop {
        let limit = (max + 1 - page.entries.len()).clamp(1, LIST_PAGE_MAX);
        let query = UploadsQuery {
            bucket: selector.bucket.clone(),
            prefix: Bytes::copy_from_slice(selector.prefix.as_bytes()),
            after_key: after.0,
            after_upload: after.1,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let found = client.uploads(query).await.map_err(from_client)?;
        let Some(last) = found.uploads.last() else {
            return Ok(page);
        };
        after = (last.key.clone(), last.upload);
        for upload in found.uploads {
            let rolled = rolled_up(&upload.key, selector);
            if let (Some(prefix), Some(Entry::Prefix(previous))) = (&rolled, page.entries.last())
                && prefix == previous
            {
                continue;
            }
            if page.entries.len() == max {
                page.truncated = max > 0;
                return Ok(page);
            }
            page.entries.push(rolled.map_or(Entry::Upload(upload), Entry::Prefix));
        }
        if !found.more {
            return Ok(page);
        }
        if let Some(Entry::Prefix(prefix)) = page.entries.last() {
            // The rest of a rolled-up prefix need not be read.
            after = (list::behind_prefix(prefix), 0);
        }
    }
}

/// The common prefix that shows in place of `key`, if any.
fn rolled_up(key: &Bytes, selector: &Selector) -> Option<Bytes> {
    let rest = key.strip_prefix(selector.prefix.as_bytes())?;
    let delimiter = selector.delimiter.as_bytes();
    if delimiter.is_empty() {
        return None;
    }
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(key.slice(..selector.prefix.len() + at + delimiter.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_roll_up_at_the_first_delimiter_behind_the_prefix() {
        let rolled = |key: &'static str, prefix: &str, delimiter: &str| {
            let selector = Selector {
                bucket: String::new(),
                prefix: prefix.to_owned(),
                delimiter: delimiter.to_owned(),
            };
            rolled_up(&Bytes::from(key), &selector).map(|prefix| String::from_utf8(prefix.to_vec()).unwrap())
        };
        assert_eq!(rolled("a/b/c", "", "/"), Some("a/".to_owned()));
        assert_eq!(rolled("a/b/c", "a/", "/"), Some("a/b/".to_owned()));
        assert_eq!(rolled("a/b", "a/", "/"), None);
        assert_eq!(rolled("a/b", "", ""), None);
        assert_eq!(rolled("axxbxx", "a", "xx"), Some("axx".to_owned()));
    }
}
