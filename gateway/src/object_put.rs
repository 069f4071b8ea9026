//! PutObject: one body, one commit.
//!
//! Invariant: the object becomes visible only after its whole body was received, verified and made durable; the condition is
//! decided by the state machine in the same command.

use s3s::{
    S3Request, S3Response, S3Result,
    dto::{PutObjectInput, PutObjectOutput},
};

use crate::{
    attributes, conditions,
    error::from_client,
    gate::Gate,
    ingest::{self, DEFAULT_ALGORITHM},
    payload::Payload,
    unsupported,
};

pub(crate) async fn put_object(
    gate: &Gate,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    unsupported::check(&request.headers)?;
    let metadata = request.input.metadata.take();
    let mut attributes = attributes::from_request(&request.headers, metadata)?;
    let payload = Payload::from_request(&request)?;
    let algorithm = payload.claims().algorithm().unwrap_or(DEFAULT_ALGORITHM);
    let input = request.input;
    let condition = conditions::write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let ingested = ingest::from_payload(&gate.client, &input.bucket, payload, algorithm).await?;
    attributes.etag = ingested.digests.etag();
    attributes.checksums = vec![ingested.digests.checksum()];
    let e_tag = Some(attributes::etag(&attributes.etag));
    let mut response = S3Response::new(PutObjectOutput {
        e_tag,
        ..PutObjectOutput::default()
    });
    attributes::add_checksums(&mut response.headers, &attributes.checksums);
    let put = gate.client.put_object(
        &input.bucket,
        input.key.as_bytes(),
        attributes,
        ingested.body,
        condition,
    );
    put.await.map_err(from_client)?;
    Ok(response)
}
