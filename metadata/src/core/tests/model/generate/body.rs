//! Bodies and extents: inline bytes and chunks, most of them sound.

use bytes::Bytes;
use cairn_common::{
    ids::{ChunkId, SessionId},
    limits,
    wire::object::{Body, Chunk, Extent, Field, ObjectAttributes, ObjectChecksum},
};

use super::{CHUNKS_PER_STEP, Generator};

impl Generator<'_> {
    /// A chunk of the session that no other step has, unless it is to be refused.
    pub(super) fn chunk(&mut self, length: u32) -> Chunk {
        self.chunks += 1;
        let mut step = self.step.id + 1;
        if self.rng.percent(1) {
            step = self.rng.below(step);
        }
        let session = if self.rng.percent(1) {
            self.rng.below(9)
        } else {
            self.session
        };
        let id = ChunkId {
            session: SessionId::new(session),
            counter: step * CHUNKS_PER_STEP + self.chunks,
        };
        let (data_shards, parity_shards) = *self.rng.pick(&[(1, 2), (1, 2), (4, 2), (1, 0)]);
        let mut chunk = Chunk {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            data_shards,
            parity_shards,
            length,
            hash: Bytes::from(vec![7; 32]),
            epoch: self.world.map.epoch,
            ..Chunk::default()
        };
        if self.rng.percent(8) {
            self.twist(&mut chunk);
        }
        chunk
    }

    /// Lets a chunk be unusual, or wrong.
    fn twist(&mut self, chunk: &mut Chunk) {
        let width = (chunk.data_shards + chunk.parity_shards) as usize;
        match self.rng.below(40) {
            0 => chunk.id = Bytes::from_static(b"short"),
            1 => chunk.hash = Bytes::new(),
            2 => chunk.length = *self.rng.pick(&[0, limits::CHUNK_SIZE_BYTES as u32 + 1]),
            3 => chunk.data_shards = 40,
            4 => chunk.epoch += 1,
            5 => chunk.explicit_devices = vec![1; width],
            6 => chunk.explicit_devices = vec![99; width],
            7 => chunk.explicit_devices = vec![1, 2],
            8..12 => chunk.missing = 1 << self.rng.below(3),
            12..20 => chunk.epoch = chunk.epoch.saturating_sub(self.rng.below(3)).max(1),
            _ => {
                let mut devices: Vec<u32> = (1..=6).collect();
                let turn = self.rng.below(6) as usize;
                devices.rotate_left(turn);
                devices.truncate(width);
                chunk.explicit_devices = devices;
            }
        }
    }

    fn chunk_length(&mut self) -> u32 {
        *self.rng.pick(&[
            1,
            100,
            4096,
            4096,
            8192,
            10_000,
            65_536,
            1 << 20,
            limits::CHUNK_SIZE_BYTES as u32,
        ])
    }

    /// The body of an object or part.
    pub(super) fn body(&mut self) -> Body {
        if self.rng.percent(45) {
            let length = match self.rng.below(40) {
                0 => limits::INLINE_SIZE_BYTES as u64 + self.rng.below(2),
                1..5 => 0,
                _ => self.rng.below(120),
            };
            let inline = self.bytes(length);
            return Body {
                size: inline.len() as u64 + u64::from(self.rng.percent(1)),
                inline,
                extents: Vec::new(),
            };
        }
        let count = match self.rng.below(200) {
            0 => 250 + self.rng.below(20),
            1..20 => 5 + self.rng.below(6),
            _ => 1 + self.rng.below(4),
        };
        let mut body = Body::default();
        for _ in 0..count {
            let length = self.chunk_length();
            let mut extent = Extent {
                file_offset: body.size,
                length: length.into(),
                ..Extent::default()
            };
            extent.chunk = Some(self.chunk(length));
            if self.rng.percent(5) {
                extent.chunk_offset = length / 2;
                extent.length = u64::from(length - length / 2);
            }
            body.size += extent.length;
            body.extents.push(extent);
        }
        match self.rng.below(150) {
            0 => body.size += 1,
            1 => body.extents[0].file_offset += 1,
            2 => body.inline = Bytes::from_static(b"both"),
            3 => body.extents[0].length += 1,
            _ => {}
        }
        body
    }

    /// New extents for a range of a file; several may share a chunk.
    pub(super) fn extents(&mut self, from: u64) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut offset = from;
        for _ in 0..1 + self.rng.below(3) {
            if self.rng.percent(30) {
                offset += 4096 * self.rng.below(3);
            }
            let length = *self.rng.pick(&[1, 10, 4096, 4096, 4096, 8192, 12_288, 5000]);
            let shared = extents
                .last()
                .and_then(|last| last.chunk.clone())
                .filter(|_| self.rng.percent(25));
            let mut extent = Extent {
                file_offset: offset,
                length,
                ..Extent::default()
            };
            match shared {
                Some(chunk) if u64::from(chunk.length) >= length => extent.chunk = Some(chunk),
                Some(_) | None if length <= 10 || self.rng.percent(20) => {
                    extent.length = length.min(60);
                    extent.inline = self.bytes(extent.length);
                }
                Some(_) | None => {
                    let slack = 4096 * self.rng.below(2) as u32;
                    extent.chunk_offset = slack;
                    extent.chunk = Some(self.chunk(length as u32 + slack));
                }
            }
            offset = extent.file_offset + extent.length;
            extents.push(extent);
        }
        match self.rng.below(150) {
            0 => extents.reverse(),
            1 => extents[0].length += 1,
            2 => extents.clear(),
            3 => extents[0].inline = Bytes::from(vec![1; limits::INLINE_SIZE_BYTES + 1]),
            _ => {}
        }
        extents
    }

    pub(super) fn object_attributes(&mut self) -> ObjectAttributes {
        let field = |name: &str, value: String| Field {
            name: name.to_owned(),
            value,
        };
        let checksum = ObjectChecksum {
            algorithm: "CRC32".to_owned(),
            value: "AAAAAA==".to_owned(),
            composite: false,
        };
        let long = if self.rng.percent(1) { 3000 } else { 3 };
        ObjectAttributes {
            etag: format!("tag{}", self.rng.below(4)),
            headers: if self.rng.percent(20) {
                vec![field("content-type", "text".to_owned())]
            } else {
                Vec::new()
            },
            user_metadata: if self.rng.percent(10) {
                vec![field("k", "v".repeat(long))]
            } else {
                Vec::new()
            },
            checksums: if self.rng.percent(20) {
                vec![checksum]
            } else {
                Vec::new()
            },
        }
    }
}
