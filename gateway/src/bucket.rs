//! Buckets: created, looked at, listed, deleted.
//!
//! Invariant: what a bucket is created with is honoured or refused; who makes a bucket owns it, and whoever may do everything
//! owns all.

use cairn_client::ClientError;
use cairn_common::{name::check_bucket_name, wire::query::BucketInfo};
use s3s::{
    S3ErrorCode, S3Request, S3Response, S3Result,
    dto::{
        Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
        GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
        ListBucketsOutput,
    },
};

use crate::{
    attributes, auth,
    error::{self, from_client, from_name},
    gate::Gate,
    list,
    rights::Need,
    unsupported,
};

/// The region whose name AWS leaves out.
const UNNAMED_REGION: &str = "us-east-1";

/// Most buckets of one page, as AWS documents.
const PAGE_MAX: usize = 10_000;

pub(crate) async fn create_bucket(
    gate: &Gate,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    unsupported::check(&request.headers)?;
    let caller = auth::caller(&request.extensions)?;
    let input = request.input;
    check_bucket_name(&input.bucket).map_err(|error| from_name(&error))?;
    let configuration = input.create_bucket_configuration.unwrap_or_default();
    if let Some(place) = &configuration.location_constraint
        && !place.as_str().is_empty()
        && place.as_str() != gate.region
    {
        let text = format!(
            "The specified location-constraint is not valid: this store's region is {}",
            gate.region
        );
        return Err(error::answer(S3ErrorCode::InvalidLocationConstraint, text));
    }
    if configuration.bucket.is_some() || configuration.location.is_some() {
        return Err(error::not_implemented("Directory buckets are not implemented."));
    }
    let created = gate.client.create_bucket(&input.bucket, caller.as_owner()).await;
    created.map_err(|error| match error {
        ClientError::BucketExists if !caller.has(Need::Owner, Some(&input.bucket)) => error::answer(
            S3ErrorCode::BucketAlreadyExists,
            "The requested bucket name is not available: it is taken by a bucket that this key does not own.",
        ),
        error => from_client(error),
    })?;
    Ok(S3Response::new(CreateBucketOutput {
        location: Some(format!("/{}", input.bucket)),
    }))
}

pub(crate) async fn head_bucket(
    gate: &Gate,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    gate.client.bucket(&request.input.bucket).await.map_err(from_client)?;
    let bucket_region = Some(gate.region.clone());
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region,
        ..HeadBucketOutput::default()
    }))
}

pub(crate) async fn delete_bucket(
    gate: &Gate,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    gate.client
        .delete_bucket(&request.input.bucket)
        .await
        .map_err(from_client)?;
    Ok(S3Response::new(DeleteBucketOutput::default()))
}

pub(crate) async fn bucket_location(
    gate: &Gate,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    gate.client.bucket(&request.input.bucket).await.map_err(from_client)?;
    let named = (gate.region != UNNAMED_REGION).then(|| gate.region.clone());
    let location_constraint = named.map(BucketLocationConstraint::from);
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
}

pub(crate) async fn list_buckets(
    gate: &Gate,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    let caller = auth::caller(&request.extensions)?;
    let input = request.input;
    let max = usize::try_from(input.max_buckets.unwrap_or(10_000))
        .ok()
        .filter(|max| (1..=PAGE_MAX).contains(max));
    let max = max.ok_or_else(|| error::invalid_argument("max-buckets must be an integer between 1 and 10000"))?;
    let from = input
        .continuation_token
        .as_deref()
        .map(list::from_token)
        .transpose()?
        .unwrap_or_default();
    let prefix = input.prefix.clone().unwrap_or_default();
    let elsewhere = input.bucket_region.is_some_and(|region| region.as_str() != gate.region);
    let mut buckets = gate.client.buckets().await.map_err(from_client)?;
    let shown =
        |bucket: &BucketInfo| !elsewhere && bucket.name.starts_with(&prefix) && bucket.name.as_bytes() >= &from[..];
    buckets.retain(|bucket| shown(bucket) && caller.has(Need::Any, Some(&bucket.name)));
    let continuation_token = buckets.get(max).map(|next| list::to_token(next.name.as_bytes()));
    buckets.truncate(max);
    let to_bucket = |bucket: BucketInfo| Bucket {
        bucket_region: Some(gate.region.clone()),
        creation_date: Some(attributes::timestamp(bucket.created_ms)),
        name: Some(bucket.name),
    };
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets.into_iter().map(to_bucket).collect()),
        continuation_token,
        owner: Some(list::owner()),
        prefix: input.prefix,
    }))
}
