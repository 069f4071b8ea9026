//! Commands and questions of a mount in short form, for the tests of files and directories.

use bytes::Bytes;
use cairn_common::{
    ids::{BucketId, ChunkId, InodeId, SessionId},
    wire::{
        command::{Command, ErrorCode, Outcome},
        file::{
            AttributesQuery, CreateFile, DirectoryQuery, FileAction, FileAnswer, FileAttributes, FileCommand, FileKind,
            FileOutcome, FilePlan, FilePlanQuery, FileQuery, FileQuestion, FileReply, LinkFile, LookupQuery,
            MakeDirectory, RemoveDirectory, Rename, RenameMode, SetAttributes, SpaceQuery, UnlinkFile, WriteFile,
        },
        object::{Chunk, Extent},
        query::{Answer, Query},
    },
};

use super::harness::Machine;
use crate::{core::path, record::inode::InodeRecord};

pub(super) const ROOT: u64 = 1;
const BUCKET_NUMBER: u64 = 1;

pub(super) fn name(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

/// Byte `at` of the chunk with this counter. Never zero, so that a hole shows.
pub(super) fn byte_of(counter: u64, at: u64) -> u8 {
    ((counter * 31 + at * 7) % 251 + 1) as u8
}

impl Machine {
    pub(super) fn file(&mut self, action: FileAction) -> Result<FileOutcome, ErrorCode> {
        let command = FileCommand {
            bucket: BUCKET_NUMBER,
            action: Some(action),
        };
        match self.run(Command::File(command))? {
            Outcome::File(outcome) => Ok(outcome),
            other => panic!("no file outcome: {other:?}"),
        }
    }

    /// The inode that a command made or changed.
    fn inode(&mut self, action: FileAction) -> Result<u64, ErrorCode> {
        Ok(self.file(action)?.attributes.expect("attributes").inode)
    }

    pub(super) fn create(&mut self, parent: u64, file: &str) -> Result<u64, ErrorCode> {
        self.make(parent, file, FileKind::File, "")
    }

    pub(super) fn make(&mut self, parent: u64, file: &str, kind: FileKind, target: &str) -> Result<u64, ErrorCode> {
        self.inode(FileAction::Create(CreateFile {
            parent,
            name: name(file),
            kind: kind.into(),
            mode: 0o640,
            uid: 7,
            gid: 8,
            device: 0x801,
            target: name(target),
            exclusive: true,
            umask: 0,
        }))
    }

    pub(super) fn symlink(&mut self, parent: u64, file: &str) -> Result<u64, ErrorCode> {
        self.make(parent, file, FileKind::Symlink, "target")
    }

    pub(super) fn mkdir(&mut self, parent: u64, directory: &str) -> Result<u64, ErrorCode> {
        self.inode(FileAction::MakeDirectory(MakeDirectory {
            parent,
            name: name(directory),
            mode: 0o750,
            uid: 7,
            gid: 8,
            umask: 0,
        }))
    }

    pub(super) fn link(&mut self, inode: u64, parent: u64, file: &str) -> Result<u64, ErrorCode> {
        let name = name(file);
        self.inode(FileAction::Link(LinkFile { inode, parent, name }))
    }

    pub(super) fn unlink(&mut self, parent: u64, file: &str) -> Result<FileAttributes, ErrorCode> {
        let name = name(file);
        let outcome = self.file(FileAction::Unlink(UnlinkFile { parent, name }))?;
        Ok(outcome.removed.expect("what lost the name"))
    }

    pub(super) fn rmdir(&mut self, parent: u64, directory: &str) -> Result<FileAttributes, ErrorCode> {
        let name = name(directory);
        let outcome = self.file(FileAction::RemoveDirectory(RemoveDirectory { parent, name }))?;
        Ok(outcome.removed.expect("what was removed"))
    }

    pub(super) fn rename(
        &mut self,
        from: (u64, &str),
        to: (u64, &str),
        mode: RenameMode,
    ) -> Result<Option<FileAttributes>, ErrorCode> {
        let outcome = self.file(FileAction::Rename(Rename {
            parent: from.0,
            name: name(from.1),
            new_parent: to.0,
            new_name: name(to.1),
            mode: mode.into(),
        }))?;
        Ok(outcome.removed)
    }

    pub(super) fn truncate(&mut self, inode: u64, size: u64) -> Result<FileAttributes, ErrorCode> {
        let set = SetAttributes {
            inode,
            size: Some(size),
            ..SetAttributes::default()
        };
        let outcome = self.file(FileAction::SetAttributes(set))?;
        Ok(outcome.attributes.expect("attributes"))
    }

    pub(super) fn write(&mut self, inode: u64, extents: Vec<Extent>) -> Result<FileAttributes, ErrorCode> {
        let write = WriteFile {
            inode,
            extents,
            ..WriteFile::default()
        };
        let outcome = self.file(FileAction::Write(write))?;
        Ok(outcome.attributes.expect("attributes"))
    }

    pub(super) fn write_inline(&mut self, inode: u64, bytes: &str) -> Result<FileAttributes, ErrorCode> {
        self.write(inode, vec![inline(0, name(bytes))])
    }

    /// Extents of `length` bytes at these offsets, all in one new chunk.
    pub(super) fn extents_at(&mut self, offsets: &[u64], length: u64) -> Vec<Extent> {
        self.chunk_counter += 1;
        let id = ChunkId {
            session: SessionId::new(self.session),
            counter: self.chunk_counter,
        };
        let chunk = Chunk {
            missing: 0,
            id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards: 1,
            parity_shards: 2,
            length: (offsets.len() as u64 * length) as u32,
            hash: Bytes::from(vec![7; 32]),
            explicit_devices: Vec::new(),
            epoch: 1,
        };
        let extent = |(index, offset): (usize, &u64)| Extent {
            file_offset: *offset,
            length,
            chunk_offset: (index as u64 * length) as u32,
            chunk: Some(chunk.clone()),
            inline: Bytes::new(),
        };
        offsets.iter().enumerate().map(extent).collect()
    }

    pub(super) fn question(&self, question: FileQuestion) -> Result<FileReply, ErrorCode> {
        let query = FileQuery {
            bucket: BUCKET_NUMBER,
            question: Some(question),
        };
        match self.ask(Query::File(query)) {
            Answer::File(FileAnswer { reply: Some(reply) }) => Ok(reply),
            Answer::Refused(refusal) => Err(refusal.code()),
            other => panic!("no answer to a mount: {other:?}"),
        }
    }

    pub(super) fn lookup(&self, parent: u64, file: &str) -> Result<FileAttributes, ErrorCode> {
        let name = name(file);
        match self.question(FileQuestion::Lookup(LookupQuery { parent, name }))? {
            FileReply::Attributes(attributes) => Ok(attributes),
            other => panic!("no attributes: {other:?}"),
        }
    }

    pub(super) fn stat(&self, inode: u64) -> Result<FileAttributes, ErrorCode> {
        match self.question(FileQuestion::Attributes(AttributesQuery { inode }))? {
            FileReply::Attributes(attributes) => Ok(attributes),
            other => panic!("no attributes: {other:?}"),
        }
    }

    /// The names in a directory, those of directories with a `/`, in pages of `limit`.
    pub(super) fn readdir(&self, inode: u64, limit: u32) -> Vec<String> {
        let mut names = Vec::new();
        let mut after = Bytes::new();
        loop {
            let query = DirectoryQuery {
                inode,
                after,
                limit,
                with_attributes: true,
            };
            let Ok(FileReply::Directory(page)) = self.question(FileQuestion::Directory(query)) else {
                panic!("no page of directory {inode}");
            };
            for entry in &page.entries {
                let attributes = entry.attributes.as_ref().expect("attributes");
                assert_eq!((attributes.inode, attributes.kind), (entry.inode, entry.kind));
                names.push(String::from_utf8(entry.cookie().to_vec()).expect("shown names are UTF-8"));
            }
            if page.next_after.is_empty() {
                return names;
            }
            after = page.next_after;
        }
    }

    pub(super) fn plan(&self, inode: u64, from: u64, version: Option<u64>) -> Result<FilePlan, ErrorCode> {
        let query = FilePlanQuery {
            inode,
            from,
            expected_version: version,
        };
        match self.question(FileQuestion::Plan(query))? {
            FileReply::Plan(plan) => Ok(plan),
            other => panic!("no plan: {other:?}"),
        }
    }

    /// All bytes of a file, by its plan.
    pub(super) fn read(&self, inode: u64) -> Result<Vec<u8>, ErrorCode> {
        let size = self.stat(inode)?.size;
        let mut bytes = vec![0; size as usize];
        let (mut from, mut covered_to) = (0, 0);
        loop {
            let plan = self.plan(inode, from, None)?.plan.expect("a plan");
            if !plan.inline.is_empty() {
                assert_eq!(plan.inline.len() as u64, size);
                return Ok(plan.inline.to_vec());
            }
            let page_end = if plan.next_from > 0 { plan.next_from } else { size };
            for extent in plan.extents {
                assert!(
                    extent.file_offset >= covered_to || extent.file_offset < from,
                    "extents overlap"
                );
                covered_to = extent.file_offset + extent.length;
                for at in 0..extent.length {
                    let place = extent.file_offset + at;
                    if (from..page_end).contains(&place) {
                        bytes[place as usize] = content(&extent, at);
                    }
                }
            }
            if plan.next_from == 0 {
                return Ok(bytes);
            }
            assert!(plan.next_from > from, "the plan does not move on");
            from = plan.next_from;
        }
    }

    /// Bytes and inodes that the bucket accounts for.
    pub(super) fn used(&self) -> (u64, u64) {
        match self.question(FileQuestion::Space(SpaceQuery {})) {
            Ok(FileReply::Space(space)) => (space.used_bytes, space.inodes),
            other => panic!("no space: {other:?}"),
        }
    }

    pub(super) fn record(&self, inode: u64) -> Option<InodeRecord> {
        path::find_inode(&self.view, BucketId::new(BUCKET_NUMBER), InodeId::new(inode)).expect("a sound state")
    }
}

fn content(extent: &Extent, at: u64) -> u8 {
    match &extent.chunk {
        Some(chunk) => {
            let id = chunk.chunk_id().expect("a chunk id");
            byte_of(id.counter, u64::from(extent.chunk_offset) + at)
        }
        None => extent.inline[at as usize],
    }
}

/// An inline extent.
pub(super) fn inline(file_offset: u64, bytes: Bytes) -> Extent {
    Extent {
        file_offset,
        length: bytes.len() as u64,
        chunk_offset: 0,
        chunk: None,
        inline: bytes,
    }
}
