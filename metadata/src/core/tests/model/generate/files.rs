//! Commands of mounts: names, data, attributes.

use bytes::Bytes;
use cairn_common::{
    acl,
    wire::{
        command::Command,
        file::{
            ChangeSpace, CloneRange, CreateFile, CreateWritten, FileAction, FileCommand, FileKind, LinkFile,
            MakeDirectory, MergeExtents, RemoveDirectory, RemoveXattr, Rename, ReserveInodes, SetAttributes, SetTime,
            SetXattr, UnlinkFile, WriteFile,
        },
    },
};

use super::Generator;
use crate::core::tests::model::world::Bucket;

impl Generator<'_> {
    pub(super) fn name(&mut self) -> Bytes {
        let known: [&[u8]; 8] = [b"a", b"a", b"b", b"c", b"d", b"e", b"\xc3\xa4", b"f"];
        match self.rng.below(60) {
            0 => Bytes::from_static(b"."),
            1 => Bytes::from_static(b".."),
            2 => Bytes::new(),
            3 => Bytes::from_static(b"a/b"),
            4 => Bytes::from_static(b"a\xff"),
            5 => Bytes::from_static(b"a\0"),
            6 => Bytes::from("n".repeat(256)),
            7 | 8 => Bytes::from("n".repeat(255)),
            _ => Bytes::from_static(self.rng.pick::<&[u8]>(&known)),
        }
    }

    fn file_bucket(&mut self) -> (u64, Option<&'_ Bucket>) {
        let name = self.pick_bucket();
        let bucket = self.world.buckets.get(&name);
        (bucket.map_or(99, |bucket| bucket.id), bucket)
    }

    /// An inode of one of the kinds that is surely there; now and then any number.
    pub(super) fn inode(&mut self, bucket: u64, wanted: &[FileKind]) -> u64 {
        if self.rng.percent(1) {
            return *self.rng.pick(&[0, 999_999]);
        }
        let world = self.world;
        let Some(bucket) = world.buckets.values().find(|found| found.id == bucket) else {
            return 1;
        };
        let any = self.rng.percent(5);
        let orphans = self.rng.percent(10);
        let inodes = bucket
            .inodes
            .iter()
            .filter(|(_, inode)| any || wanted.contains(&inode.kind))
            .filter(|(_, inode)| !inode.may_be_gone && (orphans || inode.unlinked_at.is_none()))
            .map(|(number, inode)| (inode.tag, *number));
        self.rng.pick_tagged(inodes).unwrap_or(1)
    }

    fn directory(&mut self, bucket: u64) -> u64 {
        if self.rng.percent(30) {
            1
        } else {
            self.inode(bucket, &[FileKind::Directory])
        }
    }

    /// A name that is there, with its directory; now and then any.
    fn present_name(&mut self, bucket: u64) -> (u64, Bytes) {
        let directory = self.directory(bucket);
        let world = self.world;
        let found = world.buckets.values().find(|found| found.id == bucket);
        let entries = found
            .and_then(|bucket| bucket.inodes.get(&directory))
            .map(|inode| &inode.entries);
        if let Some(entries) = entries.filter(|_| !self.rng.percent(10)) {
            let tagged = entries
                .keys()
                .filter(|component| !component.is_empty())
                .map(|component| {
                    let tag = component
                        .iter()
                        .fold(7_u64, |tag, byte| tag.wrapping_mul(31) + u64::from(*byte));
                    (tag, component)
                });
            if let Some(component) = self.rng.pick_tagged(tagged) {
                let name = component.strip_suffix(b"/").unwrap_or(component);
                return (directory, Bytes::copy_from_slice(name));
            }
        }
        (directory, self.name())
    }

    fn mode(&mut self) -> u32 {
        *self
            .rng
            .pick(&[0o644, 0o755, 0o6755, 0o2644, 0o1777, 0o4700, 0o107_777])
    }

    pub(super) fn name_command(&mut self) -> Command {
        let (bucket, _) = self.file_bucket();
        let action = match self.rng.below(100) {
            0..14 => FileAction::Create(self.create_file(bucket)),
            14..16 => FileAction::ReserveInodes(ReserveInodes {
                count: *self.rng.pick(&[0, 1, 2, 3, 4, 4096, 4097]),
            }),
            16..24 => FileAction::CreateWritten(self.create_written(bucket)),
            24..40 => FileAction::MakeDirectory(MakeDirectory {
                parent: self.directory(bucket),
                name: self.name(),
                mode: self.mode(),
                uid: self.rng.below(3) as u32,
                gid: self.rng.below(3) as u32,
                umask: self.umask(),
            }),
            40..50 => {
                let kinds = [FileKind::File, FileKind::File, FileKind::Symlink, FileKind::Fifo];
                FileAction::Link(LinkFile {
                    inode: self.inode(bucket, &kinds),
                    parent: self.directory(bucket),
                    name: self.name(),
                })
            }
            50..62 => {
                let (parent, name) = self.present_name(bucket);
                FileAction::Unlink(UnlinkFile { parent, name })
            }
            62..72 => {
                let (parent, name) = self.present_name(bucket);
                FileAction::RemoveDirectory(RemoveDirectory { parent, name })
            }
            _ => {
                let (parent, name) = self.present_name(bucket);
                let (new_parent, new_name) = match self.rng.below(3) {
                    0 => self.present_name(bucket),
                    _ => (self.directory(bucket), self.name()),
                };
                FileAction::Rename(Rename {
                    parent,
                    name,
                    new_parent,
                    new_name,
                    mode: *self.rng.pick(&[0, 0, 0, 1, 2, 2, 2, 3]),
                })
            }
        };
        file_command(bucket, action)
    }

    fn create_file(&mut self, bucket: u64) -> CreateFile {
        let kinds = [
            FileKind::File,
            FileKind::File,
            FileKind::File,
            FileKind::Symlink,
            FileKind::Fifo,
            FileKind::Socket,
            FileKind::CharacterDevice,
            FileKind::BlockDevice,
            FileKind::Directory,
        ];
        let kind = if self.rng.percent(60) {
            FileKind::File
        } else {
            *self.rng.pick(&kinds)
        };
        let target = match self.rng.below(30) {
            0 => Bytes::from("t".repeat(4096)),
            1 => Bytes::from_static(b"odd"),
            2 => Bytes::new(),
            _ if kind == FileKind::Symlink => Bytes::from_static(b"../target"),
            _ => Bytes::new(),
        };
        CreateFile {
            parent: self.directory(bucket),
            name: self.name(),
            kind: kind.into(),
            mode: self.mode(),
            uid: self.rng.below(3) as u32,
            gid: self.rng.below(3) as u32,
            device: self.rng.below(3),
            target,
            exclusive: self.rng.percent(40),
            umask: self.umask(),
        }
    }

    /// A file under a number that was set aside; now and then under one that is another's.
    fn create_written(&mut self, bucket: u64) -> CreateWritten {
        let world = self.world;
        let found = world.buckets.values().find(|found| found.id == bucket);
        // One that had a file which is gone is never used again.
        let is_there = |bucket: &Bucket, number: &u64| match bucket.inodes.get(number) {
            Some(inode) => !inode.may_be_gone && inode.unlinked_at.is_none(),
            None => false,
        };
        let mut numbers: Vec<u64> = Vec::new();
        if let Some(bucket) = found {
            numbers.extend(bucket.reserved.iter().rev().take(3));
            if numbers.is_empty() || self.rng.percent(20) {
                numbers.extend(bucket.inodes.keys().filter(|number| is_there(bucket, number)).take(3));
            }
        }
        let inode = match self.rng.below(30) {
            0 => *self.rng.pick(&[0, 1, 999_999]),
            _ if numbers.is_empty() => 999_999,
            _ => *self.rng.pick(&numbers),
        };
        let create = CreateFile {
            exclusive: !self.rng.percent(3),
            ..self.create_file(bucket)
        };
        let create = if self.rng.percent(5) {
            create
        } else {
            CreateFile {
                kind: FileKind::File.into(),
                target: Bytes::new(),
                ..create
            }
        };
        let then = (0..self.rng.below(3)).map(|_| SetAttributes {
            size: Some(5).filter(|_| self.rng.percent(2)),
            mode: Some(self.mode()).filter(|_| self.rng.percent(50)),
            uid: Some(1).filter(|_| self.rng.percent(30)),
            mtime: Some(SetTime { ns: Some(77) }).filter(|_| self.rng.percent(30)),
            atime: Some(SetTime { ns: None }).filter(|_| self.rng.percent(20)),
            clear_suid: self.rng.percent(30),
            ..SetAttributes::default()
        });
        CreateWritten {
            then: then.collect(),
            create: Some(create).filter(|_| !self.rng.percent(1)),
            inode,
            made_ns: *self.rng.pick(&[0, 1_000_000, i64::MAX]),
            extents: if self.rng.percent(50) {
                self.extents(0)
            } else {
                Vec::new()
            },
        }
    }

    fn umask(&mut self) -> u32 {
        *self.rng.pick(&[0, 0o022, 0o077, 0o7777])
    }

    fn offset(&mut self) -> u64 {
        match self.rng.below(60) {
            0 => 1 << 40,
            // Further up the sum of all files would not be a number of 64 bits.
            1 => (1 << 56) - self.rng.below(5000),
            2 => u64::MAX - self.rng.below(5000),
            3..12 => self.rng.below(20_000),
            _ => 4096 * self.rng.below(12),
        }
    }

    fn length(&mut self) -> u64 {
        match self.rng.below(40) {
            0 => 0,
            1 => 1 << 41,
            2..10 => 1 + self.rng.below(10_000),
            _ => 4096 * (1 + self.rng.below(6)),
        }
    }

    /// The data version of an inode, mostly.
    fn version(&mut self, bucket: u64, inode: u64) -> u64 {
        let bucket = self.world.buckets.values().find(|found| found.id == bucket);
        let version = bucket
            .and_then(|bucket| bucket.inodes.get(&inode))
            .map_or(0, |inode| inode.data_version);
        version + u64::from(self.rng.percent(5))
    }

    pub(super) fn data_command(&mut self) -> Command {
        let (bucket, _) = self.file_bucket();
        let inode = self.inode(bucket, &[FileKind::File]);
        let clear_suid = self.rng.percent(30);
        let action = match self.rng.below(100) {
            0..55 => {
                let offset = self.offset().min(u64::MAX >> 1);
                let version = self.version(bucket, inode);
                FileAction::Write(WriteFile {
                    inode,
                    extents: self.extents(offset),
                    expected_version: Some(version).filter(|_| self.rng.percent(30)),
                    clear_suid,
                })
            }
            55..72 => FileAction::ChangeSpace(ChangeSpace {
                inode,
                offset: self.offset(),
                length: self.length(),
                mode: *self.rng.pick(&[0, 1, 1, 1, 2, 2, 3]),
                clear_suid,
            }),
            72..88 => {
                let source = if self.rng.percent(20) {
                    inode
                } else {
                    self.inode(bucket, &[FileKind::File])
                };
                FileAction::CloneRange(CloneRange {
                    source,
                    source_offset: self.offset(),
                    inode,
                    offset: self.offset(),
                    length: self.length(),
                    clear_suid,
                })
            }
            _ => self.merge(bucket, inode),
        };
        file_command(bucket, action)
    }

    /// Merges what a file of chunks holds; files without any may be kept in another way, where there is nothing to merge.
    fn merge(&mut self, bucket: u64, inode: u64) -> FileAction {
        let found = self.world.buckets.values().find(|found| found.id == bucket);
        let content = found
            .and_then(|bucket| bucket.inodes.get(&inode))
            .map(|inode| inode.content.clone());
        let content = content.unwrap_or_default();
        if content.chunks().is_empty() {
            return FileAction::Write(WriteFile {
                inode,
                extents: self.extents(0),
                ..WriteFile::default()
            });
        }
        let offset = 4096 * self.rng.below(6);
        let length = self.length().min(content.size.saturating_sub(offset)) + u64::from(self.rng.percent(3));
        let mut extents = Vec::new();
        if length > 0 && !self.rng.percent(10) {
            let chunk = self.chunk(length.min(1 << 20) as u32);
            extents.push(cairn_common::wire::object::Extent {
                file_offset: offset,
                length: length.min(1 << 20),
                chunk: Some(chunk),
                ..Default::default()
            });
        }
        FileAction::Merge(MergeExtents {
            inode,
            offset,
            length,
            extents,
            expected_version: self.version(bucket, inode),
        })
    }

    pub(super) fn attribute_command(&mut self) -> Command {
        let (bucket, _) = self.file_bucket();
        let kinds = [
            FileKind::File,
            FileKind::File,
            FileKind::Directory,
            FileKind::Symlink,
            FileKind::Fifo,
        ];
        let inode = self.inode(bucket, &kinds);
        let xattr = Bytes::from_static(
            self.rng
                .pick::<&[u8]>(&[b"user.a".as_slice(), b"user.b", b"trusted.c", b""]),
        );
        let action = match self.rng.below(100) {
            0..40 => FileAction::SetAttributes(self.set_attributes(inode)),
            40..50 => self.set_acl(inode),
            50..82 => FileAction::SetXattr(SetXattr {
                inode,
                name: if self.rng.percent(2) {
                    Bytes::from("x".repeat(256))
                } else {
                    xattr
                },
                value: match self.rng.below(20) {
                    0 => Bytes::from(vec![5; 40_000]),
                    1 => Bytes::new(),
                    _ => self.bytes(6),
                },
                mode: *self.rng.pick(&[0, 0, 0, 1, 2, 3]),
                clear_setgid: false,
            }),
            95.. => FileAction::RemoveXattr(RemoveXattr {
                inode,
                name: self.acl_name(),
            }),
            _ => FileAction::RemoveXattr(RemoveXattr { inode, name: xattr }),
        };
        file_command(bucket, action)
    }

    fn acl_name(&mut self) -> Bytes {
        Bytes::from_static(self.rng.pick::<&[u8]>(&[acl::ACCESS, acl::DEFAULT]))
    }

    /// Lists that name nobody, some, and more than they may; and some that are none.
    fn set_acl(&mut self, inode: u64) -> FileAction {
        let named = *self.rng.pick(&[0_u32, 0, 1, 3, 600]);
        let mut entry = |tag: u16, id: u32| {
            let permissions = self.rng.below(8) as u16;
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let mut list = vec![2_u32.to_le_bytes().to_vec(), entry(0x01, u32::MAX)];
        list.extend((0..named).map(|id| entry(0x02, id)));
        list.push(entry(0x04, u32::MAX));
        if named > 0 {
            list.push(entry(0x10, u32::MAX));
        }
        list.push(entry(0x20, u32::MAX));
        if self.rng.percent(5) {
            list.pop();
        }
        FileAction::SetXattr(SetXattr {
            inode,
            name: self.acl_name(),
            value: Bytes::from(list.concat()),
            mode: *self.rng.pick(&[0, 0, 0, 0, 1, 2]),
            clear_setgid: self.rng.percent(50),
        })
    }

    fn set_attributes(&mut self, inode: u64) -> SetAttributes {
        let time = |rng: &mut super::super::rng::Rng| match rng.below(4) {
            0 => Some(SetTime { ns: None }),
            1 => Some(SetTime {
                ns: Some(rng.next() as i64),
            }),
            _ => None,
        };
        SetAttributes {
            inode,
            mode: Some(self.mode()).filter(|_| self.rng.percent(30)),
            uid: Some(7).filter(|_| self.rng.percent(20)),
            gid: Some(8).filter(|_| self.rng.percent(20)),
            atime: time(&mut self.rng),
            mtime: time(&mut self.rng),
            size: Some(self.offset()).filter(|_| self.rng.percent(50)),
            clear_suid: self.rng.percent(20),
        }
    }
}

fn file_command(bucket: u64, action: FileAction) -> Command {
    Command::File(FileCommand {
        bucket,
        action: Some(action),
    })
}
