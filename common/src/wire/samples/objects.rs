//! Values of the messages of [`crate::wire::object`] and [`crate::wire::map`], which others are made of.

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::{
    map::{DeviceMessage, MapMessage, WidthMessage},
    object::{Body, Chunk, Extent, Field, ObjectAttributes, ObjectChecksum, ObjectInfo, PartSize},
};

pub(super) fn samples() -> Vec<Sample> {
    vec![
        sample("Field", field()),
        sample("ObjectChecksum", checksum()),
        sample("ObjectAttributes", attributes()),
        sample("Chunk", chunk()),
        sample(
            "Chunk/missing",
            Chunk {
                missing: 5,
                ..Chunk::default()
            },
        ),
        sample("Extent", extent()),
        sample("Body", body()),
        sample("ObjectInfo", info()),
        sample("PartSize", part_size()),
        sample("MapMessage", map()),
        sample(
            "MapMessage/defaults",
            MapMessage {
                default_data_shards: 4,
                default_parity_shards: 2,
                domain_level: 2,
                given_up: vec![7],
                out_after_s: 600,
                moves_paused: true,
                rate_mib: 64,
                ..MapMessage::default()
            },
        ),
        sample("DeviceMessage", device()),
        sample("WidthMessage", width()),
    ]
}

pub(super) fn field() -> Field {
    Field {
        name: "content-type".to_owned(),
        value: "text/plain".to_owned(),
    }
}

pub(super) fn checksum() -> ObjectChecksum {
    ObjectChecksum {
        algorithm: "CRC32C".to_owned(),
        value: "AAAAAA==-2".to_owned(),
        composite: true,
    }
}

pub(super) fn attributes() -> ObjectAttributes {
    ObjectAttributes {
        etag: "abc".to_owned(),
        headers: vec![field()],
        user_metadata: vec![Field {
            name: "k".to_owned(),
            value: "v".to_owned(),
        }],
        checksums: vec![checksum()],
    }
}

pub(super) fn chunk() -> Chunk {
    Chunk {
        id: Bytes::from_static(b"0123456789abcdef"),
        data_shards: 4,
        parity_shards: 2,
        length: 1000,
        hash: Bytes::from_static(&[7; 32]),
        explicit_devices: vec![1, 300],
        epoch: 9,
        missing: 0,
    }
}

pub(super) fn extent() -> Extent {
    Extent {
        file_offset: 1,
        length: 2,
        chunk_offset: 3,
        chunk: Some(chunk()),
        inline: Bytes::from_static(b"in"),
    }
}

pub(super) fn body() -> Body {
    Body {
        size: 5,
        inline: Bytes::from_static(b"bytes"),
        extents: vec![extent()],
    }
}

pub(super) fn info() -> ObjectInfo {
    ObjectInfo {
        size: 1,
        modified_ms: 1_700_000_000_000,
        attributes: Some(attributes()),
        parts: vec![part_size()],
        inode: 4,
    }
}

pub(super) fn part_size() -> PartSize {
    PartSize {
        number: 10_000,
        size: 5 << 20,
    }
}

pub(super) fn map() -> MapMessage {
    MapMessage {
        epoch: 3,
        group_bits: 1,
        devices: vec![device()],
        widths: vec![width()],
        ..MapMessage::default()
    }
}

pub(super) fn device() -> DeviceMessage {
    DeviceMessage {
        id: 1,
        incarnation: 2,
        server: 3,
        weight_bytes: 1 << 40,
        failure_domain: "rack-1".to_owned(),
        disk: "nvme0n1".to_owned(),
    }
}

fn width() -> WidthMessage {
    WidthMessage {
        width: 1,
        slots: vec![1, 1],
    }
}
