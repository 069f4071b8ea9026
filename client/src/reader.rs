//! Bytes on their way out: a plan at one version of the object, read ahead piece by piece.
//!
//! Invariant: only verified bytes leave, in order and complete, or the stream ends with an error. The read stays registered
//! with the session until the stream is dropped, so the chunks that it will need are not deleted under it.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;
use cairn_common::{
    limits,
    name::check_key,
    wire::{
        object::{Extent, ObjectInfo},
        query::{Answer, ObjectQuery, Plan, PlanQuery, Query},
    },
};
use cairn_datapath::ReadError;
use futures::{
    Stream, StreamExt,
    stream::{self, FuturesOrdered},
};
use tokio::task::{AbortHandle, JoinHandle};

use crate::{
    error::{ClientError, unexpected},
    metadata::Client,
    session::ReadInProgress,
};

/// What holes are read as.
static ZEROS: [u8; limits::READ_PIECE_BYTES] = [0; limits::READ_PIECE_BYTES];

/// One version of an object, open for reading.
pub struct ObjectReader {
    client: Client,
    info: ObjectInfo,
    bucket_id: u64,
    plan: Plan,
    read: Arc<ReadInProgress>,
}

impl Client {
    /// Opens the object under `key`: one request brings what it is and where its first bytes lie.
    pub async fn open_object(&self, bucket: &str, key: &[u8]) -> Result<ObjectReader, ClientError> {
        check_key(key)?;
        let read = Arc::new(self.shared.session().begin_read());
        let key = Bytes::copy_from_slice(key);
        let query = ObjectQuery {
            bucket: bucket.to_owned(),
            key,
            with_plan: true,
            plan_from: 0,
        };
        let Answer::Object(answer) = self.read(Query::Object(query)).await? else {
            return Err(unexpected());
        };
        let (Some(info), Some(plan)) = (answer.info, answer.plan) else {
            return Err(unexpected());
        };
        Ok(ObjectReader {
            client: self.clone(),
            info,
            bucket_id: answer.bucket_id,
            plan,
            read,
        })
    }
}

impl ObjectReader {
    /// What the object is.
    pub const fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The bytes of `range`, which lies within the object.
    pub fn read(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static {
        let inline = !self.plan.inline.is_empty();
        let mut pieces = VecDeque::new();
        if inline && !range.is_empty() {
            let index = |offset: u64| {
                usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(self.plan.inline.len())
            };
            pieces.push_back(self.plan.inline.slice(index(range.start)..index(range.end)));
        }
        let state = Reading {
            client: self.client,
            bucket_id: self.bucket_id,
            inode: self.info.inode,
            data_version: self.plan.data_version,
            size: self.info.size,
            planned_to: planned_to(&self.plan, self.info.size),
            planned: self.plan.extents.into(),
            position: if inline { range.end } else { range.start },
            end: range.end,
            fetching: FuturesOrdered::new(),
            aborts: Aborts::default(),
            pieces,
            _read: self.read,
        };
        stream::unfold(Some(state), |state| async move {
            let mut state = state?;
            match state.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(state))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

type Fetch = JoinHandle<Result<Vec<Bytes>, ReadError>>;

struct Reading {
    client: Client,
    bucket_id: u64,
    inode: u64,
    /// The version of the data that all pages of the plan are of.
    data_version: u64,
    /// Bytes of the whole object.
    size: u64,
    planned: VecDeque<Extent>,
    /// The plan at hand reaches up to here; what it leaves out before is a hole.
    planned_to: u64,
    /// Next byte of the file to be asked for.
    position: u64,
    end: u64,
    fetching: FuturesOrdered<Fetch>,
    aborts: Aborts,
    pieces: VecDeque<Bytes>,
    _read: Arc<ReadInProgress>,
}

/// Stops the fetches of a stream that was dropped.
#[derive(Default)]
struct Aborts(VecDeque<AbortHandle>);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            while self.position < self.end && self.fetching.len() < limits::READ_AHEAD_PIECES {
                if !self.fetch_next().await? {
                    break;
                }
            }
            let Some(fetched) = self.fetching.next().await else {
                return Ok(None);
            };
            self.aborts.0.pop_front();
            let fetched = fetched.map_err(|error| ClientError::Internal(format!("reading a chunk: {error}")))?;
            self.pieces.extend(fetched?);
        }
    }

    /// Starts to fetch the next piece: up to the next multiple of the piece size within its chunk. `false` where it is not wanted yet
    /// and there is no memory to read ahead.
    async fn fetch_next(&mut self) -> Result<bool, ClientError> {
        let extent = match self.planned_at_position().await? {
            Planned::Extent(extent) => extent,
            Planned::HoleTo(end) => {
                self.take_zeros(end);
                return Ok(true);
            }
        };
        let skipped = self.position - extent.file_offset;
        let Some(chunk) = extent.chunk else {
            self.take_inline(&extent.inline, skipped)?;
            return Ok(true);
        };
        let start = u64::from(extent.chunk_offset) + skipped;
        let to_multiple_of = |unit: usize| {
            let stop = (start / unit as u64 + 1) * unit as u64;
            (stop - start)
                .min(extent.length - skipped)
                .min(self.end - self.position)
        };
        let mut length = to_multiple_of(limits::READ_PIECE_BYTES);
        let shared = Arc::clone(&self.client.shared);
        let is_ahead = !self.fetching.is_empty();
        let share = match length as usize {
            bytes if is_ahead => shared.datapath.memory_to_read_ahead(bytes),
            bytes => shared.datapath.memory_to_read(bytes),
        };
        if share.is_none() {
            if is_ahead {
                return Ok(false);
            }
            length = to_multiple_of(limits::BLOCK_SIZE_BYTES);
        }
        let narrow = |offset: u64| u32::try_from(offset).map_err(|_| unexpected());
        let range = narrow(start)?..narrow(start + length)?;
        self.fetch(length, async move {
            let pieces = shared.read_chunk(&chunk, range).await?;
            Ok(match share {
                Some(share) => share.hold(pieces),
                None => pieces,
            })
        });
        Ok(true)
    }

    /// Has `piece` fetched, which is the next `length` bytes.
    fn fetch(&mut self, length: u64, piece: impl Future<Output = Result<Vec<Bytes>, ReadError>> + Send + 'static) {
        let task = tokio::spawn(piece);
        self.aborts.0.push_back(task.abort_handle());
        self.fetching.push_back(task);
        self.position += length;
    }

    /// A piece that came with the plan itself.
    fn take_inline(&mut self, inline: &Bytes, skipped: u64) -> Result<(), ClientError> {
        let narrow = |offset: u64| usize::try_from(offset).map_err(|_| unexpected());
        let start = narrow(skipped)?;
        let stop = inline
            .len()
            .min(start.saturating_add(narrow(self.end - self.position)?));
        if start >= stop {
            return Err(unexpected());
        }
        self.take(inline.slice(start..stop));
        Ok(())
    }

    /// A piece of a hole that ends at `end`.
    fn take_zeros(&mut self, end: u64) {
        let length = (end.min(self.end) - self.position).min(ZEROS.len() as u64);
        self.take(Bytes::from_static(&ZEROS[..length as usize]));
    }

    /// A piece that is at hand; it takes its place among those being fetched.
    fn take(&mut self, piece: Bytes) {
        self.fetch(piece.len() as u64, std::future::ready(Ok(vec![piece])));
    }

    /// What the plan says of the next byte; asks for a further page where it is not at hand.
    async fn planned_at_position(&mut self) -> Result<Planned, ClientError> {
        if self.position >= self.planned_to {
            self.ask_for_page().await?;
        }
        while let Some(extent) = self.planned.front() {
            if self.position < extent.file_offset {
                return Ok(Planned::HoleTo(extent.file_offset.min(self.planned_to)));
            }
            if self.position < extent.file_offset + extent.length {
                return Ok(Planned::Extent(extent.clone()));
            }
            self.planned.pop_front();
        }
        if self.position < self.planned_to {
            return Ok(Planned::HoleTo(self.planned_to));
        }
        Err(ClientError::Corrupt(format!(
            "the plan of inode {} does not reach byte {}",
            self.inode, self.position
        )))
    }

    async fn ask_for_page(&mut self) -> Result<(), ClientError> {
        let query = PlanQuery {
            bucket_id: self.bucket_id,
            inode: self.inode,
            from: self.position,
            data_version: self.data_version,
        };
        let Answer::Plan(plan) = self.client.read(Query::Plan(query)).await? else {
            return Err(unexpected());
        };
        self.planned_to = planned_to(&plan, self.size);
        self.planned = plan.extents.into();
        Ok(())
    }
}

/// What a plan says of a byte.
enum Planned {
    /// It lies here.
    Extent(Extent),
    /// It is one of zeros up to this offset.
    HoleTo(u64),
}

/// Where a page of the plan of `size` bytes ends.
fn planned_to(plan: &Plan, size: u64) -> u64 {
    if plan.next_from > 0 { plan.next_from } else { size }
}
