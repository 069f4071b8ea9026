//! POSIX ACLs: the numbers in them, and who may keep setgid.
//!
//! The store makes lists take effect on modes and on what is made; the kernel checks them. Invariant: a list names users and groups
//! by the numbers of this machine here, and by those of the store there.

use bytes::Bytes;
use cairn_common::acl::{Acl, Tag};
use fuser::{Errno, Request};

use crate::{
    convert::{Outcome, errno},
    volume::Volume,
};

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
    fn is_in(&self, group: u32) -> bool {
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

    /// Whether a list that `setter` sets clears setgid, as chmod by somebody who is not of the file's group does. The kernel would say
    /// so (`FUSE_SETXATTR_EXT`), but fuser 0.18 does not read what it says.
    pub(crate) async fn clears_setgid(&self, inode: u64, setter: &Setter) -> Outcome<bool> {
        if setter.uid == 0 {
            return Ok(false);
        }
        let attributes = self.files.attributes(inode).await.map_err(errno)?;
        let group = self.settings.owners.groups.shown(attributes.gid);
        Ok(!setter.is_in(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplementary_groups_are_read_from_a_status() {
        let status = "Name:\tsh\nGid:\t5\t5\t5\t5\nGroups:\t4 24 1000 \nNStgid:\t7\n";
        assert_eq!(groups(status).collect::<Vec<_>>(), [4, 24, 1000]);
        assert_eq!(groups("Groups:\t \n").count(), 0);
        assert_eq!(groups("").count(), 0);
    }
}
