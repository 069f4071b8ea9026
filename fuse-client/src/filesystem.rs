//! The kernel's requests, each begun where it comes in and handed to a task where it has to wait.
//!
//! Invariant: a thread of the kernel's queue never waits here. What a request means is decided in the other modules.

use std::{
    ffi::OsStr,
    future::Future,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cairn_common::wire::{
    file::{FileAttributes, FileKind, SetAttributes},
    lock::LockKind,
};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, Version, WriteFlags,
};
use futures::FutureExt as _;
use tokio::runtime::Handle as Runtime;

use crate::{
    acl::Setter,
    convert::{Outcome, file_attr, file_type, set_time},
    lock_flags::lock_kind,
    locks::Wanted,
    names::Maker,
    space::BLOCK_BYTES,
    trust::Entry,
    volume::Volume,
    write::Write,
};

/// Largest read and write of one request.
const REQUEST_BYTES_MAX: u32 = 1 << 20;

/// Requests that the kernel sends ahead of programs, such as reads.
const BACKGROUND_MAX: u16 = 64;

/// The protocol of Linux 5.16: of an answer and a notice that cross, the notice counts.
const RELIABLE_ABI: Version = Version(7, 35);

/// Inode numbers are never used again.
const GENERATION: Generation = Generation(0);

/// Hands requests over.
pub(crate) struct Bridge {
    pub(crate) volume: Arc<Volume>,
    pub(crate) runtime: Runtime,
}

impl Bridge {
    /// Begins to answer on the spot, which is all there is to do where nothing has to be waited for; the rest is a task's.
    fn answer<F: Future<Output = ()> + Send + 'static>(&self, op: &'static str, answer: impl FnOnce(Arc<Volume>) -> F) {
        self.volume.metrics.count(op);
        let mut answer = Box::pin(answer(Arc::clone(&self.volume)));
        let _runtime = self.runtime.enter();
        if answer.as_mut().now_or_never().is_none() {
            self.runtime.spawn(answer);
        }
    }

    fn inode(&self, number: INodeNo) -> u64 {
        self.volume.inode(number)
    }
}

impl Volume {
    fn attr(&self, attributes: &FileAttributes) -> FileAttr {
        let owners = &self.settings.owners;
        FileAttr {
            uid: owners.users.shown(attributes.uid),
            gid: owners.groups.shown(attributes.gid),
            ..file_attr(attributes, self.number(attributes.inode))
        }
    }

    fn answer_entry(&self, outcome: Outcome<Entry>, reply: ReplyEntry) {
        match outcome {
            Ok(Entry { attributes, trust }) => {
                let attr = self.attr(&attributes);
                reply.entry_with_ttls(&trust.attributes, &trust.name, &attr, GENERATION);
            }
            Err(error) => reply.error(error),
        }
    }

    /// That nothing is there under a name: an entry of no inode, where the kernel may go by that.
    fn answer_absent(&self, directory: u64, name: &Bytes, reply: ReplyEntry) {
        let trust = self.entry_trust(directory, name, None);
        if trust.name.is_zero() {
            return reply.error(Errno::ENOENT);
        }
        let nothing = file_attr(&FileAttributes::default(), INodeNo(0));
        reply.entry_with_ttls(&Duration::ZERO, &trust.name, &nothing, GENERATION);
    }

    fn answer_attributes(&self, outcome: Outcome<FileAttributes>, reply: ReplyAttr) {
        match outcome {
            Ok(attributes) => reply.attr(&self.settings.kernel_cache, &self.attr(&attributes)),
            Err(error) => reply.error(error),
        }
    }
}

fn answer_empty(outcome: Outcome<()>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_xattr(outcome: Outcome<Bytes>, size: u32, reply: ReplyXattr) {
    match outcome {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error),
    }
}

fn bytes_of(name: &OsStr) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn maker(request: &Request, mode: u32, umask: u32) -> Maker {
    Maker {
        uid: request.uid(),
        gid: request.gid(),
        mode,
        umask,
    }
}

impl Filesystem for Bridge {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // A kernel that checked modes alone would grant what a list denies. Those since Linux 4.9 know lists.
        let lists = InitFlags::FUSE_POSIX_ACL | InitFlags::FUSE_DONT_MASK;
        config
            .add_capabilities(lists)
            .map_err(|_| std::io::Error::other("this kernel is too old: its FUSE checks no POSIX ACLs"))?;
        // Older ones let an answer that is on its way undo what they are told of a change.
        self.volume.kernel.set_reliable(config.kernel_abi() >= RELIABLE_ABI);
        let wanted = [
            InitFlags::FUSE_POSIX_LOCKS,
            InitFlags::FUSE_FLOCK_LOCKS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        for capability in wanted {
            if config.add_capabilities(capability).is_err() {
                tracing::info!(?capability, "this kernel does not know a capability; going on without");
            }
        }
        if !self.volume.settings.kernel_cache.is_zero() {
            // Attributes that come with a page of names are of use only where the kernel may go by them.
            let plus = InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO;
            if config.add_capabilities(plus).is_err() {
                tracing::info!("this kernel takes no attributes with names; going on without");
            }
        }
        // Both are within what every kernel and fuser allow.
        let is_set =
            config.set_max_write(REQUEST_BYTES_MAX).is_ok() && config.set_max_background(BACKGROUND_MAX).is_ok();
        if !is_set {
            tracing::warn!("requests stay smaller or fewer than they should be");
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (parent, name) = (self.inode(parent), bytes_of(name));
        self.answer("lookup", |volume| async move {
            match volume.lookup(parent, &name).await {
                Err(Errno::ENOENT) => volume.answer_absent(parent, &name, reply),
                found => volume.answer_entry(found, reply),
            }
        });
    }

    fn forget(&self, _request: &Request, number: INodeNo, _lookups: u64) {
        self.volume.opened_files.forget(self.inode(number));
    }

    fn getattr(&self, _request: &Request, number: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let inode = self.inode(number);
        self.answer("getattr", |volume| async move {
            match volume.attributes(inode, handle.is_none()).await {
                Ok((attributes, trusted)) => reply.attr(&trusted, &volume.attr(&attributes)),
                Err(error) => reply.error(error),
            }
        });
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttributes {
            inode: self.inode(number),
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
            size,
            clear_suid: uid.is_some() || gid.is_some() || (size.is_some() && request.uid() != 0),
        };
        self.answer("setattr", |volume| async move {
            let attributes = volume.set_attributes(set).await;
            volume.answer_attributes(attributes, reply);
        });
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        let inode = self.inode(number);
        self.answer("readlink", |volume| async move {
            match volume.attributes(inode, false).await {
                Ok((attributes, _)) if attributes.kind() == FileKind::Symlink => reply.data(&attributes.target),
                Ok(_) => reply.error(Errno::EINVAL),
                Err(error) => reply.error(error),
            }
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFREG | 0 => FileKind::File,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            libc::S_IFCHR => FileKind::CharacterDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            _ => return reply.error(Errno::EINVAL),
        };
        let (parent, name, maker) = (self.inode(parent), bytes_of(name), maker(request, mode, umask));
        self.answer("mknod", |volume| async move {
            let made = volume.make_node(parent, name, maker, kind, device).await;
            volume.answer_entry(made, reply);
        });
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (parent, name, maker) = (self.inode(parent), bytes_of(name), maker(request, mode, umask));
        self.answer("mkdir", |volume| async move {
            let made = volume.make_directory(parent, name, maker).await;
            volume.answer_entry(made, reply);
        });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (self.inode(parent), bytes_of(name));
        self.answer("unlink", |volume| async move {
            answer_empty(volume.unlink(parent, name).await, reply)
        });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (self.inode(parent), bytes_of(name));
        self.answer("rmdir", |volume| async move {
            answer_empty(volume.remove_directory(parent, name).await, reply)
        });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (parent, name, maker) = (self.inode(parent), bytes_of(name), maker(request, 0o777, 0));
        let target = bytes_of(target.as_os_str());
        self.answer("symlink", |volume| async move {
            let made = volume.symlink(parent, name, maker, target).await;
            volume.answer_entry(made, reply);
        });
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = (self.inode(parent), bytes_of(name));
        let to = (self.inode(new_parent), bytes_of(new_name));
        self.answer("rename", |volume| async move {
            answer_empty(volume.rename(from, to, flags).await, reply)
        });
    }

    fn link(&self, _request: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (inode, parent, name) = (self.inode(number), self.inode(parent), bytes_of(name));
        self.answer("link", |volume| async move {
            let linked = volume.link(inode, parent, name).await;
            volume.answer_entry(linked, reply);
        });
    }

    fn open(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let inode = self.inode(number);
        self.answer("open", |volume| async move {
            match volume.open(inode).await {
                Ok((_, handle, true)) => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE),
                Ok((_, handle, false)) => reply.opened(handle, FopenFlags::empty()),
                Err(error) => reply.error(error),
            }
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (parent, name, maker) = (self.inode(parent), bytes_of(name), maker(request, mode, umask));
        self.answer("create", |volume| async move {
            match volume.create(parent, name, maker, flags).await {
                Ok((Entry { attributes, trust }, handle)) => {
                    let (attr, trust) = (volume.attr(&attributes), trust.attributes.min(trust.name));
                    reply.created(&trust, &attr, GENERATION, handle, FopenFlags::empty());
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer("read", |volume| async move {
            let handle = match volume.handles.get(handle) {
                Ok(handle) => handle,
                Err(error) => return reply.error(error),
            };
            match volume.read(&handle.opened, offset, size as usize).await {
                Ok(bytes) => {
                    volume.metrics.read_bytes.inc_by(bytes.len() as u64);
                    reply.data(&bytes);
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let handle = match self.volume.handles.get(handle) {
            Ok(handle) => handle,
            Err(error) => return reply.error(error),
        };
        self.volume.metrics.written_bytes.inc_by(data.len() as u64);
        let is_from_pages = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let write = Write {
            offset,
            // Pages that are written back lie where they lie.
            appends: flags.0 & libc::O_APPEND != 0 && !is_from_pages,
            syncs: flags.0 & (libc::O_SYNC | libc::O_DSYNC) != 0,
            clear_suid: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
        };
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let _runtime = self.runtime.enter();
        if !write.syncs && self.volume.write_now(&handle.opened, &write, data) {
            return reply.written(size);
        }
        let data = Bytes::copy_from_slice(data);
        self.answer("write", |volume| async move {
            match volume.write(&handle, write, &data).await {
                Ok(()) => reply.written(size),
                Err(error) => reply.error(error),
            }
        });
    }

    fn flush(&self, _request: &Request, number: INodeNo, handle: FileHandle, owner: LockOwner, reply: ReplyEmpty) {
        let inode = self.inode(number);
        self.answer("flush", |volume| async move {
            let synced = match volume.handles.get(handle) {
                Ok(handle) => volume.close(&handle).await,
                Err(error) => Err(error),
            };
            let unlocked = volume.unlock_all(inode, owner.0, LockKind::Range).await;
            answer_empty(synced.and(unlocked), reply);
        });
    }

    fn release(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let inode = self.inode(number);
        self.answer("release", |volume| async move {
            let owners = volume.release(handle).await;
            let mut unlocked = match owner {
                Some(owner) => volume.unlock_all(inode, owner.0, LockKind::WholeFile).await,
                None => Ok(()),
            };
            for owner in owners {
                unlocked = unlocked.and(volume.unlock_all(inode, owner, LockKind::Range).await);
            }
            answer_empty(unlocked, reply);
        });
    }

    fn fsync(&self, _request: &Request, _number: INodeNo, handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.answer("fsync", |volume| async move {
            let synced = match volume.handles.get(handle) {
                Ok(handle) => volume.sync(&handle).await,
                Err(error) => Err(error),
            };
            answer_empty(synced, reply);
        });
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let handle = self.volume.open_directory(self.inode(number));
        reply.opened(handle, FopenFlags::empty());
    }

    fn readdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.answer("readdir", |volume| async move {
            let reading = match volume.directories.get(handle) {
                Ok(reading) => reading,
                Err(error) => return reply.error(error),
            };
            let listed = volume
                .list(&reading, offset, volume.files.has_leases(), |entry| {
                    let number = volume.number(entry.inode);
                    let name = OsStr::from_bytes(&entry.name);
                    reply.add(number, entry.behind, file_type(entry.kind), name)
                })
                .await;
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error),
            }
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.answer("readdirplus", |volume| async move {
            let reading = match volume.directories.get(handle) {
                Ok(reading) => reading,
                Err(error) => return reply.error(error),
            };
            let cache = volume.settings.kernel_cache;
            let listed = volume
                .list(&reading, offset, true, |entry| {
                    let attributes = entry.entry.and_then(|entry| entry.attributes);
                    // Of `.` and `..` the kernel takes the kind only.
                    let attributes = attributes.unwrap_or_else(|| FileAttributes {
                        inode: entry.inode,
                        kind: entry.kind.into(),
                        ..FileAttributes::default()
                    });
                    let seen = volume.opened_files.seen(attributes);
                    let (number, attr) = (volume.number(entry.inode), volume.attr(&seen.attributes));
                    if seen.is_hidden_change {
                        volume.kernel.forget_pages(number, 0);
                    }
                    let name = OsStr::from_bytes(&entry.name);
                    // A page may be at hand for long before its last entry is asked for.
                    let cache = cache.saturating_sub(entry.age);
                    reply.add(number, entry.behind, name, &cache, &attr, GENERATION)
                })
                .await;
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(error),
            }
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.volume.directories.remove(handle);
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, number: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let inode = self.inode(number);
        // All other names are durable before they are answered.
        self.answer("fsyncdir", |volume| async move {
            answer_empty(volume.settled(Some(inode)).await, reply);
        });
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        self.answer("statfs", |volume| async move {
            match volume.fullness().await {
                Ok(space) => {
                    let (block, name) = (BLOCK_BYTES as u32, cairn_common::limits::NAME_LEN_MAX as u32);
                    let (blocks, free) = (space.total, space.free);
                    reply.statfs(blocks, free, free, space.inodes, space.inodes_free, block, name, block);
                }
                Err(error) => reply.error(error),
            }
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (inode, name, value) = (self.inode(number), bytes_of(name), Bytes::copy_from_slice(value));
        let setter = Setter::of(request);
        self.answer("setxattr", |volume| async move {
            answer_empty(volume.set_xattr(inode, name, value, flags, setter).await, reply)
        });
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (inode, name) = (self.inode(number), bytes_of(name));
        self.answer("getxattr", |volume| async move {
            answer_xattr(volume.xattr(inode, name).await, size, reply)
        });
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let inode = self.inode(number);
        self.answer("listxattr", |volume| async move {
            answer_xattr(volume.xattr_names(inode).await.map(Bytes::from), size, reply);
        });
    }

    fn removexattr(&self, _request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (inode, name) = (self.inode(number), bytes_of(name));
        self.answer("removexattr", |volume| async move {
            answer_empty(volume.remove_xattr(inode, name).await, reply)
        });
    }

    fn getlk(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let wanted = Wanted {
            inode: self.inode(number),
            kind: lock_kind(request),
            owner: owner.0,
            first: start,
            last: end,
            exclusive: kind == libc::F_WRLCK,
            pid,
            waits: None,
        };
        self.answer("getlk", |volume| async move {
            match volume.conflicting_lock(wanted).await {
                Ok(Some((first, last, true, pid))) => reply.locked(first, last, libc::F_WRLCK, pid),
                Ok(Some((first, last, false, pid))) => reply.locked(first, last, libc::F_RDLCK, pid),
                Ok(None) => reply.locked(start, end, libc::F_UNLCK, 0),
                Err(error) => reply.error(error),
            }
        });
    }

    fn setlk(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        kind: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let wanted = Wanted {
            inode: self.inode(number),
            kind: lock_kind(request),
            owner: owner.0,
            first: start,
            last: end,
            exclusive: kind == libc::F_WRLCK,
            pid,
            waits: sleep.then_some(request.pid()),
        };
        if wanted.kind == LockKind::Range
            && let Ok(handle) = self.volume.handles.get(handle)
        {
            handle.enter_lock_owner(wanted.owner);
        }
        self.answer("setlk", |volume| async move {
            let outcome = if kind == libc::F_UNLCK {
                volume.unlock(wanted).await
            } else {
                volume.lock(wanted).await
            };
            answer_empty(outcome, reply);
        });
    }

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let clear_suid = request.uid() != 0;
        self.answer("fallocate", |volume| async move {
            let done = match volume.handles.get(handle) {
                Ok(handle) => volume.allocate(&handle.opened, offset, length, mode, clear_suid).await,
                Err(error) => Err(error),
            };
            answer_empty(done, reply);
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let wants_data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        self.answer("lseek", |volume| async move {
            let found = match volume.handles.get(handle) {
                Ok(handle) => volume.seek(&handle.opened, offset, wants_data).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(offset) => reply.offset(i64::try_from(offset).unwrap_or(i64::MAX)),
                Err(error) => reply.error(error),
            }
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _source_number: INodeNo,
        source: FileHandle,
        source_offset: u64,
        _number: INodeNo,
        target: FileHandle,
        offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let clear_suid = request.uid() != 0;
        self.answer("copy_file_range", |volume| async move {
            let (source, target) = match (volume.handles.get(source), volume.handles.get(target)) {
                (Ok(source), Ok(target)) => (source, target),
                (Err(error), _) | (_, Err(error)) => return reply.error(error),
            };
            let copied = volume
                .copy(
                    &source.opened,
                    source_offset,
                    &target.opened,
                    offset,
                    length,
                    clear_suid,
                )
                .await;
            match copied {
                Ok(bytes) => reply.written(bytes),
                Err(error) => reply.error(error),
            }
        });
    }
}
