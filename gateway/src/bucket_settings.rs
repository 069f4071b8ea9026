//! The settings that clients ask a bucket for, as far as a truthful answer is the same for every bucket.
//!
//! Must never accept a setting. Invariant: a missing bucket is told first; what can be set on AWS and not here is answered as
//! on a bucket where it never was set.

use http::StatusCode;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    dto::{
        GetBucketAclOutput, GetBucketOwnershipControlsOutput, GetBucketRequestPaymentOutput, GetObjectAclOutput,
        GetObjectTaggingOutput, Grant, Grantee, ObjectOwnership, OwnershipControls, OwnershipControlsRule, Payer,
        Permission, Type,
    },
};

use crate::{error, error::from_client, gate::Gate, list};

/// A setting that nobody made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    Cors,
    Encryption,
    Lifecycle,
    ObjectLock,
    Policy,
    PublicAccessBlock,
    Replication,
    Tagging,
    Website,
}

impl Unset {
    fn error(self) -> S3Error {
        let (code, text) = match self {
            Self::Cors => (
                S3ErrorCode::NoSuchCORSConfiguration,
                "The CORS configuration does not exist",
            ),
            Self::Encryption => (
                S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError,
                "The server side encryption configuration was not found",
            ),
            Self::Lifecycle => (
                S3ErrorCode::NoSuchLifecycleConfiguration,
                "The lifecycle configuration does not exist",
            ),
            Self::ObjectLock => (
                S3ErrorCode::ObjectLockConfigurationNotFoundError,
                "Object Lock configuration does not exist for this bucket",
            ),
            Self::Policy => (S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist"),
            Self::PublicAccessBlock => (
                S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into()),
                "The public access block configuration was not found",
            ),
            Self::Replication => (
                S3ErrorCode::ReplicationConfigurationNotFoundError,
                "The replication configuration was not found",
            ),
            Self::Tagging => (S3ErrorCode::NoSuchTagSet, "The TagSet does not exist"),
            Self::Website => (
                S3ErrorCode::NoSuchWebsiteConfiguration,
                "The specified bucket does not have a website configuration",
            ),
        };
        let mut error = error::answer(code, text);
        error.set_status_code(StatusCode::NOT_FOUND);
        error
    }
}

/// Tells that a setting of an existing bucket is not made.
pub(crate) async fn unset<T>(gate: &Gate, bucket: &str, setting: Unset) -> S3Result<T> {
    check(gate, bucket).await?;
    Err(setting.error())
}

/// The bucket must exist.
pub(crate) async fn check(gate: &Gate, bucket: &str) -> S3Result<()> {
    gate.client.bucket(bucket).await.map(|_| ()).map_err(from_client)
}

/// The object must exist.
pub(crate) async fn check_object(gate: &Gate, bucket: &str, key: &str) -> S3Result<()> {
    gate.client
        .object_info(bucket, key.as_bytes())
        .await
        .map(|_| ())
        .map_err(from_client)
}

/// Access lists are off: the owner holds every right, and nobody else any.
pub(crate) fn bucket_acl() -> GetBucketAclOutput {
    GetBucketAclOutput {
        grants: Some(vec![owners_grant()]),
        owner: Some(list::owner()),
    }
}

/// See [`bucket_acl`].
pub(crate) fn object_acl() -> GetObjectAclOutput {
    GetObjectAclOutput {
        grants: Some(vec![owners_grant()]),
        owner: Some(list::owner()),
        request_charged: None,
    }
}

fn owners_grant() -> Grant {
    let owner = list::owner();
    let grantee = Grantee {
        display_name: owner.display_name,
        email_address: None,
        id: owner.id,
        type_: Type::from_static(Type::CANONICAL_USER),
        uri: None,
    };
    let permission = Some(Permission::from_static(Permission::FULL_CONTROL));
    Grant {
        grantee: Some(grantee),
        permission,
    }
}

pub(crate) fn ownership_controls() -> GetBucketOwnershipControlsOutput {
    let object_ownership = ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let rules = vec![OwnershipControlsRule { object_ownership }];
    GetBucketOwnershipControlsOutput {
        ownership_controls: Some(OwnershipControls { rules }),
    }
}

pub(crate) fn request_payment() -> GetBucketRequestPaymentOutput {
    GetBucketRequestPaymentOutput {
        payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
    }
}

pub(crate) fn no_tags() -> GetObjectTaggingOutput {
    GetObjectTaggingOutput {
        tag_set: Vec::new(),
        version_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_settings_are_not_found() {
        let all = [
            Unset::Cors,
            Unset::Encryption,
            Unset::Lifecycle,
            Unset::ObjectLock,
            Unset::Policy,
            Unset::PublicAccessBlock,
            Unset::Replication,
            Unset::Tagging,
            Unset::Website,
        ];
        for setting in all {
            assert_eq!(
                setting.error().status_code(),
                Some(StatusCode::NOT_FOUND),
                "{setting:?}"
            );
        }
    }
}
