//! Buckets: made, found, set, emptied of meaning; and their quotas.
//!
//! Invariant: a command that adds beyond a quota is refused when it stores the bucket's record, which every such command does
//! last; none goes around it.

use cairn_common::{
    ids::{BucketId, InodeId, UploadId},
    limits,
    name::check_bucket_name,
    redundancy::Redundancy,
    wire::{
        account::Rights,
        command::{CreateBucket, ErrorCode, Outcome, PutBucketDocument, UpdateBucket},
        query::{BucketInfo, BucketSettings, BucketUsage, Document, DocumentQuery},
    },
};

use super::{
    account,
    apply::done,
    feed, links, lock, map, path, recode, session,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    bucket::{self, BucketName, BucketRecord, DocumentRecord},
    dentry,
    inode::{InodeKind, InodeRecord},
    key::KeyWriter,
};

/// A bucket as a command found it.
pub(crate) struct Bucket {
    pub(crate) id: BucketId,
    pub(crate) record: BucketRecord,
    /// What it held when the command found it.
    found: Usage,
}

/// What counts against a quota.
#[derive(Clone, Copy)]
struct Usage {
    objects: u64,
    bytes: u64,
}

impl Bucket {
    fn new(id: BucketId, record: BucketRecord) -> Self {
        let found = Usage::of(&record);
        Self { id, record, found }
    }

    /// Its settings beside those of its chunks.
    pub(crate) fn settings(&self) -> BucketSettings {
        self.record.settings.unwrap_or_default()
    }

    /// A number for a new inode.
    pub(crate) fn next_inode(&mut self) -> InodeId {
        self.record.last_inode += 1;
        InodeId::new(self.record.last_inode)
    }

    /// Numbers for new inodes, of which the first is given.
    pub(crate) fn reserve_inodes(&mut self, count: u32) -> InodeId {
        let first = self.next_inode();
        self.record.last_inode += u64::from(count.saturating_sub(1));
        first
    }

    /// Whether a number is, was or may become an inode's.
    pub(crate) fn has_given(&self, inode: InodeId) -> bool {
        inode.value() <= self.record.last_inode
    }

    /// A number for a new upload.
    pub(crate) fn next_upload(&mut self) -> UploadId {
        self.record.last_upload += 1;
        UploadId::new(self.record.last_upload)
    }

    /// Stores the bucket's record, as the last step of a command. Refuses what adds to it beyond its quota; what takes away
    /// is never refused, however much is left.
    pub(crate) fn save(&self, tx: &mut Tx<'_>) -> Result<(), ApplyError> {
        let (settings, now) = (self.settings(), Usage::of(&self.record));
        let over = |quota: u64, before: u64, now: u64| quota > 0 && now > quota && now > before;
        if over(settings.quota_bytes, self.found.bytes, now.bytes) {
            let detail = format!("bucket {:?} may hold {} bytes", self.record.name, settings.quota_bytes);
            return Err(refuse(ErrorCode::QuotaExceeded, detail));
        }
        if over(settings.quota_objects, self.found.objects, now.objects) {
            let detail = format!(
                "bucket {:?} may hold {} objects",
                self.record.name, settings.quota_objects
            );
            return Err(refuse(ErrorCode::QuotaExceeded, detail));
        }
        tx.put(Family::Bucket, bucket::key(self.id), &self.record);
        Ok(())
    }

    /// The bucket as a client sees it.
    pub(crate) fn info(&self) -> BucketInfo {
        BucketInfo {
            id: self.id.value(),
            name: self.record.name.clone(),
            created_ms: self.record.created_ms,
            data_shards: self.record.data_shards,
            parity_shards: self.record.parity_shards,
            chunk_size_bytes: self.record.chunk_size_bytes,
            settings: Some(self.settings()),
            usage: Some(BucketUsage {
                objects: self.record.objects,
                object_bytes: self.record.object_bytes,
                uploads: self.record.uploads,
                upload_bytes: self.record.upload_bytes,
            }),
        }
    }
}

impl Usage {
    const fn of(record: &BucketRecord) -> Self {
        Self {
            objects: record.objects,
            bytes: record.object_bytes.saturating_add(record.upload_bytes),
        }
    }
}

/// The bucket of this name.
pub(crate) fn find(view: &dyn View, name: &str) -> Result<Option<Bucket>, ViewError> {
    let Some(found) = read_record::<BucketName>(view, Family::Bucket, &bucket::name_key(name))? else {
        return Ok(None);
    };
    let id = BucketId::new(found.bucket);
    let record = read_record(view, Family::Bucket, &bucket::key(id))?.ok_or_else(|| missing(Family::Bucket, id))?;
    Ok(Some(Bucket::new(id, record)))
}

/// The bucket of this number.
pub(crate) fn find_id(view: &dyn View, id: BucketId) -> Result<Option<Bucket>, ViewError> {
    let record = read_record(view, Family::Bucket, &bucket::key(id))?;
    Ok(record.map(|record| Bucket::new(id, record)))
}

/// The bucket of this number, which must be there.
pub(crate) fn require_id(view: &dyn View, id: BucketId) -> Result<Bucket, ApplyError> {
    find_id(view, id)?.ok_or_else(|| refuse(ErrorCode::NoSuchBucket, format!("there is no bucket of number {id}")))
}

/// The bucket of this name, which must be there.
pub(crate) fn require(view: &dyn View, name: &str) -> Result<Bucket, ApplyError> {
    find(view, name)?.ok_or_else(|| refuse(ErrorCode::NoSuchBucket, format!("there is no bucket {name:?}")))
}

/// Up to `limit` buckets behind the one of number `after`, by number.
pub(crate) fn behind(view: &dyn View, after: BucketId, limit: usize) -> Result<Vec<Bucket>, ViewError> {
    let mut buckets = Vec::new();
    let from = bucket::key(BucketId::new(after.value().saturating_add(1)));
    scan_prefix(view, Family::Bucket, &bucket::key_prefix(), &from, &mut |key, value| {
        let id = bucket::id_of(key).ok_or_else(|| missing(Family::Bucket, "a number in a key"))?;
        buckets.push(Bucket::new(id, open_record(Family::Bucket, value)?));
        Ok(buckets.len() < limit)
    })?;
    Ok(buckets)
}

/// All buckets by name.
pub(crate) fn all(view: &dyn View) -> Result<Vec<Bucket>, ViewError> {
    let mut names = Vec::new();
    scan_prefix(view, Family::Bucket, &bucket::name_key(""), &[], &mut |key, value| {
        let name: BucketName = open_record(Family::Bucket, value)?;
        names.push(BucketId::new(name.bucket));
        Ok(bucket::is_name_key(key))
    })?;
    let bucket = |id| {
        let record = read_record(view, Family::Bucket, &bucket::key(id))?.ok_or_else(|| missing(Family::Bucket, id))?;
        Ok(Bucket::new(id, record))
    };
    names.into_iter().map(bucket).collect()
}

pub(crate) fn create(tx: &mut Tx<'_>, create: &CreateBucket) -> Result<Outcome, ApplyError> {
    check_bucket_name(&create.name).map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    if find(tx, &create.name)?.is_some() {
        return Err(refuse(
            ErrorCode::BucketExists,
            format!("bucket {:?} exists already", create.name),
        ));
    }
    check_redundancy(tx, create.data_shards, create.parity_shards)?;
    let mut store = session::store(tx)?;
    if store.buckets >= limits::BUCKETS_MAX as u64 {
        return Err(refuse(
            ErrorCode::LimitExceeded,
            format!("there are {} buckets already", store.buckets),
        ));
    }
    store.last_bucket += 1;
    store.buckets += 1;
    session::put_store(tx, &store);

    let id = BucketId::new(store.last_bucket);
    let record = BucketRecord {
        name: create.name.clone(),
        created_ms: tx.time_ms,
        data_shards: create.data_shards,
        parity_shards: create.parity_shards,
        chunk_size_bytes: chunk_size(create.chunk_size_bytes),
        last_inode: InodeId::ROOT.value(),
        inodes: 1,
        settings: Some(BucketSettings {
            abandoned_uploads_days: limits::ABANDONED_UPLOADS_DAYS,
            ..BucketSettings::default()
        }),
        ..BucketRecord::default()
    };
    Bucket::new(id, record).save(tx)?;
    tx.put(
        Family::Bucket,
        bucket::name_key(&create.name),
        &BucketName { bucket: id.value() },
    );
    let root = InodeRecord {
        kind: InodeKind::Directory.into(),
        modified_ms: tx.time_ms,
        ..InodeRecord::default()
    };
    path::put_inode(tx, id, InodeId::ROOT, &root)?;
    if !create.owner_key.is_empty() {
        let all = Rights {
            read: true,
            write: true,
            owner: true,
        };
        account::give(tx, &create.owner_key, id, all)?;
    }
    Ok(done())
}

/// Checks that the map has the rows that a redundancy needs.
fn check_redundancy(view: &dyn View, data_shards: u32, parity_shards: u32) -> Result<(), ApplyError> {
    let redundancy = Redundancy::erasure_coded(data_shards as usize, parity_shards as usize)
        .map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    let map = map::checked(view)?;
    for width in [redundancy.width(), redundancy.as_replicas().width()] {
        if !map.rows.contains_key(&width) {
            let detail = format!("redundancy {redundancy} needs rows of {width} devices, which the cluster map lacks");
            return Err(refuse(ErrorCode::LimitExceeded, detail));
        }
    }
    Ok(())
}

/// A chunk size within bounds; the default for 0.
fn chunk_size(wanted: u32) -> u32 {
    match wanted {
        0 => limits::CHUNK_SIZE_BYTES as u32,
        size => size.clamp(limits::BLOCK_SIZE_BYTES as u32, limits::CHUNK_SIZE_BYTES as u32),
    }
}

pub(crate) fn update(tx: &mut Tx<'_>, update: &UpdateBucket) -> Result<Outcome, ApplyError> {
    let mut bucket = require(tx, &update.name)?;
    if let Some(redundancy) = update.redundancy {
        check_redundancy(tx, redundancy.data_shards, redundancy.parity_shards)?;
        bucket.record.data_shards = redundancy.data_shards;
        bucket.record.parity_shards = redundancy.parity_shards;
        recode::mark(tx, bucket.id);
    }
    if let Some(size) = update.chunk_size_bytes {
        bucket.record.chunk_size_bytes = chunk_size(size);
    }
    let before = bucket.settings();
    let settings = BucketSettings {
        quota_bytes: update.quota_bytes.unwrap_or(before.quota_bytes),
        quota_objects: update.quota_objects.unwrap_or(before.quota_objects),
        abandoned_uploads_days: update.abandoned_uploads_days.unwrap_or(before.abandoned_uploads_days),
        feed_entries_max: update.feed_entries_max.unwrap_or(before.feed_entries_max),
        missing_shards_max: update.missing_shards_max.unwrap_or(before.missing_shards_max),
    };
    if settings.feed_entries_max > limits::FEED_ENTRIES_MAX {
        let detail = format!("a feed keeps at most {} changes", limits::FEED_ENTRIES_MAX);
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    if settings.feed_entries_max != before.feed_entries_max {
        feed::set_bound(tx, bucket.id, settings.feed_entries_max)?;
    }
    bucket.record.settings = Some(settings);
    bucket.save(tx)?;
    Ok(done())
}

pub(crate) fn put_document(tx: &mut Tx<'_>, put: &PutBucketDocument) -> Result<Outcome, ApplyError> {
    let bucket = require(tx, &put.bucket)?;
    if put.name.is_empty() || put.name.len() > limits::BUCKET_DOCUMENT_NAME_LEN_MAX {
        return Err(refuse(ErrorCode::Malformed, "a document's name has 1 to 64 bytes"));
    }
    let key = bucket::document_key(bucket.id, &put.name);
    let Some(content) = &put.content else {
        tx.delete(Family::Bucket, key);
        return Ok(done());
    };
    let names = document_names(tx, bucket.id)?;
    let is_new = !names.contains(&put.name);
    if content.len() > limits::BUCKET_DOCUMENT_BYTES_MAX || (is_new && names.len() >= limits::BUCKET_DOCUMENTS_MAX) {
        return Err(refuse(
            ErrorCode::LimitExceeded,
            "a bucket has at most 16 settings documents of 64 KiB each",
        ));
    }
    let record = DocumentRecord {
        content: content.clone(),
        modified_ms: tx.time_ms,
    };
    tx.put(Family::Bucket, key, &record);
    Ok(done())
}

/// A settings document.
pub(crate) fn document(view: &dyn View, query: &DocumentQuery) -> Result<Document, ApplyError> {
    let bucket = require(view, &query.bucket)?;
    let record: Option<DocumentRecord> =
        read_record(view, Family::Bucket, &bucket::document_key(bucket.id, &query.name))?;
    let record = record.ok_or_else(|| {
        let detail = format!("bucket {:?} has no document {:?}", query.bucket, query.name);
        refuse(ErrorCode::NoSuchDocument, detail)
    })?;
    Ok(Document {
        content: record.content,
        modified_ms: record.modified_ms,
    })
}

/// Names of a bucket's settings documents; [`limits::BUCKET_DOCUMENTS_MAX`] bounds them.
pub(crate) fn document_names(view: &dyn View, bucket: BucketId) -> Result<Vec<String>, ViewError> {
    let prefix = bucket::document_key(bucket, "");
    let mut names = Vec::new();
    scan_prefix(view, Family::Bucket, &prefix, &prefix, &mut |key, _| {
        names.extend(bucket::document_name(key).map(str::to_owned));
        Ok(true)
    })?;
    Ok(names)
}

pub(crate) fn delete(tx: &mut Tx<'_>, name: &str) -> Result<Outcome, ApplyError> {
    let mut bucket = require(tx, name)?;
    let mut occupied = bucket.record.uploads > 0;
    let prefix = KeyWriter::new()
        .u64(bucket.id.value())
        .u64(InodeId::ROOT.value())
        .finish();
    debug_assert_eq!(prefix.len(), dentry::PREFIX_LEN);
    scan_prefix(tx, Family::Dentry, &prefix, &prefix, &mut |_, _| {
        occupied = true;
        Ok(false)
    })?;
    if occupied {
        return Err(refuse(
            ErrorCode::BucketNotEmpty,
            format!("bucket {name:?} holds keys or uploads"),
        ));
    }
    for document in document_names(tx, bucket.id)? {
        tx.delete(Family::Bucket, bucket::document_key(bucket.id, &document));
    }
    account::forget_bucket(tx, bucket.id)?;
    feed::set_bound(tx, bucket.id, 0)?;
    let mut steps = usize::MAX;
    lock::release_inode(tx, bucket.id, InodeId::ROOT, &mut steps)?;
    tx.delete(Family::Bucket, bucket::key(bucket.id));
    tx.delete(Family::Bucket, bucket::name_key(name));
    let root = path::inode_record(tx, bucket.id, InodeId::ROOT)?;
    links::drop_inode(tx, &mut bucket, InodeId::ROOT, root)?;
    let mut store = session::store(tx)?;
    store.buckets = store.buckets.saturating_sub(1);
    session::put_store(tx, &store);
    Ok(done())
}
