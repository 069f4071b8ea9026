//! Leases of files: what is told under one, how changes wait for their recall, and what a new leader waits for.

use std::time::Duration;

use cairn_common::{
    ids::InodeId,
    limits::{FEATURE_LEVEL, FILE_LEASE_MS},
    wire::{
        command::{Command, EndSession, OpenSession, Outcome, RaiseFeatureLevel, WriteReply},
        failure::Failure,
        file::{
            CreateFile, CreateWritten, FileAction, FileCommand, FileId, FileKind, FileQuery, FileQuestion, LookupQuery,
            ReserveInodes, SetAttributes,
        },
        kind::RequestKind,
        lease::{LeaseNews, LeasePoll, OwnChange},
        query::{Answer, BucketQuery, Query, ReadReply, ReadRequest},
    },
};
use tokio::time::{Instant, timeout};

use super::{
    cluster::Cluster,
    support::{DEADLINE, is_done},
};
use crate::Start;

const ROOT: u64 = InodeId::ROOT.value();
const LENGTH: Duration = Duration::from_millis(FILE_LEASE_MS);

/// Enough for a change that waits for nobody, and far less than a lease.
const SOON: Duration = Duration::from_millis(1500);

/// A mount, as far as leases go.
struct Mount {
    session: u64,
    term: u64,
    released: u64,
    begun: u64,
}

impl Mount {
    async fn new(cluster: &Cluster) -> Self {
        let opened = cluster
            .send(0, 0, Command::OpenSession(OpenSession { mounts: true }))
            .await;
        let Some(Outcome::Session(session)) = opened.outcome else {
            panic!("no session: {opened:?}")
        };
        let mut mount = Self {
            session,
            term: 0,
            released: 0,
            begun: 0,
        };
        mount.begin(cluster).await;
        mount
    }

    /// Holds none, and may have leases from now on.
    async fn begin(&mut self, cluster: &Cluster) {
        self.term = 0;
        self.begun += 1;
        let news = self.poll(cluster).await;
        assert!(news.length_ms > 0, "{news:?}");
    }

    /// Asks what is recalled, and lets go of it with the next question.
    async fn poll(&mut self, cluster: &Cluster) -> LeaseNews {
        let poll = LeasePoll {
            session: self.session,
            term: self.term,
            released: self.released,
            group: 0,
            begun: self.begun,
        };
        let told: Result<LeaseNews, Failure> = cluster.at_leader(RequestKind::LeasePoll, &poll).await;
        let news = told.expect("news");
        self.term = news.term;
        self.released = self.released.max(news.newest);
        news
    }

    async fn ask(&self, cluster: &Cluster, bucket: u64, question: FileQuestion) -> ReadReply {
        let question = Some(question);
        let request = ReadRequest {
            query: Some(Query::File(FileQuery { bucket, question })),
            lease_session: self.session,
            ..ReadRequest::default()
        };
        // Others answer too, and give no leases.
        let leader = cluster.leader().await;
        let asked = cluster
            .call(leader, RequestKind::MetadataRead, &request, DEADLINE)
            .await;
        asked.expect("an answer")
    }

    /// Whether it is given a lease of what a name of the root stands for, or of there being none.
    async fn looks_up(&self, cluster: &Cluster, bucket: u64, name: &'static str) -> bool {
        let name = bytes::Bytes::from_static(name.as_bytes());
        let question = FileQuestion::Lookup(LookupQuery { parent: ROOT, name });
        self.ask(cluster, bucket, question).await.lease_term == self.term
    }
}

/// A bucket of files.
async fn bucket(cluster: &Cluster) -> u64 {
    let raise = RaiseFeatureLevel { level: FEATURE_LEVEL };
    // Once the leader has heard of every member which it understands.
    while !is_done(&cluster.send(0, 0, Command::RaiseFeatureLevel(raise.clone())).await) {}
    assert!(is_done(&cluster.create("files").await));
    let query = Query::Bucket(BucketQuery {
        name: "files".to_owned(),
    });
    let asked = cluster.ask(cluster.leader().await, query, DEADLINE).await;
    match asked.expect("an answer").answer {
        Some(Answer::Bucket(bucket)) => bucket.id,
        other => panic!("no bucket: {other:?}"),
    }
}

fn create(bucket: u64, name: &'static str) -> Command {
    let create = CreateFile {
        parent: ROOT,
        name: bytes::Bytes::from_static(name.as_bytes()),
        kind: FileKind::File.into(),
        mode: 0o644,
        ..CreateFile::default()
    };
    let action = Some(FileAction::Create(create));
    Command::File(FileCommand { bucket, action })
}

fn set_mode(bucket: u64, inode: u64, mode: u32) -> Command {
    let set = SetAttributes {
        inode,
        mode: Some(mode),
        ..SetAttributes::default()
    };
    let action = Some(FileAction::SetAttributes(set));
    Command::File(FileCommand { bucket, action })
}

fn made_before(bucket: u64, name: &'static str, inode: u64) -> Command {
    let create = CreateFile {
        parent: ROOT,
        name: bytes::Bytes::from_static(name.as_bytes()),
        kind: FileKind::File.into(),
        exclusive: true,
        ..CreateFile::default()
    };
    let action = Some(FileAction::CreateWritten(CreateWritten {
        create: Some(create),
        inode,
        ..CreateWritten::default()
    }));
    Command::File(FileCommand { bucket, action })
}

fn reserve(bucket: u64) -> Command {
    let action = Some(FileAction::ReserveInodes(ReserveInodes { count: 10 }));
    Command::File(FileCommand { bucket, action })
}

fn first_reserved(reply: &WriteReply) -> u64 {
    match &reply.outcome {
        Some(Outcome::File(outcome)) => outcome.first_reserved,
        other => panic!("nothing reserved: {other:?}"),
    }
}

fn made(reply: &WriteReply) -> u64 {
    match &reply.outcome {
        Some(Outcome::File(outcome)) => outcome.attributes.as_ref().expect("attributes").inode,
        other => panic!("not made: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_answered_once_all_others_have_let_go() {
    let cluster = Cluster::alone(|_| {}).await;
    let bucket = bucket(&cluster).await;
    let mut mount = Mount::new(&cluster).await;
    let inode = made(&cluster.run(create(bucket, "a")).await);
    assert!(mount.looks_up(&cluster, bucket, "a").await);
    assert!(mount.looks_up(&cluster, bucket, "absent").await);

    // One at a time: of what the name stands for, and of the directory that the name is in.
    let file = |inode| FileId { bucket, inode };
    for (command, recalled) in [(set_mode(bucket, inode, 0o600), inode), (create(bucket, "b"), ROOT)] {
        let sequence = cluster.next_sequence();
        let change = cluster.send_again(sequence, command.clone());
        tokio::pin!(change);
        assert!(timeout(Duration::from_millis(300), &mut change).await.is_err());
        // The same again is no way around it.
        let again = timeout(Duration::from_millis(300), cluster.send_again(sequence, command)).await;
        assert!(again.is_err(), "{again:?}");
        let news = mount.poll(&cluster).await;
        assert_eq!(news.recalled, [file(recalled)]);
        let (_, answered) = tokio::join!(mount.poll(&cluster), timeout(SOON, change));
        answered.expect("an answer");
    }
    let changed = timeout(SOON, cluster.run(set_mode(bucket, inode, 0o640))).await;
    changed.expect("nobody has a lease of it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounts_own_change_tells_it_what_it_had_a_lease_of_and_gives_another() {
    let cluster = Cluster::alone(|_| {}).await;
    let bucket = bucket(&cluster).await;
    let mount = Mount::new(&cluster).await;
    assert!(mount.looks_up(&cluster, bucket, "a").await);
    let reply = timeout(SOON, cluster.send(mount.session, 1, create(bucket, "a"))).await;
    let reply = reply.expect("it waits for nobody");
    let inode = made(&reply);
    assert_eq!(reply.lease_term, mount.term);
    let entered = OwnChange {
        inode: ROOT,
        name: bytes::Bytes::from_static(b"a"),
        attributes: None,
    };
    assert!(reply.changed.contains(&entered), "{reply:?}");
    let is_root = |change: &&OwnChange| change.inode == ROOT && change.name.is_empty();
    let root = reply
        .changed
        .iter()
        .find(is_root)
        .and_then(|change| change.attributes.as_ref());
    assert_eq!(root.expect("the directory's attributes").size, 1);
    assert!(!reply.changed.iter().any(|change| change.inode == inode));

    let reply = cluster.send(mount.session, 2, set_mode(bucket, inode, 0o600)).await;
    let modes: Vec<_> = reply
        .changed
        .iter()
        .map(|change| change.attributes.as_ref().map(|file| file.mode))
        .collect();
    assert_eq!(modes, [Some(0o600)]);
    // Others are not told.
    let reply = cluster.run(create(bucket, "a")).await;
    assert_eq!((reply.lease_term, reply.changed.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_heard_of_is_waited_for_as_long_as_a_lease_and_has_lost_them() {
    let cluster = Cluster::alone(|_| {}).await;
    let bucket = bucket(&cluster).await;
    let inode = made(&cluster.run(create(bucket, "a")).await);
    let mut mount = Mount::new(&cluster).await;
    assert!(mount.looks_up(&cluster, bucket, "a").await);
    let begun = Instant::now();
    cluster.run(set_mode(bucket, inode, 0o600)).await;
    let waited = begun.elapsed();
    assert!(waited > LENGTH / 2 && waited < LENGTH * 2, "{waited:?}");
    let news = mount.poll(&cluster).await;
    assert_eq!(news.length_ms, 0, "it has none any more: {news:?}");
    assert!(!mount.looks_up(&cluster, bucket, "a").await || mount.term == 0);
    mount.begin(&cluster).await;
    assert!(mount.looks_up(&cluster, bucket, "a").await);

    // With its session its leases end at once.
    let end = Command::EndSession(EndSession { session: mount.session });
    cluster.send(0, 0, end).await;
    let changed = timeout(SOON, cluster.run(set_mode(bucket, inode, 0o640))).await;
    changed.expect("an answer without a wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_waits_for_mounts_that_may_go_by_the_leases_of_the_old() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let bucket = bucket(&cluster).await;
    let inode = made(&cluster.run(create(bucket, "a")).await);
    let (mut heard, silent) = (Mount::new(&cluster).await, Mount::new(&cluster).await);
    for mount in [&heard, &silent] {
        assert!(mount.looks_up(&cluster, bucket, "a").await);
    }
    let dead = cluster.leader().await;
    cluster.kill(dead).await;
    let begun = Instant::now();
    let change = cluster.run(set_mode(bucket, inode, 0o600));
    let asks = async {
        // It is told that it holds none in the new term, and has let go once it says so.
        assert_eq!(heard.poll(&cluster).await.length_ms, 0);
        heard.begin(&cluster).await;
    };
    tokio::join!(change, asks);
    assert!(
        begun.elapsed() > LENGTH / 2,
        "the other was not heard of: {:?}",
        begun.elapsed()
    );
    cluster.start(dead, Start::Join).await.expect("a restart");
    assert!(cluster.server(dead).ready(DEADLINE).await);

    // Where all are heard of nobody is waited for.
    let end = Command::EndSession(EndSession {
        session: silent.session,
    });
    cluster.send(0, 0, end).await;
    heard.begin(&cluster).await;
    assert!(heard.looks_up(&cluster, bucket, "a").await);
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let begun = Instant::now();
    let change = cluster.run(set_mode(bucket, inode, 0o640));
    let asks = async {
        heard.poll(&cluster).await;
        heard.begin(&cluster).await;
    };
    tokio::join!(change, asks);
    assert!(begun.elapsed() < LENGTH, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_want_of_a_directory_waits_until_who_is_alone_there_has_told_of_it() {
    let cluster = Cluster::alone(|_| {}).await;
    let bucket = bucket(&cluster).await;
    let mut mount = Mount::new(&cluster).await;
    let first = first_reserved(&cluster.send(mount.session, 1, reserve(bucket)).await);
    // It gets the directory alone with the first name that it enters there.
    assert!(mount.looks_up(&cluster, bucket, "a").await);
    let reply = cluster.send(mount.session, 2, create(bucket, "a")).await;
    assert_eq!(reply.alone, [ROOT]);

    // A command of another, which the one that is alone comes before.
    let change = cluster.run(made_before(bucket, "b", first));
    tokio::pin!(change);
    assert!(timeout(Duration::from_millis(300), &mut change).await.is_err());
    assert_eq!(mount.poll(&cluster).await.recalled, [FileId { bucket, inode: ROOT }]);
    let settled = cluster
        .send(mount.session, 3, made_before(bucket, "b", first + 1))
        .await;
    assert_eq!(made(&settled), first + 1);
    assert!(settled.alone.is_empty(), "others are about to come in");
    let (_, change) = tokio::join!(mount.poll(&cluster), timeout(SOON, change));
    let change = change.expect("an answer");
    assert!(!is_done(&change), "it came second: {change:?}");

    // It is not given alone again at once; later it is, and a question of another mount waits, too.
    timeout(DEADLINE, async {
        let mut sequence = 4;
        loop {
            assert!(mount.looks_up(&cluster, bucket, "gone").await);
            let reply = cluster
                .send(mount.session, sequence, made_before(bucket, "b", first + 1))
                .await;
            sequence += 1;
            if reply.alone == [ROOT] {
                break;
            }
        }
    })
    .await
    .expect("alone again");
    let other = Mount::new(&cluster).await;
    let look = other.looks_up(&cluster, bucket, "c");
    tokio::pin!(look);
    assert!(timeout(Duration::from_millis(300), &mut look).await.is_err());
    assert_eq!(mount.poll(&cluster).await.recalled, [FileId { bucket, inode: ROOT }]);
    let (_, looked) = tokio::join!(mount.poll(&cluster), timeout(SOON, look));
    looked.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_lets_who_was_alone_tell_first() {
    let mut cluster = Cluster::of_three(|_| {}).await;
    let bucket = bucket(&cluster).await;
    let mut mount = Mount::new(&cluster).await;
    let first = first_reserved(&cluster.send(mount.session, 1, reserve(bucket)).await);
    assert!(mount.looks_up(&cluster, bucket, "a").await);
    assert_eq!(cluster.send(mount.session, 2, create(bucket, "a")).await.alone, [ROOT]);
    let dead = cluster.leader().await;
    cluster.kill(dead).await;
    let change = cluster.run(made_before(bucket, "b", first));
    let settles = async {
        let settled = cluster
            .settle(mount.session, 3, made_before(bucket, "b", first + 1))
            .await;
        assert_eq!(made(&settled), first + 1);
        assert_eq!(mount.poll(&cluster).await.length_ms, 0);
        mount.begin(&cluster).await;
    };
    let begun = Instant::now();
    let (change, ()) = tokio::join!(change, settles);
    assert!(!is_done(&change), "it came second: {change:?}");
    assert!(begun.elapsed() < LENGTH, "{:?}", begun.elapsed());
}
