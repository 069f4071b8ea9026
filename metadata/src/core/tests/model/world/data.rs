//! Attributes and data of files, as a mount changes them.

use cairn_common::{
    acl::{self, Acl},
    limits,
    wire::{
        command::ErrorCode,
        file::{
            ChangeSpace, CloneRange, FileKind, FileOutcome, MergeExtents, RemoveXattr, SetAttributes, SetTime,
            SetXattr, SpaceMode, WriteFile, XattrMode,
        },
        object::Extent,
    },
};

use super::{Bucket, Inode, Verdict, files::Now, no, refuse_if};

impl Bucket {
    pub(crate) fn set_attributes(&mut self, now: Now, set: &SetAttributes) -> Verdict<FileOutcome> {
        let inode = self.inode(set.inode)?;
        if inode.kind == FileKind::Directory {
            self.directory(set.inode)?;
        }
        if let Some(size) = set.size {
            let mut codes = data_codes(inode);
            codes.extend(self.size_codes(inode, size));
            if !codes.is_empty() {
                return Err(codes);
            }
        }
        if self.inodes[&set.inode].kind == FileKind::Directory {
            self.make_explicit(set.inode);
        }
        let inode = self.inode_mut(set.inode);
        inode.touch(now.time_ns);
        if let Some(size) = set.size {
            inode.resize(size);
            inode.touch_data(now.time_ms);
        }
        inode.clear_suid(set.clear_suid);
        let time = |time: Option<SetTime>, present: i64| match time {
            Some(time) => time.ns.unwrap_or(now.time_ns),
            None => present,
        };
        let posix = inode.posix_mut();
        if let Some(mode) = set.mode {
            posix.mode = mode & 0o7777;
            if let Some(list) = posix.xattrs.get_mut(acl::ACCESS) {
                *list = Acl::decode(list)
                    .expect("checked when it was set")
                    .with_mode(mode)
                    .encode();
            }
        }
        posix.uid = set.uid.unwrap_or(posix.uid);
        posix.gid = set.gid.unwrap_or(posix.gid);
        posix.atime_ns = time(set.atime, posix.atime_ns);
        posix.mtime_ns = time(set.mtime, posix.mtime_ns);
        Ok(self.outcome(set.inode))
    }

    /// What stands against a new size.
    fn size_codes(&self, inode: &Inode, size: u64) -> Vec<ErrorCode> {
        let mut codes = Vec::new();
        if size > limits::FILE_SIZE_BYTES_MAX {
            codes.push(ErrorCode::FileTooLarge);
        } else if inode.unlinked_at.is_none() {
            codes.extend(self.growth_codes(size, inode.content.size));
        }
        codes
    }

    /// An inode whose extended attributes may change.
    fn changeable(&self, number: u64) -> Verdict<()> {
        match self.inode(number)?.kind {
            FileKind::Directory => self.directory(number).map(|_| ()),
            _ => Ok(()),
        }
    }

    pub(crate) fn set_xattr(&mut self, now: Now, set: &SetXattr) -> Verdict<FileOutcome> {
        let mut codes = match set.name.len() {
            0 => vec![ErrorCode::InvalidName],
            length if length > limits::XATTR_NAME_LEN_MAX => vec![ErrorCode::NameTooLong],
            _ => Vec::new(),
        };
        let mode = XattrMode::try_from(set.mode);
        if mode.is_err() {
            codes.push(ErrorCode::Malformed);
        }
        if let Err(more) = self.changeable(set.inode) {
            codes.extend(more);
            return Err(codes);
        }
        let xattrs = self.inodes[&set.inode].posix().xattrs;
        let there = xattrs.contains_key(&set.name);
        match mode {
            Ok(XattrMode::Create) if there => codes.push(ErrorCode::Exists),
            Ok(XattrMode::Replace) if !there => codes.push(ErrorCode::NoSuchXattr),
            _ => {}
        }
        let others = xattrs.iter().filter(|(name, _)| **name != set.name);
        let bytes: usize = others.map(|(name, value)| name.len() + value.len()).sum();
        let list = self.acl_of(set, &mut codes);
        let is_mode = set.name == acl::ACCESS && list.as_ref().is_some_and(|list| list.entries().len() == 3);
        if !is_mode && bytes + set.name.len() + set.value.len() > limits::XATTRS_BYTES_MAX {
            codes.push(ErrorCode::XattrTooLarge);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        self.change_xattrs(now, set.inode, |xattrs| {
            xattrs.insert(set.name.clone(), set.value.clone());
        });
        if let Some(list) = list.filter(|_| set.name == acl::ACCESS) {
            let posix = self.inode_mut(set.inode).posix_mut();
            let setgid = if set.clear_setgid { 0o2000 } else { 0 };
            posix.mode = (posix.mode & !0o777 & !setgid) | list.mode();
            if is_mode {
                posix.xattrs.remove(acl::ACCESS);
            }
        }
        Ok(self.outcome(set.inode))
    }

    /// The list that a command sets, where it sets one.
    fn acl_of(&self, set: &SetXattr, codes: &mut Vec<ErrorCode>) -> Option<Acl> {
        if set.name != acl::ACCESS && set.name != acl::DEFAULT {
            return None;
        }
        let kind = self.inodes[&set.inode].kind;
        let wrong_kind = if set.name == acl::DEFAULT {
            kind != FileKind::Directory
        } else {
            kind == FileKind::Symlink
        };
        if wrong_kind {
            codes.push(ErrorCode::InvalidXattr);
        }
        if set.value.len() > limits::ACL_BYTES_MAX {
            codes.push(ErrorCode::XattrTooLarge);
        }
        let list = Acl::decode(&set.value);
        if list.is_err() {
            codes.push(ErrorCode::InvalidXattr);
        }
        list.ok()
    }

    fn change_xattrs(
        &mut self,
        now: Now,
        number: u64,
        change: impl FnOnce(&mut std::collections::BTreeMap<bytes::Bytes, bytes::Bytes>),
    ) {
        if self.inodes[&number].kind == FileKind::Directory {
            self.make_explicit(number);
        }
        let inode = self.inode_mut(number);
        inode.touch(now.time_ns);
        change(&mut inode.posix_mut().xattrs);
    }

    pub(crate) fn remove_xattr(&mut self, now: Now, remove: &RemoveXattr) -> Verdict<FileOutcome> {
        self.changeable(remove.inode)?;
        if !self.inodes[&remove.inode].posix().xattrs.contains_key(&remove.name) {
            return no(ErrorCode::NoSuchXattr);
        }
        self.change_xattrs(now, remove.inode, |xattrs| {
            xattrs.remove(&remove.name);
        });
        Ok(self.outcome(remove.inode))
    }

    /// A regular file.
    fn regular(&self, number: u64) -> Verdict<&Inode> {
        let inode = self.inode(number)?;
        let codes = data_codes(inode);
        if codes.is_empty() { Ok(inode) } else { Err(codes) }
    }

    pub(crate) fn write(&mut self, now: Now, write: &WriteFile, chunks: Vec<ErrorCode>) -> Verdict<FileOutcome> {
        let mut codes = chunks;
        codes.extend(extents_codes(&write.extents));
        if write.extents.is_empty() {
            codes.push(ErrorCode::Malformed);
        }
        match self.regular(write.inode) {
            Ok(inode) => {
                if write
                    .expected_version
                    .is_some_and(|version| version != inode.data_version)
                {
                    codes.push(ErrorCode::DataChanged);
                }
                let end = extents_end(&write.extents);
                codes.extend(self.size_codes(inode, end.max(inode.content.size)));
            }
            Err(more) => codes.extend(more),
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let inode = self.inode_mut(write.inode);
        inode.change_data();
        inode.content.write(&write.extents);
        inode.touch_data(now.time_ms);
        inode.clear_suid(write.clear_suid);
        Ok(self.outcome(write.inode))
    }

    pub(crate) fn merge(&mut self, merge: &MergeExtents, chunks: Vec<ErrorCode>) -> Verdict<FileOutcome> {
        let mut codes = chunks;
        codes.extend(extents_codes(&merge.extents));
        let to = merge.offset.saturating_add(merge.length);
        let first = merge.extents.first().map_or(merge.offset, |extent| extent.file_offset);
        match self.regular(merge.inode) {
            Ok(inode) => {
                if merge.expected_version != inode.data_version {
                    codes.push(ErrorCode::DataChanged);
                }
                if to > inode.content.size || extents_end(&merge.extents) > to || first < merge.offset {
                    codes.push(ErrorCode::Malformed);
                }
                if inode.content.chunks().is_empty() || merge.extents.is_empty() {
                    codes.push(ErrorCode::Malformed);
                }
            }
            Err(more) => codes.extend(more),
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let content = &mut self.inode_mut(merge.inode).content;
        content.punch(merge.offset, to);
        content.write(&merge.extents);
        Ok(self.outcome(merge.inode))
    }

    pub(crate) fn change_space(&mut self, now: Now, change: &ChangeSpace) -> Verdict<FileOutcome> {
        let mode = SpaceMode::try_from(change.mode);
        let mut codes = Vec::new();
        if mode.is_err() || change.length == 0 {
            codes.push(ErrorCode::Malformed);
        }
        let mode = mode.unwrap_or(SpaceMode::Punch);
        let end = change.offset.saturating_add(change.length);
        match self.regular(change.inode) {
            Ok(inode) if mode != SpaceMode::Punch => {
                codes.extend(self.size_codes(inode, end.max(inode.content.size)));
            }
            Ok(_) => {}
            Err(more) => codes.extend(more),
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let inode = self.inode_mut(change.inode);
        if mode != SpaceMode::Allocate {
            inode.change_data();
            inode.content.punch(change.offset, end);
        }
        if mode != SpaceMode::Punch {
            inode.resize(end.max(inode.content.size));
        }
        inode.touch_data(now.time_ms);
        inode.clear_suid(change.clear_suid);
        Ok(self.outcome(change.inode))
    }

    pub(crate) fn clone_range(&mut self, now: Now, clone: &CloneRange) -> Verdict<FileOutcome> {
        let (source, target) = (self.regular(clone.source)?, self.regular(clone.inode)?);
        let source_end = clone
            .source_offset
            .saturating_add(clone.length)
            .min(source.content.size);
        let length = source_end.saturating_sub(clone.source_offset);
        if length == 0 {
            return Ok(self.outcome(clone.inode));
        }
        let end = clone.offset.saturating_add(length);
        let apart = end <= clone.source_offset || source_end <= clone.offset;
        let mut codes = self.size_codes(target, end.max(target.content.size));
        if clone.source == clone.inode && !apart {
            codes.push(ErrorCode::Malformed);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let pieces = source.content.range(clone.source_offset, source_end, clone.offset);
        let inode = self.inode_mut(clone.inode);
        inode.change_data();
        inode.content.replace(clone.offset, end, pieces);
        inode.content.size = inode.content.size.max(end);
        inode.touch_data(now.time_ms);
        inode.clear_suid(clone.clear_suid);
        Ok(FileOutcome {
            cloned_bytes: length,
            ..self.outcome(clone.inode)
        })
    }
}

impl Inode {
    /// The data is another from now on: its version moves, and what S3 said of the one before is void.
    fn change_data(&mut self) {
        self.posix_mut();
        self.data_version += 1;
        self.parts.clear();
        if let Some(attributes) = &mut self.attributes {
            attributes.etag.clear();
            attributes.checksums.clear();
        }
    }

    fn resize(&mut self, size: u64) {
        if size != self.content.size {
            self.change_data();
            self.content.resize(size);
        }
    }

    fn clear_suid(&mut self, wanted: bool) {
        if !wanted || self.kind == FileKind::Directory {
            return;
        }
        let mode = &mut self.posix_mut().mode;
        *mode &= !0o4000;
        if *mode & 0o010 != 0 {
            *mode &= !0o2000;
        }
    }
}

/// Only regular files hold data.
fn data_codes(inode: &Inode) -> Vec<ErrorCode> {
    match inode.kind {
        FileKind::File => Vec::new(),
        FileKind::Directory => vec![ErrorCode::IsDirectory],
        _ => vec![ErrorCode::NotFile],
    }
}

fn extents_end(extents: &[Extent]) -> u64 {
    extents
        .last()
        .map_or(0, |extent| extent.file_offset.saturating_add(extent.length))
}

/// Extents are in order and apart, have bytes of one kind, and few inline.
fn extents_codes(extents: &[Extent]) -> Vec<ErrorCode> {
    let in_order = extents
        .windows(2)
        .all(|pair| pair[0].file_offset.saturating_add(pair[0].length) <= pair[1].file_offset);
    let sound = extents.iter().all(|extent| match &extent.chunk {
        Some(chunk) => {
            extent.inline.is_empty()
                && extent.length > 0
                && u64::from(extent.chunk_offset) + extent.length <= u64::from(chunk.length)
        }
        None => extent.length > 0 && extent.length == extent.inline.len() as u64,
    });
    let inline: usize = extents.iter().map(|extent| extent.inline.len()).sum();
    let too_many = inline > limits::INLINE_SIZE_BYTES || extents.len() > limits::COMMAND_EXTENTS_MAX;
    let refused = refuse_if(&[(!in_order || !sound || too_many, ErrorCode::Malformed)]);
    refused.err().unwrap_or_default()
}
