//! Uploads in parts: begun, sent part by part, completed; given up where they fail. Invariant: an upload that this tool could
//! not complete is given up, unless the server cannot be reached; cleanup finds those that are left.

use std::fmt::Write as _;

use crate::content::{Dataset, Object};
use crate::failure::OpError;
use crate::s3::client::Client;
use crate::s3::listing::{elements, first_element, unescaped};
use crate::s3::request::{Request, encoded};

/// Writes the object in parts, one after the other.
pub(crate) fn put_parts(
    client: &mut Client<'_>,
    dataset: &Dataset,
    object: &Object,
    part_bytes: u64,
) -> Result<(), OpError> {
    let begin = Request {
        query: "uploads=",
        ..Request::of("POST", Some(&object.key))
    };
    let answer = client.page(&begin, Some(""))?;
    let upload = first_element(&answer, "UploadId")
        .map(unescaped)
        .ok_or_else(|| OpError::Protocol("an upload was begun without an UploadId".to_owned()))?;
    send_and_complete(client, dataset, object, part_bytes, &upload).inspect_err(|error| {
        if !matches!(error, OpError::Interrupted) {
            // The error that matters is the one before.
            let _ = abort(client, &object.key, &upload);
        }
    })
}

/// Gives up what is unfinished under `prefix` and `own`; returns how many uploads there were.
pub(crate) fn abort_all(client: &mut Client<'_>, prefix: &str, own: &dyn Fn(&str) -> bool) -> Result<u64, OpError> {
    let mut aborted = 0;
    let (mut key_marker, mut id_marker) = (String::new(), String::new());
    loop {
        // Names in ascending order, as they are signed.
        let query = if key_marker.is_empty() {
            format!("prefix={}&uploads=", encoded(prefix))
        } else {
            let (key, prefix, id) = (encoded(&key_marker), encoded(prefix), encoded(&id_marker));
            format!("key-marker={key}&prefix={prefix}&upload-id-marker={id}&uploads=")
        };
        let list = Request {
            query: &query,
            ..Request::of("GET", None)
        };
        let answer = client.page(&list, None)?;
        for upload in elements(&answer, "Upload") {
            let (Some(key), Some(id)) = (first_element(upload, "Key"), first_element(upload, "UploadId")) else {
                return Err(OpError::Protocol("an upload is listed without key or id".to_owned()));
            };
            let key = unescaped(key);
            // A server that ignored the prefix must not lose what is not ours.
            if key.starts_with(prefix) && own(&key) {
                abort(client, &key, &unescaped(id))?;
                aborted += 1;
            }
        }
        if first_element(&answer, "IsTruncated") != Some("true") {
            return Ok(aborted);
        }
        let next = |name| first_element(&answer, name).map(unescaped).unwrap_or_default();
        let (key, id) = (next("NextKeyMarker"), next("NextUploadIdMarker"));
        if key < key_marker || (key == key_marker && id == id_marker) || key.is_empty() {
            return Err(OpError::Protocol("the listing of uploads does not go on".to_owned()));
        }
        (key_marker, id_marker) = (key, id);
    }
}

fn send_and_complete(
    client: &mut Client<'_>,
    dataset: &Dataset,
    object: &Object,
    part_bytes: u64,
    upload: &str,
) -> Result<(), OpError> {
    let upload = encoded(upload);
    let mut list = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    // An empty object has one part, too.
    for (place, start) in (0..object.size_bytes.max(1)).step_by(part_bytes as usize).enumerate() {
        let number = place + 1;
        let end = (start + part_bytes).min(object.size_bytes);
        let query = format!("partNumber={number}&uploadId={upload}");
        let head = client.put(dataset, object, start..end, &query)?;
        let etag = head
            .etag
            .ok_or_else(|| OpError::Protocol("a part was answered without an ETag".to_owned()))?;
        // Writing to a String cannot fail.
        let _ = write!(
            list,
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        );
    }
    list.push_str("</CompleteMultipartUpload>");
    let query = format!("uploadId={upload}");
    let complete = Request {
        query: &query,
        ..Request::of("POST", Some(&object.key))
    };
    client.answered(&complete, Some(&list))
}

fn abort(client: &mut Client<'_>, key: &str, upload: &str) -> Result<(), OpError> {
    let query = format!("uploadId={}", encoded(upload));
    let request = Request {
        query: &query,
        ..Request::of("DELETE", Some(key))
    };
    match client.answered(&request, None) {
        Err(OpError::Status { status: 404, .. }) => Ok(()),
        result => result,
    }
}
