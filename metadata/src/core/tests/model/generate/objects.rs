//! Commands of S3: objects, copies, uploads.

use bytes::Bytes;
use cairn_common::wire::{
    command::{
        AbortUpload, Command, CompleteUpload, CopyObject, CopyPart, CopySource, CreateUpload, DeleteObject, PutObject,
        PutPart, WriteCondition,
    },
    object::{ObjectAttributes, PartSize},
};

use super::Generator;
use crate::core::tests::model::world::{entity_tag, keys, object_size};

impl Generator<'_> {
    pub(super) fn key(&mut self) -> Bytes {
        let known: [&[u8]; 26] = [
            b"a",
            b"a/",
            b"a/b",
            b"a//b",
            b"a/b/",
            b"a/b/c",
            b"b",
            b"b/a",
            b"b/b",
            b"b/",
            b"c/d/e/f",
            b"c/d/",
            b"c",
            b"/",
            b"//",
            b"/a",
            b".",
            b"./a",
            b"..",
            b"a/../b",
            b"a/./b",
            b"\xc3\xa4/\xc3\xb6",
            b"\xc3\xa4",
            b"a\xff",
            b"a\0",
            b"a b",
        ];
        match self.rng.below(100) {
            0 => Bytes::from("k".repeat(1024)),
            1 => Bytes::from("n".repeat(255)),
            2 => Bytes::from("n".repeat(256)),
            3 => Bytes::from(["n".repeat(256), "m".to_owned()].join("/")),
            4 => {
                let most = *self.rng.pick(&[8, 8, 8, 512]);
                Bytes::from("a/".repeat(1 + self.rng.below(most) as usize))
            }
            5 => match self.rng.below(3) {
                0 => Bytes::new(),
                1 => Bytes::from("k".repeat(1025)),
                _ => Bytes::from_static(b"a/\xff\xfe/b"),
            },
            6..30 => {
                let length = 1 + self.rng.below(6);
                (0..length).map(|_| *self.rng.pick(b"ab/")).collect::<Vec<u8>>().into()
            }
            _ => Bytes::from_static(self.rng.pick::<&[u8]>(&known)),
        }
    }

    fn condition(&mut self, bucket: &str, key: &[u8]) -> Option<WriteCondition> {
        if self.rng.percent(70) {
            return None;
        }
        let mut condition = WriteCondition::default();
        let found = self.world.buckets.get(bucket).and_then(|bucket| {
            let number = bucket.resolve(key)?;
            Some((
                entity_tag(number, &bucket.inodes[&number]),
                bucket.inodes[&number].clone(),
            ))
        });
        match self.rng.below(6) {
            0 | 1 => condition.must_be_absent = true,
            2 => condition.etag = "*".to_owned(),
            3 => condition.etag = format!("tag{}", self.rng.below(4)),
            4 => condition.etag = found.map_or_else(String::new, |(etag, _)| etag),
            _ => {
                let inode = found.map(|(_, inode)| inode).unwrap_or_default();
                condition.size = Some(object_size(&inode) + u64::from(self.rng.percent(30)));
                condition.modified_s = self.rng.percent(50).then_some(inode.modified_ms / 1000);
            }
        }
        Some(condition)
    }

    pub(super) fn object_command(&mut self) -> Command {
        let (bucket, key) = (self.pick_bucket(), self.key());
        let condition = self.condition(&bucket, &key);
        match self.rng.below(100) {
            0..55 => Command::PutObject(PutObject {
                bucket,
                key,
                attributes: Some(self.object_attributes()).filter(|_| !self.rng.percent(1)),
                body: Some(self.body()).filter(|_| !self.rng.percent(1)),
                condition,
            }),
            55..85 => {
                let key = self
                    .present_key(&bucket)
                    .filter(|_| self.rng.percent(60))
                    .unwrap_or(key);
                Command::DeleteObject(DeleteObject { bucket, key, condition })
            }
            _ => Command::CopyObject(CopyObject {
                source: Some(self.copy_source(&bucket)).filter(|_| !self.rng.percent(1)),
                attributes: Some(self.object_attributes()).filter(|_| self.rng.percent(40)),
                bucket,
                key,
                condition,
            }),
        }
    }

    fn present_key(&mut self, bucket: &str) -> Option<Bytes> {
        let bucket = self.world.buckets.get(bucket)?;
        let keys = keys(bucket);
        let tagged = keys.iter().map(|(key, inode)| (bucket.inodes[inode].tag, key));
        self.rng.pick_tagged(tagged).map(|key| Bytes::copy_from_slice(key))
    }

    /// Something to copy. Small data that a mount changed is left out: whether one command can copy it depends on how it is
    /// kept.
    fn copy_source(&mut self, bucket: &str) -> CopySource {
        let found = self.world.buckets.get(bucket);
        let at = |key: &[u8]| found.and_then(|found| Some((found, found.resolve(key)?)));
        let is_clear = |key: &Bytes| {
            let inode = at(key).map(|(found, number)| found.inodes[&number].clone());
            inode.is_none_or(|inode| inode.data_version == 0 || !inode.content.chunks().is_empty())
        };
        let key = self.present_key(bucket).filter(|_| self.rng.percent(90));
        let key = key.unwrap_or_else(|| self.key());
        let key = if is_clear(&key) {
            key
        } else {
            Bytes::from_static(b"absent")
        };
        let inode = at(&key).map_or(0, |(_, number)| number);
        CopySource {
            inode: match self.rng.below(10) {
                0 => inode + 1,
                1..5 => 0,
                _ => inode,
            },
            condition: self
                .condition(bucket, &key)
                .filter(|condition| !condition.must_be_absent),
            key,
        }
    }

    /// An upload of the bucket: its key, number, and the parts that it has.
    fn pick_upload(&mut self, bucket: &str) -> (Bytes, u64, u64, Vec<PartSize>) {
        let missing = (Bytes::from_static(b"a"), 99, 0, Vec::new());
        if self.rng.percent(2) {
            return missing;
        }
        let Some(bucket) = self.world.buckets.get(bucket) else {
            return missing;
        };
        let uploads = bucket.uploads.iter().map(|(id, upload)| (upload.tag, (id, upload)));
        let Some(((key, id), upload)) = self.rng.pick_tagged(uploads) else {
            return missing;
        };
        let part = |(number, part): (&u32, &crate::core::tests::model::world::Part)| PartSize {
            number: *number,
            size: part.content.size,
        };
        (
            key.clone(),
            *id,
            upload.revision,
            upload.parts.iter().map(part).collect(),
        )
    }

    pub(super) fn upload_command(&mut self) -> Command {
        let bucket = self.pick_bucket();
        let number = *self.rng.pick(&[1, 1, 2, 3, 4, 7, 10_000]);
        let number = if self.rng.percent(1) {
            10_001 * u32::from(self.rng.percent(50))
        } else {
            number
        };
        let (key, upload, revision, parts) = self.pick_upload(&bucket);
        let etag = format!("part{}", self.rng.below(9));
        match self.rng.below(100) {
            0..20 => Command::CreateUpload(CreateUpload {
                key: self.key(),
                attributes: Some(ObjectAttributes {
                    etag: String::new(),
                    ..self.object_attributes()
                }),
                bucket,
            }),
            20..55 => Command::PutPart(PutPart {
                bucket,
                key,
                upload,
                number,
                etag,
                checksums: self.object_attributes().checksums,
                body: Some(self.body()).filter(|_| !self.rng.percent(1)),
            }),
            55..68 => {
                let source = self.copy_source(&bucket);
                let size = self
                    .world
                    .buckets
                    .get(&bucket)
                    .and_then(|bucket| Some(bucket.inodes[&bucket.resolve(&source.key)?].content.size));
                let size = size.unwrap_or(5000).min(20 << 20);
                let offset = *self.rng.pick(&[0, 0, 0, 1, 4096, size / 2]);
                let rest = size.saturating_sub(offset);
                Command::CopyPart(CopyPart {
                    bucket,
                    key,
                    upload,
                    number,
                    etag,
                    checksums: Vec::new(),
                    source: Some(source).filter(|_| !self.rng.percent(1)),
                    offset,
                    length: *self.rng.pick(&[rest, rest, rest / 2, 4096.min(rest), rest + 1]),
                })
            }
            68..90 => {
                let mut chosen: Vec<PartSize> = parts.into_iter().filter(|_| !self.rng.percent(25)).collect();
                if self.rng.percent(2) {
                    chosen.reverse();
                }
                let condition = self.condition(&bucket, &key);
                Command::CompleteUpload(CompleteUpload {
                    bucket,
                    key,
                    upload,
                    revision: revision + u64::from(self.rng.percent(3)),
                    parts: chosen,
                    etag: format!("multi{}-2", self.rng.below(4)),
                    checksums: self.object_attributes().checksums,
                    condition,
                })
            }
            _ => Command::AbortUpload(AbortUpload { bucket, key, upload }),
        }
    }
}
