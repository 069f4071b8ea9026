//! Queries: linearizable reads of the metadata, and their answers.
//!
//! Invariant: every query visits a bounded number of records; what does not fit a page says where to go on.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{
    account::{AccountAnswer, AccountQuery},
    authority::{AuthorityAnswer, AuthorityQuery},
    chunk::{ChunkAnswer, ChunkQuery},
    command::Refusal,
    feed::{FeedPage, FeedQuery},
    file::{FileAnswer, FileQuery},
    group::{GroupTable, GroupTableQuery},
    lock::{LockAnswer, LockQuery},
    map::MapMessage,
    object::{Extent, ObjectAttributes, ObjectChecksum, ObjectInfo},
    server::{ServersPage, ServersQuery},
};

/// A query.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// What is asked.
    #[prost(
        oneof = "Query",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 60, 61, 62, 63, 64, 65, 66, 70"
    )]
    pub query: Option<Query>,
    /// The Raft group that the sender takes for the bucket's, by the group table.
    #[prost(uint32, tag = "100")]
    pub group: u32,
    /// The session of a mount that wants a lease of the inodes in the answer, and of the directory that a name is looked up in;
    /// 0 for none.
    #[prost(uint64, tag = "101")]
    pub lease_session: u64,
}

/// What is asked.
#[derive(Clone, PartialEq, Oneof)]
pub enum Query {
    /// The cluster map.
    #[prost(message, tag = "1")]
    Map(MapQuery),
    /// One bucket.
    #[prost(message, tag = "2")]
    Bucket(BucketQuery),
    /// All buckets.
    #[prost(message, tag = "3")]
    Buckets(BucketsQuery),
    /// An object and the first page of its read plan.
    #[prost(message, tag = "4")]
    Object(ObjectQuery),
    /// A further page of a read plan.
    #[prost(message, tag = "5")]
    Plan(PlanQuery),
    /// A page of keys.
    #[prost(message, tag = "6")]
    List(ListQuery),
    /// A page of an upload's parts.
    #[prost(message, tag = "7")]
    Parts(PartsQuery),
    /// A page of uploads.
    #[prost(message, tag = "8")]
    Uploads(UploadsQuery),
    /// Counts for status and metrics.
    #[prost(message, tag = "9")]
    Summary(SummaryQuery),
    /// A question of a mount.
    #[prost(message, tag = "60")]
    File(FileQuery),
    /// Which Raft group holds which bucket, and who its members are. Any member answers it, whether or not there is a
    /// leader.
    #[prost(message, tag = "70")]
    Groups(GroupTableQuery),
    /// A settings document of a bucket.
    #[prost(message, tag = "10")]
    Document(DocumentQuery),
    /// Names of a bucket's settings documents.
    #[prost(message, tag = "11")]
    Documents(DocumentsQuery),
    /// Locks of files.
    #[prost(message, tag = "61")]
    Lock(LockQuery),
    /// Users, keys and rights.
    #[prost(message, tag = "62")]
    Account(AccountQuery),
    /// Chunks and their repair.
    #[prost(message, tag = "63")]
    Chunk(ChunkQuery),
    /// Changes of a bucket.
    #[prost(message, tag = "64")]
    Feed(FeedQuery),
    /// The chunkservers.
    #[prost(message, tag = "65")]
    Servers(ServersQuery),
    /// The copy of the cluster's authority.
    #[prost(message, tag = "66")]
    Authority(AuthorityQuery),
}

/// The cluster map. Where the one that the asker knows is still in force, the answer is its epoch alone.
#[derive(Clone, PartialEq, Message)]
pub struct MapQuery {
    /// Epoch of the map that the asker knows; 0 for none.
    #[prost(uint64, tag = "1")]
    pub known_epoch: u64,
}

/// One bucket by name.
#[derive(Clone, PartialEq, Message)]
pub struct BucketQuery {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// All buckets, by name.
#[derive(Clone, PartialEq, Message)]
pub struct BucketsQuery {}

/// An object by key.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// Whether the read plan is wanted.
    #[prost(bool, tag = "3")]
    pub with_plan: bool,
    /// First byte the plan should cover.
    #[prost(uint64, tag = "4")]
    pub plan_from: u64,
}

/// A further page of an object's read plan.
#[derive(Clone, PartialEq, Message)]
pub struct PlanQuery {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket_id: u64,
    /// The inode.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// First byte the page should cover.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// The data version of the first page: where a mount has changed the file since, the query is refused.
    #[prost(uint64, tag = "4")]
    pub data_version: u64,
}

/// A page of keys in byte order.
#[derive(Clone, PartialEq, Message)]
pub struct ListQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// Only keys that start so.
    #[prost(bytes = "bytes", tag = "2")]
    pub prefix: Bytes,
    /// Keys that hold this behind the prefix are rolled up; empty for none.
    #[prost(bytes = "bytes", tag = "3")]
    pub delimiter: Bytes,
    /// Only keys from this one on, itself included.
    #[prost(bytes = "bytes", tag = "4")]
    pub from: Bytes,
    /// Entries at most.
    #[prost(uint32, tag = "5")]
    pub limit: u32,
}

/// A page of parts in order of their numbers.
#[derive(Clone, PartialEq, Message)]
pub struct PartsQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key of the upload.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The upload.
    #[prost(uint64, tag = "3")]
    pub upload: u64,
    /// Only parts with a greater number.
    #[prost(uint32, tag = "4")]
    pub after: u32,
    /// Parts at most.
    #[prost(uint32, tag = "5")]
    pub limit: u32,
}

/// A page of uploads in order of (key, upload).
#[derive(Clone, PartialEq, Message)]
pub struct UploadsQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// Only keys that start so.
    #[prost(bytes = "bytes", tag = "2")]
    pub prefix: Bytes,
    /// Only uploads behind this (key, upload); an upload of 0 is before all of its key, `u64::MAX` behind all of it.
    #[prost(bytes = "bytes", tag = "3")]
    pub after_key: Bytes,
    /// See `after_key`.
    #[prost(uint64, tag = "4")]
    pub after_upload: u64,
    /// Uploads at most.
    #[prost(uint32, tag = "5")]
    pub limit: u32,
}

/// Counts for status and metrics.
#[derive(Clone, PartialEq, Message)]
pub struct SummaryQuery {}

/// A settings document of a bucket.
#[derive(Clone, PartialEq, Message)]
pub struct DocumentQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The document's name.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Names of a bucket's settings documents.
#[derive(Clone, PartialEq, Message)]
pub struct DocumentsQuery {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
}

/// The answer to a query.
#[derive(Clone, PartialEq, Message)]
pub struct ReadReply {
    /// Log index of the newest entry that the answer takes account of.
    #[prost(uint64, tag = "1")]
    pub log_index: u64,
    /// The answer.
    #[prost(
        oneof = "Answer",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 60, 61, 62, 63, 64, 65, 66, 70"
    )]
    pub answer: Option<Answer>,
    /// The term in which the leases that were asked for are given; 0 where they are not.
    #[prost(uint64, tag = "100")]
    pub lease_term: u64,
}

/// An answer, one kind for each kind of query.
#[derive(Clone, PartialEq, Oneof)]
pub enum Answer {
    /// The query was refused.
    #[prost(message, tag = "2")]
    Refused(Refusal),
    /// The cluster map.
    #[prost(message, tag = "3")]
    Map(MapMessage),
    /// One bucket.
    #[prost(message, tag = "4")]
    Bucket(BucketInfo),
    /// All buckets.
    #[prost(message, tag = "5")]
    Buckets(BucketsPage),
    /// An object.
    #[prost(message, tag = "6")]
    Object(ObjectAnswer),
    /// A further page of a read plan.
    #[prost(message, tag = "7")]
    Plan(Plan),
    /// A page of keys.
    #[prost(message, tag = "8")]
    List(ListPage),
    /// A page of parts.
    #[prost(message, tag = "9")]
    Parts(PartsPage),
    /// A page of uploads.
    #[prost(message, tag = "10")]
    Uploads(UploadsPage),
    /// Counts.
    #[prost(message, tag = "11")]
    Summary(Summary),
    /// The answer to a question of a mount.
    #[prost(message, tag = "60")]
    File(FileAnswer),
    /// The group table.
    #[prost(message, tag = "70")]
    Groups(GroupTable),
    /// A settings document of a bucket.
    #[prost(message, tag = "12")]
    Document(Document),
    /// Names of a bucket's settings documents.
    #[prost(message, tag = "13")]
    Documents(DocumentNames),
    /// Locks of files.
    #[prost(message, tag = "61")]
    Lock(LockAnswer),
    /// Users, keys and rights.
    #[prost(message, tag = "62")]
    Account(AccountAnswer),
    /// Chunks and their repair.
    #[prost(message, tag = "63")]
    Chunk(ChunkAnswer),
    /// Changes of a bucket.
    #[prost(message, tag = "64")]
    Feed(FeedPage),
    /// The chunkservers.
    #[prost(message, tag = "65")]
    Servers(ServersPage),
    /// The copy of the cluster's authority.
    #[prost(message, tag = "66")]
    Authority(AuthorityAnswer),
}

/// A bucket.
#[derive(Clone, PartialEq, Message)]
pub struct BucketInfo {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// When it was made, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub created_ms: u64,
    /// Data shards of its chunks; 1 for replicas.
    #[prost(uint32, tag = "4")]
    pub data_shards: u32,
    /// Parity shards of its chunks, or copies beyond the first.
    #[prost(uint32, tag = "5")]
    pub parity_shards: u32,
    /// Largest chunk, in bytes.
    #[prost(uint32, tag = "6")]
    pub chunk_size_bytes: u32,
    /// Settings beside those above.
    #[prost(message, optional, tag = "7")]
    pub settings: Option<BucketSettings>,
    /// What it holds.
    #[prost(message, optional, tag = "8")]
    pub usage: Option<BucketUsage>,
}

/// Settings of a bucket beside those of its chunks.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSettings {
    /// Most bytes of objects and of parts of uploads; 0 for no bound.
    #[prost(uint64, tag = "1")]
    pub quota_bytes: u64,
    /// Most objects; 0 for no bound.
    #[prost(uint64, tag = "2")]
    pub quota_objects: u64,
    /// Days after its last part when an upload is given up; 0 for never.
    #[prost(uint32, tag = "3")]
    pub abandoned_uploads_days: u32,
    /// Changes that the bucket's feed keeps; 0 for no feed.
    #[prost(uint64, tag = "4")]
    pub feed_entries_max: u64,
    /// Shards of a chunk that need not be confirmed when it is committed.
    #[prost(uint32, tag = "5")]
    pub missing_shards_max: u32,
}

/// What a bucket holds; bytes without redundancy.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketUsage {
    /// Objects, and files without a name that are kept.
    #[prost(uint64, tag = "1")]
    pub objects: u64,
    /// Their bytes.
    #[prost(uint64, tag = "2")]
    pub object_bytes: u64,
    /// Uploads under way.
    #[prost(uint64, tag = "3")]
    pub uploads: u64,
    /// Bytes of their parts.
    #[prost(uint64, tag = "4")]
    pub upload_bytes: u64,
}

/// A settings document of a bucket.
#[derive(Clone, PartialEq, Message)]
pub struct Document {
    /// What was stored.
    #[prost(bytes = "bytes", tag = "1")]
    pub content: Bytes,
    /// When, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    pub modified_ms: u64,
}

/// Names of a bucket's settings documents, in order.
#[derive(Clone, PartialEq, Message)]
pub struct DocumentNames {
    /// The names.
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

/// All buckets, by name.
#[derive(Clone, PartialEq, Message)]
pub struct BucketsPage {
    /// The buckets.
    #[prost(message, repeated, tag = "1")]
    pub buckets: Vec<BucketInfo>,
}

/// An object with the start of its read plan.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectAnswer {
    /// The object.
    #[prost(message, optional, tag = "1")]
    pub info: Option<ObjectInfo>,
    /// The plan from the byte asked for on, where it was asked for.
    #[prost(message, optional, tag = "2")]
    pub plan: Option<Plan>,
    /// The bucket's number, for further pages.
    #[prost(uint64, tag = "3")]
    pub bucket_id: u64,
}

/// Where the bytes of a file lie, from some byte on.
#[derive(Clone, PartialEq, Message)]
pub struct Plan {
    /// All bytes of the file, where it is an inline one.
    #[prost(bytes = "bytes", tag = "1")]
    pub inline: Bytes,
    /// Extents in order, the first being the one that holds the byte asked for, or the next one behind it. What no extent
    /// of the page covers is a hole, which reads as zeros; only files that a mount wrote have any.
    #[prost(message, repeated, tag = "2")]
    pub extents: Vec<Extent>,
    /// First byte of the next page; 0 where this one reaches the end of the file.
    #[prost(uint64, tag = "3")]
    pub next_from: u64,
    /// Moves with every change of the data in place; 0 for an object as it was put.
    #[prost(uint64, tag = "4")]
    pub data_version: u64,
}

/// A page of keys and common prefixes in byte order.
#[derive(Clone, PartialEq, Message)]
pub struct ListPage {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<ListEntry>,
    /// Where to go on; empty at the end of the listing.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_from: Bytes,
}

/// A key or a common prefix.
#[derive(Clone, PartialEq, Message)]
pub struct ListEntry {
    /// The key, or the common prefix.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Whether it is a common prefix; then nothing else is set.
    #[prost(bool, tag = "2")]
    pub is_prefix: bool,
    /// Bytes of the object.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// When it was committed, in milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub modified_ms: u64,
    /// Its entity tag, without quotes.
    #[prost(string, tag = "5")]
    pub etag: String,
    /// Its checksums, values left out.
    #[prost(message, repeated, tag = "6")]
    pub checksums: Vec<ObjectChecksum>,
}

/// A page of parts.
#[derive(Clone, PartialEq, Message)]
pub struct PartsPage {
    /// The upload's revision: it grows with each part put.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// The attributes given at its start.
    #[prost(message, optional, tag = "2")]
    pub attributes: Option<ObjectAttributes>,
    /// When it was started, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub started_ms: u64,
    /// The parts.
    #[prost(message, repeated, tag = "4")]
    pub parts: Vec<PartInfo>,
    /// Whether more follow.
    #[prost(bool, tag = "5")]
    pub more: bool,
}

/// A part.
#[derive(Clone, PartialEq, Message)]
pub struct PartInfo {
    /// Its number.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// Its bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Its entity tag, without quotes.
    #[prost(string, tag = "3")]
    pub etag: String,
    /// When it was committed, in milliseconds since 1970.
    #[prost(uint64, tag = "4")]
    pub modified_ms: u64,
    /// Its checksums.
    #[prost(message, repeated, tag = "5")]
    pub checksums: Vec<ObjectChecksum>,
}

/// A page of uploads.
#[derive(Clone, PartialEq, Message)]
pub struct UploadsPage {
    /// The uploads.
    #[prost(message, repeated, tag = "1")]
    pub uploads: Vec<UploadInfo>,
    /// Whether more follow.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// An upload.
#[derive(Clone, PartialEq, Message)]
pub struct UploadInfo {
    /// The key that the object will have.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Its number.
    #[prost(uint64, tag = "2")]
    pub upload: u64,
    /// When it was started, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub started_ms: u64,
    /// Checksum algorithm and type chosen at its start.
    #[prost(message, repeated, tag = "4")]
    pub checksums: Vec<ObjectChecksum>,
}

/// Counts for status and metrics.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// Buckets.
    #[prost(uint64, tag = "1")]
    pub buckets: u64,
    /// Objects, all buckets together.
    #[prost(uint64, tag = "2")]
    pub objects: u64,
    /// Bytes of objects, redundancy not counted.
    #[prost(uint64, tag = "3")]
    pub object_bytes: u64,
    /// Records waiting to be released.
    #[prost(uint64, tag = "4")]
    pub release_pending: u64,
    /// Sessions alive.
    #[prost(uint64, tag = "5")]
    pub sessions: u64,
    /// Epoch of the cluster map.
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    /// The feature level.
    #[prost(uint32, tag = "7")]
    pub feature_level: u32,
    /// Chunks that wait for repair.
    #[prost(uint64, tag = "8")]
    pub repair_pending: u64,
    /// Whether all deletion of data is held.
    #[prost(bool, tag = "9")]
    pub deletion_held: bool,
    /// The generation of session ids.
    #[prost(uint32, tag = "10")]
    pub generation: u32,
    /// The node that holds the cluster's authority; 0 where no copy of it is kept.
    #[prost(uint64, tag = "11")]
    pub authority_holder: u64,
}
