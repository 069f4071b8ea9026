//! What each operation needs, and whether a key has it.
//!
//! Must never look at buckets or objects: a refusal is the same whether they exist or not. Invariant: every operation that is
//! served has a line in [`listed`], and what has none needs every right.

use std::collections::HashMap;

use cairn_common::wire::account::{KeyAnswer, Rights};
use s3s::{S3Error, S3ErrorCode, auth::SecretKey};

use crate::error;

/// What an operation needs of the key that signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// No more than to be valid: the answer holds what the key may see.
    Valid,
    /// To make buckets.
    MakeBuckets,
    /// Some right in the bucket, whichever.
    Any,
    /// To read and list objects of the bucket.
    Read,
    /// To write and delete objects of the bucket.
    Write,
    /// To delete the bucket, or change its settings.
    Owner,
    /// Everything.
    All,
}

/// The table: what an operation needs, by its name in S3. Copies need [`Need::Read`] in the source's bucket as well.
fn listed(operation: &str) -> Option<Need> {
    Some(match operation {
        "ListBuckets" => Need::Valid,
        "CreateBucket" => Need::MakeBuckets,
        "HeadBucket" | "GetBucketLocation" | "GetBucketVersioning" => Need::Any,
        "GetObject" | "HeadObject" | "GetObjectAttributes" | "GetObjectAcl" | "GetObjectTagging" => Need::Read,
        "ListObjects" | "ListObjectsV2" | "ListObjectVersions" => Need::Read,
        "PutObject" | "CopyObject" | "DeleteObject" | "DeleteObjects" => Need::Write,
        "CreateMultipartUpload" | "UploadPart" | "UploadPartCopy" => Need::Write,
        "CompleteMultipartUpload" | "AbortMultipartUpload" => Need::Write,
        // What is uploaded in parts and not complete yet concerns those who write.
        "ListParts" | "ListMultipartUploads" => Need::Write,
        "DeleteBucket" => Need::Owner,
        "GetBucketCors"
        | "GetBucketEncryption"
        | "GetBucketLifecycleConfiguration"
        | "GetObjectLockConfiguration"
        | "GetBucketPolicy"
        | "GetBucketPolicyStatus"
        | "GetPublicAccessBlock"
        | "GetBucketReplication"
        | "GetBucketTagging"
        | "GetBucketWebsite"
        | "GetBucketAccelerateConfiguration"
        | "GetBucketLogging"
        | "GetBucketNotificationConfiguration"
        | "GetBucketAcl"
        | "GetBucketOwnershipControls"
        | "GetBucketRequestPayment" => Need::Read,
        _ => return None,
    })
}

impl Need {
    /// What an operation of s3s needs.
    pub(crate) fn of(operation: &str) -> Self {
        listed(operation).unwrap_or(Self::All)
    }

    /// The refusal of a request whose key has not what it needs.
    pub(crate) fn denied(self) -> S3Error {
        let right = match self {
            Self::Valid | Self::Any => "some right in the bucket",
            Self::MakeBuckets => "the right to make buckets",
            Self::Read => "the right to read in the bucket",
            Self::Write => "the right to write in the bucket",
            Self::Owner => "to own the bucket",
            Self::All => "all rights",
        };
        error::answer(
            S3ErrorCode::AccessDenied,
            format!("Access Denied: the access key needs {right} for this."),
        )
    }
}

/// A key that requests may be signed with. Its `Debug` form hides the secret.
#[derive(Debug)]
pub(crate) struct AccessKey {
    id: String,
    secret: SecretKey,
    /// Whether the metadata service knows it; it does not know the root key.
    is_stored: bool,
    may_do_all: bool,
    may_make_buckets: bool,
    /// By the bucket's name.
    rights: HashMap<String, Rights>,
}

impl AccessKey {
    /// The root key, which may do everything.
    pub(crate) fn root(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: SecretKey::from(secret),
            is_stored: false,
            may_do_all: true,
            may_make_buckets: true,
            rights: HashMap::new(),
        }
    }

    /// A key as the metadata service told it; none where it is switched off, or nothing that could sign.
    pub(crate) fn told(answer: KeyAnswer) -> Option<Self> {
        let key = answer.key.filter(|key| key.enabled)?;
        let user = answer.user?;
        let secret = std::str::from_utf8(&answer.secret).ok()?;
        let rights = answer.rights.into_iter();
        Some(Self {
            id: key.key_id,
            secret: SecretKey::from(secret),
            is_stored: true,
            may_do_all: user.admin,
            may_make_buckets: user.may_create_buckets,
            rights: rights.filter_map(|right| Some((right.bucket, right.rights?))).collect(),
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Who owns a bucket that it makes, as the metadata service takes it.
    pub(crate) fn as_owner(&self) -> &str {
        if self.is_stored { &self.id } else { "" }
    }

    /// Whether it may do everything, in every bucket.
    pub(crate) const fn may_do_all(&self) -> bool {
        self.may_do_all
    }

    /// Whether it has what is needed in `bucket`, or on no bucket.
    pub(crate) fn has(&self, need: Need, bucket: Option<&str>) -> bool {
        if self.may_do_all {
            return true;
        }
        let rights = bucket.and_then(|bucket| self.rights.get(bucket));
        let given = |has: fn(&Rights) -> bool| rights.is_some_and(has);
        match need {
            Need::Valid => true,
            Need::MakeBuckets => self.may_make_buckets,
            Need::Any => given(|rights| !rights.is_empty()),
            Need::Read => given(|rights| rights.read),
            Need::Write => given(|rights| rights.write),
            Need::Owner => given(|rights| rights.owner),
            Need::All => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use cairn_common::wire::account::{BucketRight, KeyInfo, UserInfo};

    use super::*;

    /// A key's answer with rights in one bucket.
    pub(crate) fn answer(id: &str, bucket: &str, rights: Rights) -> KeyAnswer {
        KeyAnswer {
            key: Some(KeyInfo {
                key_id: id.to_owned(),
                enabled: true,
                ..KeyInfo::default()
            }),
            secret: Bytes::from_static(b"very-secret"),
            user: Some(UserInfo::default()),
            rights: vec![BucketRight {
                bucket: bucket.to_owned(),
                rights: Some(rights),
                ..BucketRight::default()
            }],
        }
    }

    fn rights(read: bool, write: bool, owner: bool) -> Rights {
        Rights { read, write, owner }
    }

    #[test]
    fn every_operation_that_is_served_is_listed() {
        let service = include_str!("service.rs");
        let mut count = 0;
        for line in service.lines() {
            let Some(rest) = line.trim().strip_prefix("async fn ") else {
                continue;
            };
            let name = rest.split('(').next().unwrap_or_default();
            let words = name.split('_').map(|word| {
                let (first, others) = word.split_at(1);
                first.to_uppercase() + others
            });
            let operation: String = words.collect();
            assert!(listed(&operation).is_some(), "{operation} has no line");
            count += 1;
        }
        assert!(count > 30, "{count}");
        assert_eq!(Need::of("PutBucketPolicy"), Need::All);
    }

    #[test]
    fn a_key_has_what_it_was_given_where_it_was_given() {
        let cases = [
            (rights(true, false, false), [Need::Any, Need::Read].as_slice()),
            (rights(false, true, false), &[Need::Any, Need::Write]),
            (rights(false, false, true), &[Need::Any, Need::Owner]),
            (rights(false, false, false), &[]),
        ];
        for (rights, granted) in cases {
            let key = AccessKey::told(answer("key", "a", rights)).unwrap();
            for need in [
                Need::Any,
                Need::Read,
                Need::Write,
                Need::Owner,
                Need::All,
                Need::MakeBuckets,
            ] {
                assert_eq!(key.has(need, Some("a")), granted.contains(&need), "{rights:?} {need:?}");
                assert!(!key.has(need, Some("b")) && !key.has(need, None), "{rights:?} {need:?}");
            }
            assert!(key.has(Need::Valid, None));
            assert_eq!(key.as_owner(), "key");
        }
    }

    #[test]
    fn the_root_key_and_those_of_admins_may_do_everything() {
        let mut admins = answer("key", "a", rights(true, false, false));
        admins.user.as_mut().unwrap().admin = true;
        let root = AccessKey::root("root", "very-secret");
        assert_eq!(root.as_owner(), "");
        for key in [AccessKey::told(admins).unwrap(), root] {
            assert!(key.has(Need::All, None) && key.has(Need::Owner, Some("b")) && key.may_do_all());
            assert!(!format!("{key:?}").contains("very-secret"));
        }
    }

    #[test]
    fn a_key_that_is_switched_off_is_none() {
        let mut off = answer("key", "a", rights(true, true, true));
        off.key.as_mut().unwrap().enabled = false;
        assert!(AccessKey::told(off).is_none());
    }
}
