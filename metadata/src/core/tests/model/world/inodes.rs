//! Inodes: their times and links as names come and go.

use cairn_common::{
    acl,
    wire::file::{FileAttributes, FileKind},
};

use super::{Bucket, Inode, Posix, names};

const NS_PER_MS: i64 = 1_000_000;

impl Inode {
    /// What POSIX sees: what S3 made has defaults, and times that follow its own.
    pub(crate) fn posix(&self) -> Posix {
        let time_ns = self.modified_ms as i64 * NS_PER_MS;
        self.posix.clone().unwrap_or_else(|| Posix {
            mode: if self.kind == FileKind::Directory { 0o755 } else { 0o644 },
            links: 1,
            atime_ns: time_ns,
            mtime_ns: time_ns,
            ctime_ns: time_ns,
            ..Posix::default()
        })
    }

    pub(crate) fn posix_mut(&mut self) -> &mut Posix {
        let now = self.posix();
        self.posix.get_or_insert(now)
    }

    /// Something but data has changed.
    pub(crate) fn touch(&mut self, time_ns: i64) {
        self.posix_mut().ctime_ns = time_ns;
    }

    /// Data, or a directory's entries, have changed.
    pub(crate) fn touch_data(&mut self, time_ms: u64) {
        self.modified_ms = time_ms;
        if let Some(posix) = &mut self.posix {
            posix.mtime_ns = time_ms as i64 * NS_PER_MS;
            posix.ctime_ns = posix.mtime_ns;
        }
    }

    /// Names of what is no directory.
    pub(crate) fn links(&self) -> u32 {
        if self.unlinked_at.is_some() {
            0
        } else {
            self.posix().links
        }
    }
}

impl Bucket {
    pub(crate) fn inode_mut(&mut self, number: u64) -> &mut Inode {
        self.inodes.get_mut(&number).expect("an inode of the bucket")
    }

    /// Enters a name that is not there.
    pub(crate) fn enter(&mut self, parent: u64, component: Vec<u8>, inode: u64, time_ms: u64) {
        let directory = self.inode_mut(parent);
        if !component.is_empty() {
            directory.touch_data(time_ms);
        }
        let before = directory.entries.insert(component, inode);
        assert_eq!(before, None, "the model enters a name twice");
    }

    /// Removes a name that is there.
    pub(crate) fn leave(&mut self, parent: u64, component: &[u8], time_ms: u64) {
        let directory = self.inode_mut(parent);
        if !component.is_empty() {
            directory.touch_data(time_ms);
        }
        directory
            .entries
            .remove(component)
            .expect("the model removes a name that is there");
    }

    /// Lets a directory be one that is there on purpose: its own key is an entry of it.
    pub(crate) fn make_explicit(&mut self, directory: u64) {
        if directory != names::ROOT {
            self.inode_mut(directory).entries.entry(Vec::new()).or_insert(directory);
        }
    }

    /// A name less.
    pub(crate) fn drop_link(&mut self, number: u64, time_ms: u64, log_index: u64) {
        let inode = self.inode_mut(number);
        if inode.kind == FileKind::Directory {
            return;
        }
        if inode.links() > 1 {
            inode.touch(time_ms as i64 * NS_PER_MS);
            inode.posix_mut().links -= 1;
        } else {
            self.orphan(number, time_ms, log_index);
        }
    }

    /// The last name is gone.
    pub(crate) fn orphan(&mut self, number: u64, time_ms: u64, log_index: u64) {
        let inode = self.inode_mut(number);
        inode.unlinked_at = Some(log_index);
        if let Some(posix) = &mut inode.posix {
            posix.ctime_ns = time_ms as i64 * NS_PER_MS;
        }
    }

    /// An inode as a mount sees it.
    pub(crate) fn attributes(&self, number: u64) -> FileAttributes {
        let inode = &self.inodes[&number];
        let posix = inode.posix();
        let is_directory = inode.kind == FileKind::Directory;
        let shown = |component: &&Vec<u8>| component.ends_with(b"/") && names::shown(inode, component);
        let links = match inode.unlinked_at {
            Some(_) => 0,
            None if is_directory => 2 + inode.entries.keys().filter(shown).count() as u32,
            None => posix.links,
        };
        FileAttributes {
            inode: number,
            kind: inode.kind.into(),
            mode: posix.mode,
            uid: posix.uid,
            gid: posix.gid,
            links,
            device: posix.device,
            size: if is_directory {
                inode.entries.len() as u64
            } else {
                inode.content.size
            },
            atime_ns: posix.atime_ns,
            mtime_ns: posix.mtime_ns,
            ctime_ns: posix.ctime_ns,
            data_version: inode.data_version,
            target: posix.target,
            parent: inode.parent,
            has_access_acl: posix.xattrs.contains_key(acl::ACCESS),
            has_default_acl: posix.xattrs.contains_key(acl::DEFAULT),
        }
    }
}
