//! Buckets, their settings, and what they hold, counted by walking.

use std::collections::BTreeMap;

use cairn_common::{
    limits,
    name::check_bucket_name,
    redundancy::Redundancy,
    wire::{
        command::{CreateBucket, DeleteBucket, ErrorCode, PutBucketDocument, UpdateBucket},
        file::FileKind,
        query::{BucketInfo, BucketSettings, BucketUsage},
    },
};

use super::{Bucket, FEED_UNBOUNDED, Inode, Verdict, World, done, names, no};

impl World {
    pub(crate) fn bucket(&self, name: &str) -> Verdict<&Bucket> {
        self.buckets.get(name).ok_or_else(|| vec![ErrorCode::NoSuchBucket])
    }

    fn redundancy_codes(&self, data: u32, parity: u32) -> Vec<ErrorCode> {
        let Ok(redundancy) = Redundancy::erasure_coded(data as usize, parity as usize) else {
            return vec![ErrorCode::Malformed];
        };
        let has = |width: usize| self.map.widths.iter().any(|row| row.width as usize == width);
        if has(redundancy.width()) && has(redundancy.as_replicas().width()) {
            Vec::new()
        } else {
            vec![ErrorCode::LimitExceeded]
        }
    }

    pub(crate) fn create_bucket(&mut self, create: &CreateBucket) -> Verdict {
        let mut codes = self.redundancy_codes(create.data_shards, create.parity_shards);
        if check_bucket_name(&create.name).is_err() {
            codes.push(ErrorCode::Malformed);
        }
        if self.buckets.contains_key(&create.name) {
            codes.push(ErrorCode::BucketExists);
        }
        if !create.owner_key.is_empty() && !self.keys.contains_key(&create.owner_key) {
            codes.push(ErrorCode::NoSuchAccessKey);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        self.last_bucket += 1;
        let root = Inode {
            tag: self.tag,
            kind: FileKind::Directory,
            modified_ms: self.time_ms,
            ..Inode::default()
        };
        let bucket = Bucket {
            tag: self.tag,
            id: self.last_bucket,
            created_ms: self.time_ms,
            data_shards: create.data_shards,
            parity_shards: create.parity_shards,
            chunk_size_bytes: chunk_size(create.chunk_size_bytes),
            settings: BucketSettings {
                abandoned_uploads_days: limits::ABANDONED_UPLOADS_DAYS,
                ..BucketSettings::default()
            },
            last_inode: names::ROOT,
            inodes: BTreeMap::from([(names::ROOT, root)]),
            ..Bucket::default()
        };
        self.buckets.insert(create.name.clone(), bucket);
        self.own(&create.owner_key, &create.name);
        done()
    }

    pub(crate) fn delete_bucket(&mut self, delete: &DeleteBucket) -> Verdict {
        let bucket = self.bucket(&delete.name)?;
        if !bucket.inodes[&names::ROOT].entries.is_empty() || !bucket.uploads.is_empty() {
            return no(ErrorCode::BucketNotEmpty);
        }
        let mut bucket = self.buckets.remove(&delete.name).expect("found above");
        bucket.orphan(names::ROOT, self.time_ms, self.log_index);
        self.deleted.push(bucket);
        for key in self.keys.values_mut() {
            key.rights.remove(&delete.name);
        }
        done()
    }

    pub(crate) fn update_bucket(&mut self, update: &UpdateBucket) -> Verdict {
        let log_index = self.log_index;
        self.bucket(&update.name)?;
        let mut codes = match update.redundancy {
            Some(redundancy) => self.redundancy_codes(redundancy.data_shards, redundancy.parity_shards),
            None => Vec::new(),
        };
        if update
            .feed_entries_max
            .is_some_and(|most| most > limits::FEED_ENTRIES_MAX)
        {
            codes.extend([ErrorCode::Malformed, ErrorCode::LimitExceeded]);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let bucket = self.buckets.get_mut(&update.name).expect("found above");
        if let Some(redundancy) = update.redundancy {
            bucket.data_shards = redundancy.data_shards;
            bucket.parity_shards = redundancy.parity_shards;
        }
        if let Some(size) = update.chunk_size_bytes {
            bucket.chunk_size_bytes = chunk_size(size);
        }
        if bucket.settings.feed_entries_max < FEED_UNBOUNDED {
            bucket.feed_bounded_at = log_index;
        }
        let settings = &mut bucket.settings;
        settings.quota_bytes = update.quota_bytes.unwrap_or(settings.quota_bytes);
        settings.quota_objects = update.quota_objects.unwrap_or(settings.quota_objects);
        settings.feed_entries_max = update.feed_entries_max.unwrap_or(settings.feed_entries_max);
        settings.missing_shards_max = update.missing_shards_max.unwrap_or(settings.missing_shards_max);
        settings.abandoned_uploads_days = update.abandoned_uploads_days.unwrap_or(settings.abandoned_uploads_days);
        done()
    }

    pub(crate) fn put_document(&mut self, put: &PutBucketDocument) -> Verdict {
        let time_ms = self.time_ms;
        let bucket = self.bucket(&put.bucket)?;
        let mut codes = Vec::new();
        if put.name.is_empty() || put.name.len() > limits::BUCKET_DOCUMENT_NAME_LEN_MAX {
            codes.push(ErrorCode::Malformed);
        }
        if let Some(content) = &put.content {
            if content.len() > limits::BUCKET_DOCUMENT_BYTES_MAX {
                codes.push(ErrorCode::LimitExceeded);
            }
            if !bucket.documents.contains_key(&put.name) && bucket.documents.len() >= limits::BUCKET_DOCUMENTS_MAX {
                codes.push(ErrorCode::LimitExceeded);
            }
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let bucket = self.buckets.get_mut(&put.bucket).expect("found above");
        match &put.content {
            Some(content) => {
                bucket.documents.insert(put.name.clone(), (content.clone(), time_ms));
            }
            None => {
                bucket.documents.remove(&put.name);
            }
        }
        done()
    }

    /// What writing an object of this size under a key would break.
    pub(crate) fn quota_codes(&self, bucket: &Bucket, key: &[u8], size: u64) -> Vec<ErrorCode> {
        let freed = bucket.resolve(key).map_or(0, |old| bucket.freed_by(old));
        let mut codes = bucket.growth_codes(size, freed);
        codes.extend(bucket.object_codes(key));
        codes
    }
}

fn chunk_size(asked: u32) -> u32 {
    match asked {
        0 => limits::CHUNK_SIZE_BYTES as u32,
        size => size.clamp(limits::BLOCK_SIZE_BYTES as u32, limits::CHUNK_SIZE_BYTES as u32),
    }
}

impl Bucket {
    /// Bytes that are free once this inode loses a name.
    fn freed_by(&self, inode: u64) -> u64 {
        let inode = &self.inodes[&inode];
        if inode.links() == 1 && inode.kind != FileKind::Directory {
            inode.content.size
        } else {
            0
        }
    }

    /// Whether so many bytes more, and so many fewer, are over the quota.
    pub(crate) fn growth_codes(&self, more: u64, fewer: u64) -> Vec<ErrorCode> {
        let usage = self.usage();
        let used = usage.object_bytes + usage.upload_bytes;
        let quota = self.settings.quota_bytes;
        if quota > 0 && more > fewer && used + more - fewer > quota {
            vec![ErrorCode::QuotaExceeded]
        } else {
            Vec::new()
        }
    }

    /// Whether a new object under the key would be one too many.
    pub(crate) fn object_codes(&self, key: &[u8]) -> Vec<ErrorCode> {
        let quota = self.settings.quota_objects;
        if quota > 0 && self.resolve(key).is_none() && self.usage().objects + 1 > quota {
            vec![ErrorCode::QuotaExceeded]
        } else {
            Vec::new()
        }
    }

    /// What of the quota a command would break that made this of the bucket.
    pub(crate) fn quota_broken_by(&self, after: &Self) -> Vec<ErrorCode> {
        let (before, now, settings) = (self.usage(), after.usage(), &self.settings);
        let over = |quota: u64, before: u64, now: u64| quota > 0 && now > quota && now > before;
        let bytes = |usage: &BucketUsage| usage.object_bytes + usage.upload_bytes;
        if over(settings.quota_bytes, bytes(&before), bytes(&now))
            || over(settings.quota_objects, before.objects, now.objects)
        {
            vec![ErrorCode::QuotaExceeded]
        } else {
            Vec::new()
        }
    }

    /// What the bucket holds.
    pub(crate) fn usage(&self) -> BucketUsage {
        let named = |inode: &&Inode| inode.unlinked_at.is_none() && inode.kind != FileKind::Directory;
        let parts = self.uploads.values().flat_map(|upload| upload.parts.values());
        BucketUsage {
            objects: names::keys(self).len() as u64,
            object_bytes: self.inodes.values().filter(named).map(|inode| inode.content.size).sum(),
            uploads: self.uploads.len() as u64,
            upload_bytes: parts.map(|part| part.content.size).sum(),
        }
    }

    pub(crate) fn info(&self, name: &str) -> BucketInfo {
        BucketInfo {
            id: self.id,
            name: name.to_owned(),
            created_ms: self.created_ms,
            data_shards: self.data_shards,
            parity_shards: self.parity_shards,
            chunk_size_bytes: self.chunk_size_bytes,
            settings: Some(self.settings),
            usage: Some(self.usage()),
        }
    }
}
