//! Files whose numbers were set aside before they were made.

use cairn_common::wire::{
    command::ErrorCode,
    file::{CreateFile, CreateWritten, FileAction, FileAttributes, FileKind, ReserveInodes, SetAttributes, SetTime},
};

use super::{
    files::{ROOT, inline, name},
    harness::Machine,
};

fn reserve(machine: &mut Machine, count: u32) -> u64 {
    let reserved = machine.file(FileAction::ReserveInodes(ReserveInodes { count }));
    reserved.expect("numbers").first_reserved
}

fn written(file: &str, inode: u64) -> CreateWritten {
    CreateWritten {
        create: Some(CreateFile {
            parent: ROOT,
            name: name(file),
            kind: FileKind::File.into(),
            mode: 0o666,
            umask: 0o022,
            exclusive: true,
            ..CreateFile::default()
        }),
        inode,
        extents: vec![inline(0, name("data"))],
        then: vec![SetAttributes {
            uid: Some(7),
            mtime: Some(SetTime { ns: Some(55) }),
            ..SetAttributes::default()
        }],
        ..CreateWritten::default()
    }
}

fn make(machine: &mut Machine, made: CreateWritten) -> Result<FileAttributes, ErrorCode> {
    let outcome = machine.file(FileAction::CreateWritten(made))?;
    assert!(outcome.created);
    Ok(outcome.attributes.expect("attributes"))
}

#[test]
fn a_file_is_made_with_its_data_and_attributes_in_one_step() {
    let mut machine = Machine::new();
    let first = reserve(&mut machine, 3);
    let other = machine.create(ROOT, "other").expect("a file");
    assert_eq!(other, first + 3, "what is set aside is given to nobody");
    let made = make(&mut machine, written("file", first + 1)).expect("a file");
    let seen = (made.inode, made.size, made.mode, made.uid, made.mtime_ns);
    assert_eq!(seen, (first + 1, 4, 0o644, 7, 55));
    // The same again is what it was, and another under its number or its name is refused.
    assert_eq!(make(&mut machine, written("file", first + 1)), Ok(made));
    assert_eq!(
        make(&mut machine, written("another", first + 1)),
        Err(ErrorCode::Exists)
    );
    assert_eq!(make(&mut machine, written("file", first + 2)), Err(ErrorCode::Exists));
    machine.unlink(ROOT, "file").expect("its name");
    assert_eq!(make(&mut machine, written("new", first + 2)).expect("a file").links, 1);
}

#[test]
fn only_what_was_set_aside_is_a_number() {
    let mut machine = Machine::new();
    for count in [0, 4097] {
        let reserved = machine.file(FileAction::ReserveInodes(ReserveInodes { count }));
        assert_eq!(reserved.map(drop), Err(ErrorCode::Malformed));
    }
    let first = reserve(&mut machine, 1);
    for inode in [0, ROOT, first + 1] {
        assert_eq!(make(&mut machine, written("file", inode)), Err(ErrorCode::Malformed));
    }
    let mut cut = written("file", first);
    cut.then[0].size = Some(3);
    assert_eq!(make(&mut machine, cut), Err(ErrorCode::Malformed));
    let mut shared = written("file", first);
    shared.create.as_mut().expect("a file").exclusive = false;
    assert_eq!(make(&mut machine, shared), Err(ErrorCode::Malformed));
    assert!(make(&mut machine, written("file", first)).is_ok());
}

#[test]
fn when_it_was_made_is_believed_within_ten_seconds() {
    let mut machine = Machine::new();
    machine.time_ms = 1_000_000;
    let first = reserve(&mut machine, 4);
    let at = |file, number, made_ns| CreateWritten {
        made_ns,
        extents: Vec::new(),
        then: Vec::new(),
        ..written(file, first + number)
    };
    let recent_ns = 999_000_000_000;
    let made = make(&mut machine, at("recent", 0, recent_ns)).expect("a file");
    assert_eq!((made.mtime_ns, made.ctime_ns), (recent_ns, recent_ns));
    for (file, number, made_ns) in [("later", 1, 2_000_000_000_000), ("long-ago", 2, 5)] {
        let made = make(&mut machine, at(file, number, made_ns)).expect("a file");
        assert_eq!(made.ctime_ns / 1_000_000_000, 1000, "{file}");
    }
}
