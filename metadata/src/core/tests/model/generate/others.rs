//! Commands of sessions, buckets, locks, accounts, and of the servers' own housekeeping.

use bytes::Bytes;
use cairn_common::wire::{
    account::{
        AccountChange, AccountCommand, CreateKey, CreateUser, DeleteKey, DeleteUser, Grant, Revoke, Rights, UpdateKey,
        UpdateUser,
    },
    chunk::{ChunkChange, ChunkCommand, MoveStep, RepairDone, ReportShards, ShardPlace},
    command::{
        Command, CreateBucket, DeleteBucket, EndSession, ExpireUploads, ForgetChunks, Heartbeat, HoldDeletion,
        InstallMap, OpenSession, PutBucketDocument, RaiseFeatureLevel, RedundancyMessage, ReleaseStep, UpdateBucket,
        WriteRequest,
    },
    file::{FileId, FileKind},
    inventory::SurveyDone,
    lock::{LockAction, LockCommand, LockRange},
};

use super::{CHUNKS_PER_STEP, Generator};
use crate::core::tests::model::world::FEED_UNBOUNDED;

impl Generator<'_> {
    pub(super) fn session_request(&mut self) -> WriteRequest {
        let command = match self.rng.below(100) {
            0..12 if self.world.sessions.len() < 6 => Command::OpenSession(OpenSession {
                mounts: self.rng.percent(40),
            }),
            0..22 => Command::EndSession(EndSession { session: self.session }),
            _ => Command::Heartbeat(self.heartbeat()),
        };
        self.unnumbered(command)
    }

    fn heartbeat(&mut self) -> Heartbeat {
        let log_index = self.world.log_index;
        let ago = |rng: &mut super::super::rng::Rng| log_index.saturating_sub(rng.below(4));
        let orphans = self.world.orphans();
        let mut held: Vec<FileId> = Vec::new();
        for (bucket, inode, record, _) in orphans {
            let is_file = record.kind != FileKind::Directory;
            if is_file && self.rng.percent(50) {
                held.push(FileId { bucket, inode });
            }
        }
        if self.rng.percent(2) {
            held.push(FileId { bucket: 1, inode: 1 });
        }
        Heartbeat {
            settled_below: match self.rng.below(10) {
                0 => self.step.id * CHUNKS_PER_STEP,
                1 => self.rng.below(self.step.id + 1) * CHUNKS_PER_STEP,
                _ => 0,
            },
            reads_from: match self.rng.below(4) {
                0 => 0,
                1 => u64::MAX,
                _ => ago(&mut self.rng),
            },
            orphans_seen: match self.rng.below(4) {
                0 => 0,
                _ => ago(&mut self.rng),
            },
            held,
        }
    }

    pub(super) fn bucket_command(&mut self) -> Command {
        let name = match self.rng.below(12) {
            0 => "No".to_owned(),
            1..4 => "third".to_owned(),
            4..7 => "other".to_owned(),
            _ => self.pick_bucket(),
        };
        let redundancy = *self.rng.pick(&[(4, 2), (1, 2), (1, 0), (4, 2), (2, 2), (40, 1)]);
        match self.rng.below(100) {
            0..30 => Command::CreateBucket(CreateBucket {
                name,
                data_shards: redundancy.0,
                parity_shards: redundancy.1,
                chunk_size_bytes: *self.rng.pick(&[0, 1, 1 << 20, u32::MAX]),
                owner_key: if self.rng.percent(30) {
                    self.key_id()
                } else {
                    String::new()
                },
            }),
            30..45 => Command::DeleteBucket(DeleteBucket { name }),
            45..85 => Command::UpdateBucket(self.update_bucket(name, redundancy)),
            _ => Command::PutBucketDocument(PutBucketDocument {
                bucket: name,
                name: match self.rng.below(8) {
                    0 => String::new(),
                    1 => "d".repeat(65),
                    number => format!("document{number}"),
                },
                content: match self.rng.below(8) {
                    0 | 1 => None,
                    2 => Some(Bytes::from(vec![1; (64 << 10) + 1])),
                    _ => Some(self.bytes(5)),
                },
            }),
        }
    }

    fn update_bucket(&mut self, name: String, (data_shards, parity_shards): (u32, u32)) -> UpdateBucket {
        UpdateBucket {
            name,
            quota_bytes: Some(*self.rng.pick(&[0, 0, 10_000, 1 << 20, 64 << 20])).filter(|_| self.rng.percent(25)),
            quota_objects: Some(*self.rng.pick(&[0, 0, 5, 20])).filter(|_| self.rng.percent(25)),
            chunk_size_bytes: Some(*self.rng.pick(&[0, 1, 1 << 20])).filter(|_| self.rng.percent(10)),
            redundancy: Some(RedundancyMessage {
                data_shards,
                parity_shards,
            })
            .filter(|_| self.rng.percent(20)),
            abandoned_uploads_days: Some(*self.rng.pick(&[0, 1, 7])).filter(|_| self.rng.percent(20)),
            feed_entries_max: Some(*self.rng.pick(&[0, 5, FEED_UNBOUNDED, FEED_UNBOUNDED, u64::MAX]))
                .filter(|_| self.rng.percent(30)),
            missing_shards_max: Some(self.rng.below(3) as u32).filter(|_| self.rng.percent(20)),
        }
    }

    pub(super) fn lock_command(&mut self) -> Command {
        let name = self.pick_bucket();
        let bucket_id = self.world.buckets.get(&name).map_or(99, |bucket| bucket.id);
        let inode = self.inode(bucket_id, &[FileKind::File, FileKind::Directory]);
        let kind = *self.rng.pick(&[1, 2, 2, 2]);
        let (first, last) = if kind == 1 {
            (0, u64::MAX)
        } else {
            let first = self.rng.below(20);
            (first, *self.rng.pick(&[first, first + 3, first + 9, 19, u64::MAX]))
        };
        let range = LockRange {
            kind: if self.rng.percent(1) { 0 } else { kind },
            owner: 1 + self.rng.below(2),
            pid: self.rng.below(3) as u32,
            exclusive: self.rng.percent(40),
            first,
            last,
        };
        let action = if self.rng.percent(65) {
            LockAction::Set(range)
        } else {
            LockAction::Release(range)
        };
        Command::Lock(LockCommand {
            bucket_id,
            inode,
            action: Some(action).filter(|_| !self.rng.percent(1)),
        })
    }

    fn user(&mut self) -> String {
        match self.rng.below(30) {
            0 => String::new(),
            1 => "with space".to_owned(),
            number => format!("user{}", number % 4),
        }
    }

    fn key_id(&mut self) -> String {
        match self.rng.below(40) {
            0 => "no".to_owned(),
            1 => "with space".to_owned(),
            number => format!("key{}", number % 20),
        }
    }

    pub(super) fn account_command(&mut self) -> Command {
        let (name, key_id, bucket) = (self.user(), self.key_id(), self.pick_bucket());
        let flag = |rng: &mut super::super::rng::Rng| match rng.below(3) {
            0 => None,
            other => Some(other == 1),
        };
        let change = match self.rng.below(100) {
            0..15 => AccountChange::CreateUser(CreateUser {
                name,
                admin: self.rng.percent(20),
                may_create_buckets: self.rng.percent(50),
            }),
            15..22 => AccountChange::UpdateUser(UpdateUser {
                name,
                admin: flag(&mut self.rng),
                may_create_buckets: flag(&mut self.rng),
            }),
            22..26 => AccountChange::DeleteUser(DeleteUser { name }),
            26..56 => {
                let length = if self.rng.percent(3) { 0 } else { 4 };
                AccountChange::CreateKey(CreateKey {
                    key_id,
                    user: name,
                    secret: self.bytes(length),
                    note: "note".to_owned(),
                })
            }
            56..64 => AccountChange::UpdateKey(UpdateKey {
                key_id,
                enabled: flag(&mut self.rng),
                secret: Some(self.bytes(3)).filter(|_| self.rng.percent(30)),
                note: Some("x".repeat(if self.rng.percent(10) { 257 } else { 2 })).filter(|_| self.rng.percent(30)),
            }),
            64..68 => AccountChange::DeleteKey(DeleteKey { key_id }),
            68..90 => AccountChange::Grant(Grant {
                key_id,
                bucket,
                rights: Some(Rights {
                    read: self.rng.percent(60),
                    write: self.rng.percent(40),
                    owner: self.rng.percent(10),
                }),
            }),
            _ => AccountChange::Revoke(Revoke { key_id, bucket }),
        };
        Command::Account(AccountCommand {
            change: Some(change).filter(|_| !self.rng.percent(1)),
        })
    }

    /// A map with the rows of one width turned, or none changed, and some devices in a new life.
    fn install_map(&mut self) -> InstallMap {
        let mut map = self.world.map.clone();
        map.epoch += *self.rng.pick(&[1, 1, 1, 1, 2, 0]);
        let at = self.rng.below(4) as usize;
        if let Some(rows) = map.widths.get_mut(at) {
            for row in rows.slots.chunks_mut(rows.width as usize) {
                row.rotate_left(1);
                if rows.width == 1 {
                    row[0] = row[0] % 6 + 1;
                }
            }
        }
        if let Some(device) = map.devices.iter_mut().find(|_| self.rng.percent(4)) {
            device.incarnation += u64::from(!self.rng.percent(10));
        }
        InstallMap {
            map: Some(map).filter(|_| !self.rng.percent(5)),
        }
    }

    fn shard_place(&mut self) -> ShardPlace {
        let live: Vec<Bytes> = self.world.live_chunks().into_iter().collect();
        let tagged = live.iter().map(|id| {
            (
                id.iter()
                    .fold(0, |tag: u64, byte| tag.wrapping_mul(31) + u64::from(*byte)),
                id,
            )
        });
        let Some(chunk_id) = self.rng.pick_tagged(tagged).cloned().filter(|_| !self.rng.percent(2)) else {
            return ShardPlace {
                chunk_id: Bytes::from_static(b"short"),
                ..ShardPlace::default()
            };
        };
        let devices = self
            .world
            .places
            .get(&chunk_id)
            .map(|place| place.devices.clone())
            .unwrap_or_default();
        let beyond = u64::from(devices.is_empty() || self.rng.percent(2));
        let index = self.rng.below(devices.len() as u64 + beyond) as usize;
        let device = devices.get(index).copied().filter(|_| self.rng.percent(60));
        ShardPlace {
            chunk_id,
            shard_index: index as u32,
            device: device.unwrap_or_else(|| 1 + self.rng.below(7) as u32),
        }
    }

    /// A shard and mostly a device where it may be made.
    fn repaired_place(&mut self) -> ShardPlace {
        let mut place = self.shard_place();
        let wanted = self.world.row_of(&place.chunk_id).filter(|_| self.rng.percent(70));
        if let Some(device) = wanted.and_then(|row| row.get(place.shard_index as usize).copied()) {
            place.device = device;
        }
        place
    }

    fn chunk_command(&mut self) -> ChunkCommand {
        let count = 1 + self.rng.below(3);
        let change = match self.rng.below(100) {
            0 => None,
            1..35 => Some(ChunkChange::Report(ReportShards {
                shards: (0..count).map(|_| self.shard_place()).collect(),
            })),
            35..60 => {
                let shards: Vec<ShardPlace> = (0..count).map(|_| self.repaired_place()).collect();
                let stale = u64::from(self.rng.percent(5));
                let epoch = self.world.map.epoch.saturating_sub(stale);
                Some(ChunkChange::Repaired(RepairDone { shards, epoch }))
            }
            60..65 => Some(ChunkChange::Surveyed(SurveyDone {
                device: self.rng.below(7) as u32,
                incarnation: 1 + self.rng.below(3),
            })),
            _ => Some(ChunkChange::MoveStep(MoveStep {
                width: *self.rng.pick(&[1, 3, 3, 6, 6]),
                group: self.rng.below(16) as u32,
                steps: 1000,
            })),
        };
        ChunkCommand { change }
    }

    /// What the servers' own workers send.
    pub(super) fn space_request(&mut self) -> WriteRequest {
        let command = match self.rng.below(100) {
            0..50 => Command::ReleaseStep(ReleaseStep {
                steps: *self.rng.pick(&[0, 1, 2, 7, 128, 1000]),
            }),
            50..72 => {
                let mut chunk_ids: Vec<Bytes> = self
                    .deletable
                    .iter()
                    .take(1 + self.rng.below(20) as usize)
                    .cloned()
                    .collect();
                if let Some(live) = self
                    .world
                    .live_chunks()
                    .into_iter()
                    .next()
                    .filter(|_| self.rng.percent(20))
                {
                    chunk_ids.push(live);
                }
                if self.rng.percent(2) {
                    chunk_ids.push(Bytes::from_static(b"short"));
                }
                Command::ForgetChunks(ForgetChunks { chunk_ids })
            }
            72..82 => Command::ExpireUploads(ExpireUploads {
                bucket_id: {
                    let name = self.pick_bucket();
                    self.world.buckets.get(&name).map_or(99, |bucket| bucket.id)
                },
                limit: self.rng.below(4) as u32,
            }),
            82..88 => Command::HoldDeletion(HoldDeletion {
                held: self.rng.percent(50),
                generation: *self.rng.pick(&[0, 0, 0, 1, 2, 1 << 20]),
            }),
            88..91 => Command::RaiseFeatureLevel(RaiseFeatureLevel {
                level: self.rng.below(4) as u32,
            }),
            91..94 => Command::InstallMap(self.install_map()),
            _ => Command::Chunk(self.chunk_command()),
        };
        self.unnumbered(command)
    }
}
