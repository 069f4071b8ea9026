//! Every kind of record for a person: one line of this table for each family.
//!
//! Invariant: a family without a line does not compile.

use crate::{
    core::view::Family,
    record::{
        bucket, chunk, dentry,
        description::{Description, Unreadable},
        extent, feed, garbage, hold, inode, lock, part, repair, reply, session, system, upload, user, xattr,
    },
};

/// A record for a person.
pub(super) fn describe(family: Family, key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    match family {
        Family::System => system::describe(key, value),
        Family::Bucket => bucket::describe(key, value),
        Family::Dentry => dentry::describe(key, value),
        Family::Inode => inode::describe(key, value),
        Family::Extent => extent::describe(key, value),
        Family::Chunk => chunk::describe(key, value),
        Family::Upload => upload::describe(key, value),
        Family::Part => part::describe(key, value),
        Family::Session => session::describe(key, value),
        Family::Reply => reply::describe(key, value),
        Family::Garbage => garbage::describe(key, value),
        Family::Xattr => xattr::describe(key, value),
        Family::Hold => hold::describe(key),
        Family::Lock => lock::describe(key, value),
        Family::User => user::describe(key, value),
        Family::Repair => repair::describe(key),
        Family::Feed => feed::describe(key, value),
    }
}

/// Whether the keys of a family begin with the bucket's number.
pub(super) fn is_by_bucket(family: Family) -> bool {
    match family {
        Family::Dentry | Family::Inode | Family::Extent | Family::Upload | Family::Part | Family::Xattr => true,
        Family::System
        | Family::Bucket
        | Family::Chunk
        | Family::Session
        | Family::Reply
        | Family::Garbage
        | Family::Hold
        | Family::Lock
        | Family::User
        | Family::Repair
        | Family::Feed => false,
    }
}
