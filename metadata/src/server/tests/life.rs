//! A life that leaves records of every kind: files, links, attributes, locks, accounts, a feed, copies, repairs, a mount.

use bytes::Bytes;
use cairn_common::{
    acl, limits,
    wire::{
        account::{AccountChange, AccountCommand, CreateKey, CreateUser, Grant, Rights},
        chunk::{ChunkChange, ChunkCommand, ReportShards, ShardPlace},
        command::{
            Command, CopyObject, CopySource, Heartbeat, OpenSession, Outcome, PutBucketDocument, RaiseFeatureLevel,
            UpdateBucket,
        },
        file::{
            CreateFile, FileAction, FileCommand, FileId, FileKind, LinkFile, MakeDirectory, RemoveDirectory,
            SetAttributes, SetXattr, UnlinkFile, WriteFile,
        },
        lock::{LockAction, LockCommand, LockKind, LockRange},
        object::Extent,
    },
};

use super::support::{BUCKET, Rig};

/// The first bucket's number, and its root directory's.
const FIRST: u64 = 1;
const ROOT: u64 = 1;

impl Rig {
    async fn done(&self, command: Command) -> Outcome {
        let reply = self.run(command).await;
        match reply.outcome {
            Some(Outcome::Refused(refusal)) => panic!("refused: {refusal:?}"),
            Some(outcome) => outcome,
            None => panic!("no outcome"),
        }
    }

    /// Runs a file command; gives the inode that it is about, 0 for none.
    async fn file(&self, action: FileAction) -> u64 {
        let command = FileCommand {
            bucket: FIRST,
            action: Some(action),
        };
        match self.done(Command::File(command)).await {
            Outcome::File(outcome) => outcome.attributes.map_or(0, |attributes| attributes.inode),
            other => panic!("no outcome of a file: {other:?}"),
        }
    }

    async fn create(&self, name: &'static str, kind: FileKind, target: &'static str) -> u64 {
        let create = CreateFile {
            parent: ROOT,
            name: Bytes::from_static(name.as_bytes()),
            kind: kind.into(),
            target: Bytes::from_static(target.as_bytes()),
            ..CreateFile::default()
        };
        self.file(FileAction::Create(create)).await
    }

    async fn unlink(&self, name: &'static str) {
        let name = Bytes::from_static(name.as_bytes());
        self.file(FileAction::Unlink(UnlinkFile { parent: ROOT, name })).await;
    }

    async fn set_xattr(&self, inode: u64) {
        let set = SetXattr {
            inode,
            name: Bytes::from_static(b"user.a"),
            value: Bytes::from_static(b"value"),
            ..SetXattr::default()
        };
        self.file(FileAction::SetXattr(set)).await;
    }

    /// Both ACLs, of `rwx` for the owner and for user 7, and nothing for anybody else.
    async fn set_acls(&self, inode: u64) {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let no_id = u32::MAX;
        let list = [
            2_u32.to_le_bytes().to_vec(),
            entry(0x01, 7, no_id),
            entry(0x02, 7, 7),
            entry(0x04, 0, no_id),
            entry(0x10, 7, no_id),
            entry(0x20, 0, no_id),
        ];
        let value = Bytes::from(list.concat());
        for name in [acl::ACCESS, acl::DEFAULT] {
            let set = SetXattr {
                inode,
                name: Bytes::from_static(name),
                value: value.clone(),
                ..SetXattr::default()
            };
            self.file(FileAction::SetXattr(set)).await;
        }
    }

    /// Leaves records of every kind.
    pub(super) async fn live(&self) {
        let level = limits::FEATURE_LEVEL;
        self.send(0, 0, Command::RaiseFeatureLevel(RaiseFeatureLevel { level }))
            .await;
        self.settings().await;
        self.accounts().await;
        self.files().await;
        self.cut_off().await;
        self.open_file().await;
        let source = CopySource {
            key: Bytes::from_static(b"c"),
            ..CopySource::default()
        };
        let copy = CopyObject {
            bucket: BUCKET.to_owned(),
            key: Bytes::from_static(b"copy"),
            source: Some(source),
            ..CopyObject::default()
        };
        self.done(Command::CopyObject(copy)).await;
        self.report_missing("lacking").await;
    }

    async fn settings(&self) {
        let update = UpdateBucket {
            name: BUCKET.to_owned(),
            feed_entries_max: Some(20),
            ..UpdateBucket::default()
        };
        self.done(Command::UpdateBucket(update)).await;
        let document = PutBucketDocument {
            bucket: BUCKET.to_owned(),
            name: "cors".to_owned(),
            content: Some(Bytes::from_static(b"{}")),
        };
        self.done(Command::PutBucketDocument(document)).await;
    }

    async fn accounts(&self) {
        let (user, key_id) = ("user".to_owned(), "key".to_owned());
        let create = CreateUser {
            name: user.clone(),
            ..CreateUser::default()
        };
        let key = CreateKey {
            key_id: key_id.clone(),
            user,
            secret: Bytes::from_static(b"secret"),
            ..CreateKey::default()
        };
        let rights = Rights {
            read: true,
            ..Rights::default()
        };
        let bucket = BUCKET.to_owned();
        let grant = Grant {
            key_id,
            bucket,
            rights: Some(rights),
        };
        for change in [
            AccountChange::CreateUser(create),
            AccountChange::CreateKey(key),
            AccountChange::Grant(grant),
        ] {
            let change = Some(change);
            self.done(Command::Account(AccountCommand { change })).await;
        }
    }

    async fn files(&self) {
        let file = self.create("file", FileKind::File, "").await;
        let name = Bytes::from_static(b"link");
        let (inode, parent) = (file, ROOT);
        self.file(FileAction::Link(LinkFile { inode, parent, name })).await;
        self.set_xattr(file).await;
        self.create("symlink", FileKind::Symlink, "target").await;
        self.create("gone symlink", FileKind::Symlink, "target").await;
        self.unlink("gone symlink").await;
        self.create("fifo", FileKind::Fifo, "").await;
        for name in ["made", "removed"] {
            let make = MakeDirectory {
                parent: ROOT,
                name: Bytes::from_static(name.as_bytes()),
                ..MakeDirectory::default()
            };
            let directory = self.file(FileAction::MakeDirectory(make)).await;
            self.set_xattr(directory).await;
            self.set_acls(directory).await;
        }
        let name = Bytes::from_static(b"removed");
        self.file(FileAction::RemoveDirectory(RemoveDirectory { parent: ROOT, name }))
            .await;
        let range = LockRange {
            kind: LockKind::Range.into(),
            owner: 1,
            last: 10,
            ..LockRange::default()
        };
        let lock = LockCommand {
            bucket_id: FIRST,
            inode: file,
            action: Some(LockAction::Set(range)),
        };
        self.done(Command::Lock(lock)).await;
    }

    /// A file with more behind its end than a truncation removes at once.
    async fn cut_off(&self) {
        let inode = self.create("cut", FileKind::File, "").await;
        let extent = |number: u64| Extent {
            file_offset: number * 10,
            length: 1,
            inline: Bytes::from_static(b"x"),
            ..Extent::default()
        };
        let extents = (0..500).map(extent).collect();
        let write = WriteFile {
            inode,
            extents,
            ..WriteFile::default()
        };
        self.file(FileAction::Write(write)).await;
        let size = Some(15);
        let truncate = SetAttributes {
            inode,
            size,
            ..SetAttributes::default()
        };
        self.file(FileAction::SetAttributes(truncate)).await;
    }

    /// A file that a mount holds open without a name.
    async fn open_file(&self) {
        let open = self
            .send(0, 0, Command::OpenSession(OpenSession { mounts: true }))
            .await;
        let Some(Outcome::Session(mount)) = open.outcome else {
            panic!("no session: {open:?}")
        };
        let inode = self.create("open", FileKind::File, "").await;
        self.unlink("open").await;
        let heartbeat = Heartbeat {
            held: vec![FileId { bucket: FIRST, inode }],
            ..Heartbeat::default()
        };
        let now = self.summary_index().await;
        let heartbeat = Heartbeat {
            orphans_seen: now,
            ..heartbeat
        };
        self.send(mount, 0, Command::Heartbeat(heartbeat)).await;
    }

    /// An object that lacks a shard.
    async fn report_missing(&self, key: &str) {
        let chunk = self.put_chunk(key).await;
        let device = super::support::cluster_map()
            .row(2, chunk.placement_hash().group(super::support::GROUP_BITS))
            .expect("a row")[0]
            .value();
        let shards = vec![ShardPlace {
            chunk_id: Bytes::copy_from_slice(&chunk.to_bytes()),
            shard_index: 0,
            device,
        }];
        let change = Some(ChunkChange::Report(ReportShards { shards }));
        let reply = self.send(0, 0, Command::Chunk(ChunkCommand { change })).await;
        assert!(matches!(reply.outcome, Some(Outcome::Chunk(_))), "{reply:?}");
    }
}
