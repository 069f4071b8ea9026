//! Shards that are lost or lie where they should not, and how they get back.
//!
//! Invariant: a report or a repair tells what was found on, or written to, one named device; it changes nothing where the
//! record says meanwhile that the shard lies elsewhere. All of it may be sent again without harm.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{
    inventory::{ExpectedPage, ExpectedQuery, JudgeQuery, Losses, LossesQuery, SurveyDone, Verdicts},
    object::Chunk,
    recode::{ChunkRecoded, MarksQuery, RecodeMark, RecodeMarks, RecodesPage, RecodesQuery},
};

/// A change of chunk records. It takes no sequence: sent again it changes nothing more.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkCommand {
    /// What is to change.
    #[prost(oneof = "ChunkChange", tags = "1, 2, 3, 4, 5, 6")]
    pub change: Option<ChunkChange>,
}

/// A change of chunk records.
#[derive(Clone, PartialEq, Oneof)]
pub enum ChunkChange {
    /// Shards that were found missing or damaged.
    #[prost(message, tag = "1")]
    Report(ReportShards),
    /// Shards that were made again or moved. Only the metadata server gives it.
    #[prost(message, tag = "2")]
    Repaired(RepairDone),
    /// Looks for chunks that still lie where a group lay before its row changed. Only the metadata server gives it.
    #[prost(message, tag = "3")]
    MoveStep(MoveStep),
    /// A device in a new life was looked through. Only the metadata server gives it.
    #[prost(message, tag = "4")]
    Surveyed(SurveyDone),
    /// A chunk was coded anew. Only the metadata server gives it.
    #[prost(message, tag = "5")]
    Recoded(ChunkRecoded),
    /// All chunks of a bucket have the redundancy that it wants, unless it was marked again since. Only the metadata server gives it.
    #[prost(message, tag = "6")]
    BucketRecoded(RecodeMark),
}

impl ChunkCommand {
    /// Whether only the metadata server itself may give the command.
    pub const fn is_internal(&self) -> bool {
        match &self.change {
            Some(
                ChunkChange::MoveStep(_)
                | ChunkChange::Repaired(_)
                | ChunkChange::Surveyed(_)
                | ChunkChange::Recoded(_)
                | ChunkChange::BucketRecoded(_),
            ) => true,
            None | Some(ChunkChange::Report(_)) => false,
        }
    }
}

/// Where one shard was looked for, or put.
#[derive(Clone, PartialEq, Message)]
pub struct ShardPlace {
    /// The chunk id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub chunk_id: Bytes,
    /// Which shard.
    #[prost(uint32, tag = "2")]
    pub shard_index: u32,
    /// The device.
    #[prost(uint32, tag = "3")]
    pub device: u32,
}

/// Reports shards that are missing from, or damaged on, the device that should hold them: they are queued for repair.
/// Shards of chunks that are unknown or garbage, and such as lie elsewhere by now, are passed over.
#[derive(Clone, PartialEq, Message)]
pub struct ReportShards {
    /// The shards.
    #[prost(message, repeated, tag = "1")]
    pub shards: Vec<ShardPlace>,
}

/// Says where repaired shards now lie, whole and synced: each on its place in the row in force, or where it lay before. Those of
/// chunks that are unknown or garbage are passed over.
#[derive(Clone, PartialEq, Message)]
pub struct RepairDone {
    /// The shards.
    #[prost(message, repeated, tag = "1")]
    pub shards: Vec<ShardPlace>,
    /// The map that they were made for; refused where another is in force, which may want them elsewhere.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
}

/// Looks at the next chunks of a group whose row has changed and queues those that still lie on a former row. When a walk
/// over the whole group finds none, the former row is given up.
#[derive(Clone, PartialEq, Message)]
pub struct MoveStep {
    /// Width of the rows.
    #[prost(uint32, tag = "1")]
    pub width: u32,
    /// The placement group.
    #[prost(uint32, tag = "2")]
    pub group: u32,
    /// Chunk records to look at, at most.
    #[prost(uint32, tag = "3")]
    pub steps: u32,
}

/// What a chunk command came to.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkOutcome {
    /// Shards that were taken account of.
    #[prost(uint32, tag = "1")]
    pub changed: u32,
    /// Of a move step: whether the group has no former row any more.
    #[prost(bool, tag = "2")]
    pub settled: bool,
}

/// A question about chunks.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkQuery {
    /// What is asked.
    #[prost(oneof = "ChunkQuestion", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub question: Option<ChunkQuestion>,
}

/// A question about chunks.
#[derive(Clone, PartialEq, Oneof)]
pub enum ChunkQuestion {
    /// A page of the repair queue, the most urgent first.
    #[prost(message, tag = "1")]
    Repairs(PageQuery),
    /// A page of groups whose row has changed and that may have chunks on a former row.
    #[prost(message, tag = "2")]
    Moves(PageQuery),
    /// The chunk of this id, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    Chunk(Bytes),
    /// What is to become of shards on a device.
    #[prost(message, tag = "4")]
    Judge(JudgeQuery),
    /// Which shards a device should have.
    #[prost(message, tag = "5")]
    Expected(ExpectedQuery),
    /// Devices that lost what they held and were not looked through since.
    #[prost(message, tag = "6")]
    Losses(LossesQuery),
    /// Buckets that may hold chunks of another redundancy than they want.
    #[prost(message, tag = "7")]
    Marks(MarksQuery),
    /// Chunks of such a bucket.
    #[prost(message, tag = "8")]
    Recodes(RecodesQuery),
}

/// A page of a queue.
#[derive(Clone, PartialEq, Message)]
pub struct PageQuery {
    /// Where to go on, as the page before said; empty for the start.
    #[prost(bytes = "bytes", tag = "1")]
    pub from: Bytes,
    /// Entries at most.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

/// The answer to a question about chunks.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkAnswer {
    /// The answer, of the kind of the question.
    #[prost(oneof = "ChunkReply", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub reply: Option<ChunkReply>,
}

/// The answer to a question about chunks.
#[derive(Clone, PartialEq, Oneof)]
pub enum ChunkReply {
    /// A page of the repair queue.
    #[prost(message, tag = "1")]
    Repairs(RepairPage),
    /// A page of groups on the move.
    #[prost(message, tag = "2")]
    Moves(MovesPage),
    /// A chunk.
    #[prost(message, tag = "3")]
    Chunk(ChunkInfo),
    /// What is to become of shards.
    #[prost(message, tag = "4")]
    Verdicts(Verdicts),
    /// Shards that a device should have.
    #[prost(message, tag = "5")]
    Expected(ExpectedPage),
    /// Devices that lost what they held.
    #[prost(message, tag = "6")]
    Losses(Losses),
    /// Marked buckets.
    #[prost(message, tag = "7")]
    Marks(RecodeMarks),
    /// Chunks to be coded anew.
    #[prost(message, tag = "8")]
    Recodes(RecodesPage),
}

/// A page of the repair queue.
#[derive(Clone, PartialEq, Message)]
pub struct RepairPage {
    /// Chunks, the most urgent first.
    #[prost(message, repeated, tag = "1")]
    pub repairs: Vec<Repair>,
    /// Where to go on; empty at the end.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_from: Bytes,
}

/// A chunk that is not as it should be.
#[derive(Clone, PartialEq, Message)]
pub struct Repair {
    /// How urgent, 0 first: shards that may still be lost without loss of data; 64 for shards that only have to move, 128 for
    /// copies that the writer placed by itself, 192 where too few shards are left to make the others from.
    #[prost(uint32, tag = "1")]
    pub priority: u32,
    /// The chunk.
    #[prost(message, optional, tag = "2")]
    pub chunk: Option<ChunkInfo>,
}

/// A chunk, and where each of its shards is and should be.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkInfo {
    /// The chunk as readers get it: the shards that are missing, and where the others lie if not on the group's row.
    #[prost(message, optional, tag = "1")]
    pub chunk: Option<Chunk>,
    /// Extents that refer to it; 0 for garbage.
    #[prost(uint64, tag = "2")]
    pub references: u64,
    /// Where the map in force wants its shards, in order.
    #[prost(uint32, repeated, tag = "3")]
    pub row: Vec<u32>,
    /// Bit i: shard i does not lie on `row[i]`.
    #[prost(uint32, tag = "4")]
    pub misplaced: u32,
}

/// A page of groups that may have chunks on a former row.
#[derive(Clone, PartialEq, Message)]
pub struct MovesPage {
    /// The groups.
    #[prost(message, repeated, tag = "1")]
    pub moves: Vec<GroupMove>,
    /// Where to go on; empty at the end.
    #[prost(bytes = "bytes", tag = "2")]
    pub next_from: Bytes,
}

/// A group and a row on which it lay before.
#[derive(Clone, PartialEq, Message)]
pub struct GroupMove {
    /// Width of the row.
    #[prost(uint32, tag = "1")]
    pub width: u32,
    /// The placement group.
    #[prost(uint32, tag = "2")]
    pub group: u32,
    /// The last epoch in which the row was in force.
    #[prost(uint64, tag = "3")]
    pub last_epoch: u64,
    /// The row's devices, in order.
    #[prost(uint32, repeated, tag = "4")]
    pub devices: Vec<u32>,
}
