//! Multipart uploads: started, given parts, completed or given up.
//!
//! Invariant: completing costs the same however many chunks the parts have. The object's inode refers to the upload's part
//! records through a manifest; parts that were not chosen are released by the worker.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, SessionId, UploadId},
    limits,
    name::check_key,
    wire::{
        command::{AbortUpload, CompleteUpload, CreateUpload, ErrorCode, ExpireUploads, Outcome, PutPart},
        query::{PartInfo, PartsPage, PartsQuery, UploadInfo, UploadsPage, UploadsQuery},
    },
};

use super::{
    apply::done,
    bucket::{self, Bucket},
    chunk::{commit_body, malformed},
    object::{check_attributes, check_condition, enter, existing},
    release,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    extent::{self, ManifestRecord},
    garbage::{Chunks, Release, Unselected},
    inode::{InodeKind, InodeRecord},
    key::KeyWriter,
    part::{self, PartRecord},
    upload::{self, UploadActivity, UploadRecord},
};

/// A day of the bucket setting.
const DAY_MS: u64 = 24 * 3600 * 1000;

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
        started_ms: tx.time_ms,
        ..UploadRecord::default()
    };
    put_record(tx, &bucket, None, &record);
    bucket.save(tx)?;
    Ok(Outcome::Upload(id.value()))
}

/// Stores an upload's record, and its place in the order of activity, where it moved.
fn put_record(tx: &mut Tx<'_>, bucket: &Bucket, before: Option<&UploadRecord>, record: &UploadRecord) {
    let id = UploadId::new(record.upload);
    if before.map(UploadRecord::active_ms) != Some(record.active_ms()) {
        if let Some(before) = before {
            tx.delete(Family::Upload, upload::activity_key(bucket.id, before.active_ms(), id));
        }
        let activity = UploadActivity {
            key: record.key.clone(),
        };
        tx.put(
            Family::Upload,
            upload::activity_key(bucket.id, record.active_ms(), id),
            &activity,
        );
    }
    tx.put(Family::Upload, upload::key(bucket.id, &record.key, id), record);
}

/// Takes an upload out of its bucket, with the account of its parts.
fn remove_record(tx: &mut Tx<'_>, bucket: &mut Bucket, record: &UploadRecord) {
    let id = UploadId::new(record.upload);
    tx.delete(Family::Upload, upload::key(bucket.id, &record.key, id));
    tx.delete(Family::Upload, upload::activity_key(bucket.id, record.active_ms(), id));
    bucket.record.uploads = bucket.record.uploads.saturating_sub(1);
    bucket.record.upload_bytes = bucket.record.upload_bytes.saturating_sub(record.bytes);
}

pub(crate) fn require(view: &dyn View, bucket: &Bucket, key: &[u8], id: UploadId) -> Result<UploadRecord, ApplyError> {
    let record = read_record(view, Family::Upload, &upload::key(bucket.id, key, id))?;
    record.ok_or_else(|| {
        refuse(
            ErrorCode::NoSuchUpload,
            "the upload was completed, given up, or never started",
        )
    })
}

pub(crate) fn put_part(tx: &mut Tx<'_>, session: SessionId, put: &PutPart) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &put.bucket)?;
    let upload = require(tx, &bucket, &put.key, UploadId::new(put.upload))?;
    let body = put.body.as_ref().ok_or_else(|| malformed("no body"))?;
    let extents = commit_body(tx, &bucket, session, body)?;
    let record = PartRecord {
        size: body.size,
        etag: put.etag.clone(),
        modified_ms: tx.time_ms,
        checksums: put.checksums.clone(),
        inline: body.inline.clone(),
        extents,
    };
    enter_part(tx, &mut bucket, upload, put.number, record)?;
    bucket.save(tx)?;
    Ok(Outcome::CommittedMs(tx.time_ms))
}

/// Enters a part of an upload, in place of an older one of its number, and accounts for it.
pub(crate) fn enter_part(
    tx: &mut Tx<'_>,
    bucket: &mut Bucket,
    before: UploadRecord,
    number: u32,
    record: PartRecord,
) -> Result<(), ApplyError> {
    if !(1..=limits::PART_NUMBER_MAX).contains(&number) {
        return Err(malformed("a part number out of range"));
    }
    let key = part::key(bucket.id, UploadId::new(before.upload), number);
    let mut upload = before.clone();
    if let Some(old) = tx.record::<PartRecord>(Family::Part, &key)? {
        upload.bytes = upload.bytes.saturating_sub(old.size);
        bucket.record.upload_bytes = bucket.record.upload_bytes.saturating_sub(old.size);
        let ids: Vec<_> = old.extents.into_iter().map(|extent| extent.chunk_id).collect();
        if !ids.is_empty() {
            release::queue(tx, bucket.id, Release::Chunks(Chunks { ids }))?;
        }
    }
    upload.bytes = upload.bytes.saturating_add(record.size);
    bucket.record.upload_bytes = bucket.record.upload_bytes.saturating_add(record.size);
    upload.revision += 1;
    upload.last_part_ms = tx.time_ms;
    tx.put(Family::Part, key, &record);
    put_record(tx, bucket, Some(&before), &upload);
    Ok(())
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

    remove_record(tx, &mut bucket, &upload);
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
    let inode = enter(tx, &mut bucket, &complete.key, old, record, Vec::new())?;
    let manifest = ManifestRecord {
        numbers: complete.parts.iter().map(|part| part.number).collect(),
        sizes: complete.parts.iter().map(|part| part.size).collect(),
    };
    tx.put(Family::Extent, extent::manifest_key(bucket.id, inode), &manifest);
    if upload.revision > complete.parts.len() as u64 {
        let unselected = Unselected {
            upload: id.value(),
            inode: inode.value(),
            done_to: 0,
        };
        release::queue(tx, bucket.id, Release::Unselected(unselected))?;
    }
    bucket.save(tx)?;
    Ok(Outcome::CommittedMs(tx.time_ms))
}

pub(crate) fn abort(tx: &mut Tx<'_>, abort: &AbortUpload) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require(tx, &abort.bucket)?;
    let upload = require(tx, &bucket, &abort.key, UploadId::new(abort.upload))?;
    give_up(tx, &mut bucket, &upload)?;
    bucket.save(tx)?;
    Ok(done())
}

fn give_up(tx: &mut Tx<'_>, bucket: &mut Bucket, upload: &UploadRecord) -> Result<(), ViewError> {
    remove_record(tx, bucket, upload);
    release::queue(tx, bucket.id, Release::Upload(upload.upload))
}

/// Gives up the uploads of a bucket that nobody has gone on with for as long as its setting says.
pub(crate) fn expire(tx: &mut Tx<'_>, expire: &ExpireUploads) -> Result<Outcome, ApplyError> {
    let mut bucket = bucket::require_id(tx, BucketId::new(expire.bucket_id))?;
    let limit = (expire.limit as usize).min(limits::EXPIRE_UPLOADS_MAX);
    let abandoned = abandoned(tx, &bucket, tx.time_ms, limit)?;
    for (id, key) in &abandoned {
        let upload = require(tx, &bucket, key, *id)?;
        give_up(tx, &mut bucket, &upload)?;
    }
    bucket.save(tx)?;
    Ok(Outcome::UploadsExpired(abandoned.len() as u64))
}

/// Uploads of a bucket that are to be given up at this time, the longest abandoned first.
fn abandoned(view: &dyn View, bucket: &Bucket, now_ms: u64, limit: usize) -> Result<Vec<(UploadId, Bytes)>, ViewError> {
    let days = u64::from(bucket.settings().abandoned_uploads_days);
    let mut abandoned = Vec::new();
    if days == 0 || limit == 0 {
        return Ok(abandoned);
    }
    scan_prefix(
        view,
        Family::Upload,
        &upload::activity_prefix(bucket.id),
        &[],
        &mut |key, value| {
            let (active_ms, id) = upload::activity_of(key).ok_or_else(|| missing(Family::Upload, "a whole key"))?;
            if active_ms.saturating_add(days.saturating_mul(DAY_MS)) > now_ms {
                return Ok(false);
            }
            let activity: UploadActivity = open_record(Family::Upload, value)?;
            abandoned.push((id, activity.key));
            Ok(abandoned.len() < limit)
        },
    )?;
    Ok(abandoned)
}

/// Up to `limit` buckets, behind the one of number `after`, that have uploads to give up at this time; and the last bucket
/// that was looked at, where there are more.
pub fn buckets_to_expire(
    view: &dyn View,
    now_ms: u64,
    after: u64,
    limit: usize,
) -> Result<(Vec<u64>, Option<u64>), ViewError> {
    let (mut due, mut last, mut looked_at) = (Vec::new(), None, 0);
    for bucket in bucket::behind(view, BucketId::new(after), limit)? {
        looked_at += 1;
        last = Some(bucket.id.value());
        if bucket.record.uploads > 0 && !abandoned(view, &bucket, now_ms, 1)?.is_empty() {
            due.push(bucket.id.value());
        }
    }
    Ok((due, last.filter(|_| looked_at == limit)))
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
