//! Errors of files, by the error number that a program gets.

use cairn_common::wire::command::{ErrorCode, Refusal};
use cairn_datapath::{ReadError, SlowDown, WriteError};

use crate::error::ClientError;

/// Why an operation on a file failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FileError {
    /// No such name in the directory.
    #[error("no such name")]
    NoSuchEntry,
    /// The inode, or its bucket, is gone.
    #[error("the file is gone")]
    Gone,
    /// The name, or the extended attribute, is there already.
    #[error("it is there already")]
    Exists,
    /// Not a directory, where one is needed.
    #[error("not a directory")]
    NotDirectory,
    /// A directory, where none can be.
    #[error("a directory")]
    IsDirectory,
    /// The directory holds entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A name, or a symbolic link's target, is too long.
    #[error("the name is too long")]
    NameTooLong,
    /// A name that POSIX cannot have, or a directory within itself.
    #[error("invalid")]
    Invalid,
    /// A name that is not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
    /// The file has as many names as it may.
    #[error("too many links")]
    TooManyLinks,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoSuchXattr,
    /// An extended attribute, or all of an inode together, over their bounds.
    #[error("the attributes are too large")]
    XattrTooLarge,
    /// Beyond the largest file.
    #[error("the file is too large")]
    FileTooLarge,
    /// The bucket's quota is used up.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The data is not at the version expected: read it again.
    #[error("the data changed")]
    DataChanged,
    /// Too much for one command: take smaller steps.
    #[error("{0}")]
    TooMuch(String),
    /// No device has room.
    #[error("{0}")]
    OutOfSpace(String),
    /// Too little of the store is up, or it has too much to do: it may pass.
    #[error("{0}")]
    Unavailable(String),
    /// Stored data is damaged, or something is wrong with the store. A person should look.
    #[error("{0}")]
    Failed(String),
}

impl FileError {
    /// Whether the same may succeed later.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<Refusal> for FileError {
    fn from(refusal: Refusal) -> Self {
        let code = refusal.code();
        let detail = refusal.detail;
        match code {
            ErrorCode::NoSuchEntry => Self::NoSuchEntry,
            ErrorCode::NoSuchInode | ErrorCode::NoSuchBucket => Self::Gone,
            ErrorCode::Exists => Self::Exists,
            ErrorCode::NotDirectory => Self::NotDirectory,
            ErrorCode::IsDirectory => Self::IsDirectory,
            ErrorCode::NotEmpty => Self::NotEmpty,
            ErrorCode::NameTooLong => Self::NameTooLong,
            ErrorCode::InvalidName | ErrorCode::InvalidXattr | ErrorCode::Loop | ErrorCode::NotFile => Self::Invalid,
            ErrorCode::NotUtf8 => Self::NotUtf8,
            ErrorCode::TooManyLinks => Self::TooManyLinks,
            ErrorCode::NoSuchXattr => Self::NoSuchXattr,
            ErrorCode::XattrTooLarge => Self::XattrTooLarge,
            ErrorCode::FileTooLarge => Self::FileTooLarge,
            ErrorCode::QuotaExceeded => Self::QuotaExceeded(detail),
            ErrorCode::DataChanged => Self::DataChanged,
            ErrorCode::LimitExceeded => Self::TooMuch(detail),
            ErrorCode::SessionEnded
            | ErrorCode::OutcomeUnknown
            | ErrorCode::EpochMismatch
            | ErrorCode::SlowDown
            | ErrorCode::NotLeader => Self::Unavailable(format!("{code:?}: {detail}")),
            ErrorCode::Unspecified
            | ErrorCode::BucketExists
            | ErrorCode::BucketNotEmpty
            | ErrorCode::NoSuchKey
            | ErrorCode::PreconditionFailed
            | ErrorCode::NoSuchUpload
            | ErrorCode::UploadChanged
            | ErrorCode::Malformed
            | ErrorCode::Corrupt
            | ErrorCode::Storage
            | ErrorCode::NotAnObject
            | ErrorCode::NotSupportedYet
            | ErrorCode::FeedTrimmed
            | ErrorCode::CopyInSteps
            | ErrorCode::NoSuchUser
            | ErrorCode::NoSuchAccessKey
            | ErrorCode::AccountExists
            | ErrorCode::NoSuchDocument
            | ErrorCode::NoSuchChunk => Self::Failed(format!("{code:?}: {detail}")),
        }
    }
}

impl From<ClientError> for FileError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::OutOfSpace(detail) => Self::OutOfSpace(detail),
            ClientError::NoSuchBucket => Self::Gone,
            ClientError::SlowDown(detail) | ClientError::Unavailable(detail) | ClientError::OutcomeUnknown(detail) => {
                Self::Unavailable(detail)
            }
            ClientError::BucketExists
            | ClientError::BucketNotEmpty
            | ClientError::NoSuchKey
            | ClientError::NoSuchAccessKey
            | ClientError::PreconditionFailed
            | ClientError::NoSuchUpload
            | ClientError::UploadChanged
            | ClientError::Name(_)
            | ClientError::NotAnObject(_)
            | ClientError::CopyInSteps
            | ClientError::LimitExceeded(_)
            | ClientError::Corrupt(_)
            | ClientError::Internal(_) => Self::Failed(error.to_string()),
        }
    }
}

impl From<ReadError> for FileError {
    fn from(error: ReadError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<WriteError> for FileError {
    fn from(error: WriteError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<SlowDown> for FileError {
    fn from(error: SlowDown) -> Self {
        ClientError::from(error).into()
    }
}
