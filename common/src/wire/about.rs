//! Which bucket a command or query is about, which decides the Raft group that it goes to; and who may give a command.
//!
//! Invariant: everything that reads or changes a bucket's records names that bucket; the rest goes to the first group. What
//! could let data be forgotten that is still there is given by the metadata service alone.

use super::{
    command::Command,
    query::Query,
    role::{Role, Roles},
};
use crate::ids::BucketId;

/// How a request names its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboutBucket<'a> {
    /// By its name.
    Name(&'a str),
    /// By its number.
    Id(BucketId),
}

impl Command {
    /// The bucket that the command is about.
    pub fn bucket(&self) -> Option<AboutBucket<'_>> {
        let name = match self {
            Self::PutObject(put) => &put.bucket,
            Self::DeleteObject(delete) => &delete.bucket,
            Self::CreateUpload(create) => &create.bucket,
            Self::PutPart(put) => &put.bucket,
            Self::CompleteUpload(complete) => &complete.bucket,
            Self::AbortUpload(abort) => &abort.bucket,
            Self::CopyObject(copy) => &copy.bucket,
            Self::CopyPart(copy) => &copy.bucket,
            Self::UpdateBucket(update) => &update.name,
            Self::PutBucketDocument(put) => &put.bucket,
            Self::Lock(command) => return Some(AboutBucket::Id(BucketId::new(command.bucket_id))),
            Self::File(command) => return Some(AboutBucket::Id(BucketId::new(command.bucket))),
            Self::OpenSession(_)
            | Self::Heartbeat(_)
            | Self::EndSession(_)
            | Self::InstallMap(_)
            // Names of buckets are kept by the first group.
            | Self::CreateBucket(_)
            | Self::DeleteBucket(_)
            | Self::ReleaseStep(_)
            | Self::ForgetChunks(_)
            | Self::ExpireUploads(_)
            | Self::HoldDeletion(_)
            | Self::Account(_)
            | Self::Chunk(_)
            | Self::RegisterServer(_)
            | Self::KeepAuthority(_)
            | Self::RaiseFeatureLevel(_) => return None,
        };
        Some(AboutBucket::Name(name))
    }
}

/// Who changes what concerns the whole store.
const OPERATORS: Roles = Roles::of(&[Role::Operator, Role::Metadata]);

/// Who reads and changes names, checks requests by access keys, and changes the keys.
const NAMESPACE: Roles = Roles::of(&[Role::Client, Role::Operator, Role::Metadata]);

impl Command {
    /// Who may give the command; where that is nobody, the metadata service gives it by itself.
    pub fn senders(&self) -> Roles {
        match self {
            Self::ForgetChunks(_) | Self::ReleaseStep(_) | Self::ExpireUploads(_) | Self::RegisterServer(_) => {
                Roles::NONE
            }
            Self::Chunk(command) if command.is_internal() => Roles::NONE,
            Self::InstallMap(_) | Self::RaiseFeatureLevel(_) | Self::HoldDeletion(_) | Self::Account(_) => OPERATORS,
            // Whoever could change the copy could undo a revocation, or let himself in.
            Self::KeepAuthority(_) => Roles::of(&[Role::Metadata]),
            // Whoever reads or stores shards finds out about them.
            Self::Chunk(_) => Roles::MEMBER,
            Self::OpenSession(_)
            | Self::Heartbeat(_)
            | Self::EndSession(_)
            | Self::CreateBucket(_)
            | Self::DeleteBucket(_)
            | Self::UpdateBucket(_)
            | Self::PutBucketDocument(_)
            | Self::PutObject(_)
            | Self::DeleteObject(_)
            | Self::CopyObject(_)
            | Self::CreateUpload(_)
            | Self::PutPart(_)
            | Self::CopyPart(_)
            | Self::CompleteUpload(_)
            | Self::AbortUpload(_)
            | Self::File(_)
            | Self::Lock(_) => NAMESPACE,
        }
    }
}

impl Query {
    /// Who may ask. Chunkservers have no use for names, and none for access keys, whose secrets stand in the answers.
    pub fn senders(&self) -> Roles {
        match self {
            Self::Authority(_) => Roles::of(&[Role::Metadata]),
            Self::Account(_)
            | Self::Object(_)
            | Self::List(_)
            | Self::Parts(_)
            | Self::Uploads(_)
            | Self::File(_)
            | Self::Plan(_)
            | Self::Feed(_)
            | Self::Lock(_)
            | Self::Document(_)
            | Self::Documents(_) => NAMESPACE,
            Self::Chunk(_)
            | Self::Servers(_)
            | Self::Map(_)
            | Self::Bucket(_)
            | Self::Buckets(_)
            | Self::Summary(_)
            | Self::Groups(_) => Roles::MEMBER,
        }
    }

    /// The bucket that the query is about.
    pub fn bucket(&self) -> Option<AboutBucket<'_>> {
        match self {
            Self::Object(query) => Some(AboutBucket::Name(&query.bucket)),
            Self::List(query) => Some(AboutBucket::Name(&query.bucket)),
            Self::Parts(query) => Some(AboutBucket::Name(&query.bucket)),
            Self::Uploads(query) => Some(AboutBucket::Name(&query.bucket)),
            Self::File(query) => Some(AboutBucket::Id(BucketId::new(query.bucket))),
            Self::Plan(query) => Some(AboutBucket::Id(BucketId::new(query.bucket_id))),
            Self::Feed(query) => Some(AboutBucket::Id(BucketId::new(query.bucket_id))),
            Self::Lock(query) => Some(AboutBucket::Id(BucketId::new(query.bucket_id))),
            Self::Document(query) => Some(AboutBucket::Name(&query.bucket)),
            Self::Documents(query) => Some(AboutBucket::Name(&query.bucket)),
            Self::Account(_)
            | Self::Authority(_)
            | Self::Chunk(_)
            | Self::Servers(_)
            | Self::Map(_)
            | Self::Bucket(_)
            | Self::Buckets(_)
            | Self::Summary(_)
            | Self::Groups(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        account::AccountQuery,
        chunk::{ChunkChange, ChunkCommand, ReportShards},
        command::DeleteObject,
        query::{BucketsQuery, ListQuery},
    };

    #[test]
    fn chunkservers_neither_read_nor_change_names_and_learn_no_secrets_of_keys() {
        let keys = Query::Account(AccountQuery::default());
        let list = Query::List(ListQuery::default());
        let buckets = Query::Buckets(BucketsQuery {});
        let delete = Command::DeleteObject(DeleteObject::default());
        let change = Some(ChunkChange::Report(ReportShards::default()));
        let report = Command::Chunk(ChunkCommand { change });
        for (role, may_ask) in [
            (Role::Client, true),
            (Role::Operator, true),
            (Role::Metadata, true),
            (Role::Chunkserver, false),
        ] {
            for senders in [keys.senders(), list.senders(), delete.senders()] {
                assert_eq!(senders.has(role), may_ask, "{role}");
            }
            assert!(report.senders().has(role), "{role}");
            assert!(buckets.senders().has(role), "{role}");
        }
    }
}
