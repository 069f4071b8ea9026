//! Values of the messages of [`crate::wire::checkpoint`].

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::checkpoint::{
    BackUp, BackUpReply, CheckpointFile, CheckpointManifest, ReadCheckpoint, ReadCheckpointReply,
};

pub(super) fn samples() -> Vec<Sample> {
    vec![
        sample("ReadCheckpoint", piece()),
        sample("ReadCheckpointReply", ReadCheckpointReply { file_length: 1 << 33 }),
        sample("CheckpointManifest", manifest()),
        sample("CheckpointFile", file()),
        sample("BackUp", BackUp { done_with: Some(300) }),
        sample("BackUp/new", BackUp { done_with: None }),
        sample("BackUpReply", BackUpReply { number: 300 }),
    ]
}

fn piece() -> ReadCheckpoint {
    ReadCheckpoint {
        number: 300,
        backup: true,
        file: "000007.sst".to_owned(),
        offset: 1 << 32,
        length: 1 << 20,
    }
}

fn file() -> CheckpointFile {
    CheckpointFile {
        name: "000007.sst".to_owned(),
        length: 1 << 33,
        hash: Bytes::from_static(&[7; 32]),
    }
}

fn manifest() -> CheckpointManifest {
    CheckpointManifest {
        number: 300,
        files: vec![file()],
        applied: Bytes::from_static(b"applied"),
        membership: Bytes::from_static(b"membership"),
    }
}
