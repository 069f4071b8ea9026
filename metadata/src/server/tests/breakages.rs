//! States with one broken rule each, and what verifying finds.

use bytes::Bytes;
use cairn_common::{
    envelope::seal,
    ids::{BucketId, InodeId, SessionId, UploadId},
};

use super::support::BUCKET;
use crate::{
    core::view::{Family, Write},
    record::{
        bucket, chunk, dentry, extent, feed, garbage, hold, inode, lock, part, repair, reply, row, session,
        system::{self, STORE_KEY},
        upload, user, xattr,
    },
};

/// A change that breaks a state, and a part of the finding that must come of it.
pub(super) type Breakage = (&'static str, fn() -> Vec<Write>);

fn put(family: Family, key: Vec<u8>, value: Vec<u8>) -> Write {
    Write {
        family,
        key,
        value: Some(value),
    }
}

fn gone(family: Family, key: Vec<u8>) -> Write {
    Write {
        family,
        key,
        value: None,
    }
}

const FIRST: BucketId = BucketId::new(1);

fn an_extent(offset: u64) -> extent::ExtentRecord {
    extent::ExtentRecord {
        file_offset: offset,
        length: 1,
        chunk_offset: 0,
        chunk_id: Bytes::from_static(&[9; 16]),
        ..extent::ExtentRecord::default()
    }
}

fn lone_file(size: u64, extents: Vec<extent::ExtentRecord>) -> Vec<u8> {
    seal(&inode::InodeRecord {
        kind: inode::InodeKind::File.into(),
        size,
        extents,
        ..inode::InodeRecord::default()
    })
}

pub(super) const BREAKAGES: &[Breakage] = &[
    ("checksum does not match", || {
        vec![put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(2)),
            b"rubbish".to_vec(),
        )]
    }),
    ("has no inode 2", || {
        vec![gone(Family::Inode, inode::key(FIRST, InodeId::new(2)))]
    }),
    ("no name leads to it", || {
        vec![put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(350)),
            lone_file(0, vec![]),
        )]
    }),
    ("directory 99 is not there", || {
        let record = seal(&dentry::DentryRecord { inode: 2, kind: 0 });
        vec![put(
            Family::Dentry,
            dentry::key(FIRST, InodeId::new(99), b"lost"),
            record,
        )]
    }),
    ("names lead to it, not 1", || {
        let record = seal(&dentry::DentryRecord { inode: 2, kind: 0 });
        vec![put(Family::Dentry, dentry::key(FIRST, InodeId::ROOT, b"twice"), record)]
    }),
    ("names, ", || {
        vec![gone(Family::Dentry, dentry::key(FIRST, InodeId::ROOT, b"a"))]
    }),
    ("lies within itself", || {
        let record = |parent| {
            seal(&inode::InodeRecord {
                kind: inode::InodeKind::Directory.into(),
                parent,
                children: 1,
                ..inode::InodeRecord::default()
            })
        };
        let name = |parent, inode| {
            let key = dentry::key(FIRST, InodeId::new(parent), b"loop/");
            put(Family::Dentry, key, seal(&dentry::DentryRecord { inode, kind: 0 }))
        };
        let directory = |number, parent| put(Family::Inode, inode::key(FIRST, InodeId::new(number)), record(parent));
        vec![directory(500, 501), directory(501, 500), name(500, 501), name(501, 500)]
    }),
    ("given out numbers up to", || {
        vec![put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(500)),
            lone_file(0, vec![]),
        )]
    }),
    ("lies over the one before it", || {
        vec![put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(2)),
            lone_file(5, vec![an_extent(1), an_extent(1)]),
        )]
    }),
    ("behind the end at", || {
        vec![put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(2)),
            lone_file(1, vec![an_extent(1)]),
        )]
    }),
    ("the file that it is of is not there", || {
        vec![put(
            Family::Extent,
            extent::key(FIRST, InodeId::new(700), 1),
            seal(&an_extent(0)),
        )]
    }),
    ("extents refer to it, and its record is not there", || {
        vec![put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(2)),
            lone_file(2, vec![an_extent(0)]),
        )]
    }),
    ("no references, and its shards are not queued", || {
        let id = cairn_common::ids::ChunkId {
            session: SessionId::new(1),
            counter: 900,
        };
        vec![put(Family::Chunk, chunk::key(id), seal(&chunk::ChunkRecord::default()))]
    }),
    ("queued for deletion, and its record is not there", || {
        let id = cairn_common::ids::ChunkId {
            session: SessionId::new(1),
            counter: 900,
        };
        vec![put(Family::Garbage, garbage::chunk_key(id), Vec::new())]
    }),
    ("queued for release, and a name leads to it", || {
        let release = garbage::ReleaseRecord {
            bucket: 1,
            release: Some(garbage::Release::Inode(2)),
        };
        vec![put(Family::Garbage, garbage::queue_key(1, 1), seal(&release))]
    }),
    ("queued releases", || {
        let release = garbage::ReleaseRecord {
            bucket: 1,
            release: Some(garbage::Release::Upload(77)),
        };
        vec![put(Family::Garbage, garbage::queue_key(1, 1), seal(&release))]
    }),
    ("neither an upload, nor an object", || {
        vec![put(
            Family::Part,
            part::key(FIRST, UploadId::new(77), 1),
            seal(&part::PartRecord::default()),
        )]
    }),
    ("part 2 of upload 2, which is not there", || {
        vec![gone(Family::Part, part::key(FIRST, UploadId::new(2), 2))]
    }),
    ("it counts 1 uploads, there are 0", || {
        vec![gone(Family::Upload, upload::key(FIRST, b"m1", UploadId::new(1)))]
    }),
    ("objects, there are", || {
        vec![put(
            Family::Bucket,
            bucket::key(FIRST),
            seal(&bucket::BucketRecord {
                name: BUCKET.to_owned(),
                last_inode: 400,
                ..bucket::BucketRecord::default()
            }),
        )]
    }),
    ("does not lead to it", || {
        vec![gone(Family::Bucket, bucket::name_key(BUCKET))]
    }),
    ("its bucket is not there", || {
        vec![gone(Family::Bucket, bucket::key(FIRST))]
    }),
    ("the session that it is kept for", || {
        let record = reply::ReplyBlock::default();
        vec![put(Family::Reply, reply::key(SessionId::new(999), 1), seal(&record))]
    }),
    ("never opened this session", || {
        vec![put(
            Family::Session,
            session::key(SessionId::new(999)),
            seal(&session::SessionRecord::default()),
        )]
    }),
    ("it counts 2 sessions, there are 1", || {
        vec![gone(Family::Session, session::key(SessionId::new(1)))]
    }),
    ("the store's own record is missing", || {
        vec![gone(Family::System, STORE_KEY.to_vec())]
    }),
    ("names lead to it, not 2", || {
        vec![gone(Family::Dentry, dentry::key(FIRST, InodeId::ROOT, b"link"))]
    }),
    ("sub-directories, ", || {
        let record = inode::InodeRecord {
            kind: inode::InodeKind::Directory.into(),
            subdirectories: 77,
            ..inode::InodeRecord::default()
        };
        vec![put(Family::Inode, inode::key(FIRST, InodeId::ROOT), seal(&record))]
    }),
    ("did not lose its last name", || {
        let release = garbage::ReleaseRecord {
            bucket: 1,
            release: Some(garbage::Release::Inode(350)),
        };
        let file = put(
            Family::Inode,
            inode::key(FIRST, InodeId::new(350)),
            lone_file(0, vec![]),
        );
        vec![file, put(Family::Garbage, garbage::queue_key(1, 1), seal(&release))]
    }),
    ("it lost its last name at log index 7, and is not queued", || {
        let record = inode::InodeRecord {
            kind: inode::InodeKind::File.into(),
            unlinked_at: 7,
            ..inode::InodeRecord::default()
        };
        vec![put(Family::Inode, inode::key(FIRST, InodeId::new(350)), seal(&record))]
    }),
    ("cut off is not queued for release", || {
        let mut record = inode::InodeRecord {
            kind: inode::InodeKind::File.into(),
            ..inode::InodeRecord::default()
        };
        record
            .changes_mut()
            .cuts
            .push(inode::CutRecord { generation: 9, from: 1 });
        vec![put(Family::Inode, inode::key(FIRST, InodeId::new(350)), seal(&record))]
    }),
    ("and its names say", || {
        let record = inode::InodeRecord {
            kind: inode::InodeKind::Fifo.into(),
            ..inode::InodeRecord::default()
        };
        vec![put(Family::Inode, inode::key(FIRST, InodeId::new(2)), seal(&record))]
    }),
    ("bytes of extended attributes, there are", || {
        let value = seal(&xattr::XattrRecord::default());
        vec![put(Family::Xattr, xattr::key(FIRST, InodeId::ROOT, b"user.x"), value)]
    }),
    ("the inode that it is of is not there", || {
        let value = seal(&xattr::XattrRecord::default());
        vec![put(
            Family::Xattr,
            xattr::key(FIRST, InodeId::new(700), b"user.x"),
            value,
        )]
    }),
    ("other bytes inline than it says", || {
        let extent = extent::ExtentRecord {
            length: 5,
            inline: Bytes::from_static(b"x"),
            ..extent::ExtentRecord::default()
        };
        let key = inode::key(FIRST, InodeId::new(2));
        vec![put(Family::Inode, key, lone_file(5, vec![extent]))]
    }),
    ("the other key of the hold is not there", || {
        let file = cairn_common::wire::file::FileId { bucket: 1, inode: 2 };
        let [by_file, _] = hold::keys(SessionId::new(1), file);
        vec![put(Family::Hold, by_file, Vec::new())]
    }),
    ("the session that holds it has ended", || {
        let file = cairn_common::wire::file::FileId { bucket: 1, inode: 2 };
        let [by_file, by_session] = hold::keys(SessionId::new(900), file);
        vec![
            put(Family::Hold, by_file, vec![]),
            put(Family::Hold, by_session, vec![]),
        ]
    }),
    ("and no session holds it", || {
        let release = garbage::ReleaseRecord {
            bucket: 1,
            release: Some(garbage::Release::Inode(350)),
        };
        let key = garbage::held_key(FIRST, InodeId::new(350));
        vec![put(Family::Garbage, key, seal(&release))]
    }),
    ("locks, there are", || {
        let count = lock::LockCount { locks: 5 };
        vec![put(Family::Lock, lock::count_key(SessionId::new(1)), seal(&count))]
    }),
    ("the lock's key by session is not there", || {
        vec![put(Family::Lock, A_LOCK.key(), seal(&lock::LockRecord::default()))]
    }),
    ("the file that is locked is not there", || {
        vec![put(Family::Lock, A_LOCK.key(), seal(&lock::LockRecord::default()))]
    }),
    ("the lock itself is not there", || {
        vec![put(Family::Lock, A_LOCK.session_key(), Vec::new())]
    }),
    ("its locks are not queued for release", || {
        vec![put(Family::Lock, A_LOCK.session_key(), Vec::new())]
    }),
    ("it counts 1 users, there are 0", || {
        vec![gone(Family::User, user::user_key("user"))]
    }),
    ("the user of the access key is not there", || {
        vec![gone(Family::User, user::user_key("user"))]
    }),
    ("the user counts other access keys", || {
        vec![gone(Family::User, user::of_user("user", "key"))]
    }),
    ("an access key that is not there", || {
        vec![gone(Family::User, user::access_key("key"))]
    }),
    ("it counts 1 rights, there are 0", || {
        vec![gone(Family::User, user::grant("key", FIRST))]
    }),
    ("the right is another in the bucket's list", || {
        vec![gone(Family::User, user::in_bucket(FIRST, "key"))]
    }),
    ("the right is another in the access key's list", || {
        vec![gone(Family::User, user::grant("key", FIRST))]
    }),
    ("its chunk needs none of this priority", || {
        let id = cairn_common::ids::ChunkId {
            session: SessionId::new(1),
            counter: 900,
        };
        vec![put(Family::Repair, repair::key(3, id), Vec::new())]
    }),
    ("the feed was ended, and is not queued", || {
        let state = feed::FeedState::default();
        vec![put(Family::Feed, feed::state_key(FIRST), seal(&state))]
    }),
    ("asks for a feed, and has none", || {
        vec![gone(Family::Feed, feed::state_key(FIRST))]
    }),
    ("the cluster map has no such group", || {
        let value = seal(&row::FormerRow::default());
        vec![put(Family::System, row::key(77, 0, 0), value)]
    }),
    ("is not what the map says", || {
        vec![gone(Family::System, system::MAP_KEY.to_vec())]
    }),
    ("the order of activity does not hold it", || {
        let record = upload::UploadRecord {
            key: Bytes::from_static(b"m1"),
            upload: 1,
            ..upload::UploadRecord::default()
        };
        vec![put(
            Family::Upload,
            upload::key(FIRST, b"m1", UploadId::new(1)),
            seal(&record),
        )]
    }),
    ("no upload is under way that someone went on with", || {
        vec![gone(Family::Upload, upload::key(FIRST, b"m1", UploadId::new(1)))]
    }),
    ("bytes of parts, there are", || {
        vec![gone(Family::Part, part::key(FIRST, UploadId::new(1), 1))]
    }),
    ("belongs into another block", || {
        let kept = reply::KeptReply {
            sequence: 7,
            ..reply::KeptReply::default()
        };
        let block = reply::ReplyBlock { replies: vec![kept] };
        vec![put(Family::Reply, reply::key(SessionId::new(1), 8), seal(&block))]
    }),
    ("the bucket of the document is not there", || {
        let value = seal(&bucket::DocumentRecord::default());
        vec![put(
            Family::Bucket,
            bucket::document_key(BucketId::new(9), "cors"),
            value,
        )]
    }),
];

/// A lock of a session and of a file that are not there.
const A_LOCK: lock::LockPlace = lock::LockPlace {
    bucket: FIRST,
    inode: InodeId::new(900),
    kind: 2,
    first: 0,
    session: SessionId::new(900),
    owner: 1,
};
