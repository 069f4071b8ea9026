//! What a mount says to the metadata: files and directories by inode and name, with POSIX's attributes and rules.
//!
//! A name is one path component without `/`, as POSIX knows it; that the store keeps a sub-directory's name with a trailing
//! `/` shows only in the cookies of directory pages. Invariant: each command and query names its bucket by number and is
//! atomic within it; none does work without a bound, and what is too large for one command is refused so that the sender
//! takes smaller steps.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{
    object::{Extent, ObjectAttributes},
    query::Plan,
};

/// A change that a mount makes.
#[derive(Clone, PartialEq, Message)]
pub struct FileCommand {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket: u64,
    /// What is to change.
    #[prost(
        oneof = "FileAction",
        tags = "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24"
    )]
    pub action: Option<FileAction>,
}

/// What is to change.
#[derive(Clone, PartialEq, Oneof)]
pub enum FileAction {
    /// Makes a file of any kind but a directory, or opens the one that is there.
    #[prost(message, tag = "10")]
    Create(CreateFile),
    /// Makes a directory.
    #[prost(message, tag = "11")]
    MakeDirectory(MakeDirectory),
    /// Gives a file another name.
    #[prost(message, tag = "12")]
    Link(LinkFile),
    /// Takes a name from a file.
    #[prost(message, tag = "13")]
    Unlink(UnlinkFile),
    /// Removes an empty directory.
    #[prost(message, tag = "14")]
    RemoveDirectory(RemoveDirectory),
    /// Moves a name.
    #[prost(message, tag = "15")]
    Rename(Rename),
    /// Sets attributes, the size among them.
    #[prost(message, tag = "16")]
    SetAttributes(SetAttributes),
    /// Sets an extended attribute.
    #[prost(message, tag = "17")]
    SetXattr(SetXattr),
    /// Removes an extended attribute.
    #[prost(message, tag = "18")]
    RemoveXattr(RemoveXattr),
    /// Writes data.
    #[prost(message, tag = "19")]
    Write(WriteFile),
    /// Makes holes, or room behind the end.
    #[prost(message, tag = "20")]
    ChangeSpace(ChangeSpace),
    /// Lets a range of a file be the same data as a range of another, or of itself.
    #[prost(message, tag = "21")]
    CloneRange(CloneRange),
    /// Puts the same data into better extents.
    #[prost(message, tag = "22")]
    Merge(MergeExtents),
    /// Sets numbers of inodes aside.
    #[prost(message, tag = "23")]
    ReserveInodes(ReserveInodes),
    /// Makes a regular file under a number that was set aside, with its first data and attributes.
    #[prost(message, tag = "24")]
    CreateWritten(CreateWritten),
}

impl FileCommand {
    /// Whether the command adds data or records, and is refused where the store's disk has hardly room left.
    pub fn adds_data(&self) -> bool {
        let takes_none = matches!(
            &self.action,
            None | Some(
                FileAction::Unlink(_)
                    | FileAction::RemoveDirectory(_)
                    | FileAction::Rename(_)
                    | FileAction::SetAttributes(_)
                    | FileAction::RemoveXattr(_)
                    | FileAction::ChangeSpace(_)
                    | FileAction::ReserveInodes(_)
            )
        );
        !takes_none
    }
}

/// What an inode is. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FileKind {
    /// Not a kind; a message without one is malformed. In a record of a name: a regular file.
    Unspecified = 0,
    /// A regular file: what S3 calls an object.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A fifo.
    Fifo = 4,
    /// A socket.
    Socket = 5,
    /// A character device.
    CharacterDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

/// Makes a file of any kind but a directory. Answered with its attributes.
#[derive(Clone, PartialEq, Message)]
pub struct CreateFile {
    /// The directory.
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// What it is.
    #[prost(enumeration = "FileKind", tag = "3")]
    pub kind: i32,
    /// Permission bits, up to 0o7777.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "5")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "6")]
    pub gid: u32,
    /// Device number, for devices.
    #[prost(uint64, tag = "7")]
    pub device: u64,
    /// Where a symbolic link leads: 1 to 4,095 bytes.
    #[prost(bytes = "bytes", tag = "8")]
    pub target: Bytes,
    /// Whether a name that is there already is an error; otherwise a regular file under it is the answer, unchanged.
    #[prost(bool, tag = "9")]
    pub exclusive: bool,
    /// What `mode` loses where the directory has no default ACL.
    #[prost(uint32, tag = "10")]
    pub umask: u32,
}

/// Sets numbers of inodes aside for files that are made later, by [`CreateWritten`]. Those that are never used are never an inode's.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ReserveInodes {
    /// How many: 1 to 4,096. They follow each other.
    #[prost(uint32, tag = "1")]
    pub count: u32,
}

/// Makes a regular file whose number a program was told before, and does at once what was done with it since. Answered with its
/// attributes; where the name stands for this very inode, it was made before.
#[derive(Clone, PartialEq, Message)]
pub struct CreateWritten {
    /// The file. It is always exclusive.
    #[prost(message, optional, tag = "1")]
    pub create: Option<CreateFile>,
    /// Its number, which was set aside.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970. Taken for the time of the command where it is more than 10 s from it.
    #[prost(int64, tag = "3")]
    pub made_ns: i64,
    /// Its data, as in [`WriteFile`]; it may be empty.
    #[prost(message, repeated, tag = "4")]
    pub extents: Vec<Extent>,
    /// Attributes that are set afterwards, in this order; of this inode, whatever they name. A size cannot be set.
    #[prost(message, repeated, tag = "5")]
    pub then: Vec<SetAttributes>,
}

/// Makes a directory. Answered with its attributes.
#[derive(Clone, PartialEq, Message)]
pub struct MakeDirectory {
    /// The directory that it lies in.
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// Permission bits, up to 0o7777.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    /// What `mode` loses where the directory has no default ACL.
    #[prost(uint32, tag = "6")]
    pub umask: u32,
}

/// Gives a file another name; refused for directories and for files without a name. Answered with its attributes.
#[derive(Clone, PartialEq, Message)]
pub struct LinkFile {
    /// The file.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// The directory of the new name.
    #[prost(uint64, tag = "2")]
    pub parent: u64,
    /// The new name.
    #[prost(bytes = "bytes", tag = "3")]
    pub name: Bytes,
}

/// Takes a name from a file of any kind but a directory. Answered with what lost it.
#[derive(Clone, PartialEq, Message)]
pub struct UnlinkFile {
    /// The directory.
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
}

/// Removes an empty directory: one that holds nothing, or only its own empty key `d/`. Answered with what was removed.
#[derive(Clone, PartialEq, Message)]
pub struct RemoveDirectory {
    /// The directory that it lies in.
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    /// Its name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
}

/// What a rename does with a name that is there already. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RenameMode {
    /// Replaces it, as rename(2) does.
    Replace = 0,
    /// Refuses.
    NoReplace = 1,
    /// Swaps both names.
    Exchange = 2,
}

/// Moves a name. Answered with what was replaced, if anything was.
#[derive(Clone, PartialEq, Message)]
pub struct Rename {
    /// The directory.
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// The new directory.
    #[prost(uint64, tag = "3")]
    pub new_parent: u64,
    /// The new name.
    #[prost(bytes = "bytes", tag = "4")]
    pub new_name: Bytes,
    /// What happens to a file or directory that has the new name.
    #[prost(enumeration = "RenameMode", tag = "5")]
    pub mode: i32,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SetTime {
    /// Nanoseconds since 1970; none for the time at which the command is applied.
    #[prost(int64, optional, tag = "1")]
    pub ns: Option<i64>,
}

/// Sets what is given. A size, even the present one, moves mtime. Answered with the attributes.
#[derive(Clone, PartialEq, Message)]
pub struct SetAttributes {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// Permission bits, up to 0o7777.
    #[prost(uint32, optional, tag = "2")]
    pub mode: Option<u32>,
    /// Owner.
    #[prost(uint32, optional, tag = "3")]
    pub uid: Option<u32>,
    /// Group.
    #[prost(uint32, optional, tag = "4")]
    pub gid: Option<u32>,
    /// Time of the last access.
    #[prost(message, optional, tag = "5")]
    pub atime: Option<SetTime>,
    /// Time of the last change of data.
    #[prost(message, optional, tag = "6")]
    pub mtime: Option<SetTime>,
    /// Bytes: what is behind is cut off; what is missing is a hole.
    #[prost(uint64, optional, tag = "7")]
    pub size: Option<u64>,
    /// Whether setuid, and setgid of a file that its group may execute, are cleared. Done before `mode` is set.
    #[prost(bool, tag = "8")]
    pub clear_suid: bool,
}

/// What setting an extended attribute expects. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum XattrMode {
    /// Nothing.
    Set = 0,
    /// That there is none of the name.
    Create = 1,
    /// That there is one of the name.
    Replace = 2,
}

/// Sets an extended attribute. One that holds an ACL ([`crate::acl`]) takes effect: that of access sets the mode, and is not kept
/// where the mode says all of it.
#[derive(Clone, PartialEq, Message)]
pub struct SetXattr {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// The name: 1 to 255 bytes, namespace included.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
    /// The value: up to 64 KiB.
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
    /// What is expected.
    #[prost(enumeration = "XattrMode", tag = "4")]
    pub mode: i32,
    /// Whether an ACL of access clears setgid, as chmod by somebody who is not of the group does.
    #[prost(bool, tag = "5")]
    pub clear_setgid: bool,
}

/// Removes an extended attribute.
#[derive(Clone, PartialEq, Message)]
pub struct RemoveXattr {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
}

/// Writes data over what a file holds. Answered with its attributes.
///
/// Each extent names new bytes of the file, in a chunk or inline; several may share a chunk. They are in order and do not
/// overlap. Where a small file stays small it stays in its inode; where it outgrows that, what it held becomes an inline
/// extent by itself: the sender need not send it again.
#[derive(Clone, PartialEq, Message)]
pub struct WriteFile {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// The new bytes.
    #[prost(message, repeated, tag = "2")]
    pub extents: Vec<Extent>,
    /// The data version that the sender knows; the write is refused at any other.
    #[prost(uint64, optional, tag = "3")]
    pub expected_version: Option<u64>,
    /// Whether setuid, and setgid of a file that its group may execute, are cleared.
    #[prost(bool, tag = "4")]
    pub clear_suid: bool,
}

/// What happens to a range of a file. The numbers are persistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SpaceMode {
    /// The file grows to the end of the range; no data changes.
    Allocate = 0,
    /// The range becomes a hole; the size stays.
    Punch = 1,
    /// The range becomes a hole, and the file grows to its end.
    Zero = 2,
}

/// Makes holes, or room behind the end. Answered with the attributes.
#[derive(Clone, PartialEq, Message)]
pub struct ChangeSpace {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// First byte of the range.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// Bytes of the range, at least 1.
    #[prost(uint64, tag = "3")]
    pub length: u64,
    /// What happens to it.
    #[prost(enumeration = "SpaceMode", tag = "4")]
    pub mode: i32,
    /// Whether setuid, and setgid of a file that its group may execute, are cleared.
    #[prost(bool, tag = "5")]
    pub clear_suid: bool,
}

/// Lets a range of a file be the same data as a range of another one of the bucket, by reference. What lies behind the end of
/// the source is left out. Answered with the attributes of the target and the bytes cloned.
#[derive(Clone, PartialEq, Message)]
pub struct CloneRange {
    /// The file that has the data.
    #[prost(uint64, tag = "1")]
    pub source: u64,
    /// First byte of it.
    #[prost(uint64, tag = "2")]
    pub source_offset: u64,
    /// The file that gets the data; it may be the same, if the ranges do not overlap.
    #[prost(uint64, tag = "3")]
    pub inode: u64,
    /// First byte of it.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// Bytes.
    #[prost(uint64, tag = "5")]
    pub length: u64,
    /// Whether setuid, and setgid of a file that its group may execute, are cleared.
    #[prost(bool, tag = "6")]
    pub clear_suid: bool,
}

/// Puts the data of a range into other extents, which the sender read and wrote again. Neither times nor the data version
/// change. Where the file is not at the version that the sender read, the command is refused.
#[derive(Clone, PartialEq, Message)]
pub struct MergeExtents {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// First byte of the range.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// Bytes of the range.
    #[prost(uint64, tag = "3")]
    pub length: u64,
    /// The new extents, at least one, in order, within the range; what they leave out is a hole. (A range without a byte
    /// that is not zero is punched instead.)
    #[prost(message, repeated, tag = "4")]
    pub extents: Vec<Extent>,
    /// The data version that the sender read.
    #[prost(uint64, tag = "5")]
    pub expected_version: u64,
}

/// What a file command came to.
#[derive(Clone, PartialEq, Message)]
pub struct FileOutcome {
    /// The inode that the command made or changed, as it is now.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<FileAttributes>,
    /// Whether the inode is new.
    #[prost(bool, tag = "2")]
    pub created: bool,
    /// The inode that lost a name, as it is now; without links it stays while a mount holds it open.
    #[prost(message, optional, tag = "3")]
    pub removed: Option<FileAttributes>,
    /// Bytes that were cloned.
    #[prost(uint64, tag = "4")]
    pub cloned_bytes: u64,
    /// The first of the numbers that were set aside.
    #[prost(uint64, tag = "5")]
    pub first_reserved: u64,
}

/// An inode as POSIX sees it.
#[derive(Clone, PartialEq, Message)]
pub struct FileAttributes {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// What it is.
    #[prost(enumeration = "FileKind", tag = "2")]
    pub kind: i32,
    /// Permission bits.
    #[prost(uint32, tag = "3")]
    pub mode: u32,
    /// Owner.
    #[prost(uint32, tag = "4")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "5")]
    pub gid: u32,
    /// Names; for a directory 2 and one for each sub-directory that a mount shows.
    #[prost(uint32, tag = "6")]
    pub links: u32,
    /// Device number, for devices.
    #[prost(uint64, tag = "7")]
    pub device: u64,
    /// Bytes; for a directory its entries, those counted that a mount does not show.
    #[prost(uint64, tag = "8")]
    pub size: u64,
    /// Time of the last access that was recorded, in nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub atime_ns: i64,
    /// Time of the last change of data or entries.
    #[prost(int64, tag = "10")]
    pub mtime_ns: i64,
    /// Time of the last change of anything.
    #[prost(int64, tag = "11")]
    pub ctime_ns: i64,
    /// Moves with every change of data.
    #[prost(uint64, tag = "12")]
    pub data_version: u64,
    /// Where a symbolic link leads.
    #[prost(bytes = "bytes", tag = "13")]
    pub target: Bytes,
    /// The directory that a directory lies in; 0 for the root and for all else.
    #[prost(uint64, tag = "14")]
    pub parent: u64,
    /// Whether an ACL says more of who may do what than the mode.
    #[prost(bool, tag = "15")]
    pub has_access_acl: bool,
    /// Whether what is made in it begins with an ACL.
    #[prost(bool, tag = "16")]
    pub has_default_acl: bool,
}

/// A question of a mount.
#[derive(Clone, PartialEq, Message)]
pub struct FileQuery {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket: u64,
    /// What is asked.
    #[prost(oneof = "FileQuestion", tags = "10, 11, 12, 13, 14, 15, 16, 17")]
    pub question: Option<FileQuestion>,
}

/// What is asked.
#[derive(Clone, PartialEq, Oneof)]
pub enum FileQuestion {
    /// The inode under a name.
    #[prost(message, tag = "10")]
    Lookup(LookupQuery),
    /// The attributes of an inode.
    #[prost(message, tag = "11")]
    Attributes(AttributesQuery),
    /// A page of a directory.
    #[prost(message, tag = "12")]
    Directory(DirectoryQuery),
    /// The value of an extended attribute.
    #[prost(message, tag = "13")]
    Xattr(XattrQuery),
    /// The names of all extended attributes.
    #[prost(message, tag = "14")]
    XattrNames(XattrNamesQuery),
    /// Where bytes lie.
    #[prost(message, tag = "15")]
    Plan(FilePlanQuery),
    /// What the bucket holds and may hold.
    #[prost(message, tag = "16")]
    Space(SpaceQuery),
    /// What S3 tells of an inode.
    #[prost(message, tag = "17")]
    ObjectAttributes(ObjectAttributesQuery),
}

impl FileQuery {
    /// Whether the query visits many records.
    pub fn may_be_long(&self) -> bool {
        match &self.question {
            Some(FileQuestion::Directory(_) | FileQuestion::XattrNames(_) | FileQuestion::Plan(_)) => true,
            None
            | Some(
                FileQuestion::Lookup(_)
                | FileQuestion::Attributes(_)
                | FileQuestion::Xattr(_)
                | FileQuestion::Space(_)
                | FileQuestion::ObjectAttributes(_),
            ) => false,
        }
    }
}

/// The inode under a name; answered with its attributes.
#[derive(Clone, PartialEq, Message)]
pub struct LookupQuery {
    /// The directory.
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
}

/// The attributes of an inode, whether or not it still has a name.
#[derive(Clone, PartialEq, Message)]
pub struct AttributesQuery {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
}

/// The entity tag, headers and metadata that S3 tells of a file or directory.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectAttributesQuery {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
}

/// A page of a directory.
#[derive(Clone, PartialEq, Message)]
pub struct DirectoryQuery {
    /// The directory.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// Only what is behind this cookie; empty for the beginning.
    #[prost(bytes = "bytes", tag = "2")]
    pub after: Bytes,
    /// Entries at most; up to 1,000.
    #[prost(uint32, tag = "3")]
    pub limit: u32,
    /// Whether attributes are wanted too.
    #[prost(bool, tag = "4")]
    pub with_attributes: bool,
}

/// The value of an extended attribute.
#[derive(Clone, PartialEq, Message)]
pub struct XattrQuery {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// The name.
    #[prost(bytes = "bytes", tag = "2")]
    pub name: Bytes,
}

/// The names of all extended attributes of an inode.
#[derive(Clone, PartialEq, Message)]
pub struct XattrNamesQuery {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
}

/// Where the bytes of a file lie, from some byte on, whether or not the file still has a name.
#[derive(Clone, PartialEq, Message)]
pub struct FilePlanQuery {
    /// The inode.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// First byte of the page.
    #[prost(uint64, tag = "2")]
    pub from: u64,
    /// The data version that the asker began with; the query is refused at any other.
    #[prost(uint64, optional, tag = "3")]
    pub expected_version: Option<u64>,
}

/// What the bucket holds and may hold.
#[derive(Clone, PartialEq, Message)]
pub struct SpaceQuery {}

/// The answer to a question of a mount.
#[derive(Clone, PartialEq, Message)]
pub struct FileAnswer {
    /// The answer, one kind for each kind of question.
    #[prost(oneof = "FileReply", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub reply: Option<FileReply>,
}

/// An answer. A lookup is answered with attributes.
#[derive(Clone, PartialEq, Oneof)]
pub enum FileReply {
    /// An inode.
    #[prost(message, tag = "1")]
    Attributes(FileAttributes),
    /// A page of a directory.
    #[prost(message, tag = "2")]
    Directory(DirectoryPage),
    /// The value of an extended attribute.
    #[prost(bytes = "bytes", tag = "3")]
    Xattr(Bytes),
    /// Names of extended attributes.
    #[prost(message, tag = "4")]
    XattrNames(XattrNames),
    /// Where bytes lie.
    #[prost(message, tag = "5")]
    Plan(FilePlan),
    /// What the bucket holds and may hold.
    #[prost(message, tag = "6")]
    Space(Space),
    /// What S3 tells of an inode.
    #[prost(message, tag = "7")]
    ObjectAttributes(ObjectAttributes),
}

/// A page of a directory, in the order of its cookies. `.` and `..` are not in it.
#[derive(Clone, PartialEq, Message)]
pub struct DirectoryPage {
    /// The entries that a mount shows.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<DirectoryEntry>,
    /// The cookie to go on behind; empty at the end of the directory. A page may be empty and yet not the last.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_after: Bytes,
}

/// A name in a directory. Its cookie is the name, with a `/` behind it for a directory: it stays good whatever is made or
/// removed meanwhile, the entry itself included.
#[derive(Clone, PartialEq, Message)]
pub struct DirectoryEntry {
    /// The name.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Bytes,
    /// The inode.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    /// What it is.
    #[prost(enumeration = "FileKind", tag = "3")]
    pub kind: i32,
    /// Its attributes, where they were asked for.
    #[prost(message, optional, tag = "4")]
    pub attributes: Option<FileAttributes>,
}

impl DirectoryEntry {
    /// The cookie to go on behind this entry.
    pub fn cookie(&self) -> Bytes {
        if self.kind() == FileKind::Directory {
            [self.name.as_ref(), b"/"].concat().into()
        } else {
            self.name.clone()
        }
    }
}

/// Names of extended attributes, in order.
#[derive(Clone, PartialEq, Message)]
pub struct XattrNames {
    /// The names.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub names: Vec<Bytes>,
}

/// A file and where its bytes lie, from some byte on.
#[derive(Clone, PartialEq, Message)]
pub struct FilePlan {
    /// The file.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<FileAttributes>,
    /// The page; what no extent covers, up to the end of the page or of the file, is a hole.
    #[prost(message, optional, tag = "2")]
    pub plan: Option<Plan>,
}

/// What a bucket holds and may hold.
#[derive(Clone, PartialEq, Message)]
pub struct Space {
    /// Bytes of files, redundancy not counted; holes count.
    #[prost(uint64, tag = "1")]
    pub used_bytes: u64,
    /// Bytes that it may hold; 0 for no bound.
    #[prost(uint64, tag = "2")]
    pub quota_bytes: u64,
    /// Inodes that have a name, directories included.
    #[prost(uint64, tag = "3")]
    pub inodes: u64,
}

/// A file by bucket and inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Message)]
pub struct FileId {
    /// The bucket's number.
    #[prost(uint64, tag = "1")]
    pub bucket: u64,
    /// The inode.
    #[prost(uint64, tag = "2")]
    pub inode: u64,
}

/// The answer to a mount session's heartbeat: files that lost their last name since the last one. Of these the session names
/// those that it has open in its next heartbeat's `held`, together with `orphans_seen = reached`; an answer to a query that is
/// older than `reached` must not be used to open a file afterwards.
#[derive(Clone, PartialEq, Message)]
pub struct OrphansPage {
    /// The files, in the order in which they lost their names.
    #[prost(message, repeated, tag = "1")]
    pub orphans: Vec<FileId>,
    /// The page covers everything up to this log index.
    #[prost(uint64, tag = "2")]
    pub reached: u64,
    /// Whether there is more behind it already.
    #[prost(bool, tag = "3")]
    pub more: bool,
}
