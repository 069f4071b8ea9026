//! GetObjectAttributes.
//!
//! Invariant: only what was asked for is told, and only what is known: parts by number and size, not their checksums, which
//! end with the upload.

use cairn_common::wire::object::{ObjectInfo, PartSize};
use http::HeaderMap;
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        Checksum, ChecksumType, GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts,
        ObjectPart, StorageClass,
    },
};

use crate::{
    attributes,
    checksum::set_checksums,
    error::{self, from_client},
    gate::Gate,
    list, unsupported,
};

const KNOWN: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "ObjectSize", "StorageClass"];

pub(crate) async fn object_attributes(
    gate: &Gate,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    unsupported::check(&request.headers)?;
    unsupported::check_version(request.input.version_id.as_deref())?;
    let wanted = wanted(&request.headers)?;
    let input = request.input;
    let info = gate
        .client
        .object_info(&input.bucket, input.key.as_bytes())
        .await
        .map_err(from_client)?;
    let has = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let object_parts = if has("ObjectParts") && !info.parts.is_empty() {
        Some(parts(&info.parts, input.max_parts, input.part_number_marker)?)
    } else {
        None
    };
    let object = info.attributes.as_ref();
    Ok(S3Response::new(GetObjectAttributesOutput {
        checksum: has("Checksum").then(|| checksum(&info)).flatten(),
        e_tag: object
            .filter(|_| has("ETag"))
            .map(|object| attributes::etag(&object.etag)),
        last_modified: Some(attributes::timestamp(info.modified_ms)),
        object_parts,
        object_size: has("ObjectSize").then(|| info.size.cast_signed()),
        storage_class: has("StorageClass").then(|| StorageClass::from_static(StorageClass::STANDARD)),
        ..GetObjectAttributesOutput::default()
    }))
}

/// The names asked for. s3s takes a list in one header for one name.
fn wanted(headers: &HeaderMap) -> S3Result<Vec<String>> {
    let values = headers
        .get_all("x-amz-object-attributes")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let names: Vec<_> = values
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    match names.iter().find(|name| !KNOWN.contains(&name.as_str())) {
        None => Ok(names),
        Some(_) => Err(error::invalid_argument("Invalid attribute name specified.")),
    }
}

fn checksum(info: &ObjectInfo) -> Option<Checksum> {
    let stored = &info.attributes.as_ref()?.checksums;
    let kind = ChecksumType::from_static(attributes::checksum_type(stored.first()?));
    let mut checksum = Checksum {
        checksum_type: Some(kind),
        ..Checksum::default()
    };
    set_checksums!(checksum, stored);
    Some(checksum)
}

fn parts(stored: &[PartSize], max: Option<i32>, marker: Option<i32>) -> S3Result<GetObjectAttributesParts> {
    let max = list::page_size(max, "max-parts")?;
    let marker = marker.unwrap_or(0);
    let to_part = |part: &PartSize| ObjectPart {
        part_number: Some(part.number.cast_signed()),
        size: Some(part.size.cast_signed()),
        ..ObjectPart::default()
    };
    let mut rest: Vec<_> = stored
        .iter()
        .filter(|part| part.number.cast_signed() > marker)
        .map(to_part)
        .collect();
    let is_truncated = rest.len() > max;
    rest.truncate(max);
    Ok(GetObjectAttributesParts {
        is_truncated: Some(is_truncated),
        max_parts: Some(list::to_i32(max)),
        next_part_number_marker: rest.last().and_then(|part| part.part_number),
        part_number_marker: Some(marker),
        parts: Some(rest),
        total_parts_count: Some(list::to_i32(stored.len())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_one_header_are_told_apart() {
        let headers =
            |value: &str| HeaderMap::from_iter([("x-amz-object-attributes".parse().unwrap(), value.parse().unwrap())]);
        assert_eq!(wanted(&headers("ETag, ObjectSize")).unwrap(), ["ETag", "ObjectSize"]);
        assert!(wanted(&headers("ETag,Colour")).is_err());
    }

    #[test]
    fn parts_come_in_pages() {
        let stored: Vec<_> = (1..=5).map(|number| PartSize { number, size: 1 }).collect();
        let page = parts(&stored, Some(2), Some(1)).unwrap();
        assert_eq!(page.parts.unwrap().len(), 2);
        assert_eq!((page.is_truncated, page.next_part_number_marker), (Some(true), Some(3)));
        assert_eq!(page.total_parts_count, Some(5));
    }
}
