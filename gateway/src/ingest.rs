//! Bytes into the store: digested as they pass, then durable but not yet visible.
//!
//! Invariant: nothing here commits. What is returned is durable and matches every claim of its sender; on any error the writer
//! is dropped, which gives the chunks up.

use std::{ops::Range, pin::pin};

use cairn_client::{Client, ObjectReader, StoredBody};
use futures::StreamExt as _;
use s3s::S3Result;

use crate::{
    checksum::Algorithm,
    digest::{Digester, Digests},
    error::from_client,
    payload::Payload,
};

/// The checksum of a body whose sender chose none, as on AWS.
pub(crate) const DEFAULT_ALGORITHM: Algorithm = Algorithm::Crc64Nvme;

/// A body that is durable, with its digests.
pub(crate) struct Ingested {
    pub(crate) body: StoredBody,
    pub(crate) digests: Digests,
}

/// Stores the body of a request.
pub(crate) async fn from_payload(
    client: &Client,
    bucket: &str,
    mut payload: Payload,
    algorithm: Algorithm,
) -> S3Result<Ingested> {
    let mut writer = client.body_writer(bucket).await.map_err(from_client)?;
    let mut digester = Digester::new(algorithm);
    while let Some(bytes) = payload.next().await? {
        digester.update(&bytes);
        writer.write(bytes).await.map_err(from_client)?;
    }
    // Verified before the last chunks are waited for: a wrong body need not become durable.
    let digests = digester.finish();
    payload.claims().verify(&digests)?;
    let body = writer.finish().await.map_err(from_client)?;
    Ok(Ingested { body, digests })
}

/// Stores a range of another object.
pub(crate) async fn from_object(
    client: &Client,
    bucket: &str,
    reader: ObjectReader,
    range: Range<u64>,
    algorithm: Algorithm,
) -> S3Result<Ingested> {
    let mut writer = client.body_writer(bucket).await.map_err(from_client)?;
    let mut digester = Digester::new(algorithm);
    let mut stream = pin!(reader.read(range));
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(from_client)?;
        digester.update(&bytes);
        writer.write(bytes).await.map_err(from_client)?;
    }
    let body = writer.finish().await.map_err(from_client)?;
    Ok(Ingested {
        body,
        digests: digester.finish(),
    })
}
