//! Multipart uploads.

use cairn_common::{
    limits,
    wire::{
        command::{
            AbortUpload, CompleteUpload, Copied, CopyPart, CreateUpload, ErrorCode, ExpireUploads, Outcome, PutPart,
        },
        object::ObjectAttributes,
    },
};

use super::{
    super::content::Content,
    Bucket, Inode, Part, Upload, Verdict, World, done, no,
    objects::{attribute_codes, content_of, copyable, key_codes, source_of, target_codes},
};

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

impl World {
    pub(crate) fn create_upload(&mut self, create: &CreateUpload) -> Verdict {
        let attributes = create.attributes.clone().unwrap_or_default();
        self.bucket(&create.bucket)?;
        let mut codes = key_codes(&create.key);
        codes.extend(attribute_codes(&attributes));
        if !codes.is_empty() {
            return Err(codes);
        }
        let (tag, time_ms) = (self.tag, self.time_ms);
        let bucket = self.buckets.get_mut(&create.bucket).expect("found above");
        bucket.last_upload += 1;
        let upload = Upload {
            tag,
            attributes,
            started_ms: time_ms,
            active_ms: time_ms,
            ..Upload::default()
        };
        bucket.uploads.insert((create.key.clone(), bucket.last_upload), upload);
        Ok(Outcome::Upload(bucket.last_upload))
    }

    pub(crate) fn put_part(&mut self, session: u64, put: &PutPart) -> Verdict {
        let bucket = self.bucket(&put.bucket)?;
        let Some(upload) = bucket.uploads.get(&(put.key.clone(), put.upload)) else {
            return no(ErrorCode::NoSuchUpload);
        };
        let Some(body) = &put.body else {
            return no(ErrorCode::Malformed);
        };
        let mut codes = number_codes(put.number);
        codes.extend(self.body_codes(session, bucket, body));
        codes.extend(part_quota_codes(bucket, upload, put.number, body.size));
        if !codes.is_empty() {
            return Err(codes);
        }
        self.commit_chunks(&body.extents);
        let part = Part {
            etag: put.etag.clone(),
            modified_ms: self.time_ms,
            checksums: put.checksums.clone(),
            content: content_of(body),
        };
        self.enter_part(&put.bucket, (put.key.clone(), put.upload), put.number, part);
        Ok(Outcome::CommittedMs(self.time_ms))
    }

    fn enter_part(&mut self, bucket: &str, upload: (bytes::Bytes, u64), number: u32, part: Part) {
        let time_ms = self.time_ms;
        let bucket = self.buckets.get_mut(bucket).expect("checked before");
        let upload = bucket.uploads.get_mut(&upload).expect("checked before");
        upload.parts.insert(number, part);
        upload.revision += 1;
        upload.active_ms = time_ms;
    }

    pub(crate) fn copy_part(&mut self, copy: &CopyPart) -> Verdict {
        let bucket = self.bucket(&copy.bucket)?;
        let Some(upload) = bucket.uploads.get(&(copy.key.clone(), copy.upload)) else {
            return no(ErrorCode::NoSuchUpload);
        };
        let Some(source) = &copy.source else {
            return no(ErrorCode::Malformed);
        };
        let mut codes = number_codes(copy.number);
        codes.extend(part_quota_codes(bucket, upload, copy.number, copy.length));
        let inode = match source_of(bucket, source) {
            Ok((_, inode)) => inode,
            Err(more) => {
                codes.extend(more);
                return Err(codes);
            }
        };
        let end = copy.offset.saturating_add(copy.length);
        if end > inode.content.size {
            codes.push(ErrorCode::Malformed);
            return Err(codes);
        }
        let content = Content {
            size: copy.length,
            pieces: inode.content.range(copy.offset, end, 0),
        };
        if !copyable(&content, limits::COPY_PART_EXTENTS_MAX) {
            codes.push(ErrorCode::CopyInSteps);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let part = Part {
            etag: copy.etag.clone(),
            modified_ms: self.time_ms,
            checksums: copy.checksums.clone(),
            content,
        };
        self.enter_part(&copy.bucket, (copy.key.clone(), copy.upload), copy.number, part);
        Ok(Outcome::Copied(Copied {
            committed_ms: self.time_ms,
            etag: copy.etag.clone(),
            size: copy.length,
        }))
    }

    pub(crate) fn complete_upload(&mut self, complete: &CompleteUpload) -> Verdict {
        let bucket = self.bucket(&complete.bucket)?;
        let id = (complete.key.clone(), complete.upload);
        let Some(upload) = bucket.uploads.get(&id) else {
            return no(ErrorCode::NoSuchUpload);
        };
        let mut codes = target_codes(bucket, &complete.key, complete.condition.as_ref());
        if upload.revision != complete.revision {
            codes.push(ErrorCode::UploadChanged);
        }
        let ascending = complete.parts.windows(2).all(|pair| pair[0].number < pair[1].number);
        if complete.parts.is_empty() || !ascending {
            codes.push(ErrorCode::Malformed);
        }
        codes.extend(complete_quota_codes(bucket, complete));
        if !codes.is_empty() {
            return Err(codes);
        }
        let mut content = Content::default();
        for chosen in &complete.parts {
            let part = &upload.parts[&chosen.number].content;
            let (start, end) = (content.size, content.size + part.size);
            content.replace(start, end, part.range(0, part.size, start));
            content.size = end;
        }
        let attributes = ObjectAttributes {
            etag: complete.etag.clone(),
            checksums: complete.checksums.clone(),
            ..upload.attributes.clone()
        };
        let inode = Inode {
            part_chunks: content.chunks(),
            content,
            attributes: Some(attributes),
            parts: complete.parts.clone(),
            ..self.new_file()
        };
        self.enter_object(&complete.bucket, &complete.key, inode);
        let bucket = self.buckets.get_mut(&complete.bucket).expect("found above");
        bucket.uploads.remove(&id);
        Ok(Outcome::CommittedMs(self.time_ms))
    }

    pub(crate) fn abort_upload(&mut self, abort: &AbortUpload) -> Verdict {
        self.bucket(&abort.bucket)?;
        let bucket = self.buckets.get_mut(&abort.bucket).expect("found above");
        match bucket.uploads.remove(&(abort.key.clone(), abort.upload)) {
            Some(_) => done(),
            None => no(ErrorCode::NoSuchUpload),
        }
    }

    pub(crate) fn expire_uploads(&mut self, expire: &ExpireUploads) -> Verdict {
        let time_ms = self.time_ms;
        let Some(bucket) = self.buckets.values_mut().find(|bucket| bucket.id == expire.bucket_id) else {
            return no(ErrorCode::NoSuchBucket);
        };
        let days = u64::from(bucket.settings.abandoned_uploads_days);
        let expired = |upload: &Upload| days > 0 && upload.active_ms + days * DAY_MS < time_ms;
        let mut found: Vec<_> = bucket.uploads.iter().filter(|(_, upload)| expired(upload)).collect();
        found.sort_by_key(|((_, id), upload)| (upload.active_ms, *id));
        let limit = (expire.limit as usize).min(limits::EXPIRE_UPLOADS_MAX);
        let gone: Vec<_> = found.into_iter().take(limit).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            bucket.uploads.remove(id);
        }
        Ok(Outcome::UploadsExpired(gone.len() as u64))
    }
}

fn number_codes(number: u32) -> Vec<ErrorCode> {
    if (1..=limits::PART_NUMBER_MAX).contains(&number) {
        Vec::new()
    } else {
        vec![ErrorCode::Malformed]
    }
}

/// Whether a part of this size would not fit the bucket's quota.
fn part_quota_codes(bucket: &Bucket, upload: &Upload, number: u32, size: u64) -> Vec<ErrorCode> {
    let old = upload.parts.get(&number).map_or(0, |part| part.content.size);
    bucket.growth_codes(size, old)
}

/// Completing moves bytes from the upload to the object: only replacing nothing counts as one more object.
fn complete_quota_codes(bucket: &Bucket, complete: &CompleteUpload) -> Vec<ErrorCode> {
    bucket.object_codes(&complete.key)
}
