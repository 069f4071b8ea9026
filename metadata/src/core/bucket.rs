//! Buckets: made, found, emptied of meaning.

use cairn_common::{
    ids::{BucketId, InodeId, UploadId},
    limits,
    name::check_bucket_name,
    redundancy::Redundancy,
    wire::{
        command::{CreateBucket, ErrorCode, Outcome},
        query::BucketInfo,
    },
};

use super::{
    apply::done,
    links, map, path, session,
    tx::{ApplyError, Tx, missing, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    bucket::{self, BucketName, BucketRecord},
    dentry,
    inode::{InodeKind, InodeRecord},
    key::KeyWriter,
};

/// A bucket as a command found it.
pub(crate) struct Bucket {
    pub(crate) id: BucketId,
    pub(crate) record: BucketRecord,
}

impl Bucket {
    /// A number for a new inode.
    pub(crate) fn next_inode(&mut self) -> InodeId {
        self.record.last_inode += 1;
        InodeId::new(self.record.last_inode)
    }

    /// A number for a new upload.
    pub(crate) fn next_upload(&mut self) -> UploadId {
        self.record.last_upload += 1;
        UploadId::new(self.record.last_upload)
    }

    /// Stores the bucket's record.
    pub(crate) fn save(&self, tx: &mut Tx<'_>) {
        tx.put(Family::Bucket, bucket::key(self.id), &self.record);
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
    Ok(Some(Bucket { id, record }))
}

/// The bucket of this name, which must be there.
pub(crate) fn require(view: &dyn View, name: &str) -> Result<Bucket, ApplyError> {
    find(view, name)?.ok_or_else(|| refuse(ErrorCode::NoSuchBucket, format!("there is no bucket {name:?}")))
}

/// The bucket of this number, which must be there.
pub(crate) fn by_id(view: &dyn View, id: BucketId) -> Result<Bucket, ApplyError> {
    let record = read_record(view, Family::Bucket, &bucket::key(id))?;
    let record = record.ok_or_else(|| refuse(ErrorCode::NoSuchBucket, format!("there is no bucket number {id}")))?;
    Ok(Bucket { id, record })
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
        Ok(Bucket { id, record })
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
    let redundancy = Redundancy::erasure_coded(create.data_shards as usize, create.parity_shards as usize)
        .map_err(|error| refuse(ErrorCode::Malformed, error.to_string()))?;
    let map = map::checked(tx)?;
    for width in [redundancy.width(), redundancy.as_replicas().width()] {
        if !map.rows.contains_key(&width) {
            let detail = format!("redundancy {redundancy} needs rows of {width} devices, which the cluster map lacks");
            return Err(refuse(ErrorCode::LimitExceeded, detail));
        }
    }
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
    let chunk_size = match create.chunk_size_bytes {
        0 => limits::CHUNK_SIZE_BYTES as u32,
        size => size.clamp(limits::BLOCK_SIZE_BYTES as u32, limits::CHUNK_SIZE_BYTES as u32),
    };
    let record = BucketRecord {
        name: create.name.clone(),
        created_ms: tx.time_ms,
        data_shards: create.data_shards,
        parity_shards: create.parity_shards,
        chunk_size_bytes: chunk_size,
        last_inode: InodeId::ROOT.value(),
        inodes: 1,
        ..BucketRecord::default()
    };
    Bucket { id, record }.save(tx);
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
    path::put_inode(tx, id, InodeId::ROOT, &root);
    Ok(done())
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
    tx.delete(Family::Bucket, bucket::key(bucket.id));
    tx.delete(Family::Bucket, bucket::name_key(name));
    let root = path::inode_record(tx, bucket.id, InodeId::ROOT)?;
    links::drop_inode(tx, &mut bucket, InodeId::ROOT, root)?;
    let mut store = session::store(tx)?;
    store.buckets = store.buckets.saturating_sub(1);
    session::put_store(tx, &store);
    Ok(done())
}
