//! Errors of a client, by what its caller tells the user or does next.

use cairn_common::{
    name::NameError,
    wire::{
        command::{ErrorCode, Refusal},
        failure::FailureCode,
    },
};
use cairn_datapath::{ReadError, SlowDown, WriteError};
use cairn_transport::CallError;

/// Why an operation on buckets, objects or uploads failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// No bucket of that name.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The bucket exists already.
    #[error("the bucket exists already")]
    BucketExists,
    /// The bucket still holds keys or uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// No object under that key.
    #[error("the key does not exist")]
    NoSuchKey,
    /// No access key of that id.
    #[error("the access key does not exist")]
    NoSuchAccessKey,
    /// The condition of a write does not hold.
    #[error("the condition does not hold")]
    PreconditionFailed,
    /// No such upload.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// The upload changed since its parts were read: read them again.
    #[error("the upload changed since its parts were read")]
    UploadChanged,
    /// A name breaks a rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A mount made something under the name that is no object.
    #[error("{0}")]
    NotAnObject(String),
    /// One command cannot share that much: the bytes are to be read and written.
    #[error("the object cannot be copied by reference in one step")]
    CopyInSteps,
    /// A limit is reached.
    #[error("{0}")]
    LimitExceeded(String),
    /// The store has too much to do now: try again later. Nothing was stored.
    #[error("{0}")]
    SlowDown(String),
    /// No device has room.
    #[error("{0}")]
    OutOfSpace(String),
    /// Too little of the store is up for this: nothing is lost, try again when it is.
    #[error("{0}")]
    Unavailable(String),
    /// Whether it was done cannot be told: no answer came, or the session that would know has ended. Asking for what is now
    /// there tells.
    #[error("it may or may not have been done: {0}")]
    OutcomeUnknown(String),
    /// Stored data is damaged beyond its redundancy. A person should look.
    #[error("{0}")]
    Corrupt(String),
    /// A bug, or versions that do not fit.
    #[error("{0}")]
    Internal(String),
}

/// For an answer that is none to what was asked.
pub(crate) fn unexpected() -> ClientError {
    ClientError::Internal("the metadata service gave an answer of another kind than was asked for".to_owned())
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        let detail = refusal.detail;
        match code {
            ErrorCode::NoSuchBucket => Self::NoSuchBucket,
            ErrorCode::BucketExists => Self::BucketExists,
            ErrorCode::BucketNotEmpty => Self::BucketNotEmpty,
            ErrorCode::NoSuchKey => Self::NoSuchKey,
            ErrorCode::NoSuchAccessKey => Self::NoSuchAccessKey,
            ErrorCode::PreconditionFailed => Self::PreconditionFailed,
            ErrorCode::NoSuchUpload => Self::NoSuchUpload,
            ErrorCode::UploadChanged => Self::UploadChanged,
            ErrorCode::NotAnObject => Self::NotAnObject(detail),
            ErrorCode::LimitExceeded | ErrorCode::QuotaExceeded => Self::LimitExceeded(detail),
            ErrorCode::CopyInSteps => Self::CopyInSteps,
            ErrorCode::SlowDown | ErrorCode::EpochMismatch | ErrorCode::SessionEnded => Self::SlowDown(detail),
            ErrorCode::NotLeader | ErrorCode::NotSupportedYet | ErrorCode::DataChanged => Self::Unavailable(detail),
            ErrorCode::OutcomeUnknown => Self::OutcomeUnknown(detail),
            ErrorCode::Corrupt => Self::Corrupt(detail),
            // What only mounts and operators ask for, and so no caller of this client yet.
            ErrorCode::NoSuchEntry
            | ErrorCode::NoSuchInode
            | ErrorCode::Exists
            | ErrorCode::NotDirectory
            | ErrorCode::IsDirectory
            | ErrorCode::NotEmpty
            | ErrorCode::NameTooLong
            | ErrorCode::InvalidName
            | ErrorCode::NotUtf8
            | ErrorCode::TooManyLinks
            | ErrorCode::Loop
            | ErrorCode::NoSuchXattr
            | ErrorCode::XattrTooLarge
            | ErrorCode::InvalidXattr
            | ErrorCode::FileTooLarge
            | ErrorCode::NotFile
            | ErrorCode::FeedTrimmed
            | ErrorCode::NoSuchUser
            | ErrorCode::AccountExists
            | ErrorCode::NoSuchDocument
            | ErrorCode::NoSuchChunk => Self::Internal(detail),
            ErrorCode::Unspecified | ErrorCode::Malformed | ErrorCode::Storage => Self::Internal(detail),
        }
    }
}

impl From<CallError> for ClientError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unreachable { .. }
            | CallError::ConnectionLost { .. }
            | CallError::DeadlineExceeded
            | CallError::Body(_) => Self::Unavailable(text),
            CallError::Malformed(_) => Self::Internal(text),
            CallError::Failed(failure) => match failure.code() {
                FailureCode::Busy => Self::SlowDown(text),
                FailureCode::DeviceFull => Self::OutOfSpace(text),
                FailureCode::Corrupt => Self::Corrupt(text),
                FailureCode::NotFound
                | FailureCode::DeviceDown
                | FailureCode::WrongDevice
                | FailureCode::NotLeader
                | FailureCode::WrongGroup
                | FailureCode::WrongEpoch
                | FailureCode::DeadlineExceeded => Self::Unavailable(text),
                FailureCode::Unspecified
                | FailureCode::Malformed
                | FailureCode::Internal
                | FailureCode::Forbidden
                | FailureCode::Unsupported => Self::Internal(text),
            },
        }
    }
}

impl From<SlowDown> for ClientError {
    fn from(error: SlowDown) -> Self {
        Self::SlowDown(error.to_string())
    }
}

impl From<WriteError> for ClientError {
    fn from(error: WriteError) -> Self {
        let text = error.to_string();
        match error {
            WriteError::TooFewDevices { .. } | WriteError::Failed { .. } => Self::Unavailable(text),
            WriteError::OutOfSpace { .. } => Self::OutOfSpace(text),
            WriteError::Busy => Self::SlowDown(text),
            WriteError::Rejected(_) => Self::Internal(text),
        }
    }
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::TooFewShards { .. } | ReadError::NoRow => Self::Unavailable(text),
            ReadError::Corrupt { .. } => Self::Corrupt(text),
            ReadError::Malformed(_) => Self::Internal(text),
        }
    }
}
