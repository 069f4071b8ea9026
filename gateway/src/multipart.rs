//! Multipart uploads: started, fed with parts, aborted.
//!
//! Invariant: a part is committed only after its whole body was received, verified and made durable, with the checksum that
//! the upload chose at its start.

use cairn_common::{
    ids::UploadId,
    limits::PART_NUMBER_MAX,
    wire::object::{ObjectAttributes, ObjectChecksum},
};
use s3s::{
    S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, UploadPartInput, UploadPartOutput,
    },
};

use crate::{
    attributes,
    checksum::Algorithm,
    error::{self, from_client},
    gate::Gate,
    ingest::{self, DEFAULT_ALGORITHM},
    payload::Payload,
    unsupported,
};

pub(crate) async fn create_upload(
    gate: &Gate,
    mut request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    unsupported::check(&request.headers)?;
    let metadata = request.input.metadata.take();
    let mut attributes = attributes::from_request(&request.headers, metadata)?;
    let input = request.input;
    let chosen = choose_checksum(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
    attributes.checksums.extend(chosen.clone());
    let upload = gate
        .client
        .create_upload(&input.bucket, input.key.as_bytes(), attributes);
    let upload = upload.await.map_err(from_client)?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_type: chosen
            .as_ref()
            .map(|chosen| ChecksumType::from_static(attributes::checksum_type(chosen))),
        checksum_algorithm: chosen.map(|chosen| ChecksumAlgorithm::from(chosen.algorithm)),
        key: Some(input.key),
        upload_id: Some(format_upload_id(upload)),
        ..CreateMultipartUploadOutput::default()
    }))
}

/// The checksum that the object will have, its value still empty. The defaults and refusals are those that AWS documents.
fn choose_checksum(
    algorithm: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> S3Result<Option<ObjectChecksum>> {
    let Some(name) = algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(error::invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let algorithm = Algorithm::from_name(name.as_str())
        .ok_or_else(|| error::invalid_request("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"))?;
    let composite = match kind.map(ChecksumType::as_str) {
        None => algorithm != Algorithm::Crc64Nvme,
        Some(ChecksumType::COMPOSITE) => true,
        Some(ChecksumType::FULL_OBJECT) => false,
        Some(_) => {
            return Err(error::invalid_request(
                "Value for x-amz-checksum-type header is invalid.",
            ));
        }
    };
    if composite && algorithm == Algorithm::Crc64Nvme || !composite && !algorithm.is_combinable() {
        let kind = if composite { "COMPOSITE" } else { "FULL_OBJECT" };
        let name = algorithm.name().to_ascii_lowercase();
        let text = format!("The {kind} checksum type cannot be used with the {name} checksum algorithm.");
        return Err(error::invalid_request(text));
    }
    Ok(Some(ObjectChecksum {
        algorithm: algorithm.name().to_owned(),
        value: String::new(),
        composite,
    }))
}

pub(crate) async fn upload_part(
    gate: &Gate,
    request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    unsupported::check(&request.headers)?;
    let number = part_number(request.input.part_number)?;
    let upload = parse_upload_id(&request.input.upload_id)?;
    let payload = Payload::from_request(&request)?;
    let UploadPartInput { bucket, key, .. } = request.input;
    let chosen = chosen_algorithm(gate, &bucket, key.as_bytes(), upload).await?;
    let claimed = payload.claims().algorithm();
    if let (Some(chosen), Some(claimed)) = (chosen, claimed)
        && chosen != claimed
    {
        let (chosen, claimed) = (chosen.name().to_ascii_lowercase(), claimed.name().to_ascii_lowercase());
        return Err(error::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {chosen}, actual checksum Type: {claimed}"
        )));
    }
    let algorithm = chosen.or(claimed).unwrap_or(DEFAULT_ALGORITHM);
    let ingested = ingest::from_payload(&gate.client, &bucket, payload, algorithm).await?;
    let checksums = vec![ingested.digests.checksum()];
    let etag = ingested.digests.etag();
    let e_tag = Some(attributes::etag(&etag));
    let mut response = S3Response::new(UploadPartOutput {
        e_tag,
        ..UploadPartOutput::default()
    });
    attributes::add_checksums(&mut response.headers, &checksums);
    response.headers.remove("x-amz-checksum-type");
    let put = gate
        .client
        .put_part(&bucket, key.as_bytes(), upload, number, etag, checksums, ingested.body);
    put.await.map_err(from_client)?;
    Ok(response)
}

pub(crate) async fn abort_upload(
    gate: &Gate,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    if input.if_match_initiated_time.is_some() {
        return Err(error::not_implemented(
            "Conditions on the start of an upload are not implemented.",
        ));
    }
    let upload = parse_upload_id(&input.upload_id)?;
    gate.client
        .abort_upload(&input.bucket, input.key.as_bytes(), upload)
        .await
        .map_err(from_client)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

/// The checksum algorithm chosen at the start of an upload, which must exist. Asked before a part's body is taken, so that a
/// part of no upload is refused early.
pub(crate) async fn chosen_algorithm(
    gate: &Gate,
    bucket: &str,
    key: &[u8],
    upload: UploadId,
) -> S3Result<Option<Algorithm>> {
    let page = gate
        .client
        .parts(bucket, key, upload, PART_NUMBER_MAX, 1)
        .await
        .map_err(from_client)?;
    Ok(chosen_checksum(page.attributes.as_ref()).and_then(|chosen| Algorithm::from_name(&chosen.algorithm)))
}

/// The checksum chosen at the start of an upload.
pub(crate) fn chosen_checksum(attributes: Option<&ObjectAttributes>) -> Option<&ObjectChecksum> {
    attributes.and_then(|attributes| attributes.checksums.first())
}

/// A part number from a request.
pub(crate) fn part_number(number: i32) -> S3Result<u32> {
    let number = u32::try_from(number)
        .ok()
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| error::invalid_argument("Part number must be an integer between 1 and 10000, inclusive"))
}

/// An upload id as clients see it.
pub(crate) fn format_upload_id(upload: UploadId) -> String {
    format!("{:016x}", upload.value())
}

/// An upload id from a request; what was never given out names no upload.
pub(crate) fn parse_upload_id(text: &str) -> S3Result<UploadId> {
    let digits = text.len() == 16
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    let value = if digits {
        u64::from_str_radix(text, 16).ok()
    } else {
        None
    };
    value.map(UploadId::new).ok_or_else(error::no_such_upload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_ids_survive_and_others_name_nothing() {
        let upload = UploadId::new(0xabc);
        assert_eq!(parse_upload_id(&format_upload_id(upload)).unwrap(), upload);
        for text in ["", "abc", "+00000000000abcd", "0000000000000ABC", "00000000000000000"] {
            assert_eq!(
                parse_upload_id(text).unwrap_err().code().as_str(),
                "NoSuchUpload",
                "{text}"
            );
        }
    }

    #[test]
    fn checksum_types_follow_the_algorithm() {
        let choose = |algorithm: Option<&'static str>, kind: Option<&'static str>| {
            let algorithm = algorithm.map(ChecksumAlgorithm::from_static);
            let kind = kind.map(ChecksumType::from_static);
            choose_checksum(algorithm.as_ref(), kind.as_ref()).map(|chosen| chosen.map(|chosen| chosen.composite))
        };
        assert_eq!(choose(None, None).unwrap(), None);
        assert_eq!(choose(Some("CRC32"), None).unwrap(), Some(true));
        assert_eq!(choose(Some("CRC32"), Some("FULL_OBJECT")).unwrap(), Some(false));
        assert_eq!(choose(Some("CRC64NVME"), None).unwrap(), Some(false));
        assert_eq!(choose(Some("SHA256"), None).unwrap(), Some(true));
        for (algorithm, kind) in [
            (None, Some("COMPOSITE")),
            (Some("MD4"), None),
            (Some("SHA1"), Some("FULL_OBJECT")),
            (Some("CRC64NVME"), Some("COMPOSITE")),
            (Some("CRC32"), Some("OTHER")),
        ] {
            assert_eq!(
                choose(algorithm, kind).unwrap_err().code().as_str(),
                "InvalidRequest",
                "{algorithm:?} {kind:?}"
            );
        }
    }

    #[test]
    fn part_numbers_are_bounded() {
        assert_eq!(part_number(1).unwrap(), 1);
        assert_eq!(part_number(10_000).unwrap(), 10_000);
        for number in [0, -1, 10_001] {
            assert_eq!(part_number(number).unwrap_err().code().as_str(), "InvalidArgument");
        }
    }
}
