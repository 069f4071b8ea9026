//! What S3 sees: buckets, listings, objects and their plans, uploads and their parts.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        command::ErrorCode,
        object::ObjectInfo,
        query::{
            Answer, BucketQuery, BucketsPage, BucketsQuery, Document, DocumentNames, DocumentQuery, DocumentsQuery,
            ListEntry, ListQuery, ObjectQuery, PartInfo, PartsPage, PartsQuery, PlanQuery, Query, SummaryQuery,
            UploadInfo, UploadsPage, UploadsQuery,
        },
    },
};

use super::{Questions, Sample, same};
use crate::core::tests::model::{
    content::{Content, add_page},
    world::{Bucket, Inode, Part, Upload, entity_tag, keys, object_size, seen_attributes, split},
};

impl Questions<'_> {
    pub(super) fn summary(&self) -> Result<(), String> {
        let Ok(Answer::Summary(summary)) = self.ask(&Query::Summary(SummaryQuery {}))? else {
            return Err("no summary".to_owned());
        };
        let usages: Vec<_> = self.world.buckets.values().map(Bucket::usage).collect();
        let expected = cairn_common::wire::query::Summary {
            buckets: self.world.buckets.len() as u64,
            objects: usages.iter().map(|usage| usage.objects).sum(),
            object_bytes: usages.iter().map(|usage| usage.object_bytes).sum(),
            sessions: self.world.sessions.len() as u64,
            epoch: self.world.map.epoch,
            feature_level: self.world.feature_level,
            deletion_held: self.world.deletion_held,
            generation: self.world.generation as u32,
            // How the code keeps its queues is its own affair.
            release_pending: summary.release_pending,
            repair_pending: summary.repair_pending,
            authority_holder: 0,
        };
        same(summary == expected, &"summary", &expected, &summary)
    }

    pub(super) fn buckets(&self) -> Result<(), String> {
        let buckets = self
            .world
            .buckets
            .iter()
            .map(|(name, bucket)| bucket.info(name))
            .collect();
        self.expect(
            &Query::Buckets(BucketsQuery {}),
            Ok(Answer::Buckets(BucketsPage { buckets })),
        )
    }

    pub(super) fn bucket_info(&self, name: &str) -> Result<(), String> {
        let expected = self.world.buckets[name].info(name);
        let query = BucketQuery { name: name.to_owned() };
        self.expect(&Query::Bucket(query), Ok(Answer::Bucket(expected)))?;
        let documents = &self.world.buckets[name].documents;
        let bucket = name.to_owned();
        let names = documents.keys().cloned().collect();
        let query = Query::Documents(DocumentsQuery { bucket: bucket.clone() });
        self.expect(&query, Ok(Answer::Documents(DocumentNames { names })))?;
        for (name, (content, modified_ms)) in documents {
            let query = Query::Document(DocumentQuery {
                bucket: bucket.clone(),
                name: name.clone(),
            });
            let expected = Document {
                content: content.clone(),
                modified_ms: *modified_ms,
            };
            self.expect(&query, Ok(Answer::Document(expected)))?;
        }
        Ok(())
    }

    pub(super) fn listings(&mut self, name: &str) -> Result<(), String> {
        let bucket = &self.world.buckets[name];
        let keys: Vec<(Vec<u8>, u64)> = keys(bucket)
            .into_iter()
            .filter(|(key, _)| key.len() <= limits::KEY_LEN_MAX)
            .collect();
        let some_key = |rng: &mut super::Rng| match keys.len() as u64 {
            0 => b"a".to_vec(),
            count => keys[rng.below(count) as usize].0.clone(),
        };
        for _ in 0..2 {
            let mut prefix = some_key(&mut self.rng);
            prefix.truncate(self.rng.below(5) as usize);
            let delimiter = *self.rng.pick(&[b"".as_slice(), b"", b"/", b"/", b"a", b"b/", b"//"]);
            let from = match self.rng.below(3) {
                0 => some_key(&mut self.rng),
                _ => Vec::new(),
            };
            let limit = *self.rng.pick(&[1, 2, 7, 1000]);
            let listed = self.listing(name, &prefix, delimiter, &from, limit)?;
            let expected = listing(bucket, &keys, &prefix, delimiter, &from);
            // Directories that hold nothing which S3 can name are rolled up all the same.
            let known: BTreeSet<&Bytes> = expected.iter().map(|entry| &entry.key).collect();
            let shown: Vec<&ListEntry> = listed
                .iter()
                .filter(|entry| {
                    !entry.is_prefix || known.contains(&entry.key) || !leads_to_directory(bucket, &entry.key)
                })
                .collect();
            let query = (name, Bytes::from(prefix), delimiter, Bytes::from(from), limit);
            same(shown.iter().copied().eq(&expected), &query, &expected, &listed)?;
        }
        Ok(())
    }

    fn listing(
        &self,
        name: &str,
        prefix: &[u8],
        delimiter: &[u8],
        from: &[u8],
        limit: u32,
    ) -> Result<Vec<ListEntry>, String> {
        let mut listed = Vec::new();
        let mut from = Bytes::copy_from_slice(from);
        loop {
            let query = ListQuery {
                bucket: name.to_owned(),
                prefix: Bytes::copy_from_slice(prefix),
                delimiter: Bytes::copy_from_slice(delimiter),
                from: from.clone(),
                limit,
            };
            let Ok(Answer::List(page)) = self.ask(&Query::List(query.clone()))? else {
                return Err(format!("{query:?} is no list"));
            };
            if page.entries.len() > limit as usize || (page.next_from <= from && !page.next_from.is_empty()) {
                return Err(format!(
                    "{query:?} is answered by too much, or does not go on: {page:?}"
                ));
            }
            listed.extend(page.entries);
            if page.next_from.is_empty() {
                return Ok(listed);
            }
            from = page.next_from;
        }
    }

    pub(super) fn objects(&mut self, name: &str, sample: Sample) -> Result<(), String> {
        let bucket = &self.world.buckets[name];
        let keys = keys(bucket);
        let (cases, most) = sample.bounds();
        let nameable = keys.iter().filter(|(key, _)| key.len() <= limits::KEY_LEN_MAX);
        for (key, number) in self.rng.sample(nameable, cases, most) {
            self.object(name, bucket, key, *number)?;
        }
        for absent in [b"absent".as_slice(), b"a/absent", b"absent/"] {
            let query = object_query(name, absent, 0);
            self.expect(&query, Err(vec![ErrorCode::NoSuchKey]))?;
        }
        Ok(())
    }

    fn object(&self, name: &str, bucket: &Bucket, key: &[u8], number: u64) -> Result<(), String> {
        let inode = &bucket.inodes[&number];
        let query = object_query(name, key, 0);
        let answer = self.ask(&query)?;
        let Ok(Answer::Object(object)) = &answer else {
            return same(false, &query, &inode, &answer);
        };
        let expected = ObjectInfo {
            size: object_size(inode),
            modified_ms: inode.modified_ms,
            attributes: Some(seen_attributes(number, inode)),
            parts: inode.parts.clone(),
            inode: number,
        };
        same(object.info.as_ref() == Some(&expected), &query, &expected, &answer)?;
        let mut content = Content {
            size: object_size(inode),
            pieces: Vec::new(),
        };
        let mut plan = object.plan.clone().unwrap_or_default();
        add_page(&mut content, &plan);
        while plan.next_from != 0 {
            let further = Query::Plan(PlanQuery {
                bucket_id: bucket.id,
                inode: number,
                from: plan.next_from,
                data_version: plan.data_version,
            });
            let Ok(Answer::Plan(next)) = self.ask(&further)? else {
                return Err(format!("{further:?} is no plan"));
            };
            plan = next;
            add_page(&mut content, &plan);
        }
        same_content(&query, inode, &content)
    }

    pub(super) fn uploads(&mut self, name: &str, sample: Sample) -> Result<(), String> {
        let bucket = &self.world.buckets[name];
        let limit = *self.rng.pick(&[1, 3, 1000]);
        let prefix = *self.rng.pick(&[b"".as_slice(), b"a", b"b/"]);
        let mut listed = Vec::new();
        let (mut after_key, mut after_upload) = (Bytes::new(), 0);
        loop {
            let query = Query::Uploads(UploadsQuery {
                bucket: name.to_owned(),
                prefix: Bytes::copy_from_slice(prefix),
                after_key,
                after_upload,
                limit,
            });
            let Ok(Answer::Uploads(UploadsPage { uploads, more })) = self.ask(&query)? else {
                return Err(format!("{query:?} is no page of uploads"));
            };
            listed.extend(uploads);
            let Some(last) = listed.last().filter(|_| more) else {
                break;
            };
            (after_key, after_upload) = (last.key.clone(), last.upload);
        }
        let info = |((key, id), upload): (&(Bytes, u64), &Upload)| UploadInfo {
            key: key.clone(),
            upload: *id,
            started_ms: upload.started_ms,
            checksums: upload.attributes.checksums.clone(),
        };
        let of_prefix = bucket.uploads.iter().filter(|((key, _), _)| key.starts_with(prefix));
        let expected: Vec<UploadInfo> = of_prefix.map(info).collect();
        same(listed == expected, &("uploads", name, prefix), &expected, &listed)?;
        for (id, upload) in bucket.uploads.iter().take(sample.bounds().1) {
            self.parts(name, id, upload)?;
        }
        Ok(())
    }

    fn parts(&mut self, name: &str, (key, id): &(Bytes, u64), upload: &Upload) -> Result<(), String> {
        let (after, limit) = (self.rng.below(4) as u32, *self.rng.pick(&[1_u32, 2, 1000]));
        let query = Query::Parts(PartsQuery {
            bucket: name.to_owned(),
            key: key.clone(),
            upload: *id,
            after,
            limit,
        });
        let info = |(number, part): (&u32, &Part)| PartInfo {
            number: *number,
            size: part.content.size,
            etag: part.etag.clone(),
            modified_ms: part.modified_ms,
            checksums: part.checksums.clone(),
        };
        let behind: Vec<PartInfo> = upload.parts.range(after + 1..).map(info).collect();
        let page = PartsPage {
            revision: upload.revision,
            attributes: Some(upload.attributes.clone()),
            started_ms: upload.started_ms,
            more: behind.len() > limit as usize,
            parts: behind.into_iter().take(limit as usize).collect(),
        };
        self.expect(&query, Ok(Answer::Parts(page)))
    }
}

/// The content read by plans must be that of the model.
pub(super) fn same_content<Q: std::fmt::Debug>(query: &Q, inode: &Inode, read: &Content) -> Result<(), String> {
    let (expected, read) = (inode.content.seen(0), read.seen(0));
    same(expected == read, query, &expected, &read)
}

fn object_query(name: &str, key: &[u8], plan_from: u64) -> Query {
    Query::Object(ObjectQuery {
        bucket: name.to_owned(),
        key: Bytes::copy_from_slice(key),
        with_plan: true,
        plan_from,
    })
}

/// Whether the path of a directory of the bucket starts so.
fn leads_to_directory(bucket: &Bucket, prefix: &[u8]) -> bool {
    let (directories, component) = split(prefix);
    let path = bucket.path_of(prefix);
    let last = path.last().filter(|_| path.len() == directories.len() + 1);
    let begins = |inode: &u64| {
        let mut entries = bucket.inodes[inode].entries.keys();
        component.is_empty() || entries.any(|entry| entry.ends_with(b"/") && entry.starts_with(&component))
    };
    last.is_some_and(begins)
}

/// What S3 says a listing is, computed from all keys.
fn listing(bucket: &Bucket, keys: &[(Vec<u8>, u64)], prefix: &[u8], delimiter: &[u8], from: &[u8]) -> Vec<ListEntry> {
    let mut listed: Vec<ListEntry> = Vec::new();
    let wanted = keys
        .iter()
        .filter(|(key, _)| key.starts_with(prefix) && key.as_slice() >= from);
    for (key, number) in wanted {
        let tail = &key[prefix.len()..];
        let at = tail
            .windows(delimiter.len().max(1))
            .position(|window| !delimiter.is_empty() && window == delimiter);
        let entry = match at {
            Some(at) => ListEntry {
                key: Bytes::copy_from_slice(&key[..prefix.len() + at + delimiter.len()]),
                is_prefix: true,
                ..ListEntry::default()
            },
            None => object_entry(key, *number, &bucket.inodes[number]),
        };
        if listed.last() != Some(&entry) {
            listed.push(entry);
        }
    }
    listed
}

fn object_entry(key: &[u8], number: u64, inode: &Inode) -> ListEntry {
    let mut checksums = inode.attributes.clone().unwrap_or_default().checksums;
    checksums.iter_mut().for_each(|checksum| checksum.value.clear());
    ListEntry {
        key: Bytes::copy_from_slice(key),
        is_prefix: false,
        size: object_size(inode),
        modified_ms: inode.modified_ms,
        etag: entity_tag(number, inode),
        checksums,
    }
}
