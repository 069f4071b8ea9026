//! Files and directories as a mount changes them: names.

use bytes::Bytes;
use cairn_common::{
    acl::{self, Acl},
    limits,
    wire::{
        command::{ErrorCode, Heartbeat, Outcome},
        file::{
            CreateFile, FileAction, FileCommand, FileId, FileKind, FileOutcome, LinkFile, MakeDirectory, OrphansPage,
            RemoveDirectory, Rename, RenameMode, UnlinkFile,
        },
    },
};

use super::{Bucket, Inode, Posix, Verdict, World, no, refuse_if};

/// When and where a command happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) log_index: u64,
    pub(crate) time_ms: u64,
    pub(crate) time_ns: i64,
    pub(crate) tag: u64,
}

/// A name as a mount finds it.
struct Found {
    parent: u64,
    component: Vec<u8>,
    inode: u64,
    is_directory: bool,
}

impl World {
    pub(crate) fn now(&self) -> Now {
        Now {
            log_index: self.log_index,
            time_ms: self.time_ms,
            time_ns: self.time_ns(),
            tag: self.tag,
        }
    }

    /// A command that is refused leaves the bucket as it was.
    pub(crate) fn file(&mut self, session: u64, command: &FileCommand) -> Verdict {
        let Some(action) = &command.action else {
            return no(ErrorCode::Malformed);
        };
        let Some((name, bucket)) = self.buckets.iter().find(|(_, bucket)| bucket.id == command.bucket) else {
            return no(ErrorCode::NoSuchBucket);
        };
        let (name, mut bucket, now) = (name.clone(), bucket.clone(), self.now());
        let outcome = match action {
            FileAction::Create(create) => bucket.create(now, create),
            FileAction::MakeDirectory(make) => bucket.make_directory(now, make),
            FileAction::Link(link) => bucket.link(now, link),
            FileAction::Unlink(unlink) => bucket.unlink(now, unlink),
            FileAction::RemoveDirectory(remove) => bucket.remove_directory(now, remove),
            FileAction::Rename(rename) => bucket.rename(now, rename),
            FileAction::SetAttributes(set) => bucket.set_attributes(now, set),
            FileAction::SetXattr(set) => bucket.set_xattr(now, set),
            FileAction::RemoveXattr(remove) => bucket.remove_xattr(now, remove),
            FileAction::Write(write) => {
                let chunks = self.extent_codes(session, &bucket, &write.extents);
                bucket.write(now, write, chunks)
            }
            FileAction::ChangeSpace(change) => bucket.change_space(now, change),
            FileAction::CloneRange(clone) => bucket.clone_range(now, clone),
            FileAction::Merge(merge) => {
                let chunks = self.extent_codes(session, &bucket, &merge.extents);
                bucket.merge(merge, chunks)
            }
            FileAction::ReserveInodes(reserve) => bucket.reserve(*reserve),
            FileAction::CreateWritten(made) => {
                let chunks = self.extent_codes(session, &bucket, &made.extents);
                bucket.create_written(now, made, chunks)
            }
        }?;
        let codes = self.buckets[&name].quota_broken_by(&bucket);
        if !codes.is_empty() {
            return Err(codes);
        }
        match action {
            FileAction::Write(write) => self.commit_chunks(&write.extents),
            FileAction::Merge(merge) => self.commit_chunks(&merge.extents),
            FileAction::CreateWritten(made) if self.buckets[&name].was_made(made) => {}
            FileAction::CreateWritten(made) => self.commit_chunks(&made.extents),
            FileAction::ReserveInodes(_)
            | FileAction::Create(_)
            | FileAction::MakeDirectory(_)
            | FileAction::Link(_)
            | FileAction::Unlink(_)
            | FileAction::RemoveDirectory(_)
            | FileAction::Rename(_)
            | FileAction::SetAttributes(_)
            | FileAction::SetXattr(_)
            | FileAction::RemoveXattr(_)
            | FileAction::ChangeSpace(_)
            | FileAction::CloneRange(_) => {}
        }
        self.buckets.insert(name, bucket);
        Ok(Outcome::File(outcome))
    }

    /// What a mount is told with its heartbeat, and what it says that it holds.
    pub(crate) fn mount_heartbeat(&mut self, id: u64, heartbeat: &Heartbeat) -> Verdict {
        let settled = self.log_index - 1;
        let log_index = self.log_index;
        let session = self.sessions.get_mut(&id).expect("found before");
        if heartbeat.orphans_seen >= session.orphans_seen {
            session.held = heartbeat.held.iter().copied().collect();
        }
        session.orphans_seen = session.orphans_seen.max(heartbeat.orphans_seen.min(log_index));
        let seen = session.orphans_seen;
        let mut orphans: Vec<(u64, FileId)> = Vec::new();
        for (bucket, number, inode, at) in self.orphans() {
            if inode.kind != FileKind::Directory && at > seen && at <= settled {
                orphans.push((at, FileId { bucket, inode: number }));
            }
        }
        orphans.sort_unstable();
        Ok(Outcome::Orphans(OrphansPage {
            orphans: orphans.into_iter().map(|(_, file)| file).collect(),
            reached: settled.max(seen),
            more: false,
        }))
    }
}

impl Bucket {
    /// An inode that a mount names, with or without a name of its own.
    pub(crate) fn inode(&self, number: u64) -> Verdict<&Inode> {
        self.inodes.get(&number).ok_or_else(|| vec![ErrorCode::NoSuchInode])
    }

    /// A directory in which names can be changed.
    pub(crate) fn directory(&self, number: u64) -> Verdict<&Inode> {
        let inode = self.inode(number)?;
        refuse_if(&[
            (inode.kind != FileKind::Directory, ErrorCode::NotDirectory),
            (
                inode.kind == FileKind::Directory && inode.unlinked_at.is_some(),
                ErrorCode::NoSuchInode,
            ),
        ])?;
        Ok(inode)
    }

    /// What a name stands for: the directory where both are.
    fn find(&self, parent: u64, name: &[u8]) -> Verdict<Option<Found>> {
        let directory = match (name_codes(name), self.directory(parent)) {
            (codes, Ok(directory)) if codes.is_empty() => directory,
            (mut codes, found) => {
                codes.extend(found.err().unwrap_or_default());
                return Err(codes);
            }
        };
        let found = [[name, b"/"].concat(), name.to_vec()]
            .into_iter()
            .find_map(|component| {
                let inode = *directory.entries.get(&component)?;
                Some(Found {
                    parent,
                    is_directory: component.ends_with(b"/"),
                    component,
                    inode,
                })
            });
        Ok(found)
    }

    fn require(&self, parent: u64, name: &[u8]) -> Verdict<Found> {
        self.find(parent, name)?.ok_or_else(|| vec![ErrorCode::NoSuchEntry])
    }

    /// The inode under a name, as a lookup answers it.
    pub(crate) fn look_up(&self, parent: u64, name: &[u8]) -> Verdict<u64> {
        self.require(parent, name).map(|found| found.inode)
    }

    pub(crate) fn create(&mut self, now: Now, create: &CreateFile) -> Verdict<FileOutcome> {
        let kind = FileKind::try_from(create.kind).unwrap_or_default();
        let wrong_kind = matches!(kind, FileKind::Unspecified | FileKind::Directory);
        let wrong_target = (kind == FileKind::Symlink) == create.target.is_empty();
        let found = self.find(create.parent, &create.name);
        let mut codes = match &found {
            Ok(None) => Vec::new(),
            Ok(Some(_)) if create.exclusive || kind != FileKind::File => vec![ErrorCode::Exists],
            Ok(Some(found)) if found.is_directory => vec![ErrorCode::IsDirectory],
            Ok(Some(found)) if self.inodes[&found.inode].kind != FileKind::File => vec![ErrorCode::Exists],
            Ok(Some(_)) => Vec::new(),
            Err(codes) => codes.clone(),
        };
        if wrong_kind || wrong_target {
            codes.push(ErrorCode::Malformed);
        }
        if create.target.len() > limits::SYMLINK_TARGET_LEN_MAX {
            codes.push(ErrorCode::NameTooLong);
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        if let Ok(Some(found)) = found {
            return Ok(self.outcome(found.inode));
        }
        let is_device = matches!(kind, FileKind::CharacterDevice | FileKind::BlockDevice);
        let posix = Posix {
            target: create.target.clone(),
            device: if is_device { create.device } else { 0 },
            ..self.new_posix(
                now,
                create.parent,
                kind,
                (create.mode, create.umask),
                (create.uid, create.gid),
            )
        };
        self.make_explicit(create.parent);
        let mut inode = Inode {
            tag: now.tag,
            kind,
            modified_ms: now.time_ms,
            posix: Some(posix),
            ..Inode::default()
        };
        inode.content.size = create.target.len() as u64;
        let number = self.new_inode(inode);
        self.enter(create.parent, create.name.to_vec(), number, now.time_ms);
        Ok(FileOutcome {
            created: true,
            ..self.outcome(number)
        })
    }

    fn make_directory(&mut self, now: Now, make: &MakeDirectory) -> Verdict<FileOutcome> {
        if self.find(make.parent, &make.name)?.is_some() {
            return no(ErrorCode::Exists);
        }
        self.make_explicit(make.parent);
        let kind = FileKind::Directory;
        let posix = self.new_posix(now, make.parent, kind, (make.mode, make.umask), (make.uid, make.gid));
        let number = self.new_inode(Inode {
            tag: now.tag,
            kind,
            modified_ms: now.time_ms,
            parent: make.parent,
            posix: Some(posix),
            ..Inode::default()
        });
        self.enter(make.parent, [&make.name, b"/".as_slice()].concat(), number, now.time_ms);
        self.make_explicit(number);
        Ok(FileOutcome {
            created: true,
            ..self.outcome(number)
        })
    }

    /// What POSIX sees of something new in `parent`.
    fn new_posix(
        &self,
        now: Now,
        parent: u64,
        kind: FileKind,
        (mode, umask): (u32, u32),
        (uid, gid): (u32, u32),
    ) -> Posix {
        let mut posix = Posix {
            mode: mode & 0o7777,
            uid,
            gid,
            links: 1,
            atime_ns: now.time_ns,
            mtime_ns: now.time_ns,
            ctime_ns: now.time_ns,
            ..Posix::default()
        };
        if kind == FileKind::Symlink {
            return posix;
        }
        let Some(default) = self.inodes[&parent].posix().xattrs.remove(acl::DEFAULT) else {
            posix.mode &= !(umask & 0o777);
            return posix;
        };
        let list = Acl::decode(&default).expect("checked when it was set");
        let inherited = list.inherited(posix.mode);
        posix.mode = inherited.mode;
        let access = inherited.access.map(|list| (acl::ACCESS, list.encode()));
        let default = (kind == FileKind::Directory).then_some((acl::DEFAULT, default));
        let lists = access.into_iter().chain(default);
        posix.xattrs = lists.map(|(name, list)| (Bytes::from_static(name), list)).collect();
        posix
    }

    fn link(&mut self, now: Now, link: &LinkFile) -> Verdict<FileOutcome> {
        let (inode, found) = (self.inode(link.inode), self.find(link.parent, &link.name));
        let mut codes = Vec::new();
        match &inode {
            Ok(inode) if inode.kind == FileKind::Directory => codes.push(ErrorCode::IsDirectory),
            Ok(inode) if inode.unlinked_at.is_some() => codes.push(ErrorCode::NoSuchInode),
            Ok(_) => {}
            Err(more) => codes.extend(more),
        }
        match &found {
            Ok(Some(_)) => codes.push(ErrorCode::Exists),
            Ok(None) => {}
            Err(more) => codes.extend(more),
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        let inode = self.inode_mut(link.inode);
        inode.touch(now.time_ns);
        inode.posix_mut().links += 1;
        self.make_explicit(link.parent);
        self.enter(link.parent, link.name.to_vec(), link.inode, now.time_ms);
        Ok(self.outcome(link.inode))
    }

    fn unlink(&mut self, now: Now, unlink: &UnlinkFile) -> Verdict<FileOutcome> {
        let found = self.require(unlink.parent, &unlink.name)?;
        if found.is_directory {
            return no(ErrorCode::IsDirectory);
        }
        self.make_explicit(found.parent);
        self.leave(found.parent, &found.component, now.time_ms);
        self.drop_link(found.inode, now.time_ms, now.log_index);
        Ok(self.removed(found.inode))
    }

    fn remove_directory(&mut self, now: Now, remove: &RemoveDirectory) -> Verdict<FileOutcome> {
        let found = self.require(remove.parent, &remove.name)?;
        if !found.is_directory {
            return no(ErrorCode::NotDirectory);
        }
        self.check_empty(found.inode)?;
        self.make_explicit(found.parent);
        self.take_directory(now, &found);
        Ok(self.removed(found.inode))
    }

    /// A directory may go that holds nothing, or only its own key without a byte.
    fn check_empty(&self, directory: u64) -> Verdict<()> {
        let only_own = self.inodes[&directory].entries.iter().all(|(component, inode)| {
            component.is_empty() && (*inode == directory || self.inodes[inode].content.size == 0)
        });
        refuse_if(&[(!only_own, ErrorCode::NotEmpty)])
    }

    fn take_directory(&mut self, now: Now, found: &Found) {
        if let Some(own) = self.inodes[&found.inode].entries.get(b"".as_slice()).copied() {
            self.leave(found.inode, b"", now.time_ms);
            self.drop_link(own, now.time_ms, now.log_index);
        }
        self.leave(found.parent, &found.component, now.time_ms);
        self.orphan(found.inode, now.time_ms, now.log_index);
    }

    fn rename(&mut self, now: Now, rename: &Rename) -> Verdict<FileOutcome> {
        let Ok(mode) = RenameMode::try_from(rename.mode) else {
            return no(ErrorCode::Malformed);
        };
        let (from, to) = (
            self.require(rename.parent, &rename.name),
            self.find(rename.new_parent, &rename.new_name),
        );
        let (from, to) = match (from, to) {
            (Ok(from), Ok(to)) => (from, to),
            (from, to) => {
                let mut codes = from.err().unwrap_or_default();
                codes.extend(to.err().unwrap_or_default());
                return Err(codes);
            }
        };
        match (mode, &to) {
            (RenameMode::NoReplace, Some(_)) => return no(ErrorCode::Exists),
            (RenameMode::Exchange, None) => return no(ErrorCode::NoSuchEntry),
            (RenameMode::Replace | RenameMode::Exchange, Some(to)) if to.inode == from.inode => {
                return Ok(FileOutcome::default());
            }
            (RenameMode::Replace | RenameMode::NoReplace | RenameMode::Exchange, _) => {}
        }
        match (mode, to) {
            (RenameMode::Exchange, Some(to)) => self.exchange(now, &from, &to),
            (RenameMode::Replace | RenameMode::NoReplace | RenameMode::Exchange, to) => {
                self.move_name(now, &from, rename, to)
            }
        }
    }

    fn move_name(&mut self, now: Now, from: &Found, rename: &Rename, to: Option<Found>) -> Verdict<FileOutcome> {
        let mut codes = Vec::new();
        if from.is_directory && self.ancestors(rename.new_parent).contains(&from.inode) {
            codes.push(ErrorCode::Loop);
        }
        if let Some(to) = &to {
            match (from.is_directory, to.is_directory) {
                (true, false) => codes.push(ErrorCode::NotDirectory),
                (false, true) => codes.push(ErrorCode::IsDirectory),
                (true, true) => codes.extend(self.check_empty(to.inode).err().unwrap_or_default()),
                (false, false) => {}
            }
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        self.make_explicit(from.parent);
        self.make_explicit(rename.new_parent);
        let mut outcome = FileOutcome::default();
        if let Some(to) = &to {
            if to.is_directory {
                self.take_directory(now, to);
            } else {
                self.leave(to.parent, &to.component, now.time_ms);
                self.drop_link(to.inode, now.time_ms, now.log_index);
            }
            outcome = self.removed(to.inode);
        }
        self.leave(from.parent, &from.component, now.time_ms);
        self.place(now, from.inode, rename.new_parent, &rename.new_name);
        Ok(outcome)
    }

    /// Enters what was moved under its new name.
    fn place(&mut self, now: Now, number: u64, parent: u64, name: &[u8]) {
        let is_directory = self.inodes[&number].kind == FileKind::Directory;
        let mark: &[u8] = if is_directory { b"/" } else { b"" };
        self.enter(parent, [name, mark].concat(), number, now.time_ms);
        let inode = self.inode_mut(number);
        if is_directory {
            inode.parent = parent;
        }
        inode.touch(now.time_ns);
    }

    fn exchange(&mut self, now: Now, from: &Found, to: &Found) -> Verdict<FileOutcome> {
        let within = |directory: &Found, place: &Found| {
            directory.is_directory && self.ancestors(place.parent).contains(&directory.inode)
        };
        let mut codes = Vec::new();
        if within(from, to) || within(to, from) {
            codes.push(ErrorCode::Loop);
        }
        let name = |found: &Found| found.component.strip_suffix(b"/").unwrap_or(&found.component).to_vec();
        let (from_name, to_name) = (name(from), name(to));
        // A key beside a directory, which a mount does not show, would get in the way of a file.
        for (place, name, comes) in [(from, &from_name, to), (to, &to_name, from)] {
            let hidden = place.is_directory && self.inodes[&place.parent].entries.contains_key(name);
            if hidden && !comes.is_directory {
                codes.push(ErrorCode::Exists);
            }
        }
        if !codes.is_empty() {
            return Err(codes);
        }
        self.make_explicit(from.parent);
        self.make_explicit(to.parent);
        self.leave(from.parent, &from.component, now.time_ms);
        self.leave(to.parent, &to.component, now.time_ms);
        self.place(now, to.inode, from.parent, &from_name);
        self.place(now, from.inode, to.parent, &to_name);
        Ok(FileOutcome::default())
    }

    pub(crate) fn outcome(&self, inode: u64) -> FileOutcome {
        FileOutcome {
            attributes: Some(self.attributes(inode)),
            ..FileOutcome::default()
        }
    }

    fn removed(&self, inode: u64) -> FileOutcome {
        FileOutcome {
            removed: Some(self.attributes(inode)),
            ..FileOutcome::default()
        }
    }
}

/// What is wrong with a name that a mount gives.
fn name_codes(name: &[u8]) -> Vec<ErrorCode> {
    let refused = refuse_if(&[
        (
            matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0),
            ErrorCode::InvalidName,
        ),
        (name.len() > limits::NAME_LEN_MAX, ErrorCode::NameTooLong),
        (std::str::from_utf8(name).is_err(), ErrorCode::NotUtf8),
    ]);
    refused.err().unwrap_or_default()
}
