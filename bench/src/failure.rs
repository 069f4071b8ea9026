//! What can go wrong with one operation, and what its slot does next. Prints and counts nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

/// Why one operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpError {
    #[error("connection refused by {0}: is the server running there?")]
    Refused(SocketAddr),
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("TLS with {host} failed: {reason}")]
    Tls { host: String, reason: String },
    #[error("no progress for {limit:?} while {doing}")]
    Stalled { doing: &'static str, limit: Duration },
    #[error("not done after {limit:?}: {doing} has all but stopped")]
    TooSlow { doing: &'static str, limit: Duration },
    #[error("the server closed the connection while {doing}")]
    Closed { doing: &'static str },
    /// After an answer, and before the first byte of the next one: what is safe to repeat is sent again.
    #[error("the server closed a connection that was idle before, while {doing}")]
    ClosedIdle { doing: &'static str },
    #[error("the connection failed while {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    #[error("the answer is not HTTP as expected: {0}")]
    Protocol(String),
    #[error("{}", status_text(*status, code, message))]
    Status { status: u16, code: String, message: String },
    #[error("{key} has {found} bytes; {expected} were written")]
    Length { key: String, expected: u64, found: u64 },
    #[error("{key} is wrong at offset {offset}: {found:#04x} was read where {expected:#04x} was written")]
    Corrupt {
        key: String,
        offset: u64,
        expected: u8,
        found: u8,
    },
    #[error("a listing after {after:?} is wrong at entry {place}: {found} where {expected} was expected")]
    Listing {
        after: String,
        place: usize,
        expected: String,
        found: String,
    },
    #[error("{message}")]
    Client { kind: ErrorKind, message: String },
    #[error("{path}: {doing} failed: {source}")]
    File {
        path: String,
        doing: &'static str,
        source: io::Error,
    },
    #[error("{path} has {what} {found}; {expected} was set")]
    Attribute {
        path: String,
        what: &'static str,
        expected: String,
        found: String,
    },
    /// The run is over; not the server's failure, and not counted.
    #[error("interrupted")]
    Interrupted,
}

/// What errors are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorKind {
    Corrupt,
    Length,
    Listing,
    Attribute,
    NotFound,
    Denied,
    NoSpace,
    SlowDown,
    Status,
    Refused,
    Connect,
    Tls,
    Deadline,
    Closed,
    Protocol,
    File,
}

/// What a slot does after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Take the next object at once.
    GoOn,
    /// Pause first; the server is overloaded or away.
    BackOff,
    /// No request can succeed any more: end the phase.
    EndPhase,
    /// The phase is being ended.
    Leave,
}

impl OpError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) => ErrorKind::Refused,
            Self::Connect(..) => ErrorKind::Connect,
            Self::Tls { .. } => ErrorKind::Tls,
            Self::Stalled { .. } | Self::TooSlow { .. } => ErrorKind::Deadline,
            Self::Closed { .. } | Self::ClosedIdle { .. } | Self::Io { .. } | Self::Interrupted => ErrorKind::Closed,
            Self::Protocol(_) => ErrorKind::Protocol,
            Self::Status { status, .. } => status_kind(*status),
            Self::Length { .. } => ErrorKind::Length,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Listing { .. } => ErrorKind::Listing,
            Self::Attribute { .. } => ErrorKind::Attribute,
            Self::Client { kind, .. } => *kind,
            Self::File { source, .. } => file_kind(source.kind()),
        }
    }

    /// Nothing came for as long as may be waited.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Connect(_, source) => source.kind() == io::ErrorKind::TimedOut,
            error => error.kind() == ErrorKind::Deadline,
        }
    }

    pub(crate) fn next_step(&self) -> NextStep {
        if matches!(self, Self::Interrupted) {
            return NextStep::Leave;
        }
        match self.kind() {
            ErrorKind::Corrupt
            | ErrorKind::Length
            | ErrorKind::Listing
            | ErrorKind::Attribute
            | ErrorKind::NotFound => NextStep::GoOn,
            ErrorKind::Denied | ErrorKind::NoSpace | ErrorKind::Tls => NextStep::EndPhase,
            ErrorKind::SlowDown
            | ErrorKind::Status
            | ErrorKind::Refused
            | ErrorKind::Connect
            | ErrorKind::Deadline
            | ErrorKind::Closed
            | ErrorKind::Protocol
            | ErrorKind::File => NextStep::BackOff,
        }
    }
}

impl ErrorKind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Length => "length",
            Self::Listing => "listing",
            Self::Attribute => "attribute",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::NoSpace => "no_space",
            Self::SlowDown => "slow_down",
            Self::Status => "status",
            Self::Refused => "refused",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Deadline => "deadline",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::File => "file",
        }
    }
}

fn status_kind(status: u16) -> ErrorKind {
    match status {
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        503 => ErrorKind::SlowDown,
        507 => ErrorKind::NoSpace,
        _ => ErrorKind::Status,
    }
}

fn file_kind(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        _ => ErrorKind::File,
    }
}

fn status_text(status: u16, code: &str, message: &str) -> String {
    let hint = match status_kind(status) {
        ErrorKind::Denied if code == "SignatureDoesNotMatch" => "; the secret key is wrong",
        ErrorKind::Denied if code == "InvalidAccessKeyId" => "; the access key is unknown to the server",
        ErrorKind::Denied if code == "RequestTimeTooSkewed" => "; the clocks of client and server differ",
        ErrorKind::Denied => "; a wrong key, or one without rights on the bucket",
        ErrorKind::SlowDown => "; the server is overloaded or not ready",
        ErrorKind::NoSpace => "; the server has no room left",
        _ => "",
    };
    let separator = if message.is_empty() { "" } else { ": " };
    let code = if code.is_empty() {
        "without an S3 error code"
    } else {
        code
    };
    format!("status {status} {code}{separator}{message}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let cases = [
            (403, "denied", NextStep::EndPhase, "wrong key"),
            (404, "not_found", NextStep::GoOn, "404"),
            (503, "slow_down", NextStep::BackOff, "overloaded"),
            (507, "no_space", NextStep::EndPhase, "no room"),
            (500, "status", NextStep::BackOff, "500"),
        ];
        for (status, label, next, text) in cases {
            let error = OpError::Status {
                status,
                code: String::new(),
                message: String::new(),
            };
            assert_eq!(error.kind().label(), label);
            assert_eq!(error.next_step(), next, "{status}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
