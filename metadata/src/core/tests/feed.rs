//! The change feed: in order, resumable, bounded.

use cairn_common::wire::{
    command::{Command, DeleteBucket, ErrorCode, UpdateBucket},
    feed::{ChangeKind, FeedChange, FeedPage, FeedPosition, FeedQuery},
    query::{Answer, Query},
};

use super::{
    harness::{BUCKET, Machine},
    release::{collect, count},
};
use crate::core::view::Family;

impl Machine {
    fn keep_feed(&mut self, entries: u64) {
        let settings = UpdateBucket {
            feed_entries_max: Some(entries),
            ..UpdateBucket::default()
        };
        self.update(settings).expect("an update");
    }

    fn feed(&self, after: FeedPosition, limit: u32) -> Result<FeedPage, ErrorCode> {
        let query = FeedQuery {
            bucket_id: 1,
            after: Some(after),
            limit,
        };
        match self.ask(Query::Feed(query)) {
            Answer::Feed(page) => Ok(page),
            Answer::Refused(refusal) => Err(refusal.code()),
            other => panic!("no feed: {other:?}"),
        }
    }

    /// Behind all that a state read now shows.
    fn now(&self) -> FeedPosition {
        FeedPosition {
            log_index: self.log_index,
            number: u32::MAX,
        }
    }
}

fn names(changes: &[FeedChange]) -> Vec<(ChangeKind, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let name = |change: &FeedChange| {
        let change = change.change.as_ref().expect("a change");
        (change.kind(), text(&change.component), text(&change.key))
    };
    changes.iter().map(name).collect()
}

#[test]
fn names_are_noted_in_order_with_their_keys() {
    let mut machine = Machine::new();
    machine.put(b"before", 0).expect("a put");
    machine.keep_feed(100);
    let start = machine.now();
    machine.put(b"d/k", 0).expect("a put");
    machine.put(b"d/k", 1).expect("a put in its place");
    machine.delete(b"d/k").expect("a delete");
    let all = machine.feed(start, 100).expect("a page");
    let (entered, removed) = (ChangeKind::Entered, ChangeKind::Removed);
    let entry = |kind, component: &str, key: &str| (kind, component.to_owned(), key.to_owned());
    let expected = [
        entry(entered, "d/", ""),
        entry(entered, "k", "d/k"),
        entry(entered, "k", "d/k"),
        entry(removed, "k", "d/k"),
        entry(removed, "d/", ""),
    ];
    assert_eq!(names(&all.changes), expected);
    let changes: Vec<_> = all.changes.iter().filter_map(|change| change.change.clone()).collect();
    assert_eq!(changes[2].replaced, changes[1].inode);
    assert_eq!(changes[3].inode, changes[2].inode);
    let (mut paged, mut next) = (Vec::new(), start);
    loop {
        let page = machine.feed(next, 2).expect("a page");
        next = page.next.expect("a position");
        paged.extend(page.changes);
        if !page.more {
            break;
        }
    }
    assert_eq!(paged, all.changes);
    assert!(machine.feed(next, 2).expect("a page").changes.is_empty());
}

#[test]
fn what_was_trimmed_is_said_and_the_bound_holds() {
    let mut machine = Machine::new();
    let early = machine.now();
    assert_eq!(machine.feed(early, 1), Err(ErrorCode::FeedTrimmed));
    machine.put(b"unseen", 0).expect("a put");
    machine.keep_feed(10);
    let start = machine.now();
    assert_eq!(machine.feed(early, 1), Err(ErrorCode::FeedTrimmed));
    for number in 0..10_u8 {
        machine.put(&[b'a' + number], 0).expect("a put");
    }
    let second = machine.feed(start, 1).expect("a page").next.expect("a position");
    machine.put(b"x", 0).expect("a put");
    assert_eq!(machine.feed(start, 1), Err(ErrorCode::FeedTrimmed));
    assert_eq!(machine.feed(second, 100).expect("a page").changes.len(), 10);
    // A lower bound is reached two by two.
    machine.keep_feed(4);
    for number in 0..6_u8 {
        machine.put(&[b'a' + number], 0).expect("a put");
    }
    assert_eq!(count(&machine, Family::Feed), 4 + 1);
}

#[test]
fn a_feed_that_is_ended_is_released_and_one_begun_again_starts_anew() {
    let mut machine = Machine::new();
    machine.keep_feed(1000);
    for number in 0..50_u8 {
        machine.put(&[b'a', number], 0).expect("a put");
    }
    let old = machine.now();
    machine.keep_feed(0);
    machine.put(b"unseen", 0).expect("a put");
    assert_eq!(machine.feed(old, 1), Err(ErrorCode::FeedTrimmed));
    machine.keep_feed(1000);
    let start = machine.now();
    machine.put(b"seen", 0).expect("a put");
    machine.heartbeat(0, u64::MAX);
    collect(&mut machine);
    assert_eq!(machine.feed(old, 1), Err(ErrorCode::FeedTrimmed));
    assert_eq!(machine.feed(start, 100).expect("a page").changes.len(), 1);
    machine.keep_feed(0);
    machine.heartbeat(0, machine.log_index);
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Feed), 0);
}

#[test]
fn a_feed_goes_with_its_bucket() {
    let mut machine = Machine::new();
    machine.keep_feed(10);
    machine.put(b"a", 0).expect("a put");
    machine.delete(b"a").expect("a delete");
    let name = BUCKET.to_owned();
    machine
        .run(Command::DeleteBucket(DeleteBucket { name }))
        .expect("deleted");
    machine.heartbeat(0, machine.log_index);
    collect(&mut machine);
    assert_eq!(count(&machine, Family::Feed), 0);
}
