//! CompleteMultipartUpload: the chosen parts are checked and become one object.
//!
//! Invariant: what is checked here is what is committed. The parts are read at one revision of the upload, and the command
//! names that revision; where a part changed meanwhile it is refused, and everything is checked anew.

use std::collections::BTreeMap;

use cairn_client::ClientError;
use cairn_common::{
    ids::UploadId,
    limits::{LIST_PAGE_MAX, PART_NUMBER_MAX, PART_SIZE_BYTES_MIN},
    wire::{
        command::{CompleteUpload, WriteCondition},
        object::{ObjectChecksum, PartSize},
        query::PartInfo,
    },
};
use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    crypto::{Checksum as _, Md5},
    dto::{ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart},
};

use crate::{
    attributes,
    checksum::{self, Algorithm, set_checksums},
    conditions,
    error::{self, from_client},
    gate::Gate,
    multipart,
};

/// Times that a completion starts over because parts change under it.
const TRIES_MAX: usize = 4;

/// The parts of an upload at one revision.
struct Snapshot {
    revision: u64,
    chosen: Option<ObjectChecksum>,
    parts: BTreeMap<u32, PartInfo>,
}

/// The object that the parts make.
#[derive(Debug)]
struct Assembly {
    parts: Vec<PartSize>,
    etag: String,
    checksums: Vec<ObjectChecksum>,
    size: u64,
}

pub(crate) async fn complete_upload(
    gate: &Gate,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let host = request
        .headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let location = format!("http://{host}{}", request.uri.path());
    let input = &request.input;
    let upload = multipart::parse_upload_id(&input.upload_id)?;
    let condition = conditions::write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let listed = input
        .multipart_upload
        .as_ref()
        .and_then(|upload| upload.parts.as_deref())
        .unwrap_or_default();
    check_order(listed)?;
    let assembly = commit(gate, input, upload, listed, condition).await?;
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        e_tag: Some(attributes::etag(&assembly.etag)),
        key: Some(input.key.clone()),
        location: Some(location),
        ..CompleteMultipartUploadOutput::default()
    };
    set_checksums!(output, &assembly.checksums);
    let kind = assembly.checksums.first().map(attributes::checksum_type);
    output.checksum_type = kind.map(ChecksumType::from_static);
    Ok(S3Response::new(output))
}

async fn commit(
    gate: &Gate,
    input: &CompleteMultipartUploadInput,
    upload: UploadId,
    listed: &[CompletedPart],
    condition: WriteCondition,
) -> S3Result<Assembly> {
    let mut tries = 0;
    loop {
        tries += 1;
        let snapshot = read_parts(gate, &input.bucket, input.key.as_bytes(), upload).await?;
        let assembly = assemble(&snapshot, listed)?;
        check_claims(&assembly, input)?;
        let complete = CompleteUpload {
            bucket: input.bucket.clone(),
            key: bytes::Bytes::copy_from_slice(input.key.as_bytes()),
            upload: upload.value(),
            revision: snapshot.revision,
            parts: assembly.parts.clone(),
            etag: assembly.etag.clone(),
            checksums: assembly.checksums.clone(),
            condition: Some(condition.clone()),
        };
        match gate.client.complete_upload(complete).await {
            Ok(_) => return Ok(assembly),
            Err(ClientError::UploadChanged) if tries < TRIES_MAX => {}
            Err(error) => return Err(from_client(error)),
        }
    }
}

async fn read_parts(gate: &Gate, bucket: &str, key: &[u8], upload: UploadId) -> S3Result<Snapshot> {
    let limit = u32::try_from(LIST_PAGE_MAX).unwrap_or(u32::MAX);
    let mut tries = 0;
    'start: loop {
        tries += 1;
        let mut snapshot = Snapshot {
            revision: 0,
            chosen: None,
            parts: BTreeMap::new(),
        };
        let mut after = 0;
        loop {
            let page = gate
                .client
                .parts(bucket, key, upload, after, limit)
                .await
                .map_err(from_client)?;
            if after > 0 && page.revision != snapshot.revision {
                if tries >= TRIES_MAX {
                    return Err(from_client(ClientError::UploadChanged));
                }
                continue 'start;
            }
            snapshot.revision = page.revision;
            snapshot.chosen = multipart::chosen_checksum(page.attributes.as_ref()).cloned();
            after = page.parts.last().map_or(after, |part| part.number);
            let more = page.more && !page.parts.is_empty();
            snapshot
                .parts
                .extend(page.parts.into_iter().map(|part| (part.number, part)));
            if !more {
                return Ok(snapshot);
            }
        }
    }
}

/// Part numbers must be given, in range, and ascend.
fn check_order(listed: &[CompletedPart]) -> S3Result<()> {
    let malformed = || error::answer(S3ErrorCode::MalformedXML, error::standard_text("MalformedXML"));
    if listed.is_empty() || listed.len() > PART_NUMBER_MAX as usize {
        return Err(malformed());
    }
    let mut previous = 0;
    for part in listed {
        let number = multipart::part_number(part.part_number.ok_or_else(malformed)?)?;
        if number <= previous {
            let text = "The list of parts was not in ascending order. The parts list must be specified in order by part number.";
            return Err(error::answer(S3ErrorCode::InvalidPartOrder, text));
        }
        previous = number;
    }
    Ok(())
}

/// The object that the listed parts make; refuses parts that are missing, different or too small.
fn assemble(snapshot: &Snapshot, listed: &[CompletedPart]) -> S3Result<Assembly> {
    let mut chosen = Vec::with_capacity(listed.len());
    for part in listed {
        let number = part
            .part_number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or_default();
        let stored = snapshot.parts.get(&number).ok_or_else(invalid_part)?;
        let same_etag = part.e_tag.as_ref().is_some_and(|etag| etag.value() == stored.etag);
        if !same_etag || !same_checksums(part, stored) {
            return Err(invalid_part());
        }
        chosen.push(stored);
    }
    let (_, all_but_last) = chosen.split_last().ok_or_else(invalid_part)?;
    if all_but_last.iter().any(|part| part.size < PART_SIZE_BYTES_MIN) {
        let text = "Your proposed upload is smaller than the minimum allowed size";
        return Err(error::answer(S3ErrorCode::EntityTooSmall, text));
    }
    let mut md5 = Md5::new();
    for part in &chosen {
        md5.update(&hex::decode(&part.etag).map_err(|_| invalid_part())?);
    }
    Ok(Assembly {
        etag: format!("{}-{}", hex::encode(md5.finalize()), chosen.len()),
        checksums: object_checksum(snapshot.chosen.as_ref(), &chosen)?
            .into_iter()
            .collect(),
        size: chosen.iter().map(|part| part.size).sum(),
        parts: chosen
            .iter()
            .map(|part| PartSize {
                number: part.number,
                size: part.size,
            })
            .collect(),
    })
}

fn invalid_part() -> S3Error {
    error::answer(
        S3ErrorCode::InvalidPart,
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    )
}

/// The value that a request gives for this algorithm.
macro_rules! given {
    ($request:expr, $algorithm:expr) => {
        match $algorithm {
            Algorithm::Crc32 => $request.checksum_crc32.as_deref(),
            Algorithm::Crc32c => $request.checksum_crc32c.as_deref(),
            Algorithm::Crc64Nvme => $request.checksum_crc64nvme.as_deref(),
            Algorithm::Sha1 => $request.checksum_sha1.as_deref(),
            Algorithm::Sha256 => $request.checksum_sha256.as_deref(),
        }
    };
}

fn same_checksums(listed: &CompletedPart, stored: &PartInfo) -> bool {
    Algorithm::ALL.into_iter().all(|algorithm| {
        given!(listed, algorithm).is_none_or(|value| checksum::value_of(&stored.checksums, algorithm) == Some(value))
    })
}

/// The object's checksum as chosen at the start; without a choice, the whole object's where all parts carry the same CRC.
fn object_checksum(chosen: Option<&ObjectChecksum>, parts: &[&PartInfo]) -> S3Result<Option<ObjectChecksum>> {
    let name = match (chosen, parts.first().and_then(|part| part.checksums.first())) {
        (Some(chosen), _) => &chosen.algorithm,
        (None, Some(first)) => &first.algorithm,
        (None, None) => return Ok(None),
    };
    let Some(algorithm) = Algorithm::from_name(name) else {
        return Ok(None);
    };
    let values: Option<Vec<&str>> = parts
        .iter()
        .map(|part| checksum::value_of(&part.checksums, algorithm))
        .collect();
    let Some(values) = values else {
        return if chosen.is_some() {
            Err(invalid_part())
        } else {
            Ok(None)
        };
    };
    if chosen.is_some_and(|chosen| chosen.composite) {
        return checksum::composite(algorithm, &values)
            .map(Some)
            .ok_or_else(invalid_part);
    }
    let sized: Vec<_> = values
        .into_iter()
        .zip(parts)
        .map(|(value, part)| (value, part.size))
        .collect();
    Ok(checksum::full_object(algorithm, &sized))
}

/// Holds the object against what the request says of it.
fn check_claims(assembly: &Assembly, input: &CompleteMultipartUploadInput) -> S3Result<()> {
    if input
        .mpu_object_size
        .is_some_and(|size| size != assembly.size.cast_signed())
    {
        let text = format!(
            "The provided 'x-amz-mp-object-size' header does not match what was computed: {}",
            assembly.size
        );
        return Err(error::invalid_request(text));
    }
    let made = assembly.checksums.first();
    if let (Some(claimed), Some(made)) = (&input.checksum_type, made)
        && claimed.as_str() != attributes::checksum_type(made)
    {
        let text = "The checksum type of the request does not match that of the upload.";
        return Err(error::invalid_request(text));
    }
    for algorithm in Algorithm::ALL {
        let Some(claimed) = given!(input, algorithm) else {
            continue;
        };
        if checksum::value_of(&assembly.checksums, algorithm).is_none_or(|value| value != claimed) {
            let name = algorithm.name();
            let text = format!("The {name} you specified did not match the calculated checksum.");
            return Err(error::answer(S3ErrorCode::BadDigest, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use s3s::dto::ETag;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn snapshot(sizes: &[u64]) -> Snapshot {
        let part = |(index, size): (usize, &u64)| {
            let number = index as u32 + 1;
            let crc = checksum::encode(Algorithm::Crc64Nvme, &[0; 8]);
            let etag = format!("{number:032x}");
            (
                number,
                PartInfo {
                    number,
                    size: *size,
                    etag,
                    checksums: vec![crc],
                    ..PartInfo::default()
                },
            )
        };
        Snapshot {
            revision: 1,
            chosen: None,
            parts: sizes.iter().enumerate().map(part).collect(),
        }
    }

    fn listed(numbers: &[i32]) -> Vec<CompletedPart> {
        let part = |number: &i32| CompletedPart {
            e_tag: Some(ETag::Strong(format!("{number:032x}"))),
            part_number: Some(*number),
            ..CompletedPart::default()
        };
        numbers.iter().map(part).collect()
    }

    fn code_of<T: std::fmt::Debug>(result: S3Result<T>) -> String {
        result.unwrap_err().code().as_str().to_owned()
    }

    #[test]
    fn the_list_must_ascend() {
        assert!(check_order(&listed(&[1, 5, 10_000])).is_ok());
        assert_eq!(code_of(check_order(&listed(&[2, 1]))), "InvalidPartOrder");
        assert_eq!(code_of(check_order(&listed(&[1, 1]))), "InvalidPartOrder");
        assert_eq!(code_of(check_order(&listed(&[0]))), "InvalidArgument");
        assert_eq!(code_of(check_order(&listed(&[10_001]))), "InvalidArgument");
        assert_eq!(code_of(check_order(&[])), "MalformedXML");
    }

    #[test]
    fn parts_make_an_object() {
        let assembly = assemble(&snapshot(&[5 * MIB, 5 * MIB, 1]), &listed(&[1, 3])).unwrap();
        assert_eq!(assembly.size, 5 * MIB + 1);
        assert_eq!(
            assembly.parts,
            [
                PartSize {
                    number: 1,
                    size: 5 * MIB
                },
                PartSize { number: 3, size: 1 }
            ]
        );
        let mut raw = [0; 32];
        (raw[15], raw[31]) = (1, 3);
        assert_eq!(assembly.etag, format!("{}-2", hex::encode(Md5::checksum(&raw))));
        assert_eq!(assembly.checksums.len(), 1);
        assert!(!assembly.checksums[0].composite);
    }

    #[test]
    fn wrong_parts_are_refused() {
        let snapshot = snapshot(&[5 * MIB - 1, 5 * MIB]);
        assert_eq!(code_of(assemble(&snapshot, &listed(&[1, 2]))), "EntityTooSmall");
        assert_eq!(code_of(assemble(&snapshot, &listed(&[2, 3]))), "InvalidPart");
        let mut wrong = listed(&[2]);
        wrong[0].e_tag = Some(ETag::Strong("0".repeat(32)));
        assert_eq!(code_of(assemble(&snapshot, &wrong)), "InvalidPart");
        let mut wrong = listed(&[2]);
        wrong[0].checksum_crc64nvme = Some("AAAAAAAAAAE=".to_owned());
        assert_eq!(code_of(assemble(&snapshot, &wrong)), "InvalidPart");
    }

    #[test]
    fn claims_of_the_whole_are_verified() {
        let assembly = assemble(&snapshot(&[7]), &listed(&[1])).unwrap();
        let check = |change: &dyn Fn(&mut CompleteMultipartUploadInput)| {
            let mut input = CompleteMultipartUploadInput::builder();
            input.set_bucket("b".to_owned());
            input.set_key("k".to_owned());
            input.set_upload_id("0".to_owned());
            let mut input = input.build().unwrap();
            change(&mut input);
            check_claims(&assembly, &input)
        };
        assert!(check(&|_| {}).is_ok());
        assert!(check(&|input| input.mpu_object_size = Some(7)).is_ok());
        assert_eq!(
            code_of(check(&|input| input.mpu_object_size = Some(8))),
            "InvalidRequest"
        );
        assert_eq!(
            code_of(check(&|input| input.checksum_crc32 = Some("AAAAAA==".to_owned()))),
            "BadDigest"
        );
        let composite = || Some(ChecksumType::from_static(ChecksumType::COMPOSITE));
        assert_eq!(
            code_of(check(&|input| input.checksum_type = composite())),
            "InvalidRequest"
        );
    }
}
