//! The frames of an append stream: heads with their lengths, and the batches of entries raw behind them.
//!
//! It must never take a frame that is longer than an append can be. Invariant: a batch that came in one piece is handed on
//! without a copy.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cairn_common::{
    limits::APPEND_BYTES_MAX,
    wire::raft::{AppendBlank, AppendEntry, AppendFrame, AppendMatching, AppendOutcome, AppendPayload, AppendResult},
};
use cairn_transport::{Body, BodyError};
use openraft::{
    EntryPayload,
    raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult},
};
use prost::Message;

use super::{
    types::{BatchBytes, Entry, TypeConfig, membership_of, membership_record},
    wire::{ballot, log_id, membership_message, membership_of_message, missing, position_message, vote},
};

type Append = AppendEntriesRequest<TypeConfig>;
type Appended = StreamAppendResult<TypeConfig>;

/// Bytes of a head at most: an append of many small entries, or of a membership.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Why a frame could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream was cut.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The frame breaks the form of frames.
    #[error("a frame of an append stream is malformed: {0}")]
    Malformed(String),
}

/// Reads frames off a body.
pub(super) struct Frames {
    body: Body,
    /// What has come and was not taken yet.
    ready: Bytes,
}

/// The pieces of an append's frame.
pub(super) fn append_pieces(append: Append) -> Vec<Bytes> {
    let mut batches = Vec::new();
    let mut entries = Vec::with_capacity(append.entries.len());
    for entry in append.entries {
        let payload = match entry.payload {
            EntryPayload::Blank => AppendPayload::Blank(AppendBlank {}),
            EntryPayload::Normal(batch) => {
                let length = u32::try_from(batch.0.len()).expect("entries are bounded to a few MiB");
                batches.push(batch.0);
                AppendPayload::BatchBytes(length)
            }
            EntryPayload::Membership(members) => {
                AppendPayload::Membership(membership_message(membership_record(None, &members)))
            }
        };
        entries.push(AppendEntry {
            position: Some(position_message(entry.log_id)),
            payload: Some(payload),
        });
    }
    let frame = AppendFrame {
        ballot: Some(ballot(&append.vote)),
        previous: append.prev_log_id.map(position_message),
        committed: append.leader_commit.map(position_message),
        entries,
    };
    let mut pieces = vec![framed(&frame)];
    pieces.append(&mut batches);
    pieces
}

/// The frame of an append's result.
pub(super) fn result_piece(result: &Appended) -> Bytes {
    let outcome = match result {
        Ok(last) => AppendOutcome::Matching(AppendMatching {
            last: last.map(position_message),
        }),
        Err(StreamAppendError::Conflict(at)) => AppendOutcome::Conflict(position_message(*at)),
        Err(StreamAppendError::HigherVote(higher)) => AppendOutcome::HigherVote(ballot(higher)),
    };
    framed(&AppendResult { outcome: Some(outcome) })
}

impl Frames {
    /// The frames in `body`.
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            ready: Bytes::new(),
        }
    }

    /// The next append; `None` at the end.
    pub(super) async fn append(&mut self) -> Result<Option<Append>, FrameError> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let frame = AppendFrame::decode(head).map_err(malformed)?;
        let mut total = 0;
        let mut entries = Vec::with_capacity(frame.entries.len());
        for entry in frame.entries {
            let position = entry.position.ok_or_else(|| malformed(missing("position")))?;
            let payload = match entry.payload {
                Some(AppendPayload::Blank(_)) => EntryPayload::Blank,
                Some(AppendPayload::BatchBytes(length)) => {
                    total += length as usize;
                    if total > APPEND_BYTES_MAX {
                        return Err(malformed("its entries are longer than an append may be"));
                    }
                    EntryPayload::Normal(BatchBytes(self.take(length as usize).await?))
                }
                Some(AppendPayload::Membership(message)) => {
                    let members = membership_of(&membership_of_message(message)).map_err(malformed)?;
                    EntryPayload::Membership(members)
                }
                None => return Err(malformed("an entry holds nothing this program knows")),
            };
            entries.push(Entry {
                log_id: log_id(position),
                payload,
            });
        }
        Ok(Some(Append {
            vote: vote(frame.ballot.ok_or_else(|| malformed(missing("leader")))?),
            prev_log_id: frame.previous.map(log_id),
            entries,
            leader_commit: frame.committed.map(log_id),
        }))
    }

    /// The next result; `None` at the end.
    pub(super) async fn result(&mut self) -> Result<Option<Appended>, FrameError> {
        let Some(head) = self.head().await? else {
            return Ok(None);
        };
        let result = AppendResult::decode(head).map_err(malformed)?;
        match result.outcome {
            Some(AppendOutcome::Matching(matching)) => Ok(Some(Ok(matching.last.map(log_id)))),
            Some(AppendOutcome::Conflict(at)) => Ok(Some(Err(StreamAppendError::Conflict(log_id(at))))),
            Some(AppendOutcome::HigherVote(higher)) => Ok(Some(Err(StreamAppendError::HigherVote(vote(higher))))),
            None => Err(malformed("a result says nothing this program knows")),
        }
    }

    async fn head(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.ready.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        let length = self.take(4).await?.get_u32_le() as usize;
        if length > HEAD_BYTES_MAX {
            return Err(malformed(format!("a head of {length} bytes")));
        }
        self.take(length).await.map(Some)
    }

    /// Exactly `length` bytes.
    async fn take(&mut self, length: usize) -> Result<Bytes, FrameError> {
        if self.ready.len() >= length {
            return Ok(self.ready.split_to(length));
        }
        let mut gathered = BytesMut::with_capacity(length);
        while gathered.len() < length {
            if self.ready.is_empty() && !self.fill().await? {
                return Err(malformed("the stream ends within a frame"));
            }
            let wanted = (length - gathered.len()).min(self.ready.len());
            gathered.extend_from_slice(&self.ready.split_to(wanted));
        }
        Ok(gathered.freeze())
    }

    /// Waits for more bytes; `false` at the end of the stream.
    async fn fill(&mut self) -> Result<bool, FrameError> {
        while self.ready.is_empty() {
            match self.body.next().await {
                Some(piece) => self.ready = piece?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(4 + length);
    bytes.put_u32_le(u32::try_from(length).expect("heads are bounded"));
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

fn malformed(reason: impl ToString) -> FrameError {
    FrameError::Malformed(reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{LeaderId, LogId, Vote};

    fn at(index: u64) -> LogId {
        let leader_id = LeaderId { term: 2, node_id: 1 };
        LogId { leader_id, index }
    }

    fn append() -> Append {
        let batch = |index, byte: u8| Entry {
            log_id: at(index),
            payload: EntryPayload::Normal(BatchBytes(Bytes::from(vec![byte; 100]))),
        };
        let blank = Entry {
            log_id: at(6),
            payload: EntryPayload::Blank,
        };
        Append {
            vote: Vote::new_committed(2, 1),
            prev_log_id: Some(at(4)),
            entries: vec![batch(5, 7), blank, batch(7, 9)],
            leader_commit: Some(at(3)),
        }
    }

    #[tokio::test]
    async fn appends_survive_however_the_stream_is_cut_into_pieces() {
        let whole: Vec<u8> = append_pieces(append()).concat();
        for size in [1, 3, 64, whole.len()] {
            let twice = [&whole[..], &whole[..]].concat();
            let pieces: Vec<Bytes> = twice.chunks(size).map(Bytes::copy_from_slice).collect();
            let mut frames = Frames::new(Body::from(pieces));
            for _ in 0..2 {
                let read = frames.append().await.expect("a frame").expect("an append");
                assert_eq!(format!("{read:?}"), format!("{:?}", append()));
            }
            assert!(frames.append().await.expect("an end").is_none());
        }
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error() {
        let whole: Vec<u8> = append_pieces(append()).concat();
        for length in 1..whole.len() {
            let mut frames = Frames::new(Body::from(Bytes::copy_from_slice(&whole[..length])));
            assert!(frames.append().await.is_err(), "cut to {length} bytes");
        }
    }

    #[tokio::test]
    async fn results_survive() {
        let results: [Appended; 4] = [
            Ok(Some(at(5))),
            Ok(None),
            Err(StreamAppendError::Conflict(at(4))),
            Err(StreamAppendError::HigherVote(Vote::new(3, 2))),
        ];
        let pieces: Vec<Bytes> = results.iter().map(result_piece).collect();
        let mut frames = Frames::new(Body::from(pieces));
        for result in results {
            assert_eq!(frames.result().await.expect("a frame"), Some(result));
        }
        assert_eq!(frames.result().await, Ok(None));
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let mut frames = Frames::new(Body::from(Bytes::from_static(&[0xff; 8])));
        assert!(matches!(frames.append().await, Err(FrameError::Malformed(_))));
    }
}
