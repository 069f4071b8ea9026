//! Extended attributes.

use bytes::Bytes;
use cairn_common::wire::file::{SetXattr, XattrMode};
use fuser::Errno;

use crate::{
    convert::{Outcome, errno},
    object,
    volume::Volume,
};

/// Namespaces that a mount keeps attributes of. Of `system` and `security` the kernel would expect that they take effect.
const KEPT: [&[u8]; 2] = [b"user.", b"trusted."];

/// What the names of attributes begin with that nobody set and that tell of a file. They are in no list of names, so that a program
/// which copies a file with its attributes leaves them out.
const SPACE: &[u8] = b"cairn.";

fn is_kept(name: &[u8]) -> bool {
    KEPT.iter().any(|space| name.starts_with(space))
}

impl Volume {
    pub(crate) async fn xattr(&self, inode: u64, name: Bytes) -> Outcome<Bytes> {
        if let Some(what) = name.strip_prefix(SPACE) {
            return match object::strip(what) {
                Some(header) => self.object(inode, header).await,
                None => self.layout(inode, what).await,
            };
        }
        if !is_kept(&name) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.files.xattr(inode, name).await.map_err(errno)
    }

    /// The names, each with a zero byte behind it.
    pub(crate) async fn xattr_names(&self, inode: u64) -> Outcome<Vec<u8>> {
        let names = self.files.xattr_names(inode).await.map_err(errno)?;
        let mut list = Vec::new();
        for name in names.iter().filter(|name| is_kept(name)) {
            list.extend_from_slice(name);
            list.push(0);
        }
        Ok(list)
    }

    pub(crate) async fn set_xattr(&self, inode: u64, name: Bytes, value: Bytes, flags: i32) -> Outcome<()> {
        if !is_kept(&name) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mode = match flags {
            libc::XATTR_CREATE => XattrMode::Create,
            libc::XATTR_REPLACE => XattrMode::Replace,
            _ => XattrMode::Set,
        };
        let set = SetXattr {
            inode,
            name,
            value,
            mode: mode.into(),
        };
        self.files.set_xattr(set).await.map_err(|error| match errno(error) {
            // Of all attributes of an inode together.
            Errno::E2BIG => Errno::ENOSPC,
            error => error,
        })
    }

    pub(crate) async fn remove_xattr(&self, inode: u64, name: Bytes) -> Outcome<()> {
        if !is_kept(&name) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.files.remove_xattr(inode, name).await.map_err(errno)
    }
}
