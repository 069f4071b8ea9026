//! What is known is gone by for as long as it may be, and no longer.

use std::time::Duration;

use super::*;

const DIRECTORY: FileId = FileId { bucket: 1, inode: 2 };
const FILE: FileId = FileId { bucket: 1, inode: 7 };

fn of(inode: u64, size: u64) -> FileAttributes {
    FileAttributes {
        inode,
        size,
        ..FileAttributes::default()
    }
}

fn name(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

/// Leases in term 3, and what a name stands for.
fn known(now: Instant) -> Known {
    let mut known = Known::new(now);
    assert!(known.ask(now).is_none());
    known.renew(0, 3, now + Duration::from_secs(5));
    let asked = known.ask(now).expect("leases");
    known.keep_name(asked, DIRECTORY, &name("a"), Some(FILE.inode));
    known.keep_name(asked, DIRECTORY, &name("gone"), None);
    known.keep_attributes(asked, FILE, &of(7, 1));
    known.keep_attributes(asked, DIRECTORY, &of(2, 1));
    known
}

#[test]
fn what_was_told_is_gone_by_until_the_leases_run_out() {
    let now = Instant::now();
    let mut known = known(now);
    assert_eq!(known.name(DIRECTORY, &name("a"), now), Some(Some(&of(7, 1))));
    assert_eq!(known.name(DIRECTORY, &name("gone"), now), Some(None));
    assert_eq!(known.name(DIRECTORY, &name("b"), now), None);
    let late = now + Duration::from_secs(5);
    assert_eq!(known.attributes(FILE, late), None);
    assert!(known.ask(late).is_none());
    known.lose(now);
    // The answer to what was asked before that does not bring them back.
    known.renew(3, 3, late);
    assert_eq!((known.attributes(FILE, now), known.term()), (None, 0));
}

#[test]
fn an_answer_from_before_a_recall_is_not_kept() {
    let now = Instant::now();
    let mut known = known(now);
    let (early, other) = (known.ask(now).expect("leases"), FileId { bucket: 1, inode: 8 });
    known.forget(FILE);
    known.keep_attributes(early, FILE, &of(7, 1));
    assert_eq!(known.attributes(FILE, now), None);
    known.keep_attributes(early, other, &of(8, 1));
    assert!(known.attributes(other, now).is_some());
    let later = known.ask(now).expect("leases");
    known.keep_attributes(later, FILE, &of(7, 2));
    assert!(known.attributes(FILE, now).is_some());
    known.forget_all();
    known.keep_attributes(later, FILE, &of(7, 2));
    assert_eq!(known.attributes(FILE, now), None);
    // Nor is one from another term.
    let later = known.ask(now).expect("leases");
    known.renew(3, 4, now + Duration::from_secs(5));
    known.keep_attributes(later, FILE, &of(7, 2));
    assert_eq!(known.attributes(FILE, now), None);
}

#[test]
fn a_mounts_own_change_replaces_what_it_knows_and_no_more() {
    let now = Instant::now();
    let mut known = known(now);
    let own = [(2, ""), (2, "b"), (9, "")].map(|(inode, text)| OwnChange {
        inode,
        name: name(text),
        attributes: (inode == 2 && text.is_empty()).then(|| of(2, 2)),
    });
    let (told, entered) = (of(9, 0), name("b"));
    let change = Change {
        bucket: 1,
        own: &own,
        told: Some(&told),
        entered: Some((2, &entered)),
        removes: false,
        alone: &[],
        term: 3,
    };
    let asked = known.ask(now);
    known.changed(asked, &change);
    assert_eq!(known.attributes(DIRECTORY, now), Some(&of(2, 2)));
    assert_eq!(known.name(DIRECTORY, &name("a"), now), Some(Some(&of(7, 1))));
    assert_eq!(known.name(DIRECTORY, &entered, now), Some(Some(&told)));

    // The answer to one that was sent before comes later: it is not known which of the two holds.
    known.changed(asked, &change);
    assert_eq!(known.name(DIRECTORY, &entered, now), None);
    assert_eq!(known.attributes(DIRECTORY, now), None);
    assert_eq!(known.attributes(FileId { bucket: 1, inode: 9 }, now), None);
}

/// A directory was made in `DIRECTORY`, in which nobody else does anything from then on.
fn made_alone(known: &mut Known, now: Instant) -> FileId {
    let made = FileAttributes {
        kind: FileKind::Directory.into(),
        ..of(20, 0)
    };
    let entered = name("made");
    let own = [OwnChange {
        inode: 2,
        name: entered.clone(),
        attributes: None,
    }];
    let change = Change {
        bucket: 1,
        own: &own,
        told: Some(&made),
        entered: Some((2, &entered)),
        removes: false,
        alone: &[2, 20],
        term: 3,
    };
    let asked = known.ask(now);
    known.changed(asked, &change);
    FileId { bucket: 1, inode: 20 }
}

/// A name of a directory was changed by a command that told of `told`.
fn change_name(known: &mut Known, now: Instant, text: &'static str, told: Option<u64>, removes: bool) {
    let (changed, told) = (name(text), told.map(|inode| of(inode, 0)));
    let own = [OwnChange {
        inode: 20,
        name: changed.clone(),
        attributes: None,
    }];
    let change = Change {
        bucket: 1,
        own: &own,
        told: told.as_ref(),
        entered: told.is_some().then_some((20, &changed)),
        removes,
        alone: &[],
        term: 3,
    };
    let asked = known.ask(now);
    known.changed(asked, &change);
}

#[test]
fn of_a_directory_that_is_new_and_used_alone_all_names_are_known() {
    let now = Instant::now();
    let mut known = known(now);
    let made = made_alone(&mut known, now);
    assert!(known.is_alone(DIRECTORY, now) && known.is_alone(made, now));
    assert_eq!(known.name(DIRECTORY, &name("b"), now), None, "it was there before");
    assert_eq!(known.name(made, &name("x"), now), Some(None));
    assert_eq!(
        known.name(made, &Bytes::from_static(b"\xff"), now),
        None,
        "no name at all"
    );
    change_name(&mut known, now, "x", Some(21), false);
    assert_eq!(known.name(made, &name("x"), now), Some(Some(&of(21, 0))));
    assert_eq!(known.name(made, &name("y"), now), Some(None));
    change_name(&mut known, now, "x", None, true);
    assert_eq!(known.name(made, &name("x"), now), Some(None));
    // A rename: it is not told what the name stands for.
    change_name(&mut known, now, "y", None, false);
    assert_eq!(known.name(made, &name("y"), now), None);
    assert_eq!(known.name(made, &name("z"), now), None);
    assert!(known.is_alone(made, now), "others still do nothing in it");

    known.forget(made);
    assert!(!known.is_alone(made, now) && known.is_alone(DIRECTORY, now));
    assert!(
        !known.is_alone(DIRECTORY, now + Duration::from_secs(5)),
        "the leases have run out"
    );
    known.lose(now);
    assert!(!known.is_alone(DIRECTORY, now));
    assert_eq!(
        known.lasted(),
        now + Duration::from_secs(5),
        "the service may not have heard of it"
    );
}

#[test]
fn who_was_disturbed_meanwhile_is_not_alone() {
    let now = Instant::now();
    let mut known = known(now);
    let asked = known.ask(now);
    known.forget(DIRECTORY);
    let own = [OwnChange {
        inode: 2,
        name: Bytes::new(),
        attributes: None,
    }];
    let change = Change {
        bucket: 1,
        own: &own,
        told: None,
        entered: None,
        removes: true,
        alone: &[2],
        term: 3,
    };
    known.changed(asked, &change);
    assert!(!known.is_alone(DIRECTORY, now));
}
