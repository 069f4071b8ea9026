//! POSIX ACLs: the numbers in them, who may keep setgid, and which inodes have none.
//!
//! The store makes lists take effect on modes and on what is made; the kernel checks them. Invariant: that an inode has no list is
//! gone by only for a moment after its attributes said so.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_common::{
    acl::{ACCESS, Acl, DEFAULT, Tag},
    wire::file::FileAttributes,
};
use fuser::{Errno, Request};
use parking_lot::Mutex;

use crate::{
    convert::{Outcome, errno},
    volume::Volume,
};

/// How long attributes are gone by. The kernel asks for a list right behind them, and for each check of a permission.
const KNOWN: Duration = Duration::from_millis(100);

/// Inodes of which it is known.
const KNOWN_MAX: usize = 4096;

pub(crate) fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

/// Inodes whose attributes were just told, and which lists they have.
#[derive(Debug, Default)]
pub(crate) struct KnownAcls(Mutex<HashMap<u64, Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    when: Instant,
    has_access: bool,
    has_default: bool,
}

impl KnownAcls {
    pub(crate) fn note(&self, attributes: &FileAttributes) {
        let known = Known {
            when: Instant::now(),
            has_access: attributes.has_access_acl,
            has_default: attributes.has_default_acl,
        };
        let mut inodes = self.0.lock();
        if inodes.len() >= KNOWN_MAX {
            inodes.clear();
        }
        inodes.insert(attributes.inode, known);
    }

    pub(crate) fn forget(&self, inode: u64) {
        self.0.lock().remove(&inode);
    }

    /// Whether an inode is known not to have the list of this name.
    pub(crate) fn is_absent(&self, inode: u64, name: &[u8]) -> bool {
        let known = self.0.lock().get(&inode).copied();
        known.is_some_and(|known| {
            let is_there = if name == DEFAULT {
                known.has_default
            } else {
                known.has_access
            };
            !is_there && known.when.elapsed() < KNOWN
        })
    }
}

/// Who sets a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setter {
    uid: u32,
    gid: u32,
    process: u32,
}

impl Setter {
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            uid: request.uid(),
            gid: request.gid(),
            process: request.pid(),
        }
    }

    /// Whether the program is one of the group's, by its supplementary groups too; where the kernel does not tell those, it is not.
    fn is_in(self, group: u32) -> bool {
        let status = || std::fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap_or_default();
        self.gid == group || groups(&status()).any(|other| other == group)
    }
}

/// The supplementary groups in a process's status.
fn groups(status: &str) -> impl Iterator<Item = u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.unwrap_or_default()
        .split_whitespace()
        .filter_map(|group| group.parse().ok())
}

impl Volume {
    /// A list of the store with the numbers of this machine.
    pub(crate) fn acl_shown(&self, list: &[u8]) -> Outcome<Bytes> {
        let owners = &self.settings.owners;
        let list = Acl::decode(list).map_err(|_| Errno::EIO)?;
        let shown = list.try_map_ids(|tag, id| {
            Ok(match tag {
                Tag::User => owners.users.shown(id),
                Tag::Group => owners.groups.shown(id),
                Tag::Owner | Tag::OwningGroup | Tag::Mask | Tag::Other => id,
            })
        });
        shown.map(|list| list.encode())
    }

    /// A list that a program sets with the numbers of the store.
    pub(crate) fn acl_stored(&self, list: &[u8]) -> Outcome<Bytes> {
        let owners = &self.settings.owners;
        let list = Acl::decode(list).map_err(|_| Errno::EINVAL)?;
        let stored = list.try_map_ids(|tag, id| match tag {
            Tag::User => owners.users.stored(id),
            Tag::Group => owners.groups.stored(id),
            Tag::Owner | Tag::OwningGroup | Tag::Mask | Tag::Other => Ok(id),
        });
        stored.map(|list| list.encode())
    }

    /// Whether a list that `setter` sets clears setgid, as chmod by somebody who is not of the file's group does. The kernel, which
    /// knows, has no way to say it here.
    pub(crate) async fn clears_setgid(&self, inode: u64, setter: Setter) -> Outcome<bool> {
        if setter.uid == 0 {
            return Ok(false);
        }
        let attributes = self.files.attributes(inode).await.map_err(errno)?;
        let group = self.settings.owners.groups.shown(attributes.gid);
        Ok(attributes.mode & libc::S_ISGID != 0 && !setter.is_in(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_is_no_list_is_known_until_one_is_set() {
        let known = KnownAcls::default();
        assert!(!known.is_absent(1, ACCESS));
        known.note(&FileAttributes {
            inode: 1,
            has_default_acl: true,
            ..FileAttributes::default()
        });
        assert!(known.is_absent(1, ACCESS));
        assert!(!known.is_absent(1, DEFAULT));
        known.forget(1);
        assert!(!known.is_absent(1, ACCESS));
    }

    #[test]
    fn supplementary_groups_are_read_from_a_status() {
        let status = "Name:\tsh\nGid:\t5\t5\t5\t5\nGroups:\t4 24 1000 \nNStgid:\t7\n";
        assert_eq!(groups(status).collect::<Vec<_>>(), [4, 24, 1000]);
        assert_eq!(groups("Groups:\t \n").count(), 0);
        assert_eq!(groups("").count(), 0);
    }
}
