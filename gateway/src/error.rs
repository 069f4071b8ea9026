//! Every failure as the S3 error that AWS documents for it.
//!
//! Owns the mapping of client errors, in one exhaustive match, and the few codes that s3s has no name for. Invariant: the text
//! of an error says what is wrong in the user's terms; what a person should look at is logged here, once.

use std::borrow::Cow;

use cairn_client::ClientError;
use cairn_common::name::NameError;
use http::StatusCode;
use s3s::{S3Error, S3ErrorCode};

/// The S3 error for a client error.
pub(crate) fn from_client(error: ClientError) -> S3Error {
    match error {
        ClientError::NoSuchBucket => answer(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"),
        ClientError::BucketExists => answer(
            S3ErrorCode::BucketAlreadyOwnedByYou,
            "Your previous request to create the named bucket succeeded and you already own it.",
        ),
        ClientError::BucketNotEmpty => answer(
            S3ErrorCode::BucketNotEmpty,
            "The bucket you tried to delete is not empty",
        ),
        ClientError::NoSuchKey => answer(S3ErrorCode::NoSuchKey, "The specified key does not exist."),
        ClientError::NoSuchAccessKey => unknown_key(),
        ClientError::PreconditionFailed => precondition_failed(),
        ClientError::NoSuchUpload => no_such_upload(),
        ClientError::UploadChanged => answer(
            S3ErrorCode::OperationAborted,
            "A part of the upload changed while it was being completed. Please try again.",
        ),
        ClientError::Name(error) => from_name(&error),
        ClientError::NotAnObject(text) => answer(S3ErrorCode::MethodNotAllowed, text),
        ClientError::LimitExceeded(text) => answer(S3ErrorCode::InvalidRequest, text),
        ClientError::SlowDown(text) => answer(S3ErrorCode::SlowDown, text),
        ClientError::OutOfSpace(text) => answer(
            S3ErrorCode::ServiceUnavailable,
            format!("The store has no room for this: devices are full ({text})"),
        ),
        ClientError::Unavailable(text) | ClientError::OutcomeUnknown(text) => {
            answer(S3ErrorCode::ServiceUnavailable, text)
        }
        ClientError::Corrupt(text) => {
            tracing::error!(%text, "stored data is damaged beyond its redundancy");
            answer(
                S3ErrorCode::InternalError,
                format!("Stored data is damaged beyond its redundancy: {text}"),
            )
        }
        // The caller copies by itself then.
        error @ ClientError::CopyInSteps => answer(S3ErrorCode::InternalError, error.to_string()),
        ClientError::Internal(text) => {
            tracing::error!(%text, "a request failed for an internal reason");
            answer(S3ErrorCode::InternalError, text)
        }
    }
}

/// The S3 error for a name that breaks a rule.
pub(crate) fn from_name(error: &NameError) -> S3Error {
    match error {
        NameError::Bucket => answer(S3ErrorCode::InvalidBucketName, error.to_string()),
        NameError::KeyEmpty => answer(S3ErrorCode::InvalidArgument, error.to_string()),
        NameError::KeyTooLong(_) => answer(S3ErrorCode::KeyTooLongError, error.to_string()),
    }
}

/// An error with a text of its own.
pub(crate) fn answer(code: S3ErrorCode, text: impl Into<Cow<'static, str>>) -> S3Error {
    S3Error::with_message(code, text)
}

/// An error whose code s3s has no name for.
pub(crate) fn custom(code: &'static str, status: StatusCode, text: impl Into<Cow<'static, str>>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), text);
    error.set_status_code(status);
    error
}

/// For a key that does not exist, or is switched off.
pub(crate) fn unknown_key() -> S3Error {
    answer(
        S3ErrorCode::InvalidAccessKeyId,
        "The AWS Access Key Id you provided does not exist in our records.",
    )
}

pub(crate) fn precondition_failed() -> S3Error {
    answer(
        S3ErrorCode::PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold",
    )
}

pub(crate) fn no_such_upload() -> S3Error {
    answer(
        S3ErrorCode::NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
}

pub(crate) fn no_such_version() -> S3Error {
    answer(S3ErrorCode::NoSuchVersion, "The specified version does not exist.")
}

pub(crate) fn invalid_argument(text: impl Into<Cow<'static, str>>) -> S3Error {
    answer(S3ErrorCode::InvalidArgument, text)
}

pub(crate) fn invalid_request(text: impl Into<Cow<'static, str>>) -> S3Error {
    answer(S3ErrorCode::InvalidRequest, text)
}

pub(crate) fn not_implemented(text: impl Into<Cow<'static, str>>) -> S3Error {
    answer(S3ErrorCode::NotImplemented, text)
}

pub(crate) fn incomplete_body() -> S3Error {
    answer(
        S3ErrorCode::IncompleteBody,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

/// The text for errors that s3s raises without one.
pub(crate) fn standard_text(code: &str) -> &'static str {
    match code {
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        }
        "InvalidBucketName" => "The specified bucket is not valid.",
        "KeyTooLongError" => "Your key is too long.",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "MalformedXML" => "The XML you provided was not well-formed or did not validate against our published schema.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "IncompleteBody" => "You did not provide the number of bytes specified by the Content-Length HTTP header",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MaxMessageLengthExceeded" => "Your request was too big.",
        "MissingRequestBodyError" => "Request body is empty.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented.",
        _ => "The request could not be served.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_errors_have_the_documented_codes() {
        let text = || "why".to_owned();
        let cases = [
            (ClientError::NoSuchBucket, "NoSuchBucket", 404),
            (ClientError::BucketExists, "BucketAlreadyOwnedByYou", 409),
            (ClientError::BucketNotEmpty, "BucketNotEmpty", 409),
            (ClientError::NoSuchKey, "NoSuchKey", 404),
            (ClientError::NoSuchAccessKey, "InvalidAccessKeyId", 403),
            (ClientError::PreconditionFailed, "PreconditionFailed", 412),
            (ClientError::NoSuchUpload, "NoSuchUpload", 404),
            (ClientError::UploadChanged, "OperationAborted", 409),
            (ClientError::Name(NameError::Bucket), "InvalidBucketName", 400),
            (ClientError::Name(NameError::KeyTooLong(1025)), "KeyTooLongError", 400),
            (ClientError::NotAnObject(text()), "MethodNotAllowed", 405),
            (ClientError::LimitExceeded(text()), "InvalidRequest", 400),
            (ClientError::SlowDown(text()), "SlowDown", 503),
            (ClientError::OutOfSpace(text()), "ServiceUnavailable", 503),
            (ClientError::Unavailable(text()), "ServiceUnavailable", 503),
            (ClientError::OutcomeUnknown(text()), "ServiceUnavailable", 503),
            (ClientError::Corrupt(text()), "InternalError", 500),
            (ClientError::Internal(text()), "InternalError", 500),
        ];
        for (error, code, status) in cases {
            let mapped = from_client(error.clone());
            assert_eq!(mapped.code().as_str(), code, "{error:?}");
            assert_eq!(
                mapped.status_code().map(|status| status.as_u16()),
                Some(status),
                "{error:?}"
            );
        }
    }

    #[test]
    fn an_unavailable_store_says_why() {
        let mapped = from_client(ClientError::Unavailable(
            "3 of 6 shards answer, 4 are needed".to_owned(),
        ));
        assert_eq!(mapped.message(), Some("3 of 6 shards answer, 4 are needed"));
    }
}
