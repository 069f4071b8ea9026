//! Objects: put, deleted and copied by key.

use cairn_common::{
    limits,
    wire::{
        command::{Copied, CopyObject, CopySource, DeleteObject, ErrorCode, Outcome, PutObject, WriteCondition},
        file::FileKind,
        object::{Body, Field, ObjectAttributes},
    },
};

use super::{
    super::content::{Content, Source},
    Bucket, Inode, Verdict, World, done, names, refuse_if,
};

impl World {
    pub(crate) fn put_object(&mut self, session: u64, put: &PutObject) -> Verdict {
        let bucket = self.bucket(&put.bucket)?;
        let (Some(attributes), Some(body)) = (&put.attributes, &put.body) else {
            return super::no(ErrorCode::Malformed);
        };
        let mut codes = key_codes(&put.key);
        codes.extend(attribute_codes(attributes));
        codes.extend(target_codes(bucket, &put.key, put.condition.as_ref()));
        codes.extend(self.body_codes(session, bucket, body));
        codes.extend(self.quota_codes(bucket, &put.key, body.size));
        if !codes.is_empty() {
            return Err(codes);
        }
        self.commit_chunks(&body.extents);
        let inode = Inode {
            content: content_of(body),
            attributes: Some(attributes.clone()),
            ..self.new_file()
        };
        self.enter_object(&put.bucket, &put.key, inode);
        Ok(Outcome::CommittedMs(self.time_ms))
    }

    pub(crate) fn new_file(&self) -> Inode {
        Inode {
            tag: self.tag,
            kind: FileKind::File,
            modified_ms: self.time_ms,
            ..Inode::default()
        }
    }

    /// Enters a new inode under a key, in place of what is there.
    pub(crate) fn enter_object(&mut self, name: &str, key: &[u8], inode: Inode) -> u64 {
        let (tag, time_ms, log_index) = (self.tag, self.time_ms, self.log_index);
        let bucket = self.buckets.get_mut(name).expect("checked before");
        let number = bucket.new_inode(inode);
        let (directories, component) = names::split(key);
        let mut parent = names::ROOT;
        for (directory, nth) in directories.into_iter().zip(1..) {
            parent = match bucket.inodes[&parent].entries.get(&directory) {
                Some(found) => *found,
                None => {
                    let made = bucket.new_inode(Inode {
                        tag: tag ^ nth,
                        kind: FileKind::Directory,
                        modified_ms: time_ms,
                        parent,
                        ..Inode::default()
                    });
                    bucket.enter(parent, directory, made, time_ms);
                    made
                }
            };
        }
        match bucket.inodes[&parent].entries.get(&component).copied() {
            // The directory's times tell of names that come and go, not of what they stand for.
            Some(old) => {
                let entries = &mut bucket.inode_mut(parent).entries;
                entries.insert(component, number);
                bucket.drop_link(old, time_ms, log_index);
            }
            None => bucket.enter(parent, component, number, time_ms),
        }
        number
    }

    pub(crate) fn delete_object(&mut self, delete: &DeleteObject) -> Verdict {
        let (time_ms, log_index) = (self.time_ms, self.log_index);
        let bucket = self.bucket(&delete.bucket)?;
        let inode = bucket
            .resolve(&delete.key)
            .filter(|inode| names::is_object(&bucket.inodes[inode]));
        let codes = condition_codes(
            inode.map(|inode| (inode, &bucket.inodes[&inode])),
            delete.condition.as_ref(),
        );
        if !codes.is_empty() {
            return Err(codes);
        }
        let Some(inode) = inode else { return done() };
        let bucket = self.buckets.get_mut(&delete.bucket).expect("found above");
        let path = bucket.path_of(&delete.key);
        let (mut components, component) = names::split(&delete.key);
        components.push(component);
        for (parent, component) in path.into_iter().zip(components).rev() {
            bucket.leave(parent, &component, time_ms);
            if parent == names::ROOT || !bucket.inodes[&parent].entries.is_empty() {
                break;
            }
            bucket.orphan(parent, time_ms, log_index);
        }
        bucket.drop_link(inode, time_ms, log_index);
        done()
    }

    pub(crate) fn copy_object(&mut self, copy: &CopyObject) -> Verdict {
        let bucket = self.bucket(&copy.bucket)?;
        let Some(source) = &copy.source else {
            return super::no(ErrorCode::Malformed);
        };
        let mut codes = key_codes(&copy.key);
        codes.extend(copy.attributes.as_ref().map(attribute_codes).unwrap_or_default());
        codes.extend(target_codes(bucket, &copy.key, copy.condition.as_ref()));
        let (_, inode) = match source_of(bucket, source) {
            Ok(found) => found,
            Err(more) => {
                codes.extend(more);
                return Err(codes);
            }
        };
        codes.extend(self.quota_codes(bucket, &copy.key, inode.content.size));
        if !copyable(&inode.content, limits::COPY_EXTENTS_MAX) {
            codes.push(ErrorCode::CopyInSteps);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let attributes = match &copy.attributes {
            Some(attributes) => attributes.clone(),
            // The tag of data that a mount changed is the inode's own: the copy has another.
            None => inode.attributes.clone().unwrap_or_default(),
        };
        let made = Inode {
            content: inode.content.clone(),
            attributes: Some(attributes.clone()),
            ..self.new_file()
        };
        let size = made.content.size;
        let made = self.enter_object(&copy.bucket, &copy.key, made);
        let etag = entity_tag(made, &self.buckets[&copy.bucket].inodes[&made]);
        Ok(Outcome::Copied(Copied {
            committed_ms: self.time_ms,
            etag,
            size,
        }))
    }
}

/// What a copy finds under its source's key.
pub(crate) fn source_of<'b>(bucket: &'b Bucket, source: &CopySource) -> Verdict<(u64, &'b Inode)> {
    let found = bucket
        .resolve(&source.key)
        .filter(|inode| names::is_object(&bucket.inodes[inode]));
    let Some(number) = found else {
        return super::no(ErrorCode::NoSuchKey);
    };
    let inode = &bucket.inodes[&number];
    let mut codes = condition_codes(Some((number, inode)), source.condition.as_ref());
    if source.inode != 0 && source.inode != number {
        codes.push(ErrorCode::PreconditionFailed);
    }
    if codes.is_empty() {
        Ok((number, inode))
    } else {
        Err(codes)
    }
}

/// Whether one command can copy it: all of chunks, or all of one piece inline, and not too many.
pub(crate) fn copyable(content: &Content, most: usize) -> bool {
    let inline = content
        .pieces
        .iter()
        .filter(|piece| matches!(piece.source, Source::Inline(_)))
        .count();
    let covered: u64 = content.pieces.iter().map(|piece| piece.end - piece.start).sum();
    let all_chunks = inline == 0 && covered == content.size && content.pieces.len() <= most;
    let all_inline = inline == content.pieces.len()
        && inline <= 1
        && covered == content.size
        && content.size <= limits::INLINE_SIZE_BYTES as u64;
    all_chunks || all_inline
}

pub(crate) fn content_of(body: &Body) -> Content {
    if body.extents.is_empty() {
        Content::inline(&body.inline)
    } else {
        Content::of_extents(body.size, &body.extents)
    }
}

pub(crate) fn key_codes(key: &[u8]) -> Vec<ErrorCode> {
    if key.is_empty() || key.len() > limits::KEY_LEN_MAX {
        vec![ErrorCode::Malformed]
    } else {
        Vec::new()
    }
}

pub(crate) fn attribute_codes(attributes: &ObjectAttributes) -> Vec<ErrorCode> {
    let size = |fields: &[Field]| -> usize { fields.iter().map(|field| field.name.len() + field.value.len()).sum() };
    let refused = refuse_if(&[(
        size(&attributes.user_metadata) > limits::USER_METADATA_BYTES_MAX
            || size(&attributes.headers) > limits::CONTENT_HEADER_BYTES_MAX
            || attributes.etag.len() > 256,
        ErrorCode::LimitExceeded,
    )]);
    refused.err().unwrap_or_default()
}

/// What stands against writing under a key.
pub(crate) fn target_codes(bucket: &Bucket, key: &[u8], condition: Option<&WriteCondition>) -> Vec<ErrorCode> {
    let old = bucket.resolve(key).map(|inode| (inode, &bucket.inodes[&inode]));
    match old {
        Some((_, inode)) if !names::is_object(inode) => vec![ErrorCode::NotAnObject],
        old => condition_codes(old, condition),
    }
}

pub(crate) fn condition_codes(old: Option<(u64, &Inode)>, condition: Option<&WriteCondition>) -> Vec<ErrorCode> {
    let Some(condition) = condition else {
        return Vec::new();
    };
    let mut codes = Vec::new();
    match old {
        None => {
            if !condition.etag.is_empty() {
                codes.push(ErrorCode::NoSuchKey);
            }
        }
        Some((number, inode)) => {
            let tag = entity_tag(number, inode);
            let size = object_size(inode);
            let fits = !condition.must_be_absent
                && (condition.etag.is_empty() || condition.etag == "*" || condition.etag == tag)
                && condition.size.is_none_or(|wanted| wanted == size)
                && condition
                    .modified_s
                    .is_none_or(|wanted| wanted == inode.modified_ms / 1000);
            if !fits {
                codes.push(ErrorCode::PreconditionFailed);
            }
        }
    }
    codes
}

/// Bytes as S3 sees them: an explicit directory is an empty object.
pub(crate) fn object_size(inode: &Inode) -> u64 {
    if inode.kind == FileKind::Directory {
        0
    } else {
        inode.content.size
    }
}

/// The entity tag: the one given, or where a mount made or changed the data one with a `-` that moves with every commit.
pub(crate) fn entity_tag(number: u64, inode: &Inode) -> String {
    match inode.attributes.as_ref().map(|attributes| attributes.etag.clone()) {
        Some(etag) if !etag.is_empty() => etag,
        _ => format!("{number:016x}{:016x}-1", inode.data_version),
    }
}

/// The attributes as readers see them.
pub(crate) fn seen_attributes(number: u64, inode: &Inode) -> ObjectAttributes {
    ObjectAttributes {
        etag: entity_tag(number, inode),
        ..inode.attributes.clone().unwrap_or_default()
    }
}
