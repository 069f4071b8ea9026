//! What each command does to times and numbers of links, as one table; attributes; extended attributes.

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        command::ErrorCode,
        file::{
            ChangeSpace, CloneRange, CreateFile, FileAction, FileAttributes, FileKind, FileQuestion, FileReply,
            MergeExtents, RemoveXattr, RenameMode, SetAttributes, SetTime, SetXattr, SpaceMode, XattrMode,
            XattrNamesQuery, XattrQuery,
        },
    },
};

use super::{
    files::{ROOT, inline, name},
    harness::Machine,
    release::{collect, count},
};
use crate::core::view::Family;

/// What the table watches: two directories and a file with two names.
struct Scene {
    machine: Machine,
    d: u64,
    e: u64,
    f: u64,
}

impl Scene {
    fn new() -> Self {
        let mut machine = Machine::new();
        let d = machine.mkdir(ROOT, "d").expect("a directory");
        let e = machine.mkdir(ROOT, "e").expect("a directory");
        let f = machine.create(d, "f").expect("a file");
        machine.link(f, d, "f2").expect("a second name");
        machine.mkdir(d, "sub").expect("a directory");
        machine.mkdir(e, "empty").expect("a directory");
        machine.create(e, "g").expect("a file");
        let extents = machine.extents_at(&[0], 5000);
        machine.write(f, extents).expect("a write");
        Self { machine, d, e, f }
    }

    fn stat(&self) -> [FileAttributes; 3] {
        [self.d, self.e, self.f].map(|inode| self.machine.stat(inode).expect("there"))
    }
}

/// `a`, `m` and `c` for the times that moved, then the change of the number of links.
fn changes(before: &FileAttributes, after: &FileAttributes, now_ns: i64) -> String {
    let mut changes = String::new();
    let times = [
        ("a", before.atime_ns, after.atime_ns),
        ("m", before.mtime_ns, after.mtime_ns),
        ("c", before.ctime_ns, after.ctime_ns),
    ];
    for (letter, old, new) in times {
        if old != new {
            assert_eq!(new, now_ns, "a time moves to that of the command");
            changes.push_str(letter);
        }
    }
    match i64::from(after.links) - i64::from(before.links) {
        0 => changes,
        more => format!("{changes}{more:+}"),
    }
}

type Run = fn(&mut Scene) -> Result<(), ErrorCode>;

fn set(scene: &mut Scene, set: SetAttributes) -> Result<(), ErrorCode> {
    let inode = scene.f;
    let set = SetAttributes { inode, ..set };
    scene.machine.file(FileAction::SetAttributes(set)).map(drop)
}

fn space(scene: &mut Scene, length: u64, mode: SpaceMode) -> Result<(), ErrorCode> {
    let change = ChangeSpace {
        inode: scene.f,
        offset: 10,
        length,
        mode: mode.into(),
        clear_suid: false,
    };
    scene.machine.file(FileAction::ChangeSpace(change)).map(drop)
}

fn xattr(scene: &mut Scene) -> Result<(), ErrorCode> {
    let set = SetXattr {
        inode: scene.f,
        name: name("user.a"),
        value: name("v"),
        mode: XattrMode::Set.into(),
        clear_setgid: false,
    };
    scene.machine.file(FileAction::SetXattr(set)).map(drop)
}

fn rename(scene: &mut Scene, to: (u64, &str), mode: RenameMode) -> Result<(), ErrorCode> {
    scene.machine.rename((scene.d, "f"), to, mode).map(drop)
}

/// What the command is; what it is; what becomes of `d`, `e` and `d/f`.
const TABLE: &[(&str, Run, [&str; 3])] = &[
    ("create", |s| s.machine.create(s.d, "n").map(drop), ["mc", "", ""]),
    ("symlink", |s| s.machine.symlink(s.d, "n").map(drop), ["mc", "", ""]),
    ("mkdir", |s| s.machine.mkdir(s.d, "n").map(drop), ["mc+1", "", ""]),
    ("link", |s| s.machine.link(s.f, s.e, "n").map(drop), ["", "mc", "c+1"]),
    ("unlink", |s| s.machine.unlink(s.d, "f").map(drop), ["mc", "", "c-1"]),
    ("rmdir", |s| s.machine.rmdir(s.d, "sub").map(drop), ["mc-1", "", ""]),
    (
        "rename within",
        |s| rename(s, (s.d, "n"), RenameMode::Replace),
        ["mc", "", "c"],
    ),
    (
        "rename across",
        |s| rename(s, (s.e, "n"), RenameMode::NoReplace),
        ["mc", "mc", "c"],
    ),
    (
        "rename over",
        |s| rename(s, (s.e, "g"), RenameMode::Replace),
        ["mc", "mc", "c"],
    ),
    (
        "rename to the other name",
        |s| rename(s, (s.d, "f2"), RenameMode::Replace),
        ["", "", ""],
    ),
    (
        "exchange",
        |s| rename(s, (s.e, "g"), RenameMode::Exchange),
        ["mc", "mc", "c"],
    ),
    (
        "exchange with a directory",
        |s| rename(s, (s.e, "empty"), RenameMode::Exchange),
        ["mc+1", "mc-1", "c"],
    ),
    (
        "directory moved",
        |s| {
            s.machine
                .rename((s.d, "sub"), (s.e, "n"), RenameMode::Replace)
                .map(drop)
        },
        ["mc-1", "mc+1", ""],
    ),
    (
        "directory over an empty one",
        |s| {
            s.machine
                .rename((s.d, "sub"), (s.e, "empty"), RenameMode::Replace)
                .map(drop)
        },
        ["mc-1", "mc", ""],
    ),
    (
        "chmod",
        |s| {
            set(
                s,
                SetAttributes {
                    mode: Some(0o600),
                    ..Default::default()
                },
            )
        },
        ["", "", "c"],
    ),
    (
        "chown",
        |s| {
            set(
                s,
                SetAttributes {
                    uid: Some(3),
                    gid: Some(4),
                    ..Default::default()
                },
            )
        },
        ["", "", "c"],
    ),
    (
        "touch",
        |s| {
            let now = Some(SetTime { ns: None });
            set(
                s,
                SetAttributes {
                    atime: now,
                    mtime: now,
                    ..Default::default()
                },
            )
        },
        ["", "", "amc"],
    ),
    (
        "truncate down",
        |s| s.machine.truncate(s.f, 10).map(drop),
        ["", "", "mc"],
    ),
    (
        "truncate up",
        |s| s.machine.truncate(s.f, 9999).map(drop),
        ["", "", "mc"],
    ),
    (
        "truncate to the same",
        |s| s.machine.truncate(s.f, 5000).map(drop),
        ["", "", "mc"],
    ),
    (
        "write",
        |s| s.machine.write_inline(s.f, "new").map(drop),
        ["", "", "mc"],
    ),
    ("punch", |s| space(s, 20, SpaceMode::Punch), ["", "", "mc"]),
    ("zero", |s| space(s, 9000, SpaceMode::Zero), ["", "", "mc"]),
    ("allocate", |s| space(s, 9000, SpaceMode::Allocate), ["", "", "mc"]),
    (
        "clone",
        |s| {
            let clone = CloneRange {
                source: s.f,
                inode: s.f,
                offset: 8000,
                length: 100,
                ..CloneRange::default()
            };
            s.machine.file(FileAction::CloneRange(clone)).map(drop)
        },
        ["", "", "mc"],
    ),
    (
        "merge",
        |s| {
            let merge = MergeExtents {
                inode: s.f,
                offset: 0,
                length: 3,
                extents: vec![inline(0, name("abc"))],
                expected_version: 1,
            };
            s.machine.file(FileAction::Merge(merge)).map(drop)
        },
        ["", "", ""],
    ),
    ("xattr", xattr, ["", "", "c"]),
    (
        "put over a name",
        |s| s.machine.put(b"d/f", 1).map(drop),
        ["", "", "c-1"],
    ),
    (
        "delete a key",
        |s| s.machine.delete(b"d/f").map(drop),
        ["mc", "", "c-1"],
    ),
    ("put a new key", |s| s.machine.put(b"d/n", 1).map(drop), ["mc", "", ""]),
    (
        "put keys in a new directory",
        |s| s.machine.put(b"d/n/k", 1).map(drop),
        ["mc+1", "", ""],
    ),
];

#[test]
fn times_and_links_move_as_posix_says() {
    for (what, run, expected) in TABLE {
        let mut scene = Scene::new();
        let before = scene.stat();
        run(&mut scene).unwrap_or_else(|code| panic!("{what}: {code:?}"));
        let now_ns = scene.machine.time_ms as i64 * 1_000_000;
        let after = scene.stat();
        for (index, expected) in expected.iter().enumerate() {
            let got = changes(&before[index], &after[index], now_ns);
            assert_eq!(got, *expected, "{what}: {}", ["d", "e", "d/f"][index]);
        }
    }
}

#[test]
fn what_is_made_carries_what_it_was_given_and_what_s3_made_has_defaults() {
    let mut machine = Machine::new();
    let device = machine
        .make(ROOT, "dev", FileKind::CharacterDevice, "")
        .expect("a device");
    let fifo = machine.make(ROOT, "fifo", FileKind::Fifo, "").expect("a fifo");
    let link = machine.symlink(ROOT, "link").expect("a link");
    let stat = |inode| machine.stat(inode).expect("there");
    assert_eq!((stat(device).device, stat(fifo).device), (0x801, 0));
    assert_eq!((stat(link).target, stat(link).size), (name("target"), 6));
    let given = stat(fifo);
    assert_eq!((given.mode, given.uid, given.gid, given.links), (0o640, 7, 8, 1));
    machine.put(b"s3/key", 2).expect("a put");
    let modified_ns = machine.time_ms as i64 * 1_000_000;
    let directory = machine.lookup(ROOT, "s3").expect("a directory");
    let file = machine.lookup(directory.inode, "key").expect("a file");
    assert_eq!((directory.mode, directory.links, directory.parent), (0o755, 2, ROOT));
    assert_eq!(
        (file.mode, file.uid, file.gid, file.links, file.size),
        (0o644, 0, 0, 1, 200)
    );
    assert_eq!([file.atime_ns, file.mtime_ns, file.ctime_ns], [modified_ns; 3]);
    assert!(machine.record(file.inode).expect("a record").posix.is_none());
}

#[test]
fn a_name_that_is_there_is_opened_or_refused() {
    let mut machine = Machine::new();
    let file = machine.create(ROOT, "f").expect("a file");
    machine.mkdir(ROOT, "d").expect("a directory");
    machine.symlink(ROOT, "l").expect("a link");
    let create = |name, exclusive| {
        FileAction::Create(CreateFile {
            parent: ROOT,
            name: super::files::name(name),
            kind: FileKind::File.into(),
            exclusive,
            ..CreateFile::default()
        })
    };
    let opened = machine.file(create("f", false)).expect("opened");
    assert_eq!(
        (opened.created, opened.attributes.expect("attributes").inode),
        (false, file)
    );
    assert_eq!(machine.file(create("f", true)), Err(ErrorCode::Exists));
    assert_eq!(machine.file(create("d", false)), Err(ErrorCode::IsDirectory));
    assert_eq!(machine.file(create("l", false)), Err(ErrorCode::Exists));
    for name in ["f", "d", "l"] {
        assert_eq!(machine.mkdir(ROOT, name), Err(ErrorCode::Exists));
        assert_eq!(machine.symlink(ROOT, name), Err(ErrorCode::Exists));
    }
    assert_eq!(machine.create(file, "x"), Err(ErrorCode::NotDirectory));
    assert_eq!(machine.create(999, "x"), Err(ErrorCode::NoSuchInode));
    let too_long = "t".repeat(limits::SYMLINK_TARGET_LEN_MAX + 1);
    assert_eq!(
        machine.make(ROOT, "n", FileKind::Symlink, &too_long),
        Err(ErrorCode::NameTooLong)
    );
    assert_eq!(
        machine.make(ROOT, "n", FileKind::Symlink, ""),
        Err(ErrorCode::Malformed)
    );
    assert_eq!(
        machine.make(ROOT, "n", FileKind::Directory, ""),
        Err(ErrorCode::Malformed)
    );
}

#[test]
fn explicit_times_and_modes_are_kept_and_a_write_clears_setuid() {
    let mut scene = Scene::new();
    let times = SetAttributes {
        mode: Some(0o106_751),
        atime: Some(SetTime { ns: Some(-1) }),
        mtime: Some(SetTime {
            ns: Some(1_234_567_891),
        }),
        ..SetAttributes::default()
    };
    set(&mut scene, times).expect("set");
    let after = scene.machine.stat(scene.f).expect("there");
    assert_eq!(
        (after.mode, after.atime_ns, after.mtime_ns),
        (0o6751, -1, 1_234_567_891)
    );
    let clear = SetAttributes {
        clear_suid: true,
        ..SetAttributes::default()
    };
    set(&mut scene, clear.clone()).expect("set");
    assert_eq!(scene.machine.stat(scene.f).expect("there").mode, 0o751);
    let mode = Some(0o6741);
    set(
        &mut scene,
        SetAttributes {
            mode,
            ..SetAttributes::default()
        },
    )
    .expect("set");
    set(&mut scene, clear).expect("set");
    let mode = scene.machine.stat(scene.f).expect("there").mode;
    assert_eq!(mode, 0o2741, "setgid without the group's execute bit is no setgid");
}

#[test]
fn sizes_are_bounded_and_only_files_have_them() {
    let mut scene = Scene::new();
    assert_eq!(scene.machine.truncate(scene.d, 0), Err(ErrorCode::IsDirectory));
    let link = scene.machine.symlink(ROOT, "l").expect("a link");
    assert_eq!(scene.machine.truncate(link, 0), Err(ErrorCode::NotFile));
    assert_eq!(scene.machine.truncate(scene.f, 1 << 63), Err(ErrorCode::FileTooLarge));
    let far = vec![inline(u64::MAX - 3, name("abc"))];
    assert_eq!(scene.machine.write(scene.f, far), Err(ErrorCode::FileTooLarge));
    assert!(scene.machine.truncate(scene.f, limits::FILE_SIZE_BYTES_MAX).is_ok());
    // What all files hold together is counted exactly, or refused.
    let used = scene.machine.used();
    let large: Vec<u64> = ["x", "y"]
        .map(|file| scene.machine.create(ROOT, file).expect("a file"))
        .into();
    assert!(
        scene
            .machine
            .truncate(large[0], limits::FILE_SIZE_BYTES_MAX - 10)
            .is_ok()
    );
    assert_eq!(
        scene.machine.truncate(large[1], limits::FILE_SIZE_BYTES_MAX),
        Err(ErrorCode::QuotaExceeded)
    );
    for file in ["x", "y"] {
        scene.machine.unlink(ROOT, file).expect("a file");
    }
    assert_eq!(scene.machine.used(), used);
}

#[test]
fn extended_attributes_are_set_replaced_listed_and_released() {
    let mut scene = Scene::new();
    let inode = scene.f;
    let set = |name: &str, value: usize, mode: XattrMode| {
        FileAction::SetXattr(SetXattr {
            inode,
            name: super::files::name(name),
            value: Bytes::from(vec![b'v'; value]),
            mode: mode.into(),
            clear_setgid: false,
        })
    };
    let machine = &mut scene.machine;
    assert_eq!(
        machine.file(set("user.a", 1, XattrMode::Replace)),
        Err(ErrorCode::NoSuchXattr)
    );
    assert!(machine.file(set("user.a", 1, XattrMode::Create)).is_ok());
    assert_eq!(
        machine.file(set("user.a", 2, XattrMode::Create)),
        Err(ErrorCode::Exists)
    );
    assert!(machine.file(set("user.a", 3, XattrMode::Replace)).is_ok());
    assert!(machine.file(set("trusted.b", 0, XattrMode::Set)).is_ok());
    let most = limits::XATTRS_BYTES_MAX - "user.a".len() - 3 - "trusted.b".len() - "user.c".len();
    assert_eq!(
        machine.file(set("user.c", most + 1, XattrMode::Set)),
        Err(ErrorCode::XattrTooLarge)
    );
    assert!(machine.file(set("user.c", most, XattrMode::Set)).is_ok());
    assert_eq!(machine.file(set("", 0, XattrMode::Set)), Err(ErrorCode::InvalidName));
    assert_eq!(
        machine.file(set(&"n".repeat(256), 0, XattrMode::Set)),
        Err(ErrorCode::NameTooLong)
    );
    let names = match machine.question(FileQuestion::XattrNames(XattrNamesQuery { inode })) {
        Ok(FileReply::XattrNames(names)) => names.names,
        other => panic!("no names: {other:?}"),
    };
    assert_eq!(names, [name("trusted.b"), name("user.a"), name("user.c")]);
    let value =
        |machine: &Machine, of: &str| machine.question(FileQuestion::Xattr(XattrQuery { inode, name: name(of) }));
    assert_eq!(value(machine, "user.a"), Ok(FileReply::Xattr(name("vvv"))));
    let remove = || {
        FileAction::RemoveXattr(RemoveXattr {
            inode,
            name: name("user.c"),
        })
    };
    assert!(machine.file(remove()).is_ok());
    assert_eq!(machine.file(remove()), Err(ErrorCode::NoSuchXattr));
    assert_eq!(value(machine, "user.c"), Err(ErrorCode::NoSuchXattr));
    machine.unlink(scene.d, "f").expect("a name less");
    assert_eq!(count(machine, Family::Xattr), 2);
    machine.unlink(scene.d, "f2").expect("the last name");
    machine.heartbeat(0, u64::MAX);
    collect(machine);
    assert_eq!(count(machine, Family::Xattr), 0);
}

#[test]
fn a_file_has_so_many_names_and_no_more() {
    let mut machine = Machine::new();
    let inode = machine.create(ROOT, "f").expect("a file");
    let bucket = cairn_common::ids::BucketId::new(1);
    let mut record = machine.record(inode).expect("a record");
    record.posix_mut().links = limits::LINKS_MAX - 1;
    machine.view.commit(vec![crate::core::view::Write {
        family: Family::Inode,
        key: crate::record::inode::key(bucket, cairn_common::ids::InodeId::new(inode)),
        value: Some(cairn_common::envelope::seal(&record)),
    }]);
    assert!(machine.link(inode, ROOT, "g").is_ok());
    assert_eq!(machine.link(inode, ROOT, "h"), Err(ErrorCode::TooManyLinks));
    let directory = machine.mkdir(ROOT, "d").expect("a directory");
    assert_eq!(machine.link(directory, ROOT, "e"), Err(ErrorCode::IsDirectory));
}
