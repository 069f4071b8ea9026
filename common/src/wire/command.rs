//! Commands: every change of the metadata, and what is answered.
//!
//! Invariant: a command holds all that decides its outcome (names, condition, data); what it does depends on nothing but
//! the state it meets, its entry's log index and its entry's time. Each names its bucket; none spans two.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{
    account::AccountCommand,
    authority::KeepAuthority,
    chunk::{ChunkCommand, ChunkOutcome},
    file::{FileCommand, FileId, FileOutcome, OrphansPage},
    lease::OwnChange,
    lock::{LockCommand, LockOutcome},
    map::MapMessage,
    object::{Body, ObjectAttributes, ObjectChecksum, PartSize},
    server::RegisterServer,
};
use crate::envelope::Record;

/// A command with what makes it happen exactly once.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The session that sends it; 0 only for commands that need none.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// The session's own number of this command, from 1. Sent again, it gets the first answer.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Below this sequence the session has all its answers: they need not be kept.
    #[prost(uint64, tag = "3")]
    pub answered_below: u64,
    /// The Raft group that the sender takes for the bucket's, by the group table.
    #[prost(uint32, tag = "4")]
    pub group: u32,
    /// Whether the sender sent this command before and had no answer. Where its session has ended by now, nobody knows
    /// whether it was carried out then.
    #[prost(bool, tag = "5")]
    pub resent: bool,
    /// Whether it tells of what a mount did alone under a lease that was in force when this was first sent: a leader that does not know the
    /// leases of the one before carries it out before it hears what others want.
    #[prost(bool, tag = "6")]
    pub settles: bool,
    /// The command.
    #[prost(
        oneof = "Command",
        tags = "10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 40, 41, 42, 43, 44, 45, 50, 51, 52, 53, 60, 61, 62, 63, 65, 66"
    )]
    pub command: Option<Command>,
}

/// A batch of commands: the payload of one Raft entry.
#[derive(Clone, PartialEq, Message)]
pub struct EntryBatch {
    /// The leader's wall time, in milliseconds since 1970. It stamps records and decides nothing else.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// The commands, applied in order.
    #[prost(message, repeated, tag = "2")]
    pub requests: Vec<WriteRequest>,
}

impl Record for EntryBatch {
    const VERSION: u8 = 1;
}

/// What is to change.
#[derive(Clone, PartialEq, Oneof)]
pub enum Command {
    /// Opens a session. Needs none.
    #[prost(message, tag = "10")]
    OpenSession(OpenSession),
    /// Keeps a session alive.
    #[prost(message, tag = "11")]
    Heartbeat(Heartbeat),
    /// Ends a session, by its owner or because its lease ran out.
    #[prost(message, tag = "12")]
    EndSession(EndSession),
    /// Puts a new cluster map in force.
    #[prost(message, tag = "13")]
    InstallMap(InstallMap),
    /// Creates a bucket.
    #[prost(message, tag = "20")]
    CreateBucket(CreateBucket),
    /// Deletes an empty bucket.
    #[prost(message, tag = "21")]
    DeleteBucket(DeleteBucket),
    /// Changes a bucket's settings.
    #[prost(message, tag = "22")]
    UpdateBucket(UpdateBucket),
    /// Stores or removes a named settings document of a bucket.
    #[prost(message, tag = "23")]
    PutBucketDocument(PutBucketDocument),
    /// Makes a whole object visible under its key.
    #[prost(message, tag = "30")]
    PutObject(PutObject),
    /// Removes a key.
    #[prost(message, tag = "31")]
    DeleteObject(DeleteObject),
    /// Makes an object of the chunks of another.
    #[prost(message, tag = "32")]
    CopyObject(CopyObject),
    /// Starts a multipart upload.
    #[prost(message, tag = "40")]
    CreateUpload(CreateUpload),
    /// Adds or replaces a part.
    #[prost(message, tag = "41")]
    PutPart(PutPart),
    /// Makes the parts visible as one object.
    #[prost(message, tag = "42")]
    CompleteUpload(CompleteUpload),
    /// Ends an upload and gives its parts up.
    #[prost(message, tag = "43")]
    AbortUpload(AbortUpload),
    /// Adds or replaces a part, made of the chunks of an object.
    #[prost(message, tag = "44")]
    CopyPart(CopyPart),
    /// Gives up uploads that nobody goes on with. Only the metadata server gives it.
    #[prost(message, tag = "45")]
    ExpireUploads(ExpireUploads),
    /// Takes bounded steps of releasing what deleted files held.
    #[prost(message, tag = "50")]
    ReleaseStep(ReleaseStep),
    /// Forgets chunks whose shards are deleted.
    #[prost(message, tag = "51")]
    ForgetChunks(ForgetChunks),
    /// Raises what all servers are known to understand.
    #[prost(message, tag = "52")]
    RaiseFeatureLevel(RaiseFeatureLevel),
    /// Holds all deletion of data, or lets it go on.
    #[prost(message, tag = "53")]
    HoldDeletion(HoldDeletion),
    /// Changes files and directories as a mount does.
    #[prost(message, tag = "60")]
    File(FileCommand),
    /// Sets and releases locks.
    #[prost(message, tag = "61")]
    Lock(LockCommand),
    /// Changes users, keys and rights.
    #[prost(message, tag = "62")]
    Account(AccountCommand),
    /// Changes chunk records.
    #[prost(message, tag = "63")]
    Chunk(ChunkCommand),
    // Tag 64 is kept for commands of the change feed; it has none.
    /// Writes down who a chunkserver is. Only the metadata server gives it.
    #[prost(message, tag = "65")]
    RegisterServer(RegisterServer),
    /// Keeps a copy of the cluster's authority.
    #[prost(message, tag = "66")]
    KeepAuthority(KeepAuthority),
}

/// Opens a session.
#[derive(Clone, PartialEq, Message)]
pub struct OpenSession {
    /// Whether it is a mount's: then files without a name are kept while the session holds them open, and its heartbeats
    /// say which.
    #[prost(bool, tag = "1")]
    pub mounts: bool,
}

/// Keeps a session alive, and tells what it no longer needs.
#[derive(Clone, PartialEq, Message)]
pub struct Heartbeat {
    /// Every chunk of the session with a smaller counter is committed or given up.
    #[prost(uint64, tag = "1")]
    pub settled_below: u64,
    /// No read of this session, running or to come, uses state older than this log index.
    #[prost(uint64, tag = "2")]
    pub reads_from: u64,
    /// Of a mount: every file that lost its last name up to this log index was compared with its open files.
    #[prost(uint64, tag = "3")]
    pub orphans_seen: u64,
    /// Of a mount: all of these that it holds open. Nothing is kept on behalf of a session that leaves it out.
    #[prost(message, repeated, tag = "4")]
    pub held: Vec<FileId>,
}

/// Ends a session.
#[derive(Clone, PartialEq, Message)]
pub struct EndSession {
    /// The session.
    #[prost(uint64, tag = "1")]
    pub session: u64,
}

/// Puts a new cluster map in force; refused unless its epoch is one more than the present one's.
#[derive(Clone, PartialEq, Message)]
pub struct InstallMap {
    /// The map.
    #[prost(message, optional, tag = "1")]
    pub map: Option<MapMessage>,
}

/// Creates a bucket.
#[derive(Clone, PartialEq, Message)]
pub struct CreateBucket {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Data shards of its chunks; 1 for replicas.
    #[prost(uint32, tag = "2")]
    pub data_shards: u32,
    /// Parity shards of its chunks, or copies beyond the first.
    #[prost(uint32, tag = "3")]
    pub parity_shards: u32,
    /// Largest chunk, in bytes.
    #[prost(uint32, tag = "4")]
    pub chunk_size_bytes: u32,
    /// Id of the access key that owns it from the start; empty for none.
    #[prost(string, tag = "5")]
    pub owner_key: String,
}

/// Changes a bucket's settings: what is left out stays.
#[derive(Clone, PartialEq, Message)]
pub struct UpdateBucket {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Most bytes of objects and of parts of uploads, redundancy not counted; 0 for no bound.
    #[prost(uint64, optional, tag = "2")]
    pub quota_bytes: Option<u64>,
    /// Most objects; 0 for no bound.
    #[prost(uint64, optional, tag = "3")]
    pub quota_objects: Option<u64>,
    /// Largest chunk of new data, in bytes.
    #[prost(uint32, optional, tag = "4")]
    pub chunk_size_bytes: Option<u32>,
    /// Redundancy of new data.
    #[prost(message, optional, tag = "5")]
    pub redundancy: Option<RedundancyMessage>,
    /// Days after its last part when an upload is given up; 0 for never.
    #[prost(uint32, optional, tag = "6")]
    pub abandoned_uploads_days: Option<u32>,
    /// Changes that the bucket's feed keeps; 0 for no feed.
    #[prost(uint64, optional, tag = "7")]
    pub feed_entries_max: Option<u64>,
    /// Shards of a chunk that need not be confirmed when it is committed; never so many that fewer than k+1 are left.
    #[prost(uint32, optional, tag = "8")]
    pub missing_shards_max: Option<u32>,
}

/// A redundancy as numbers.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RedundancyMessage {
    /// Data shards; 1 for replicas.
    #[prost(uint32, tag = "1")]
    pub data_shards: u32,
    /// Parity shards, or copies beyond the first.
    #[prost(uint32, tag = "2")]
    pub parity_shards: u32,
}

/// Stores a named settings document of a bucket in place of the one before, or removes it. What is in it means nothing here.
#[derive(Clone, PartialEq, Message)]
pub struct PutBucketDocument {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The document's name: 1 to 64 bytes.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The document, up to 64 KiB; none to remove it, which succeeds where there is none.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub content: Option<Bytes>,
}

/// Deletes an empty bucket.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteBucket {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What must hold of the object now under the key.
#[derive(Clone, PartialEq, Message)]
pub struct WriteCondition {
    /// There must be none.
    #[prost(bool, tag = "1")]
    pub must_be_absent: bool,
    /// Its entity tag must be this one; `*` for any; empty for no condition.
    #[prost(string, tag = "2")]
    pub etag: String,
    /// If there is one, it must be of this many bytes.
    #[prost(uint64, optional, tag = "3")]
    pub size: Option<u64>,
    /// If there is one, it must have been committed in this second since 1970.
    #[prost(uint64, optional, tag = "4")]
    pub modified_s: Option<u64>,
}

/// Makes a whole object visible under its key.
#[derive(Clone, PartialEq, Message)]
pub struct PutObject {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// Its attributes.
    #[prost(message, optional, tag = "3")]
    pub attributes: Option<ObjectAttributes>,
    /// Its bytes.
    #[prost(message, optional, tag = "4")]
    pub body: Option<Body>,
    /// What must hold before.
    #[prost(message, optional, tag = "5")]
    pub condition: Option<WriteCondition>,
}

/// Removes a key; removing one that is not there succeeds, unless a condition says otherwise.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteObject {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// What must hold before.
    #[prost(message, optional, tag = "3")]
    pub condition: Option<WriteCondition>,
}

/// Makes an object of the chunks of another in the same bucket, which keeps them too; no data is read or written. Refused
/// with [`ErrorCode::CopyInSteps`] where the source has too many extents, or mixes chunks with inline parts: the sender
/// starts an upload and copies ranges with [`CopyPart`], or reads and writes.
#[derive(Clone, PartialEq, Message)]
pub struct CopyObject {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// Where the bytes come from.
    #[prost(message, optional, tag = "2")]
    pub source: Option<CopySource>,
    /// The key of the new object; it may be the source's.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// The new object's attributes; none to take those of the source.
    #[prost(message, optional, tag = "4")]
    pub attributes: Option<ObjectAttributes>,
    /// What must hold of the object now under `key`.
    #[prost(message, optional, tag = "5")]
    pub condition: Option<WriteCondition>,
}

/// An object that is copied, as its reader found it.
#[derive(Clone, PartialEq, Message)]
pub struct CopySource {
    /// Its key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The inode that must still be under the key; 0 for any.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// What must hold of it.
    #[prost(message, optional, tag = "3")]
    pub condition: Option<WriteCondition>,
}

/// Starts a multipart upload.
#[derive(Clone, PartialEq, Message)]
pub struct CreateUpload {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key that the object will have.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The attributes that the object will have; its checksums name the algorithm and type chosen, without values.
    #[prost(message, optional, tag = "3")]
    pub attributes: Option<ObjectAttributes>,
}

/// Adds or replaces a part.
#[derive(Clone, PartialEq, Message)]
pub struct PutPart {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key of the upload.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The upload.
    #[prost(uint64, tag = "3")]
    pub upload: u64,
    /// The part's number, 1 to 10,000.
    #[prost(uint32, tag = "4")]
    pub number: u32,
    /// Entity tag of the part, without quotes.
    #[prost(string, tag = "5")]
    pub etag: String,
    /// Checksums of the part.
    #[prost(message, repeated, tag = "6")]
    pub checksums: Vec<ObjectChecksum>,
    /// Its bytes.
    #[prost(message, optional, tag = "7")]
    pub body: Option<Body>,
}

/// Makes the parts visible as one object. The sender read all parts at `revision` and checked them; where a part has
/// changed since, the command is refused with [`ErrorCode::UploadChanged`] and the sender reads again.
#[derive(Clone, PartialEq, Message)]
pub struct CompleteUpload {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key of the upload.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The upload.
    #[prost(uint64, tag = "3")]
    pub upload: u64,
    /// The upload's revision at which the parts were read.
    #[prost(uint64, tag = "4")]
    pub revision: u64,
    /// The chosen parts in ascending order; the others are given up.
    #[prost(message, repeated, tag = "5")]
    pub parts: Vec<PartSize>,
    /// Entity tag of the object, without quotes.
    #[prost(string, tag = "6")]
    pub etag: String,
    /// Checksums of the object.
    #[prost(message, repeated, tag = "7")]
    pub checksums: Vec<ObjectChecksum>,
    /// What must hold before.
    #[prost(message, optional, tag = "8")]
    pub condition: Option<WriteCondition>,
}

/// Ends an upload and gives its parts up.
#[derive(Clone, PartialEq, Message)]
pub struct AbortUpload {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key of the upload.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The upload.
    #[prost(uint64, tag = "3")]
    pub upload: u64,
}

/// Adds or replaces a part made of a range of an object of the same bucket; no data is read or written. Refused with
/// [`ErrorCode::CopyInSteps`] where the range has too many extents, or mixes chunks with inline bytes or holes: the sender
/// takes smaller ranges, or reads and writes.
#[derive(Clone, PartialEq, Message)]
pub struct CopyPart {
    /// The bucket's name.
    #[prost(string, tag = "1")]
    pub bucket: String,
    /// The key of the upload.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The upload.
    #[prost(uint64, tag = "3")]
    pub upload: u64,
    /// The part's number, 1 to 10,000.
    #[prost(uint32, tag = "4")]
    pub number: u32,
    /// Entity tag of the part, without quotes.
    #[prost(string, tag = "5")]
    pub etag: String,
    /// Checksums of the part.
    #[prost(message, repeated, tag = "6")]
    pub checksums: Vec<ObjectChecksum>,
    /// Where the bytes come from.
    #[prost(message, optional, tag = "7")]
    pub source: Option<CopySource>,
    /// First byte of the range.
    #[prost(uint64, tag = "8")]
    pub offset: u64,
    /// Bytes of the range; it lies within the source.
    #[prost(uint64, tag = "9")]
    pub length: u64,
}

/// Gives up uploads of a bucket whose last part is older, by the entry's time, than the bucket's setting.
#[derive(Clone, PartialEq, Message)]
pub struct ExpireUploads {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket_id: u64,
    /// Uploads to give up at most.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

/// Takes up to `steps` steps of releasing what deleted files and uploads held.
#[derive(Clone, PartialEq, Message)]
pub struct ReleaseStep {
    /// Records to release at most.
    #[prost(uint32, tag = "1")]
    pub steps: u32,
}

/// Forgets garbage chunks: their shards are deleted from every device.
#[derive(Clone, PartialEq, Message)]
pub struct ForgetChunks {
    /// Chunk ids, 16 bytes each.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub chunk_ids: Vec<Bytes>,
}

/// Raises the feature level; it never goes down.
#[derive(Clone, PartialEq, Message)]
pub struct RaiseFeatureLevel {
    /// The new level.
    #[prost(uint32, tag = "1")]
    pub level: u32,
}

/// Holds all deletion of data, as after old metadata was restored, or lets it go on. May be sent again.
#[derive(Clone, PartialEq, Message)]
pub struct HoldDeletion {
    /// Whether nothing may be released or deleted.
    #[prost(bool, tag = "1")]
    pub held: bool,
    /// The generation of new session ids is raised to this; it never goes down, and 0 leaves it. A restore takes one that the
    /// store never used, so that no chunk id comes twice.
    #[prost(uint32, tag = "2")]
    pub generation: u32,
}

/// The answer to a command: a log index and either a reply or an error.
#[derive(Clone, PartialEq, Message)]
pub struct WriteReply {
    /// Log index of the entry that applied the command.
    #[prost(uint64, tag = "1")]
    pub log_index: u64,
    /// The outcome.
    #[prost(oneof = "Outcome", tags = "2, 3, 4, 5, 6, 7, 8, 9, 60, 61, 63, 70")]
    pub outcome: Option<Outcome>,
    /// Where the sender's session has leases, the term in which it was given one of the inode in the outcome; else 0. Never
    /// part of the state.
    #[prost(uint64, tag = "100")]
    pub lease_term: u64,
    /// What of the session's leases the command has changed. Never part of the state.
    #[prost(message, repeated, tag = "101")]
    pub changed: Vec<OwnChange>,
    /// Directories that the session alone uses from now on. Never part of the state.
    #[prost(uint64, repeated, tag = "102")]
    pub alone: Vec<u64>,
}

impl Record for WriteReply {
    const VERSION: u8 = 1;
}

/// What a command came to.
#[derive(Clone, PartialEq, Oneof)]
#[expect(
    clippy::large_enum_variant,
    reason = "most outcomes of a mount are the large one; a box for each would cost more than it saves"
)]
pub enum Outcome {
    /// It was refused and changed nothing.
    #[prost(message, tag = "2")]
    Refused(Refusal),
    /// It was done; there is nothing to tell.
    #[prost(message, tag = "3")]
    Done(Done),
    /// The session that was opened.
    #[prost(uint64, tag = "4")]
    Session(u64),
    /// The upload that was started.
    #[prost(uint64, tag = "5")]
    Upload(u64),
    /// When the object was committed, in milliseconds since 1970.
    #[prost(uint64, tag = "6")]
    CommittedMs(u64),
    /// Records still to release.
    #[prost(uint64, tag = "7")]
    ReleaseLeft(u64),
    /// What a file command came to.
    #[prost(message, tag = "60")]
    File(FileOutcome),
    /// The answer to a mount session's heartbeat.
    #[prost(message, tag = "70")]
    Orphans(OrphansPage),
    /// What was copied.
    #[prost(message, tag = "8")]
    Copied(Copied),
    /// How many uploads were given up; fewer than asked for means that none is left to.
    #[prost(uint64, tag = "9")]
    UploadsExpired(u64),
    /// What a lock command came to.
    #[prost(message, tag = "61")]
    Lock(LockOutcome),
    /// What a chunk command came to.
    #[prost(message, tag = "63")]
    Chunk(ChunkOutcome),
}

/// What was copied.
#[derive(Clone, PartialEq, Message)]
pub struct Copied {
    /// When it was committed, in milliseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub committed_ms: u64,
    /// Entity tag of the new object or part, without quotes.
    #[prost(string, tag = "2")]
    pub etag: String,
    /// Its bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
}

/// Nothing to tell.
#[derive(Clone, PartialEq, Message)]
pub struct Done {}

/// A refusal.
#[derive(Clone, PartialEq, Message)]
pub struct Refusal {
    /// Why.
    #[prost(enumeration = "ErrorCode", tag = "1")]
    pub code: i32,
    /// For a person: what was wrong and what to do.
    #[prost(string, tag = "2")]
    pub detail: String,
}

/// Why a command or query was refused. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ErrorCode {
    /// Not a code; a message without one is malformed.
    Unspecified = 0,
    /// No bucket of that name.
    NoSuchBucket = 1,
    /// The bucket exists already.
    BucketExists = 2,
    /// The bucket still holds keys or uploads.
    BucketNotEmpty = 3,
    /// No object under that key.
    NoSuchKey = 4,
    /// The condition does not hold.
    PreconditionFailed = 5,
    /// No such upload.
    NoSuchUpload = 6,
    /// The upload changed since its parts were read: read again.
    UploadChanged = 7,
    /// The session has ended: open another; what it had not committed is given up. The command was not carried out.
    SessionEnded = 8,
    /// The command was sent before, and its answer is gone: it is below the session's watermark, or its session has ended
    /// since. Whether it was carried out is unknown: look at the state.
    OutcomeUnknown = 9,
    /// The message breaks a rule of its kind.
    Malformed = 10,
    /// A limit is reached.
    LimitExceeded = 11,
    /// The map's epoch is not the expected one: fetch the map again.
    EpochMismatch = 12,
    /// The server has too much to do: try again later.
    SlowDown = 13,
    /// Another server leads, or none: try again.
    NotLeader = 14,
    /// A stored record is damaged. A person should look.
    Corrupt = 15,
    /// The state cannot be read or written. A person should look.
    Storage = 16,
    /// No such name in the directory.
    NoSuchEntry = 20,
    /// The inode is gone: what is known of it is stale.
    NoSuchInode = 21,
    /// The name, or the extended attribute, is there already.
    Exists = 22,
    /// Not a directory, where one is needed.
    NotDirectory = 23,
    /// A directory, where none can be.
    IsDirectory = 24,
    /// The directory holds entries, of which a mount may show none.
    NotEmpty = 25,
    /// A name over 255 bytes.
    NameTooLong = 26,
    /// A name that POSIX cannot have.
    InvalidName = 27,
    /// A name that is not UTF-8.
    NotUtf8 = 28,
    /// The file has as many names as it may.
    TooManyLinks = 29,
    /// The directory would lie within itself.
    Loop = 30,
    /// No such extended attribute.
    NoSuchXattr = 31,
    /// An extended attribute, or all of an inode together, over their bounds.
    XattrTooLarge = 32,
    /// Beyond the largest file.
    FileTooLarge = 33,
    /// The bucket's quota is used up: delete something, or raise it.
    QuotaExceeded = 34,
    /// The data is not at the version expected: read it again.
    DataChanged = 35,
    /// Neither a directory nor a regular file, and only the latter holds data.
    NotFile = 36,
    /// The key is taken by a symbolic link, fifo, socket or device, which S3 leaves alone.
    NotAnObject = 37,
    /// The feature level in force does not hold this yet: have every server upgraded, then the level is raised.
    NotSupportedYet = 17,
    /// Changes behind the position are gone, or none are kept: read the state anew, and go on from there.
    FeedTrimmed = 40,
    /// Too much to be copied in one command: copy it in ranges.
    CopyInSteps = 41,
    /// No such user.
    NoSuchUser = 42,
    /// No access key of that id.
    NoSuchAccessKey = 43,
    /// The user, or the access key, exists already.
    AccountExists = 44,
    /// The bucket has no settings document of that name.
    NoSuchDocument = 45,
    /// No chunk of that id.
    NoSuchChunk = 46,
    /// A value that an extended attribute of this name, or of this inode, cannot have.
    InvalidXattr = 47,
}
