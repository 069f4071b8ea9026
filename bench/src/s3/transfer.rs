//! The bodies of requests and answers: objects sent straight from the shared ring, and what an S3 error says. Builds no
//! request and keeps no connection.

use std::io::IoSlice;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::content::{Dataset, Object};
use crate::failure::OpError;
use crate::limits::{EARLY_ANSWER_WAIT, MAX_ERROR_BODY_BYTES, SEND_WINDOW_BLOCKS};
use crate::s3::connection::{Connection, Framing, ResponseHead};

/// Sends the head together with the first window of `range`, then window by window.
pub(crate) fn send_object(
    connection: &mut Connection<'_>,
    head: &[u8],
    dataset: &Dataset,
    object: &Object,
    range: Range<u64>,
) -> Result<(), OpError> {
    let (mut head, mut at) = (head, range.start);
    while at < range.end || !head.is_empty() {
        let mut pieces = Vec::with_capacity(1 + 2 * SEND_WINDOW_BLOCKS);
        pieces.push(IoSlice::new(head));
        let window = dataset.window(object, at..range.end);
        pieces.extend(window.pieces().map(IoSlice::new));
        at += window.bytes;
        connection.send(&mut pieces)?;
        head = &[];
    }
    Ok(())
}

/// The answer that a server gave before it stopped reading, or `error` where there is none.
pub(crate) fn early_answer(mut connection: Connection<'_>, error: OpError) -> OpError {
    if matches!(error, OpError::Interrupted) {
        return error;
    }
    connection.limit_waits(EARLY_ANSWER_WAIT);
    match connection.receive_head(false) {
        Ok(head) if head.status >= 300 => receive_error(&mut connection, &head).unwrap_or(error),
        _ => match error {
            // It was not idle after all.
            OpError::ClosedIdle { doing } if connection.is_answering() => OpError::Closed { doing },
            error => error,
        },
    }
}

/// The error that a response's body describes.
pub(crate) fn receive_error(connection: &mut Connection<'_>, head: &ResponseHead) -> Result<OpError, OpError> {
    let mut body = Vec::new();
    if head.framing != Framing::Length(0) {
        connection.receive_body(head.framing, &mut |piece| {
            keep_beginning(&mut body, piece);
            Ok(())
        })?;
    }
    let (code, message) = error_in_xml(&body);
    Ok(OpError::Status {
        status: head.status,
        code,
        message,
    })
}

/// What `x-amz-content-sha256` says of that range of the object.
pub(crate) fn content_sha256(dataset: &Dataset, object: &Object, range: Range<u64>) -> String {
    let mut hasher = Sha256::new();
    let mut at = range.start;
    while at < range.end {
        let window = dataset.window(object, at..range.end);
        window.pieces().for_each(|piece| hasher.update(piece));
        at += window.bytes;
    }
    hex::encode(hasher.finalize())
}

/// `Code` and `Message` of the first error in an S3 answer, empty where there is none.
pub(crate) fn error_in_xml(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    let error = text.split_once("<Error>").map_or("", |(_, error)| error);
    let element = |open, close| {
        error
            .split_once(open)
            .and_then(|(_, rest)| rest.split_once(close))
            .map_or("", |(inner, _)| inner)
            .to_owned()
    };
    (element("<Code>", "</Code>"), element("<Message>", "</Message>"))
}

/// Keeps what describes an error, and no more.
pub(crate) fn keep_beginning(kept: &mut Vec<u8>, piece: &[u8]) {
    let room = MAX_ERROR_BODY_BYTES - kept.len();
    kept.extend_from_slice(&piece[..piece.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_an_answer_is_found() {
        let partial = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code>\
                        <Message>no</Message></Error></DeleteResult>";
        let cases: [(&[u8], &str, &str); 4] = [
            (partial, "AccessDenied", "no"),
            (
                b"<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>",
                "SlowDown",
                "",
            ),
            (b"<DeleteResult></DeleteResult>", "", ""),
            (b"\xff<Error><Code>cut off", "", ""),
        ];
        for (body, code, message) in cases {
            assert_eq!(error_in_xml(body), (code.to_owned(), message.to_owned()));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Vec::new();
        for _ in 0..3 {
            keep_beginning(&mut kept, &[7; MAX_ERROR_BODY_BYTES - 1]);
        }
        assert_eq!(kept.len(), MAX_ERROR_BODY_BYTES);
    }

    #[test]
    fn the_signed_hash_is_that_of_the_content() {
        let dataset = Dataset::new("p/", 1, &"20001".parse().unwrap());
        let object = dataset.object(2, 0);
        let mut bytes = vec![0; 20_001];
        // Verification names each byte that is expected; putting it right byte by byte rebuilds the content.
        while let Err(mismatch) = dataset.verify(&object, 0, &bytes) {
            let end = (mismatch.offset as usize + 1).min(bytes.len());
            bytes[end - 1] = mismatch.expected;
        }
        assert_eq!(
            content_sha256(&dataset, &object, 0..20_001),
            hex::encode(Sha256::digest(&bytes))
        );
    }
}
