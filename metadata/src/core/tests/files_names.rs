//! Names: renames of every kind, directories removed, what a mount does not show, and S3 beside mounts.

use cairn_common::wire::{
    command::{Command, DeleteBucket, ErrorCode, WriteCondition},
    file::{FileAction, FileKind, LookupQuery, RenameMode, UnlinkFile},
};

use super::{
    files::{ROOT, name},
    harness::{BUCKET, Machine},
    release::count,
};
use crate::core::view::Family;

/// A scene in short: names with what they are, all in the root. Directories end in `/`; `d/x` lies in `d/`.
fn scene() -> Machine {
    let mut machine = Machine::new();
    machine.create(ROOT, "f").expect("a file");
    machine.create(ROOT, "g").expect("a file");
    machine.symlink(ROOT, "l").expect("a link");
    let full = machine.mkdir(ROOT, "full").expect("a directory");
    machine.create(full, "x").expect("a file");
    machine.mkdir(full, "sub").expect("a directory");
    machine.mkdir(ROOT, "empty").expect("a directory");
    machine
}

/// Everything below a directory, depth first.
fn tree(machine: &Machine, directory: u64, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    for name in machine.readdir(directory, 2) {
        let inode = machine
            .lookup(directory, name.trim_end_matches('/'))
            .expect("there")
            .inode;
        let path = format!("{path}{name}");
        all.push(path.clone());
        if name.ends_with('/') {
            all.extend(tree(machine, inode, &path));
        }
    }
    all
}

/// From, to, mode, and the tree then or why it was refused.
type Case = (&'static str, &'static str, RenameMode, Result<&'static str, ErrorCode>);

const RENAMES: &[Case] = &[
    ("f", "n", RenameMode::Replace, Ok("empty/ full/ full/sub/ full/x g l n")),
    (
        "f",
        "n",
        RenameMode::NoReplace,
        Ok("empty/ full/ full/sub/ full/x g l n"),
    ),
    ("f", "n", RenameMode::Exchange, Err(ErrorCode::NoSuchEntry)),
    ("f", "g", RenameMode::Replace, Ok("empty/ full/ full/sub/ full/x g l")),
    ("f", "g", RenameMode::NoReplace, Err(ErrorCode::Exists)),
    (
        "f",
        "g",
        RenameMode::Exchange,
        Ok("empty/ f full/ full/sub/ full/x g l"),
    ),
    ("f", "l", RenameMode::Replace, Ok("empty/ full/ full/sub/ full/x g l")),
    ("f", "f", RenameMode::Replace, Ok("empty/ f full/ full/sub/ full/x g l")),
    ("f", "f", RenameMode::NoReplace, Err(ErrorCode::Exists)),
    ("f", "empty", RenameMode::Replace, Err(ErrorCode::IsDirectory)),
    (
        "f",
        "empty",
        RenameMode::Exchange,
        Ok("empty f/ full/ full/sub/ full/x g l"),
    ),
    (
        "f",
        "full/x",
        RenameMode::Replace,
        Ok("empty/ full/ full/sub/ full/x g l"),
    ),
    (
        "f",
        "full/y",
        RenameMode::Replace,
        Ok("empty/ full/ full/sub/ full/x full/y g l"),
    ),
    ("none", "f", RenameMode::Replace, Err(ErrorCode::NoSuchEntry)),
    ("full", "f", RenameMode::Replace, Err(ErrorCode::NotDirectory)),
    (
        "full",
        "empty",
        RenameMode::Replace,
        Ok("empty/ empty/sub/ empty/x f g l"),
    ),
    ("empty", "full", RenameMode::Replace, Err(ErrorCode::NotEmpty)),
    (
        "empty",
        "full",
        RenameMode::Exchange,
        Ok("empty/ empty/sub/ empty/x f full/ g l"),
    ),
    ("full", "n", RenameMode::Replace, Ok("empty/ f g l n/ n/sub/ n/x")),
    ("full", "full/n", RenameMode::Replace, Err(ErrorCode::Loop)),
    ("full", "full/sub", RenameMode::Replace, Err(ErrorCode::Loop)),
    ("full", "full/sub", RenameMode::Exchange, Err(ErrorCode::Loop)),
    ("full/sub", "full", RenameMode::Replace, Err(ErrorCode::NotEmpty)),
    ("full/sub", "full", RenameMode::Exchange, Err(ErrorCode::Loop)),
    (
        "full/sub",
        "empty",
        RenameMode::Replace,
        Ok("empty/ f full/ full/x g l"),
    ),
    (
        "full/sub",
        "f",
        RenameMode::Exchange,
        Ok("empty/ f/ full/ full/sub full/x g l"),
    ),
    ("f", ".", RenameMode::Replace, Err(ErrorCode::InvalidName)),
    ("f", "", RenameMode::Replace, Err(ErrorCode::InvalidName)),
];

#[test]
fn every_rename_does_what_the_table_says() {
    for (from, to, mode, expected) in RENAMES {
        let mut machine = scene();
        let full = machine.lookup(ROOT, "full").expect("there").inode;
        let place = |path: &'static str| path.strip_prefix("full/").map_or((ROOT, path), |name| (full, name));
        let before = machine.view.clone();
        let what = format!("{from} → {to}, {mode:?}");
        let (inodes, links) = (machine.used().1, links_of_directories(&machine));
        match (machine.rename(place(from), place(to), *mode), expected) {
            (Ok(removed), Ok(expected)) => {
                assert_eq!(tree(&machine, ROOT, "").join(" "), *expected, "{what}");
                let gone = u64::from(removed.is_some());
                assert_eq!(machine.used().1, inodes - gone, "{what}");
                assert!(removed.is_none_or(|removed| removed.links == 0), "{what}");
            }
            (Err(code), Err(expected)) => {
                assert_eq!(code, *expected, "{what}");
                // But for the time, the reply and the session's watermark nothing changed.
                for family in [Family::Dentry, Family::Inode, Family::Bucket, Family::Garbage] {
                    assert_eq!(records(&machine, family), all(&before, family), "{what}");
                }
                assert_eq!(links_of_directories(&machine), links);
            }
            (got, expected) => panic!("{what}: {got:?} and not {expected:?}"),
        }
        check_links(&machine, ROOT);
    }
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn records(machine: &Machine, family: Family) -> Records {
    all(&machine.view, family)
}

fn all(view: &dyn crate::core::view::View, family: Family) -> Records {
    let mut records = Vec::new();
    let scanned = view.scan(family, &[], &mut |key, value| {
        records.push((key.to_vec(), value.to_vec()));
        true
    });
    assert_eq!(scanned, Ok(()));
    records
}

fn links_of_directories(machine: &Machine) -> u32 {
    machine.stat(ROOT).expect("the root").links
}

/// A directory's links are 2 and its sub-directories, which all name it as their parent.
fn check_links(machine: &Machine, directory: u64) {
    let names = machine.readdir(directory, 1000);
    let below: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix('/')).collect();
    let links = machine.stat(directory).expect("there").links;
    assert_eq!(links as usize, 2 + below.len());
    for name in below {
        let found = machine.lookup(directory, name).expect("there");
        assert_eq!(found.parent, directory);
        check_links(machine, found.inode);
    }
}

#[test]
fn a_directory_moves_with_all_that_it_holds_for_both_sides() {
    let mut machine = Machine::new();
    for index in 0..50 {
        machine.put(format!("a/b/{index:02}").as_bytes(), 0).expect("a put");
    }
    let writes_before = records(&machine, Family::Dentry);
    machine
        .rename((ROOT, "a"), (ROOT, "z"), RenameMode::Replace)
        .expect("moved");
    let changed = records(&machine, Family::Dentry)
        .into_iter()
        .filter(|record| !writes_before.contains(record));
    assert_eq!(changed.count(), 1, "one name, however much lies below it");
    assert!(machine.object(b"a/b/07").is_none());
    assert!(machine.object(b"z/b/07").is_some());
    assert_eq!(machine.list(b"z/", b"/", b"", 10), [(b"z/b/".to_vec(), true)]);
}

#[test]
fn what_a_mount_changes_is_explicit_first_and_stays() {
    let mut machine = Machine::new();
    machine.put(b"d/e/k", 0).expect("a put");
    let d = machine.lookup(ROOT, "d").expect("there").inode;
    let e = machine.lookup(d, "e").expect("there").inode;
    machine.unlink(e, "k").expect("a file");
    assert_eq!(machine.list(b"", b"", b"", 10), [(b"d/e/".to_vec(), false)]);
    assert_eq!(machine.readdir(e, 10), [""; 0]);
    machine.rmdir(d, "e").expect("empty");
    assert_eq!(machine.list(b"", b"", b"", 10), [(b"d/".to_vec(), false)]);
    let object = machine.object(b"d/").expect("an explicit directory is a key");
    assert_eq!(object.info.expect("an info").size, 0);
    // S3 takes the key, and with it the directory that holds nothing else.
    machine.delete(b"d/").expect("deleted");
    assert_eq!(machine.lookup(ROOT, "d"), Err(ErrorCode::NoSuchEntry));
    assert_eq!(machine.create(d, "x"), Err(ErrorCode::NoSuchInode));
    assert_eq!(machine.used(), (0, 1));
}

#[test]
fn what_posix_cannot_name_is_hidden_and_kept() {
    let mut machine = Machine::new();
    let long = format!("d/{}", "n".repeat(256));
    for key in [
        b"d//x".as_slice(),
        b"d/.",
        b"d/../y",
        b"d/\xff",
        long.as_bytes(),
        b"d/shown",
    ] {
        machine.put(key, 0).expect("a put");
    }
    let d = machine.lookup(ROOT, "d").expect("there");
    assert_eq!(machine.readdir(d.inode, 1), ["shown"]);
    assert_eq!(d.links, 2, "directories that are not shown are no links");
    for (name, code) in [
        ("", ErrorCode::InvalidName),
        (".", ErrorCode::InvalidName),
        ("..", ErrorCode::InvalidName),
        ("a/b", ErrorCode::InvalidName),
        ("a\0", ErrorCode::InvalidName),
        (&"n".repeat(256), ErrorCode::NameTooLong),
    ] {
        assert_eq!(machine.create(d.inode, name), Err(code), "{name:?}");
    }
    let unlink = FileAction::Unlink(UnlinkFile {
        parent: d.inode,
        name: bytes::Bytes::from_static(b"\xff"),
    });
    assert_eq!(machine.file(unlink), Err(ErrorCode::NotUtf8));
    machine.unlink(d.inode, "shown").expect("a file");
    assert_eq!(machine.rmdir(ROOT, "d"), Err(ErrorCode::NotEmpty));
    assert!(machine.object(b"d//x").is_some());
    machine
        .rename((ROOT, "d"), (ROOT, "e"), RenameMode::Replace)
        .expect("moved with what is hidden");
    assert!(machine.object(b"e/../y").is_some());
}

#[test]
fn a_directory_hides_the_file_of_its_name_until_it_goes() {
    let mut machine = Machine::new();
    machine.put(b"a", 1).expect("a put");
    let file = machine.lookup(ROOT, "a").expect("the file").inode;
    assert_eq!(machine.mkdir(ROOT, "a"), Err(ErrorCode::Exists));
    machine.put(b"a/b", 0).expect("a put");
    let directory = machine.lookup(ROOT, "a").expect("the directory");
    assert_eq!(directory.kind(), FileKind::Directory);
    assert_eq!(machine.readdir(ROOT, 10), ["a/"]);
    assert_eq!(machine.unlink(ROOT, "a"), Err(ErrorCode::IsDirectory));
    assert_eq!(machine.create(ROOT, "a"), Err(ErrorCode::Exists));
    machine.create(ROOT, "f").expect("a file");
    // The directory's name would come to be the hidden file's.
    let exchange = machine.rename((ROOT, "a"), (ROOT, "f"), RenameMode::Exchange);
    assert_eq!(exchange, Err(ErrorCode::Exists));
    assert!(machine.object(b"a").is_some());
    machine
        .rename((ROOT, "a"), (ROOT, "z"), RenameMode::Replace)
        .expect("moved");
    assert_eq!(machine.lookup(ROOT, "a").expect("the file").inode, file);
    assert_eq!(machine.readdir(ROOT, 1), ["a", "f", "z/"]);
}

#[test]
fn a_directory_whose_own_key_has_bytes_is_not_removed() {
    let mut machine = Machine::new();
    machine.put(b"d/", 1).expect("a put");
    assert_eq!(machine.rmdir(ROOT, "d"), Err(ErrorCode::NotEmpty));
    assert_eq!(
        machine.readdir(machine.lookup(ROOT, "d").expect("there").inode, 10),
        [""; 0]
    );
    let inline = machine.put_command(b"e/", 0, WriteCondition::default());
    let empty = cairn_common::wire::command::PutObject {
        body: Some(cairn_common::wire::object::Body::default()),
        ..inline
    };
    machine.run(Command::PutObject(empty)).expect("a put");
    machine.rmdir(ROOT, "e").expect("an empty body is no reason");
    assert!(machine.object(b"e/").is_none());
}

#[test]
fn s3_replaces_and_removes_names_but_no_file_that_has_another() {
    let mut machine = Machine::new();
    let file = machine.create(ROOT, "f").expect("a file");
    machine.write_inline(file, "mount").expect("a write");
    machine.link(file, ROOT, "g").expect("a second name");
    machine.put(b"f", 1).expect("a put");
    assert_ne!(machine.lookup(ROOT, "f").expect("there").inode, file);
    assert_eq!(machine.read(file), Ok(b"mount".to_vec()));
    assert_eq!(machine.stat(file).expect("there").links, 1);
    machine.link(file, ROOT, "h").expect("another name");
    machine.delete(b"g").expect("deleted");
    assert_eq!(machine.lookup(ROOT, "h").expect("there").inode, file);
    let object = machine.object(b"h").expect("an object to S3").info.expect("an info");
    assert_eq!(object.size, 5);
    assert_eq!(machine.used(), (105, 3));
}

#[test]
fn s3_leaves_alone_what_is_no_object() {
    let mut machine = Machine::new();
    machine.symlink(ROOT, "l").expect("a link");
    let d = machine.mkdir(ROOT, "d").expect("a directory");
    machine.make(d, "socket", FileKind::Socket, "").expect("a socket");
    assert_eq!(machine.put(b"l", 1), Err(ErrorCode::NotAnObject));
    assert!(machine.object(b"l").is_none());
    machine.delete(b"l").expect("as if there were none");
    assert!(machine.lookup(ROOT, "l").is_ok());
    assert_eq!(machine.list(b"", b"", b"", 10), [(b"d/".to_vec(), false)]);
    // Without its own key the directory is implicit, and stays for what it holds.
    machine.delete(b"d/").expect("deleted");
    assert_eq!(machine.readdir(d, 10), ["socket"]);
    assert_eq!(machine.list(b"", b"", b"", 10), []);
    // A key below a link's name makes a directory beside the link, which shows again once that is gone.
    machine.put(b"l/k", 0).expect("a put");
    assert_eq!(machine.lookup(ROOT, "l").expect("there").kind(), FileKind::Directory);
    machine.delete(b"l/k").expect("deleted");
    assert_eq!(machine.lookup(ROOT, "l").expect("there").kind(), FileKind::Symlink);
    let delete = Command::DeleteBucket(DeleteBucket {
        name: BUCKET.to_owned(),
    });
    assert_eq!(machine.run(delete), Err(ErrorCode::BucketNotEmpty));
}

#[test]
fn tags_of_what_a_mount_wrote_have_a_dash_and_change_with_each_write() {
    let mut machine = Machine::new();
    machine.put(b"k", 1).expect("a put");
    let tag = |machine: &Machine| {
        let info = machine.object(b"k").expect("there").info.expect("an info");
        info.attributes.expect("attributes").etag
    };
    let mut tags = vec![tag(&machine)];
    assert!(!tags[0].starts_with("0000"));
    let inode = machine.lookup(ROOT, "k").expect("there").inode;
    machine.write_inline(inode, "x").expect("a write");
    tags.push(tag(&machine));
    machine.truncate(inode, 7).expect("cut");
    tags.push(tag(&machine));
    assert!(tags[1..].iter().all(|tag| tag.len() == 34 && tag.ends_with("-1")));
    assert_ne!(tags[1], tags[2]);
    let condition = |etag: &str| WriteCondition {
        must_be_absent: false,
        etag: etag.to_owned(),
        ..WriteCondition::default()
    };
    for (etag, expected) in [(&tags[1], Err(ErrorCode::PreconditionFailed)), (&tags[2], Ok(()))] {
        let put = machine.put_command(b"k", 0, condition(etag));
        assert_eq!(machine.run(Command::PutObject(put)).map(drop), expected);
    }
}

#[test]
fn pages_go_on_behind_names_that_are_gone() {
    let mut machine = Machine::new();
    for index in 0..10 {
        machine.create(ROOT, &format!("f{index}")).expect("a file");
        machine.mkdir(ROOT, &format!("f{index}d")).expect("a directory");
    }
    let all = machine.readdir(ROOT, 1000);
    assert_eq!((all.len(), machine.readdir(ROOT, 3)), (20, all.clone()));
    let page = |machine: &Machine, after: &str| {
        let query = cairn_common::wire::file::DirectoryQuery {
            inode: ROOT,
            after: name(after),
            limit: 2,
            with_attributes: false,
        };
        match machine.question(cairn_common::wire::file::FileQuestion::Directory(query)) {
            Ok(cairn_common::wire::file::FileReply::Directory(page)) => page,
            other => panic!("no page: {other:?}"),
        }
    };
    let first = page(&machine, "");
    assert_eq!(first.next_after, first.entries[1].cookie());
    machine.unlink(ROOT, "f0").expect("a file");
    machine.rmdir(ROOT, "f0d").expect("a directory");
    let second = page(&machine, std::str::from_utf8(&first.next_after).expect("UTF-8"));
    assert_eq!(second.entries[0].name, name("f1"));
    assert_eq!(second.entries[1].cookie(), name("f1d/"));
}

#[test]
fn a_page_of_long_links_ends_early() {
    let mut machine = Machine::new();
    let target = "t".repeat(cairn_common::limits::SYMLINK_TARGET_LEN_MAX);
    for index in 0..200 {
        machine
            .make(ROOT, &format!("l{index:03}"), FileKind::Symlink, &target)
            .expect("a link");
    }
    assert_eq!(machine.readdir(ROOT, 1000).len(), 200);
    let query = cairn_common::wire::file::DirectoryQuery {
        inode: ROOT,
        after: name(""),
        limit: 1000,
        with_attributes: true,
    };
    match machine.question(cairn_common::wire::file::FileQuestion::Directory(query)) {
        Ok(cairn_common::wire::file::FileReply::Directory(page)) => assert!(page.entries.len() < 150),
        other => panic!("no page: {other:?}"),
    }
    assert_eq!(machine.used().0, 200 * target.len() as u64);
    for index in 0..200 {
        machine.unlink(ROOT, &format!("l{index:03}")).expect("a link");
    }
    assert_eq!(machine.used(), (0, 1));
}

#[test]
fn keys_that_a_mount_made_too_long_are_not_served_and_not_lost() {
    let mut machine = Machine::new();
    let mut parent = ROOT;
    let long = "n".repeat(250);
    for _ in 0..5 {
        parent = machine.mkdir(parent, &long).expect("a directory");
    }
    machine.create(parent, "f").expect("a file");
    machine.put(b"z", 0).expect("a put");
    let listed = machine.list(b"", b"", b"", 10);
    assert!(listed.iter().all(|(key, _)| key.len() <= 1024));
    assert_eq!(listed.len(), 5, "four directories and a key");
    let key = format!("{}f", format!("{long}/").repeat(5));
    assert!(machine.object(key.as_bytes()).is_none());
    machine.delete(key.as_bytes()).expect("as if there were none");
    assert!(machine.lookup(parent, "f").is_ok());
    // A listing from a key that long goes on where it would lie.
    assert_eq!(machine.list(b"", b"", key.as_bytes(), 10), [(b"z".to_vec(), false)]);
}

#[test]
fn a_lookup_of_nothing_and_of_another_bucket_is_told_apart() {
    let mut machine = Machine::new();
    let file = machine.create(ROOT, "f").expect("a file");
    assert_eq!(machine.lookup(ROOT, "g"), Err(ErrorCode::NoSuchEntry));
    assert_eq!(machine.lookup(file, "g"), Err(ErrorCode::NotDirectory));
    assert_eq!(machine.lookup(99, "g"), Err(ErrorCode::NoSuchInode));
    let query = cairn_common::wire::file::FileQuery {
        bucket: 9,
        question: Some(cairn_common::wire::file::FileQuestion::Lookup(LookupQuery {
            parent: ROOT,
            name: name("f"),
        })),
    };
    let answer = machine.ask(cairn_common::wire::query::Query::File(query));
    assert!(
        matches!(answer, cairn_common::wire::query::Answer::Refused(ref refusal) if refusal.code() == ErrorCode::NoSuchInode),
        "{answer:?}"
    );
    assert_eq!(count(&machine, Family::Hold), 0);
}
