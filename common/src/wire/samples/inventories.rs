//! Values of the messages of [`crate::wire::inventory`].

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::{
    chunk::{ChunkAnswer, ChunkChange, ChunkCommand, ChunkQuery, ChunkQuestion, ChunkReply},
    inventory::{DeviceLoss, ExpectedPage, ExpectedQuery, JudgeQuery, Losses, LossesQuery, SurveyDone, Verdicts},
    shard::ShardName,
};

pub(super) fn samples() -> Vec<Sample> {
    let chunk_id = Bytes::from_static(b"0123456789abcdef");
    let named = ShardName {
        chunk_id: chunk_id.clone(),
        shard_index: 1,
        damaged: false,
    };
    let judge = JudgeQuery {
        device: 2,
        shards: vec![named.clone()],
    };
    let expected = ExpectedQuery {
        device: 2,
        after: chunk_id.clone(),
        through: Bytes::from_static(b"fedcba9876543210"),
        limit: 3,
    };
    let verdicts = Verdicts {
        verdicts: vec![0, 1, 2],
    };
    let page = ExpectedPage {
        shards: vec![named],
        next_after: chunk_id,
    };
    let loss = DeviceLoss {
        device: 2,
        incarnation: 3,
        epoch: 4,
        surveyed: true,
    };
    let losses = Losses { losses: vec![loss] };
    let surveyed = SurveyDone {
        device: 2,
        incarnation: 3,
    };
    let change = |change| ChunkCommand { change: Some(change) };
    let ask = |question| ChunkQuery {
        question: Some(question),
    };
    let tell = |reply| ChunkAnswer { reply: Some(reply) };
    vec![
        sample("JudgeQuery", judge.clone()),
        sample("ExpectedQuery", expected.clone()),
        sample("Verdicts", verdicts.clone()),
        sample("ExpectedPage", page.clone()),
        sample("ChunkQuery/Judge", ask(ChunkQuestion::Judge(judge))),
        sample("ChunkQuery/Expected", ask(ChunkQuestion::Expected(expected))),
        sample("ChunkAnswer/Verdicts", tell(ChunkReply::Verdicts(verdicts))),
        sample("ChunkAnswer/Expected", tell(ChunkReply::Expected(page))),
        sample("SurveyDone", surveyed),
        sample("ChunkCommand/Surveyed", change(ChunkChange::Surveyed(surveyed))),
        sample("LossesQuery", LossesQuery {}),
        sample("DeviceLoss", loss),
        sample("Losses", losses.clone()),
        sample("ChunkQuery/Losses", ask(ChunkQuestion::Losses(LossesQuery {}))),
        sample("ChunkAnswer/Losses", tell(ChunkReply::Losses(losses))),
    ]
}
