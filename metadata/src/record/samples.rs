//! Stored samples: every record kind's value as version 1 wrote it. A change that no longer reads one breaks old stores.

use bytes::Bytes;
use cairn_common::{
    envelope::{Record, open, seal},
    ids::{BucketId, ChunkId, DeviceId, InodeId, NodeId, SessionId, UploadId},
    wire::{
        account::Rights,
        command::{Outcome, WriteReply},
        feed::{Change, ChangeKind, FeedPosition},
        file::FileId,
        object::{Chunk, Field, ObjectAttributes, ObjectChecksum},
        query::BucketSettings,
    },
};

use super::{
    authority, bucket, chunk, dentry, extent, feed, garbage, hold, inode, lock, loss, part, repair, reply, row, server,
    session, system, upload, user, xattr,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// The record is written as the sample says, the sample is read as the record, and no truncation of it is.
fn check<R: Record + PartialEq + std::fmt::Debug>(record: &R, sample: &str) {
    assert_eq!(hex(&seal(record)), sample, "{record:?}");
    let stored = bytes_of(sample);
    assert_eq!(open::<R>(&stored).as_ref(), Ok(record));
    for length in 0..stored.len() {
        assert!(open::<R>(&stored[..length]).is_err(), "{length} bytes of {record:?}");
    }
}

fn attributes() -> ObjectAttributes {
    let field = |name: &str, value: &str| Field {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let checksum = ObjectChecksum {
        algorithm: "CRC32".to_owned(),
        value: "AAAAAA==".to_owned(),
        composite: false,
    };
    ObjectAttributes {
        etag: "e".to_owned(),
        headers: vec![field("content-type", "text/plain")],
        user_metadata: vec![field("k", "v")],
        checksums: vec![checksum],
    }
}

fn chunk_id() -> ChunkId {
    ChunkId {
        session: SessionId::new(2),
        counter: 3,
    }
}

fn extent_record() -> extent::ExtentRecord {
    let chunk_id = Bytes::copy_from_slice(&chunk_id().to_bytes());
    extent::ExtentRecord {
        file_offset: 4,
        length: 5,
        chunk_offset: 6,
        chunk_id,
        ..extent::ExtentRecord::default()
    }
}

/// A file that a mount changed, without a name.
fn changed_file() -> inode::InodeRecord {
    let posix = inode::PosixRecord {
        mode: 0o644,
        uid: 1,
        gid: 2,
        links: 3,
        device: 4,
        atime_ns: 5,
        mtime_ns: -6,
        ctime_ns: 7,
        xattr_bytes: 8,
        ..inode::PosixRecord::default()
    };
    let changes = inode::ChangesRecord {
        version: 9,
        cuts: vec![inode::CutRecord {
            generation: 8,
            from: 4096,
        }],
        parts_end: Some(0),
    };
    inode::InodeRecord {
        kind: inode::InodeKind::File.into(),
        posix: Some(posix),
        changes: Some(changes),
        unlinked_at: 10,
        releasing: true,
        ..inode::InodeRecord::default()
    }
}

#[test]
fn store_buckets_and_names_are_stored_as_version_1_wrote_them() {
    check(
        &system::StoreRecord {
            last_session: 1,
            last_bucket: 2,
            time_ms: 3,
            feature_level: 1,
            generation: 4,
            buckets: 5,
            sessions: 6,
            release_pending: 7,
            mounts: 8,
            deletion_held: true,
            ..system::StoreRecord::default()
        },
        "01d1c69cbb080110021803200128043005380640075001a00108",
    );
    let record = bucket::BucketRecord {
        name: "ab".to_owned(),
        created_ms: 1,
        data_shards: 4,
        parity_shards: 2,
        chunk_size_bytes: 8 << 20,
        last_inode: 3,
        last_upload: 4,
        objects: 5,
        object_bytes: 6,
        uploads: 7,
        inodes: 8,
        ..bucket::BucketRecord::default()
    };
    check(
        &record,
        "013e6eb8750a026162100118042002288080800430033804400548065007a00108",
    );
    check(&bucket::BucketName { bucket: 1 }, "01bf715aaa0801");
    check(
        &dentry::DentryRecord {
            inode: 2,
            ..dentry::DentryRecord::default()
        },
        "014b820ab90802",
    );
    check(
        &dentry::DentryRecord {
            inode: 2,
            kind: inode::InodeKind::Symlink.into(),
        },
        "01072adde808021003",
    );
}

#[test]
fn inodes_and_extents_are_stored_as_version_1_wrote_them() {
    let file = inode::InodeRecord {
        kind: inode::InodeKind::File.into(),
        modified_ms: 1,
        size: 2,
        attributes: Some(attributes()),
        inline: Bytes::from_static(b"in"),
        extents: vec![extent_record()],
        more_extents: true,
        upload: 3,
        ..inode::InodeRecord::default()
    };
    check(
        &file,
        "01f4c9ecd8080110011802223a0a0165121a0a0c636f6e74656e742d74797065120a746578742f706c61696e1a060a016b12017622110a05435243333212084141414141413d3d2a02696e321808041005180622100000000000000002000000000000000338014003",
    );
    let directory = inode::InodeRecord {
        kind: inode::InodeKind::Directory.into(),
        children: 2,
        parent: 1,
        ..inode::InodeRecord::default()
    };
    check(&directory, "01685b2de3080248025001");
    check(
        &changed_file(),
        "013467858008015a1c08a4031001180220032804300538faffffffffffffffff0140074808620b0809120508081080201800680a7801",
    );
    let shown = inode::InodeRecord {
        subdirectories: 3,
        ..directory
    };
    check(&shown, "01da244c880802480250017003");
    let with_acls = inode::InodeRecord {
        kind: inode::InodeKind::Directory.into(),
        posix: Some(inode::PosixRecord {
            mode: 0o755,
            has_access_acl: true,
            has_default_acl: true,
            ..inode::PosixRecord::default()
        }),
        ..inode::InodeRecord::default()
    };
    check(&with_acls, "0146fa16ca08025a0708ed0350015801");
    check(
        &extent::ExtentRecord {
            generation: 7,
            inline: Bytes::from_static(b"in"),
            ..extent::ExtentRecord::default()
        },
        "01c5c0649328073202696e",
    );
    check(
        &xattr::XattrRecord {
            value: Bytes::from_static(b"value"),
        },
        "01564268a20a0576616c7565",
    );
    check(
        &extent_record(),
        "0169dbbd72080410051806221000000000000000020000000000000003",
    );
    check(
        &extent::ManifestRecord {
            numbers: vec![1, 3],
            sizes: vec![5 << 20, 9],
        },
        "01cbb2351f0a02010312058080c00209",
    );
}

#[test]
fn chunks_and_uploads_are_stored_as_version_1_wrote_them() {
    let chunk = Chunk {
        id: Bytes::copy_from_slice(&chunk_id().to_bytes()),
        data_shards: 4,
        parity_shards: 2,
        length: 100,
        hash: Bytes::from(vec![7; 32]),
        explicit_devices: vec![1, 2],
        epoch: 9,
        missing: 0,
    };
    check(
        &chunk::ChunkRecord {
            chunk: Some(chunk),
            references: 1,
            displaced: false,
        },
        "015e175c3d0a400a10000000000000000200000000000000031004180220642a2007070707070707070707070707070707070707070707070707070707070707073202010238091001",
    );
    let upload = upload::UploadRecord {
        key: Bytes::from_static(b"k"),
        upload: 3,
        attributes: Some(attributes()),
        revision: 2,
        started_ms: 1,
        ..upload::UploadRecord::default()
    };
    check(
        &upload,
        "01f56c9c880a016b10031a3a0a0165121a0a0c636f6e74656e742d74797065120a746578742f706c61696e1a060a016b12017622110a05435243333212084141414141413d3d20022801",
    );
    let part = part::PartRecord {
        size: 5,
        etag: "e".to_owned(),
        modified_ms: 1,
        checksums: attributes().checksums,
        inline: Bytes::from_static(b"in"),
        extents: vec![extent_record()],
    };
    check(
        &part,
        "0143f943bb0805120165180122110a05435243333212084141414141413d3d2a02696e3218080410051806221000000000000000020000000000000003",
    );
}

#[test]
fn sessions_and_garbage_are_stored_as_version_1_wrote_them() {
    check(
        &session::SessionRecord {
            settled_below: 1,
            reads_from: 2,
            answered_below: 3,
            opened_ms: 4,
            newest_sequence: 5,
            newest_chunk: 6,
            mounts: true,
            orphans_seen: 5,
        },
        "018ec73abb080110021803200428053006a00101a80105",
    );
    let reply = WriteReply {
        log_index: 2,
        outcome: Some(Outcome::CommittedMs(3)),
        ..WriteReply::default()
    };
    let kept = reply::KeptReply { sequence: 1, reply };
    check(
        &reply::ReplyBlock { replies: vec![kept] },
        "01d80f816b0a080801120408023003",
    );
    let release = |release| garbage::ReleaseRecord {
        bucket: 1,
        release: Some(release),
    };
    check(&release(garbage::Release::Inode(2)), "01776998f008011002");
    check(&release(garbage::Release::Upload(3)), "01cc29e79f08011803");
    check(
        &release(garbage::Release::Unselected(garbage::Unselected {
            upload: 3,
            inode: 2,
            done_to: 1,
        })),
        "0108855ebb08012206080310021801",
    );
    let ids = vec![Bytes::copy_from_slice(&chunk_id().to_bytes())];
    check(
        &release(garbage::Release::Chunks(garbage::Chunks { ids })),
        "011d10fc4308012a120a1000000000000000020000000000000003",
    );
    let cut = garbage::Cut {
        inode: 2,
        generation: 3,
        done_to: 4,
    };
    check(&release(garbage::Release::Cut(cut)), "017265899708013206080210031804");
}

#[test]
fn settings_and_rows_are_stored_as_version_1_wrote_them() {
    let store = system::StoreRecord {
        repair_pending: 8,
        deletion_held: true,
        users: 9,
        map: Some(system::MapHead {
            epoch: 2,
            group_bits: 10,
            widths: vec![1, 6],
            first_epoch: 1,
            last_loss_epoch: 2,
        }),
        ..system::StoreRecord::default()
    };
    check(&store, "010870ca53480850015809620c0802100a1a02010620012802");
    let queue = system::StoreRecord {
        release_from: 300,
        ..system::StoreRecord::default()
    };
    check(&queue, "01ddfe0e1da801ac02");
    let settings = BucketSettings {
        quota_bytes: 1,
        quota_objects: 2,
        abandoned_uploads_days: 7,
        feed_entries_max: 4,
        missing_shards_max: 5,
    };
    let record = bucket::BucketRecord {
        upload_bytes: 8,
        settings: Some(settings),
        ..bucket::BucketRecord::default()
    };
    check(&record, "016ffa23c05808620a08011002180720042805");
    let document = bucket::DocumentRecord {
        content: Bytes::from_static(b"{}"),
        modified_ms: 1,
    };
    check(&document, "01cb4df7810a027b7d1001");
    let row = row::FormerRow {
        devices: vec![1, 300],
        walked_to: Bytes::from_static(b"k"),
        settled: false,
    };
    check(&row, "013c27c2f30a0301ac0212016b");
    let displaced = chunk::ChunkRecord {
        chunk: Some(Chunk {
            missing: 5,
            ..Chunk::default()
        }),
        references: 1,
        displaced: true,
    };
    check(&displaced, "01610151850a02400510011801");
    let upload = upload::UploadRecord {
        last_part_ms: 2,
        bytes: 3,
        ..upload::UploadRecord::default()
    };
    check(&upload, "01edcc47c230023803");
    let activity = upload::UploadActivity {
        key: Bytes::from_static(b"k"),
    };
    check(&activity, "01992df1090a016b");
}

#[test]
fn users_locks_and_changes_are_stored_as_version_1_wrote_them() {
    let record = user::UserRecord {
        admin: true,
        may_create_buckets: true,
        created_ms: 1,
        keys: 2,
    };
    check(&record, "013b1a2fb90801100118012002");
    let key = user::AccessKeyRecord {
        user: "u".to_owned(),
        secret: Bytes::from_static(b"s"),
        disabled: true,
        created_ms: 1,
        note: "n".to_owned(),
        grants: 2,
    };
    check(&key, "011eea79b20a0175120173180120012a016e3002");
    let rights = Rights {
        read: true,
        write: true,
        owner: true,
    };
    check(
        &user::GrantRecord { rights: Some(rights) },
        "01f439f6ae0a06080110011801",
    );
    let lock = lock::LockRecord {
        last: u64::MAX,
        exclusive: true,
        pid: 3,
    };
    check(&lock, "018b80876308ffffffffffffffffff0110011803");
    check(&lock::LockCount { locks: 4 }, "01a365ab9f0804");
    let change = Change {
        kind: ChangeKind::Renamed.into(),
        inode: 1,
        parent: 2,
        component: Bytes::from_static(b"a"),
        to_parent: 3,
        to_component: Bytes::from_static(b"b"),
        replaced: 4,
        key: Bytes::from_static(b"d/b"),
    };
    let record = feed::FeedRecord {
        time_ms: 1,
        change: Some(change),
    };
    check(&record, "01d8273fd208011215080310011802220161280332016238044203642f62");
    let trimmed_to = FeedPosition {
        log_index: 10,
        number: 1,
    };
    let state = feed::FeedState {
        entries_max: 3,
        entries: 2,
        trimmed_to: Some(trimmed_to),
    };
    check(&state, "01c4bdb2e1080310021a04080a1001");
    let release = |release| garbage::ReleaseRecord {
        bucket: 1,
        release: Some(release),
    };
    check(&release(garbage::Release::Locks(2)), "016dd2c2380801a00102");
    check(&release(garbage::Release::Feed(true)), "015c1fc3130801a80101");
}

#[test]
fn keys_of_settings_users_locks_and_changes_are_stored_as_version_1_wrote_them() {
    let (bucket, inode, upload) = (BucketId::new(1), InodeId::new(2), UploadId::new(3));
    let place = lock::LockPlace {
        bucket,
        inode,
        kind: 2,
        first: 4,
        session: SessionId::new(5),
        owner: 6,
    };
    let position = FeedPosition {
        log_index: 10,
        number: 1,
    };
    let keys = [
        (bucket::document_key(bucket, "cors"), "020000000000000001636f7273"),
        (
            upload::activity_key(bucket, 9, upload),
            "ffffffffffffffff000000000000000100000000000000090000000000000003",
        ),
        (row::key(6, 7, 8), "726f7700000006000000070000000000000008"),
        (server::key(NodeId::new(6)), "7365727665720000000000000006"),
        (loss::key(DeviceId::new(7)), "6c6f737300000007"),
        (authority::KEY.to_vec(), "617574686f72697479"),
        (
            repair::key(64, chunk_id()),
            "409b385ed9fc8a56c200000000000000020000000000000003",
        ),
        (
            place.key(),
            "000000000000000001000000000000000202000000000000000400000000000000050000000000000006",
        ),
        (
            place.session_key(),
            "010000000000000005000000000000000100000000000000020200000000000000040000000000000006",
        ),
        (lock::count_key(SessionId::new(5)), "020000000000000005"),
        (user::user_key("u"), "0075"),
        (user::access_key("k"), "016b"),
        (user::of_user("u", "k"), "027500016b"),
        (user::grant("k", bucket), "036b00010000000000000001"),
        (user::in_bucket(bucket, "k"), "0400000000000000016b"),
        (
            feed::key(bucket, position),
            "000000000000000001000000000000000a00000001",
        ),
        (feed::state_key(bucket), "010000000000000001"),
    ];
    for (key, sample) in keys {
        assert_eq!(hex(&key), sample);
    }
    assert_eq!(lock::LockPlace::of_key(&place.key()), Some(place));
    assert_eq!(lock::LockPlace::of_session_key(&place.session_key()), Some(place));
    assert_eq!(feed::position_of(&feed::key(bucket, position)), Some(position));
    assert_eq!(row::parts_of(&row::key(6, 7, 8)), Some((6, 7, 8)));
    assert_eq!(repair::parts_of(&repair::key(64, chunk_id())), Some((64, chunk_id())));
    assert_eq!(
        upload::activity_of(&upload::activity_key(bucket, 9, upload)),
        Some((9, upload))
    );
}

#[test]
fn keys_are_stored_as_version_1_wrote_them() {
    let (bucket, inode, upload) = (BucketId::new(1), InodeId::new(2), UploadId::new(3));
    let [by_file, by_session] = hold::keys(SessionId::new(4), FileId { bucket: 1, inode: 2 });
    let keys = [
        (bucket::key(bucket), "000000000000000001"),
        (bucket::name_key("ab"), "016162"),
        (
            dentry::key(bucket, inode, b"d/"),
            "00000000000000010000000000000002642f",
        ),
        (inode::key(bucket, inode), "00000000000000010000000000000002"),
        (
            extent::key(bucket, inode, 9),
            "000000000000000100000000000000020000000000000009",
        ),
        (
            extent::manifest_key(bucket, inode),
            "00000000000000010000000000000002ffffffffffffffff",
        ),
        (
            upload::key(bucket, b"k\0", upload),
            "00000000000000016b00ff00010000000000000003",
        ),
        (part::key(bucket, upload, 7), "0000000000000001000000000000000300000007"),
        (session::key(SessionId::new(2)), "0000000000000002"),
        (
            reply::key(SessionId::new(2), reply::block_of(4096 + 8 * 64)),
            "00000000000000020008",
        ),
        (garbage::queue_key(10, 1), "01000000000000000a00000001"),
        (garbage::held_key(bucket, inode), "0300000000000000010000000000000002"),
        (by_file, "01000000000000000100000000000000020000000000000004"),
        (by_session, "02000000000000000400000000000000010000000000000002"),
        (
            xattr::key(bucket, inode, b"user.a"),
            "00000000000000010000000000000002757365722e61",
        ),
        (garbage::chunk_key(chunk_id()), "0200000000000000020000000000000003"),
        (
            chunk::key(chunk_id()),
            "9b385ed9fc8a56c200000000000000020000000000000003",
        ),
    ];
    for (key, sample) in keys {
        assert_eq!(hex(&key), sample);
    }
}
