//! Checkpoints of the metadata state, read file by file: for a member that needs a snapshot, and for backups.
//!
//! A checkpoint is a directory that never changes. Its manifest, a sealed [`CheckpointManifest`], is read like a file, under
//! the empty name. Bytes come in the body of the answer. Invariant: whatever was read is checked against the manifest's
//! hashes before it is used.

use prost::Message;

use crate::envelope::Record;

/// Reads a range of one file of a checkpoint, or of its manifest.
#[derive(Clone, PartialEq, Message)]
pub struct ReadCheckpoint {
    /// Which checkpoint: for a snapshot, the log index that it holds the state at.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Whether `number` is a backup's, as [`BackUpReply`] told it, and not a snapshot's.
    #[prost(bool, tag = "2")]
    pub backup: bool,
    /// The file, as the manifest names it; empty for the manifest itself.
    #[prost(string, tag = "3")]
    pub file: String,
    /// First byte wanted.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// Bytes wanted, at most [`crate::limits::CHECKPOINT_READ_BYTES_MAX`]; the answer ends with the file.
    #[prost(uint64, tag = "5")]
    pub length: u64,
}

/// The answer to [`ReadCheckpoint`], the bytes behind it.
#[derive(Clone, PartialEq, Message)]
pub struct ReadCheckpointReply {
    /// Bytes of the whole file.
    #[prost(uint64, tag = "1")]
    pub file_length: u64,
}

/// What a checkpoint holds.
#[derive(Clone, PartialEq, Message)]
pub struct CheckpointManifest {
    /// The checkpoint's number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Its files, in the order of their names.
    #[prost(message, repeated, tag = "2")]
    pub files: Vec<CheckpointFile>,
    /// How far its state is: the metadata's sealed record of that.
    #[prost(bytes = "bytes", tag = "3")]
    pub applied: bytes::Bytes,
    /// The members at that point: the metadata's sealed record of them.
    #[prost(bytes = "bytes", tag = "4")]
    pub membership: bytes::Bytes,
}

impl Record for CheckpointManifest {
    const VERSION: u8 = 1;
}

/// A file of a checkpoint.
#[derive(Clone, PartialEq, Message)]
pub struct CheckpointFile {
    /// Its name: one component.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its bytes.
    #[prost(uint64, tag = "2")]
    pub length: u64,
    /// BLAKE3 of them, 32 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub hash: bytes::Bytes,
}

/// Asks the server for a checkpoint to back up, or says that one is no longer needed.
#[derive(Clone, PartialEq, Message)]
pub struct BackUp {
    /// The checkpoint of an earlier answer that may go; none asks for a new one.
    #[prost(uint64, optional, tag = "1")]
    pub done_with: Option<u64>,
}

/// The answer to [`BackUp`].
#[derive(Clone, PartialEq, Message)]
pub struct BackUpReply {
    /// The checkpoint to read with [`ReadCheckpoint`], `backup` set. It holds all that was acknowledged when it was asked for.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}
