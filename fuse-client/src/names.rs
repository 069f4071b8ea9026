//! Names and attributes: looked up, made, moved, removed, set.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_client::FileError;
use cairn_common::wire::file::{
    CreateFile, FileAttributes, FileKind, MakeDirectory, Rename, RenameMode, SetAttributes,
};
use fuser::{Errno, FileHandle, RenameFlags};

use crate::{
    convert::{Outcome, errno},
    directory::Reading,
    handles::Handle,
    making::now_ns,
    trust::Entry,
    volume::{Inherited, Volume},
};

/// Who makes something, and with which permissions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) umask: u32,
}

impl Volume {
    pub(crate) async fn lookup(&self, parent: u64, name: &Bytes) -> Outcome<Entry> {
        if let Some(new) = self.new_file_at(parent, name) {
            return Ok(self.entry(parent, name, &new.clone(), new));
        }
        let asked = Instant::now();
        let attributes = self.files.lookup(parent, name.clone()).await.map_err(errno)?;
        self.known_acls.note(asked, &attributes);
        let told = self.told(attributes.clone()).await;
        Ok(self.entry(parent, name, &attributes, told))
    }

    /// The attributes of an inode, and for how long they may be gone by. For a program that asks for them what it wrote is stored before, so
    /// that the times it is told stay; the kernel, which asks on its own behalf, is told what they will be.
    pub(crate) async fn attributes(&self, inode: u64, for_program: bool) -> Outcome<(FileAttributes, Duration)> {
        if let Some(new) = self.new_file(inode, for_program) {
            return Ok((new, Duration::ZERO));
        }
        if for_program {
            self.flush_inode(inode).await;
        }
        let asked = Instant::now();
        let attributes = self.files.attributes(inode).await.map_err(errno)?;
        self.known_acls.note(asked, &attributes);
        // What is not stored yet moves the times once it is.
        let is_stored = self
            .opened_files
            .get(inode)
            .is_none_or(|opened| opened.state.lock().is_stored());
        let answer = attributes.clone();
        let told = self.told(attributes).await;
        // Noted before it is looked whether there is a lease of this very answer: what is recalled from then on is told to the kernel.
        self.kernel.will_trust(self.number(inode));
        let mut trusted = self.settings.kernel_cache;
        if is_stored && self.kernel.is_reliable() {
            trusted = trusted.max(self.files.lease_left(&answer));
        }
        Ok((told, trusted))
    }

    /// What an answer of the store comes to, once the kernel has let go of pages that it makes wrong.
    pub(crate) async fn told(&self, attributes: FileAttributes) -> FileAttributes {
        if attributes.kind() == FileKind::Directory {
            self.learn_directory(&attributes);
            return self.new_files.in_times(attributes, now_ns());
        }
        let seen = self.opened_files.seen(attributes);
        if seen.is_hidden_change {
            self.kernel.pages_forgotten(self.number(seen.attributes.inode)).await;
        }
        seen.attributes
    }

    /// Makes a file and opens it, or opens the one that is there.
    pub(crate) async fn create(
        self: &Arc<Self>,
        parent: u64,
        name: Bytes,
        maker: Maker,
        flags: i32,
    ) -> Outcome<(Entry, FileHandle)> {
        let create = CreateFile {
            kind: FileKind::File.into(),
            exclusive: flags & libc::O_EXCL != 0,
            ..self.file_of(parent, name, maker).await?
        };
        let name = create.name.clone();
        if let Some((new, handle)) = self.create_new(&create) {
            return Ok((self.entry(parent, &name, &new.clone(), new), handle));
        }
        self.settle(Some(parent)).await;
        let (open, mut made, is_new) = self.files.create_open(create).await.map_err(errno)?;
        let (opened, _) = self.opened_files.open(&made);
        let mut told = self.opened_files.seen(made.clone()).attributes;
        let handle = self.handles.enter(Handle::new(opened, open));
        if !is_new && flags & libc::O_TRUNC != 0 {
            let cut = SetAttributes {
                inode: made.inode,
                size: Some(0),
                clear_suid: maker.uid != 0,
                ..SetAttributes::default()
            };
            match self.set_attributes(cut).await {
                Ok(cut) => (made, told) = (cut.clone(), cut),
                Err(error) => {
                    self.release(handle).await;
                    return Err(error);
                }
            }
        }
        Ok((self.entry(parent, &name, &made, told), handle))
    }

    /// Opens a file; says whether the pages that the kernel has of it are still right.
    pub(crate) async fn open(&self, inode: u64) -> Outcome<(FileAttributes, FileHandle, bool)> {
        self.settle_inode(inode).await;
        let (open, attributes) = self.files.open(inode).await.map_err(errno)?;
        let (opened, is_same) = self.opened_files.open(&attributes);
        let attributes = self.opened_files.seen(attributes).attributes;
        let handle = self.handles.enter(Handle::new(opened, open));
        Ok((attributes, handle, is_same))
    }

    /// Closes a file; gives the owners of locks that end with it. What its last owner wrote is stored: where that fails nobody
    /// is left to be told.
    pub(crate) async fn release(&self, handle: FileHandle) -> Vec<u64> {
        let Some(handle) = self.handles.remove(handle) else {
            return Vec::new();
        };
        self.flush(&handle.opened).await;
        self.opened_files.close(&handle.opened);
        handle.lock_owners()
    }

    /// Makes a special file, or a regular one that is not opened.
    pub(crate) async fn make_node(
        &self,
        parent: u64,
        name: Bytes,
        maker: Maker,
        kind: FileKind,
        device: u32,
    ) -> Outcome<Entry> {
        let create = CreateFile {
            kind: kind.into(),
            device: device.into(),
            exclusive: true,
            ..self.file_of(parent, name, maker).await?
        };
        self.make(create).await
    }

    pub(crate) async fn symlink(&self, parent: u64, name: Bytes, maker: Maker, target: Bytes) -> Outcome<Entry> {
        let create = CreateFile {
            kind: FileKind::Symlink.into(),
            target,
            exclusive: true,
            ..self.file_of(parent, name, maker).await?
        };
        self.make(create).await
    }

    async fn make(&self, create: CreateFile) -> Outcome<Entry> {
        let (parent, name) = (create.parent, create.name.clone());
        self.settle(Some(parent)).await;
        let (made, _) = self.files.create(create).await.map_err(errno)?;
        Ok(self.entry(parent, &name, &made.clone(), made))
    }

    async fn file_of(&self, parent: u64, name: Bytes, maker: Maker) -> Outcome<CreateFile> {
        let inherited = self.inherited(parent).await?;
        let (uid, gid) = self.stored_owner(maker, inherited)?;
        Ok(CreateFile {
            parent,
            name,
            mode: maker.mode & 0o7777,
            umask: maker.umask,
            uid,
            gid,
            ..CreateFile::default()
        })
    }

    /// Who owns in the store what `maker` makes.
    fn stored_owner(&self, maker: Maker, inherited: Inherited) -> Outcome<(u32, u32)> {
        let owners = &self.settings.owners;
        let gid = match inherited.gid {
            Some(gid) => gid,
            None => owners.groups.stored(maker.gid)?,
        };
        Ok((owners.users.stored(maker.uid)?, gid))
    }

    pub(crate) async fn make_directory(&self, parent: u64, name: Bytes, maker: Maker) -> Outcome<Entry> {
        let inherited = self.inherited(parent).await?;
        let setgid = if inherited.gid.is_some() { libc::S_ISGID } else { 0 };
        let (uid, gid) = self.stored_owner(maker, inherited)?;
        let make = MakeDirectory {
            parent,
            name: name.clone(),
            mode: maker.mode & 0o7777 | setgid,
            umask: maker.umask,
            uid,
            gid,
        };
        self.settle(Some(parent)).await;
        let made = self.files.make_directory(make).await.map_err(errno)?;
        Ok(self.entry(parent, &name, &made.clone(), made))
    }

    async fn inherited(&self, parent: u64) -> Outcome<Inherited> {
        if let Some(known) = self.known_directory(parent) {
            return Ok(known);
        }
        let attributes = self.files.attributes(parent).await.map_err(errno)?;
        Ok(self.learn_directory(&attributes))
    }

    pub(crate) async fn link(&self, inode: u64, parent: u64, name: Bytes) -> Outcome<Entry> {
        self.settle(None).await;
        let linked = self.files.link(inode, parent, name.clone()).await;
        let attributes = linked.map_err(|error| match error {
            FileError::IsDirectory => Errno::EPERM,
            // A file without a name gets none again.
            FileError::Gone => Errno::ENOENT,
            error => errno(error),
        })?;
        let told = self.told(attributes.clone()).await;
        Ok(self.entry(parent, &name, &attributes, told))
    }

    pub(crate) async fn unlink(&self, parent: u64, name: Bytes) -> Outcome<()> {
        self.settle(Some(parent)).await;
        self.files.unlink(parent, name).await.map(drop).map_err(errno)
    }

    pub(crate) async fn remove_directory(&self, parent: u64, name: Bytes) -> Outcome<()> {
        self.settle(None).await;
        self.files.remove_directory(parent, name).await.map(drop).map_err(errno)
    }

    pub(crate) async fn rename(
        &self,
        (parent, name): (u64, Bytes),
        (new_parent, new_name): (u64, Bytes),
        flags: RenameFlags,
    ) -> Outcome<()> {
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return Err(Errno::EINVAL);
        };
        let rename = Rename {
            parent,
            name,
            new_parent,
            new_name,
            mode: mode.into(),
        };
        self.settle(None).await;
        self.files.rename(rename).await.map(drop).map_err(errno)
    }

    /// Sets attributes, owners by their numbers here. What was written before is stored before, so that times and modes which are set
    /// stay, and a cut cuts it too.
    pub(crate) async fn set_attributes(&self, mut set: SetAttributes) -> Outcome<FileAttributes> {
        let owners = &self.settings.owners;
        set.uid = set.uid.map(|uid| owners.users.stored(uid)).transpose()?;
        set.gid = set.gid.map(|gid| owners.groups.stored(gid)).transpose()?;
        // Of a directory, what is made in it comes first.
        self.settle(Some(set.inode)).await;
        let opened = self.opened_files.get(set.inode);
        if let Some(opened) = &opened {
            if let Some(set) = self.set_of_new(opened, &set) {
                return Ok(set);
            }
            if set.size.is_some() {
                self.flushed(opened).await?;
            } else {
                // Set-user-id bits too are cleared by what was written before, not by when it is stored.
                self.flush(opened).await;
            }
        }
        let steps = u64::from(set.size.is_some());
        let attributes = self.files.set_attributes(set).await.map_err(errno)?;
        if let Some(opened) = &opened {
            self.learn_own(opened, &attributes, steps);
        }
        Ok(self.told(attributes).await)
    }

    pub(crate) fn open_directory(&self, inode: u64) -> FileHandle {
        self.directories.enter(Reading::new(inode))
    }
}
