//! Values of the messages of [`crate::wire::file`].

use bytes::Bytes;

use super::{
    Sample,
    objects::{attributes as object_attributes, extent},
    queries::changed_plan,
    sample,
};
use crate::wire::file::{
    AttributesQuery, ChangeSpace, CloneRange, CreateFile, CreateWritten, DirectoryEntry, DirectoryPage, DirectoryQuery,
    FileAction, FileAnswer, FileAttributes, FileCommand, FileId, FileKind, FileOutcome, FilePlan, FilePlanQuery,
    FileQuery, FileQuestion, FileReply, LinkFile, LookupQuery, MakeDirectory, MergeExtents, ObjectAttributesQuery,
    OrphansPage, RemoveDirectory, RemoveXattr, Rename, RenameMode, ReserveInodes, SetAttributes, SetTime, SetXattr,
    Space, SpaceMode, SpaceQuery, UnlinkFile, WriteFile, XattrMode, XattrNames, XattrNamesQuery, XattrQuery,
};

pub(super) fn commands() -> Vec<Sample> {
    let command = |action| FileCommand {
        bucket: 1,
        action: Some(action),
    };
    vec![
        sample("CreateFile", create()),
        sample("MakeDirectory", make_directory()),
        sample("LinkFile", link()),
        sample("UnlinkFile", unlink()),
        sample("RemoveDirectory", remove_directory()),
        sample("Rename", rename()),
        sample("SetTime", SetTime { ns: Some(-5) }),
        sample("SetAttributes", set_attributes()),
        sample("SetXattr", set_xattr()),
        sample("RemoveXattr", remove_xattr()),
        sample("WriteFile", write()),
        sample("ChangeSpace", change_space()),
        sample("CloneRange", clone_range()),
        sample("MergeExtents", merge()),
        sample("FileOutcome", file_outcome()),
        sample("FileAttributes", attributes()),
        sample("FileCommand/Create", command(FileAction::Create(create()))),
        sample(
            "FileCommand/MakeDirectory",
            command(FileAction::MakeDirectory(make_directory())),
        ),
        sample("FileCommand/Link", command(FileAction::Link(link()))),
        sample("FileCommand/Unlink", command(FileAction::Unlink(unlink()))),
        sample(
            "FileCommand/RemoveDirectory",
            command(FileAction::RemoveDirectory(remove_directory())),
        ),
        sample("FileCommand/Rename", command(FileAction::Rename(rename()))),
        sample(
            "FileCommand/SetAttributes",
            command(FileAction::SetAttributes(set_attributes())),
        ),
        sample("FileCommand/SetXattr", command(FileAction::SetXattr(set_xattr()))),
        sample(
            "FileCommand/RemoveXattr",
            command(FileAction::RemoveXattr(remove_xattr())),
        ),
        sample("FileCommand/Write", file_command()),
        sample(
            "FileCommand/ChangeSpace",
            command(FileAction::ChangeSpace(change_space())),
        ),
        sample("FileCommand/CloneRange", command(FileAction::CloneRange(clone_range()))),
        sample("FileCommand/Merge", command(FileAction::Merge(merge()))),
    ]
}

/// What came with ACLs.
pub(super) fn acls() -> Vec<Sample> {
    vec![
        sample(
            "CreateFile/umask",
            CreateFile {
                umask: 0o022,
                ..create()
            },
        ),
        sample(
            "MakeDirectory/umask",
            MakeDirectory {
                umask: 0o027,
                ..make_directory()
            },
        ),
        sample(
            "SetXattr/acl",
            SetXattr {
                clear_setgid: true,
                ..set_xattr()
            },
        ),
        sample(
            "FileAttributes/acls",
            FileAttributes {
                has_access_acl: true,
                has_default_acl: true,
                ..attributes()
            },
        ),
    ]
}

/// What came with files whose numbers are set aside.
pub(super) fn reserved() -> Vec<Sample> {
    let command = |action| FileCommand {
        bucket: 1,
        action: Some(action),
    };
    let reserve = ReserveInodes { count: 4096 };
    let made = CreateWritten {
        create: Some(CreateFile {
            kind: FileKind::File.into(),
            target: Bytes::new(),
            ..create()
        }),
        inode: 700,
        made_ns: 1_700_000_000_000_000_000,
        extents: vec![extent()],
        then: vec![set_attributes()],
    };
    let outcome = FileOutcome {
        first_reserved: 700,
        ..FileOutcome::default()
    };
    vec![
        sample("ReserveInodes", reserve),
        sample("CreateWritten", made.clone()),
        sample("FileCommand/ReserveInodes", command(FileAction::ReserveInodes(reserve))),
        sample("FileCommand/CreateWritten", command(FileAction::CreateWritten(made))),
        sample("FileOutcome/reserved", outcome),
    ]
}

pub(super) fn queries() -> Vec<Sample> {
    let query = |question| FileQuery {
        bucket: 1,
        question: Some(question),
    };
    let attributes = || AttributesQuery { inode: 2 };
    let names = || XattrNamesQuery { inode: 2 };
    let object = || ObjectAttributesQuery { inode: 2 };
    vec![
        sample("LookupQuery", lookup()),
        sample("AttributesQuery", attributes()),
        sample("DirectoryQuery", directory_query()),
        sample("XattrQuery", xattr_query()),
        sample("XattrNamesQuery", names()),
        sample("FilePlanQuery", plan_query()),
        sample("SpaceQuery", SpaceQuery {}),
        sample("ObjectAttributesQuery", object()),
        sample("FileQuery/Lookup", file_query()),
        sample("FileQuery/Attributes", query(FileQuestion::Attributes(attributes()))),
        sample("FileQuery/Directory", query(FileQuestion::Directory(directory_query()))),
        sample("FileQuery/Xattr", query(FileQuestion::Xattr(xattr_query()))),
        sample("FileQuery/XattrNames", query(FileQuestion::XattrNames(names()))),
        sample("FileQuery/Plan", query(FileQuestion::Plan(plan_query()))),
        sample("FileQuery/Space", query(FileQuestion::Space(SpaceQuery {}))),
        sample(
            "FileQuery/ObjectAttributes",
            query(FileQuestion::ObjectAttributes(object())),
        ),
    ]
}

pub(super) fn answers() -> Vec<Sample> {
    let answer = |reply| FileAnswer { reply: Some(reply) };
    vec![
        sample("DirectoryPage", directory_page()),
        sample("DirectoryEntry", directory_entry()),
        sample("XattrNames", names()),
        sample("FilePlan", plan()),
        sample("Space", space()),
        sample("FileId", file_id()),
        sample("OrphansPage", orphans_page()),
        sample("FileAnswer/Attributes", file_answer()),
        sample("FileAnswer/Directory", answer(FileReply::Directory(directory_page()))),
        sample(
            "FileAnswer/Xattr",
            answer(FileReply::Xattr(Bytes::from_static(b"value"))),
        ),
        sample("FileAnswer/XattrNames", answer(FileReply::XattrNames(names()))),
        sample("FileAnswer/Plan", answer(FileReply::Plan(plan()))),
        sample("FileAnswer/Space", answer(FileReply::Space(space()))),
        sample(
            "FileAnswer/ObjectAttributes",
            answer(FileReply::ObjectAttributes(object_attributes())),
        ),
    ]
}

pub(super) fn file_command() -> FileCommand {
    FileCommand {
        bucket: 1,
        action: Some(FileAction::Write(write())),
    }
}

pub(super) fn file_outcome() -> FileOutcome {
    FileOutcome {
        attributes: Some(attributes()),
        created: true,
        removed: Some(attributes()),
        cloned_bytes: 300,
        first_reserved: 0,
    }
}

pub(super) fn file_query() -> FileQuery {
    FileQuery {
        bucket: 1,
        question: Some(FileQuestion::Lookup(lookup())),
    }
}

pub(super) fn file_answer() -> FileAnswer {
    FileAnswer {
        reply: Some(FileReply::Attributes(attributes())),
    }
}

pub(super) fn file_id() -> FileId {
    FileId { bucket: 1, inode: 300 }
}

pub(super) fn orphans_page() -> OrphansPage {
    OrphansPage {
        orphans: vec![file_id()],
        reached: 70_000,
        more: true,
    }
}

fn name() -> Bytes {
    Bytes::from_static("n\u{e4}me".as_bytes())
}

fn create() -> CreateFile {
    CreateFile {
        parent: 1,
        name: name(),
        kind: FileKind::Symlink.into(),
        mode: 0o644,
        uid: 1000,
        gid: 1001,
        device: 0x0801,
        target: Bytes::from_static(b"../there"),
        exclusive: true,
        umask: 0,
    }
}

fn make_directory() -> MakeDirectory {
    MakeDirectory {
        parent: 1,
        name: name(),
        mode: 0o755,
        uid: 1000,
        gid: 1001,
        umask: 0,
    }
}

fn link() -> LinkFile {
    LinkFile {
        inode: 300,
        parent: 1,
        name: name(),
    }
}

fn unlink() -> UnlinkFile {
    UnlinkFile {
        parent: 1,
        name: name(),
    }
}

fn remove_directory() -> RemoveDirectory {
    RemoveDirectory {
        parent: 1,
        name: name(),
    }
}

fn rename() -> Rename {
    Rename {
        parent: 1,
        name: name(),
        new_parent: 2,
        new_name: Bytes::from_static(b"new"),
        mode: RenameMode::Exchange.into(),
    }
}

fn set_attributes() -> SetAttributes {
    SetAttributes {
        inode: 300,
        mode: Some(0),
        uid: Some(0),
        gid: Some(1001),
        atime: Some(SetTime { ns: None }),
        mtime: Some(SetTime {
            ns: Some(1_700_000_000_123_456_789),
        }),
        size: Some(0),
        clear_suid: true,
    }
}

fn set_xattr() -> SetXattr {
    SetXattr {
        inode: 300,
        name: Bytes::from_static(b"user.a"),
        value: Bytes::from_static(b"value"),
        mode: XattrMode::Replace.into(),
        clear_setgid: false,
    }
}

fn remove_xattr() -> RemoveXattr {
    RemoveXattr {
        inode: 300,
        name: Bytes::from_static(b"user.a"),
    }
}

fn write() -> WriteFile {
    WriteFile {
        inode: 300,
        extents: vec![extent()],
        expected_version: Some(0),
        clear_suid: true,
    }
}

fn change_space() -> ChangeSpace {
    ChangeSpace {
        inode: 300,
        offset: 4096,
        length: 8192,
        mode: SpaceMode::Zero.into(),
        clear_suid: true,
    }
}

fn clone_range() -> CloneRange {
    CloneRange {
        source: 300,
        source_offset: 1,
        inode: 301,
        offset: 2,
        length: 3,
        clear_suid: true,
    }
}

fn merge() -> MergeExtents {
    MergeExtents {
        inode: 300,
        offset: 1,
        length: 2,
        extents: vec![extent()],
        expected_version: 5,
    }
}

fn attributes() -> FileAttributes {
    FileAttributes {
        inode: 300,
        kind: FileKind::File.into(),
        mode: 0o644,
        uid: 1000,
        gid: 1001,
        links: 2,
        device: 0x0801,
        size: 1 << 40,
        atime_ns: 1_700_000_000_000_000_000,
        mtime_ns: -1,
        ctime_ns: 1_700_000_000_001_000_000,
        data_version: 5,
        target: Bytes::from_static(b"../there"),
        parent: 1,
        has_access_acl: false,
        has_default_acl: false,
    }
}

fn lookup() -> LookupQuery {
    LookupQuery {
        parent: 1,
        name: name(),
    }
}

fn directory_query() -> DirectoryQuery {
    DirectoryQuery {
        inode: 1,
        after: Bytes::from_static(b"d/"),
        limit: 1000,
        with_attributes: true,
    }
}

fn xattr_query() -> XattrQuery {
    XattrQuery {
        inode: 300,
        name: Bytes::from_static(b"user.a"),
    }
}

fn plan_query() -> FilePlanQuery {
    FilePlanQuery {
        inode: 300,
        from: 4096,
        expected_version: Some(0),
    }
}

fn directory_entry() -> DirectoryEntry {
    DirectoryEntry {
        name: name(),
        inode: 300,
        kind: FileKind::Directory.into(),
        attributes: Some(attributes()),
    }
}

fn directory_page() -> DirectoryPage {
    DirectoryPage {
        entries: vec![directory_entry()],
        next_after: Bytes::from_static(b"d/"),
    }
}

fn names() -> XattrNames {
    XattrNames {
        names: vec![Bytes::from_static(b"user.a"), Bytes::from_static(b"user.b")],
    }
}

fn plan() -> FilePlan {
    FilePlan {
        attributes: Some(attributes()),
        plan: Some(changed_plan()),
    }
}

fn space() -> Space {
    Space {
        used_bytes: 1 << 40,
        quota_bytes: 1 << 41,
        inodes: 300,
    }
}
