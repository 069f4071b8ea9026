//! What a mount sees: names, attributes, directories page by page, data, extended attributes, space.

use bytes::Bytes;
use cairn_common::wire::{
    command::ErrorCode,
    file::{
        AttributesQuery, DirectoryEntry, DirectoryPage, DirectoryQuery, FileAnswer, FileKind, FilePlanQuery, FileQuery,
        FileQuestion, FileReply, LookupQuery, Space, SpaceQuery, XattrNames, XattrNamesQuery, XattrQuery,
    },
    query::{Answer, Query},
};

use super::{Questions, Sample, objects::same_content, same};
use crate::core::tests::model::{
    content::{Content, add_page},
    world::{Bucket, Inode, Verdict, shown},
};

impl Questions<'_> {
    pub(super) fn inodes(&mut self, name: &str, sample: Sample) -> Result<(), String> {
        let bucket = &self.world.buckets[name];
        let there = bucket.inodes.iter().filter(|(_, inode)| !inode.may_be_gone);
        let (cases, most) = sample.bounds();
        for (number, inode) in self.rng.sample(there, cases, most) {
            let query = FileQuestion::Attributes(AttributesQuery { inode: *number });
            self.expect_file(bucket, query, Ok(FileReply::Attributes(bucket.attributes(*number))))?;
            self.xattrs(bucket, *number, inode)?;
            match inode.kind {
                FileKind::Directory if inode.unlinked_at.is_none() => {
                    self.directory(bucket, *number, inode)?;
                    self.lookups(bucket, *number, inode)?;
                }
                FileKind::File => self.data(bucket, *number, inode)?,
                _ => {}
            }
        }
        let missing = FileQuestion::Attributes(AttributesQuery {
            inode: bucket.last_inode + 1,
        });
        self.expect_file(bucket, missing, Err(vec![ErrorCode::NoSuchInode]))?;
        let space = Space {
            used_bytes: bucket.usage().object_bytes,
            quota_bytes: bucket.settings.quota_bytes,
            inodes: bucket
                .inodes
                .values()
                .filter(|inode| inode.unlinked_at.is_none())
                .count() as u64,
        };
        self.expect_file(bucket, FileQuestion::Space(SpaceQuery {}), Ok(FileReply::Space(space)))
    }

    fn ask_file(&self, bucket: &Bucket, question: &FileQuestion) -> Result<Result<FileReply, ErrorCode>, String> {
        let query = Query::File(FileQuery {
            bucket: bucket.id,
            question: Some(question.clone()),
        });
        Ok(match self.ask(&query)? {
            Ok(Answer::File(FileAnswer { reply: Some(reply) })) => Ok(reply),
            Ok(other) => return Err(format!("{query:?} is answered by {other:?}")),
            Err(code) => Err(code),
        })
    }

    fn expect_file(&self, bucket: &Bucket, question: FileQuestion, expected: Verdict<FileReply>) -> Result<(), String> {
        let query = Query::File(FileQuery {
            bucket: bucket.id,
            question: Some(question),
        });
        let answer = |reply| Answer::File(FileAnswer { reply: Some(reply) });
        self.expect(&query, expected.map(answer))
    }

    fn directory(&mut self, bucket: &Bucket, number: u64, inode: &Inode) -> Result<(), String> {
        let limit = *self.rng.pick(&[1, 2, 5, 1000]);
        let with_attributes = self.rng.percent(30);
        let (mut listed, mut after) = (Vec::new(), Bytes::new());
        loop {
            let question = FileQuestion::Directory(DirectoryQuery {
                inode: number,
                after: after.clone(),
                limit,
                with_attributes,
            });
            let Ok(FileReply::Directory(DirectoryPage { entries, next_after })) = self.ask_file(bucket, &question)?
            else {
                return Err(format!("{question:?} is no page of a directory"));
            };
            if entries.len() > limit as usize || (next_after <= after && !next_after.is_empty()) {
                return Err(format!("{question:?} is answered by too much, or does not go on"));
            }
            listed.extend(entries);
            if next_after.is_empty() {
                break;
            }
            after = next_after;
        }
        let entry = |(component, inode): (&Vec<u8>, &u64)| DirectoryEntry {
            name: Bytes::copy_from_slice(component.strip_suffix(b"/").unwrap_or(component)),
            inode: *inode,
            kind: bucket.inodes[inode].kind.into(),
            attributes: with_attributes.then(|| bucket.attributes(*inode)),
        };
        let visible = inode.entries.iter().filter(|(component, _)| shown(inode, component));
        let expected: Vec<DirectoryEntry> = visible.map(entry).collect();
        same(listed == expected, &("directory", number, limit), &expected, &listed)
    }

    fn lookups(&mut self, bucket: &Bucket, number: u64, inode: &Inode) -> Result<(), String> {
        let mut names: Vec<Bytes> = [b"a".as_slice(), b"b", b".", b"", b"absent"]
            .map(Bytes::from_static)
            .to_vec();
        names.extend(
            inode
                .entries
                .keys()
                .take(4)
                .map(|component| Bytes::copy_from_slice(component.strip_suffix(b"/").unwrap_or(component))),
        );
        let name = self.rng.pick(&names).clone();
        let expected = bucket
            .look_up(number, &name)
            .map(|found| FileReply::Attributes(bucket.attributes(found)));
        self.expect_file(
            bucket,
            FileQuestion::Lookup(LookupQuery { parent: number, name }),
            expected,
        )
    }

    fn xattrs(&mut self, bucket: &Bucket, number: u64, inode: &Inode) -> Result<(), String> {
        let xattrs = inode.posix().xattrs;
        let names = XattrNames {
            names: xattrs.keys().cloned().collect(),
        };
        let query = FileQuestion::XattrNames(XattrNamesQuery { inode: number });
        self.expect_file(bucket, query, Ok(FileReply::XattrNames(names)))?;
        let known: [&[u8]; 4] = [b"user.a", b"user.b", b"trusted.c", b"none"];
        let name = Bytes::from_static(self.rng.pick::<&[u8]>(&known));
        let expected = match xattrs.get(&name) {
            Some(value) => Ok(FileReply::Xattr(value.clone())),
            None => Err(vec![ErrorCode::NoSuchXattr]),
        };
        let query = FileQuestion::Xattr(XattrQuery { inode: number, name });
        self.expect_file(bucket, query, expected)
    }

    fn data(&mut self, bucket: &Bucket, number: u64, inode: &Inode) -> Result<(), String> {
        let stale = FileQuestion::Plan(FilePlanQuery {
            inode: number,
            from: 0,
            expected_version: Some(inode.data_version + 1),
        });
        self.expect_file(bucket, stale, Err(vec![ErrorCode::DataChanged]))?;
        let start = match self.rng.below(3) {
            0 => 4096 * self.rng.below(12),
            1 => self.rng.below(inode.content.size.saturating_add(2)),
            _ => 0,
        };
        let (mut content, mut from) = (Content::default(), start);
        content.size = inode.content.size;
        loop {
            let question = FileQuestion::Plan(FilePlanQuery {
                inode: number,
                from,
                expected_version: self.rng.percent(50).then_some(inode.data_version),
            });
            let Ok(FileReply::Plan(found)) = self.ask_file(bucket, &question)? else {
                return Err(format!("{question:?} is no plan"));
            };
            let attributes = bucket.attributes(number);
            same(
                found.attributes.as_ref() == Some(&attributes),
                &question,
                &attributes,
                &found.attributes,
            )?;
            let plan = found.plan.unwrap_or_default();
            if plan.next_from != 0 && plan.next_from <= from {
                return Err(format!("{question:?} does not go on: {}", plan.next_from));
            }
            add_page(&mut content, &plan);
            if plan.next_from == 0 {
                break;
            }
            from = plan.next_from;
        }
        if start == 0 {
            return same_content(&("plan", number), inode, &content);
        }
        let (expected, read) = (inode.content.seen(start), content.seen(start));
        same(expected == read, &("plan", number, start), &expected, &read)
    }
}
