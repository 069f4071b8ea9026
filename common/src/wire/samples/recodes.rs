//! Values of the messages of [`crate::wire::recode`].

use bytes::Bytes;

use super::{Sample, objects, sample, servers};
use crate::wire::{
    chunk::{ChunkAnswer, ChunkChange, ChunkCommand, ChunkInfo, ChunkQuery, ChunkQuestion, ChunkReply},
    recode::{
        ChunkRecoded, MarksQuery, Recode, RecodeChunk, RecodeChunkReply, RecodeMark, RecodeMarks, RecodesPage,
        RecodesQuery,
    },
};

pub(super) fn samples() -> Vec<Sample> {
    let mark = RecodeMark {
        bucket: 2,
        marked_at: 3,
    };
    let marks = RecodeMarks { marks: vec![mark] };
    let query = RecodesQuery {
        bucket: 2,
        from: Bytes::from_static(b"f"),
        limit: 3,
    };
    let recode = Recode {
        record: Bytes::from_static(b"r"),
        chunk: Some(ChunkInfo {
            references: 1,
            ..ChunkInfo::default()
        }),
        data_shards: 4,
        parity_shards: 2,
    };
    let page = RecodesPage {
        recodes: vec![recode.clone()],
        next_from: Bytes::from_static(b"n"),
    };
    let recoded = ChunkRecoded {
        bucket: 2,
        records: vec![Bytes::from_static(b"r")],
        old_chunk_id: Bytes::from_static(b"0123456789abcdef"),
        chunk: Some(objects::chunk()),
        session: 4,
    };
    let ask = |question| ChunkQuery {
        question: Some(question),
    };
    let tell = |reply| ChunkAnswer { reply: Some(reply) };
    let change = |change| ChunkCommand { change: Some(change) };
    vec![
        sample("RecodeMark", mark),
        sample("MarksQuery", MarksQuery {}),
        sample("RecodeMarks", marks.clone()),
        sample("RecodesQuery", query.clone()),
        sample("RecodesPage", page.clone()),
        sample("Recode", recode),
        sample("ChunkRecoded", recoded.clone()),
        sample("RecodeChunk", recode_chunk()),
        sample(
            "RecodeChunkReply",
            RecodeChunkReply {
                chunk: Some(objects::chunk()),
            },
        ),
        sample("ChunkQuery/Marks", ask(ChunkQuestion::Marks(MarksQuery {}))),
        sample("ChunkQuery/Recodes", ask(ChunkQuestion::Recodes(query))),
        sample("ChunkAnswer/Marks", tell(ChunkReply::Marks(marks))),
        sample("ChunkAnswer/Recodes", tell(ChunkReply::Recodes(page))),
        sample("ChunkCommand/Recoded", change(ChunkChange::Recoded(recoded))),
        sample("ChunkCommand/BucketRecoded", change(ChunkChange::BucketRecoded(mark))),
    ]
}

fn recode_chunk() -> RecodeChunk {
    RecodeChunk {
        source: Some(objects::chunk()),
        chunk_id: Bytes::from_static(b"0123456789abcdef"),
        data_shards: 4,
        parity_shards: 2,
        row: vec![1, 300],
        devices: vec![objects::device()],
        servers: vec![servers::address()],
        epoch: 9,
        rate_mib: 64,
    }
}
