//! Extended attributes.

use bytes::Bytes;
use cairn_common::{
    acl::is_acl,
    wire::file::{SetXattr, XattrMode},
};
use fuser::Errno;

use crate::{
    acl::Setter,
    convert::{Outcome, errno},
    object,
    volume::Volume,
};

/// Namespaces that a mount keeps attributes of. Of `system` and `security` the kernel would expect that they take effect, as ACLs do.
const KEPT: [&[u8]; 2] = [b"user.", b"trusted."];

/// What the names of attributes begin with that nobody set and that tell of a file. They are in no list of names, so that a program
/// which copies a file with its attributes leaves them out.
const SPACE: &[u8] = b"cairn.";

fn is_kept(name: &[u8]) -> bool {
    is_acl(name) || KEPT.iter().any(|space| name.starts_with(space))
}

impl Volume {
    pub(crate) async fn xattr(&self, inode: u64, name: Bytes) -> Outcome<Bytes> {
        if let Some(what) = name.strip_prefix(SPACE) {
            self.settle_inode(inode).await;
            return match object::strip(what) {
                Some(header) => self.object(inode, header).await,
                None => self.layout(inode, what).await,
            };
        }
        if !is_kept(&name) {
            return Err(Errno::EOPNOTSUPP);
        }
        if !is_acl(&name) {
            self.settle_inode(inode).await;
            return self.files.xattr(inode, name).await.map_err(errno);
        }
        if self.known_acls.is_absent(inode, &name) {
            return Err(Errno::ENODATA);
        }
        self.settle_inode(inode).await;
        let list = self.files.xattr(inode, name).await.map_err(errno)?;
        self.acl_shown(&list)
    }

    /// The names, each with a zero byte behind it.
    pub(crate) async fn xattr_names(&self, inode: u64) -> Outcome<Vec<u8>> {
        self.settle_inode(inode).await;
        let names = self.files.xattr_names(inode).await.map_err(errno)?;
        let mut list = Vec::new();
        for name in names.iter().filter(|name| is_kept(name)) {
            list.extend_from_slice(name);
            list.push(0);
        }
        Ok(list)
    }

    pub(crate) async fn set_xattr(
        &self,
        inode: u64,
        name: Bytes,
        value: Bytes,
        flags: i32,
        setter: Setter,
    ) -> Outcome<()> {
        if !is_kept(&name) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mode = match flags {
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Set,
        };
        self.settle_inode(inode).await;
        self.settle(Some(inode)).await;
        let is_acl = is_acl(&name);
        let set = SetXattr {
            inode,
            mode: mode.into(),
            clear_setgid: is_acl && self.clears_setgid(inode, &setter).await?,
            value: if is_acl { self.acl_stored(&value)? } else { value },
            name,
        };
        let done = if is_acl {
            self.known_acls.changed(inode);
            let done = self.files.set_xattr(set).await;
            self.known_acls.changed(inode);
            done
        } else {
            self.files.set_xattr(set).await
        };
        done.map_err(|error| match errno(error) {
            // Of all attributes of an inode together.
            Errno::E2BIG => Errno::ENOSPC,
            error => error,
        })
    }

    pub(crate) async fn remove_xattr(&self, inode: u64, name: Bytes) -> Outcome<()> {
        if !is_kept(&name) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.settle_inode(inode).await;
        self.settle(Some(inode)).await;
        match self.files.remove_xattr(inode, name.clone()).await.map_err(errno) {
            // As of a local file system: what has no list has lost it.
            Err(Errno::ENODATA) if is_acl(&name) => Ok(()),
            done => done,
        }
    }
}
