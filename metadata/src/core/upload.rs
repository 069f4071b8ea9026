//! Multipart uploads: started, given parts, completed or given up.
//!
//! Invariant: completing costs the same however many chunks the parts have. The object's inode refers to the upload's part
//! records through a manifest; parts that were not chosen are released by the worker.

use cairn_common::{
    ids::{SessionId, UploadId},
    limits,
    name::check_key,
    wire::{
        command::{AbortUpload, CompleteUpload, CreateUpload, ErrorCode, Outcome, PutPart},
        query::{PartInfo, PartsPage, PartsQuery, UploadInfo, UploadsPage, UploadsQuery},
    },
};

use super::{
    apply::done,
    bucket::{self, Bucket},
    chunk::{commit_body, malformed},
    object::{check_attributes, check_condition, enter, existing},
    release,
    tx::{ApplyError, Tx, open_record, read_record, refuse, scan_prefix},
    view::{Family, View},
};
use crate::record::{
    extent::{self, ManifestRecord},
    garbage::{Chunks, Release, Unselected},
    inode::{InodeKind, InodeRecord},
    key::KeyWriter,
    part::{self, PartRecord},
    upload::{self, UploadRecord},
};

pub(crate) fn create(tx: &mut Tx<'_>, create: &CreateUpload) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &create.bucket)?;
    check_key(&create.key).map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    let attributes = create.attributes.clone().unwrap_or_default();
    check_attributes(&attributes)?;
    let id = bucket.next_upload();
    bucket.record.uploads += 1;
    let record = UploadRecord {
        key: create.key.clone(),
        upload: id.value(),
        attributes: Some(attributes),
        revision: 0,
        started_ms: tx.time_ms,
    };
    tx.put(Family::Upload, upload::key(bucket.id, &create.key, id), &record);
    bucket.save(tx);
    Ok(Outcome::Upload(id.value()))
}

fn require(view: &dyn View, bucket: &Bucket, key: &[u8], id: UploadId) -> Result<UploadRecord, ApplyError> {
    let record = read_record(view, Family::Upload, &upload::key(bucket.id, key, id))?;
    record.ok_or_else(|| {
        refuse(
            ErrorCode::NoSuchUpload,
            "the upload was completed, given up, or never started",
        )
    })
}

pub(crate) fn put_part(tx: &mut Tx<'_>, session: SessionId, put: &PutPart) -> Result<Outcome, ApplyError> {
    let bucket = bucket::require(tx, &put.bucket)?;
    let id = UploadId::new(put.upload);
    let mut upload = require(tx, &bucket, &put.key, id)?;
    if !(1..=limits::PART_NUMBER_MAX).contains(&put.number) {
        return Err(malformed("a part number out of range"));
    }
    let body = put.body.as_ref().ok_or_else(|| malformed("no body"))?;
    let extents = commit_body(tx, session, body)?;
    let key = part::key(bucket.id, id, put.number);
    if let Some(old) = tx.record::<PartRecord>(Family::Part, &key)? {
        let ids = old.extents.into_iter().map(|extent| extent.chunk_id).collect();
        release::queue(tx, bucket.id, Release::Chunks(Chunks { ids }))?;
    }
    let record = PartRecord {
        size: body.size,
        etag: put.etag.clone(),
        modified_ms: tx.time_ms,
        checksums: put.checksums.clone(),
        inline: body.inline.clone(),
        extents,
    };
    tx.put(Family::Part, key, &record);
    upload.revision += 1;
    tx.put(Family::Upload, upload::key(bucket.id, &put.key, id), &upload);
    Ok(Outcome::CommittedMs(tx.time_ms))
}

pub(crate) fn complete(tx: &mut Tx<'_>, complete: &CompleteUpload) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &complete.bucket)?;
    let id = UploadId::new(complete.upload);
    let upload = require(tx, &bucket, &complete.key, id)?;
    if upload.revision != complete.revision {
        return Err(refuse(
            ErrorCode::UploadChanged,
            "a part was put since the parts were read: read them again",
        ));
    }
    let ascending = complete.parts.windows(2).all(|pair| pair[0].number < pair[1].number);
    if complete.parts.is_empty() || complete.parts.len() > limits::PART_NUMBER_MAX as usize || !ascending {
        return Err(malformed("no parts, too many, or parts out of order"));
    }
    let old = existing(tx, &bucket, &complete.key)?;
    check_condition(complete.condition.as_ref(), old.as_ref())?;

    let mut attributes = upload.attributes.unwrap_or_default();
    attributes.etag = complete.etag.clone();
    attributes.checksums = complete.checksums.clone();
    let record = InodeRecord {
        kind: InodeKind::File.into(),
        modified_ms: tx.time_ms,
        size: complete.parts.iter().map(|part| part.size).sum(),
        attributes: Some(attributes),
        upload: id.value(),
        ..InodeRecord::default()
    };
    bucket.record.uploads = bucket.record.uploads.saturating_sub(1);
    let inode = enter(tx, &mut bucket, &complete.key, old, record, Vec::new())?;
    let manifest = ManifestRecord {
        numbers: complete.parts.iter().map(|part| part.number).collect(),
        sizes: complete.parts.iter().map(|part| part.size).collect(),
    };
    tx.put(Family::Extent, extent::manifest_key(bucket.id, inode), &manifest);
    tx.delete(Family::Upload, upload::key(bucket.id, &complete.key, id));
    if upload.revision > complete.parts.len() as u64 {
        let unselected = Unselected {
            upload: id.value(),
            inode: inode.value(),
            done_to: 0,
        };
        release::queue(tx, bucket.id, Release::Unselected(unselected))?;
    }
    bucket.save(tx);
    Ok(Outcome::CommittedMs(tx.time_ms))
}

pub(crate) fn abort(tx: &mut Tx<'_>, abort: &AbortUpload) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &abort.bucket)?;
    let id = UploadId::new(abort.upload);
    require(tx, &bucket, &abort.key, id)?;
    tx.delete(Family::Upload, upload::key(bucket.id, &abort.key, id));
    bucket.record.uploads = bucket.record.uploads.saturating_sub(1);
    bucket.save(tx);
    release::queue(tx, bucket.id, Release::Upload(id.value()))?;
    Ok(done())
}

/// A page of an upload's parts.
pub(crate) fn parts(view: &dyn View, query: &PartsQuery) -> Result<PartsPage, ApplyError> {
    let bucket = bucket::require(view, &query.bucket)?;
    let id = UploadId::new(query.upload);
    let upload = require(view, &bucket, &query.key, id)?;
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let mut page = PartsPage {
        revision: upload.revision,
        attributes: upload.attributes,
        started_ms: upload.started_ms,
        ..PartsPage::default()
    };
    let prefix = KeyWriter::new().u64(bucket.id.value()).u64(id.value()).finish();
    let from = part::key(bucket.id, id, query.after.saturating_add(1));
    scan_prefix(view, Family::Part, &prefix, &from, &mut |key, value| {
        if page.parts.len() == limit {
            page.more = true;
            return Ok(false);
        }
        let part: PartRecord = open_record(Family::Part, value)?;
        page.parts.push(PartInfo {
            number: part::number_of(key).unwrap_or_default(),
            size: part.size,
            etag: part.etag,
            modified_ms: part.modified_ms,
            checksums: part.checksums,
        });
        Ok(true)
    })?;
    Ok(page)
}

/// A page of a bucket's uploads.
pub(crate) fn uploads(view: &dyn View, query: &UploadsQuery) -> Result<UploadsPage, ApplyError> {
    let bucket = bucket::require(view, &query.bucket)?;
    let limit = (query.limit as usize).min(limits::LIST_PAGE_MAX);
    let mut page = UploadsPage::default();
    let mut from = upload::scan_start(bucket.id, &query.prefix);
    if !query.after_key.is_empty() {
        let mut after = upload::key(bucket.id, &query.after_key, UploadId::new(query.after_upload));
        after.push(0);
        from = from.max(after);
    }
    scan_prefix(
        view,
        Family::Upload,
        &upload::bucket_prefix(bucket.id),
        &from,
        &mut |_, value| {
            let upload: UploadRecord = open_record(Family::Upload, value)?;
            if !upload.key.starts_with(&query.prefix) {
                return Ok(false);
            }
            if page.uploads.len() == limit {
                page.more = true;
                return Ok(false);
            }
            let checksums = upload
                .attributes
                .map(|attributes| attributes.checksums)
                .unwrap_or_default();
            let (key, started_ms) = (upload.key, upload.started_ms);
            page.uploads.push(UploadInfo {
                key,
                upload: upload.upload,
                started_ms,
                checksums,
            });
            Ok(true)
        },
    )?;
    Ok(page)
}
