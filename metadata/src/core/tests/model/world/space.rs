//! Chunks: committed, referred to, lost; found by walking everything that refers to any.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_common::{
    limits,
    wire::{
        command::{ErrorCode, ForgetChunks},
        file::{FileId, FileKind},
        object::{Body, Chunk, Extent},
    },
};

use super::{Bucket, Inode, Verdict, World, done, no};

impl World {
    /// What is wrong with a body of an object or part.
    pub(crate) fn body_codes(&self, session: u64, bucket: &Bucket, body: &Body) -> Vec<ErrorCode> {
        if body.extents.is_empty() {
            let fits = body.inline.len() <= limits::INLINE_SIZE_BYTES && body.inline.len() as u64 == body.size;
            return if fits { Vec::new() } else { vec![ErrorCode::Malformed] };
        }
        let mut codes = self.extent_codes(session, bucket, &body.extents);
        let mut offset = 0;
        let follow = body.extents.iter().all(|extent| {
            let fits = extent.file_offset == offset && extent.length > 0 && extent.chunk.is_some();
            offset += extent.length;
            fits
        });
        let ids: BTreeSet<&Bytes> = body
            .extents
            .iter()
            .filter_map(|extent| Some(&extent.chunk.as_ref()?.id))
            .collect();
        let whole = follow && offset == body.size && body.inline.is_empty() && ids.len() == body.extents.len();
        if !whole || body.extents.len() > limits::COMMAND_EXTENTS_MAX {
            codes.push(ErrorCode::Malformed);
        }
        codes
    }

    /// What is wrong with the chunks of extents.
    pub(crate) fn extent_codes(&self, session: u64, bucket: &Bucket, extents: &[Extent]) -> Vec<ErrorCode> {
        let mut codes = Vec::new();
        for extent in extents {
            let Some(chunk) = &extent.chunk else { continue };
            codes.extend(self.chunk_codes(session, bucket, chunk));
            if u64::from(extent.chunk_offset) + extent.length > u64::from(chunk.length) {
                codes.push(ErrorCode::Malformed);
            }
            let twins = extents.iter().filter_map(|extent| extent.chunk.as_ref());
            if twins.into_iter().any(|twin| twin.id == chunk.id && twin != chunk) {
                codes.push(ErrorCode::Malformed);
            }
        }
        codes
    }

    fn chunk_codes(&self, session: u64, bucket: &Bucket, chunk: &Chunk) -> Vec<ErrorCode> {
        let (Some(id), Some(redundancy)) = (chunk.chunk_id(), chunk.redundancy()) else {
            return vec![ErrorCode::Malformed];
        };
        let mut codes = Vec::new();
        let width = redundancy.width();
        let sound = chunk.hash.len() == 32
            && (1..=limits::CHUNK_SIZE_BYTES as u32).contains(&chunk.length)
            && (chunk.explicit_devices.is_empty() || chunk.explicit_devices.len() == width);
        if !sound || self.chunks.contains_key(&chunk.id) {
            codes.push(ErrorCode::Malformed);
        }
        let settled_below = self.sessions.get(&session).map_or(0, |session| session.settled_below);
        if id.session.value() != session || id.counter < settled_below {
            codes.push(ErrorCode::SessionEnded);
        }
        let missing = chunk.missing.count_ones() as usize;
        if u64::from(chunk.missing) >> width != 0 {
            codes.push(ErrorCode::Malformed);
        }
        if missing > 0 {
            let least = (redundancy.data_shards() + 1).min(width);
            if missing > bucket.settings.missing_shards_max as usize || width - missing.min(width) < least {
                codes.push(ErrorCode::LimitExceeded);
            }
        }
        let lost = self.lost_shards(chunk) & !chunk.missing;
        let left = width.saturating_sub((chunk.missing | lost).count_ones() as usize);
        let least = (redundancy.data_shards() + 1).min(width);
        let allowed = bucket.settings.missing_shards_max as usize;
        if lost != 0 && left < least.max(width.saturating_sub(allowed)) {
            codes.push(ErrorCode::EpochMismatch);
        }
        codes.extend(self.place_codes(chunk));
        codes
    }

    pub(crate) fn commit_chunks(&mut self, extents: &[Extent]) {
        for chunk in extents.iter().filter_map(|extent| extent.chunk.as_ref()) {
            self.chunks.insert(chunk.id.clone(), chunk.clone());
            self.place(chunk);
        }
    }

    pub(crate) fn forget_chunks(&mut self, forget: &ForgetChunks) -> Verdict {
        if forget.chunk_ids.iter().any(|id| id.len() != 16) {
            return no(ErrorCode::Malformed);
        }
        for id in &forget.chunk_ids {
            if self.lost.remove(id).is_some() {
                self.chunks.remove(id);
                self.places.remove(id);
            }
        }
        done()
    }

    /// Inodes without a name, with their buckets and when they lost it, as far as they are surely still there.
    pub(crate) fn orphans(&self) -> Vec<(u64, u64, &Inode, u64)> {
        let buckets = self.buckets.values().chain(&self.deleted);
        let of_bucket = |bucket: &'_ Bucket| bucket.id;
        let mut found = Vec::new();
        for bucket in buckets {
            for (number, inode) in &bucket.inodes {
                if let Some(at) = inode.unlinked_at.filter(|_| !inode.may_be_gone) {
                    found.push((of_bucket(bucket), *number, inode, at));
                }
            }
        }
        found
    }

    /// Whether an inode without a name is surely still there: a mount holds it or may yet say so, or a read that began before
    /// may still need its chunks.
    fn is_kept(&self, bucket: u64, number: u64, inode: &Inode, at: u64) -> bool {
        let file = FileId { bucket, inode: number };
        let mounts = || self.sessions.values().filter(|session| session.mounts);
        let held = mounts().any(|session| session.held.contains(&file));
        let unseen = inode.kind != FileKind::Directory && mounts().any(|session| session.orphans_seen < at);
        let read = !inode.content.chunks().is_empty() && self.oldest_read() < at;
        held || unseen || read
    }

    /// Finds inodes without a name that may be gone from now on.
    pub(crate) fn find_gone(&mut self) {
        let gone: Vec<(u64, u64, u64)> = self
            .orphans()
            .into_iter()
            .filter(|(bucket, number, inode, at)| !self.is_kept(*bucket, *number, inode, *at))
            .map(|(bucket, number, _, at)| (bucket, number, at))
            .collect();
        for bucket in self.buckets.values_mut().chain(&mut self.deleted) {
            let id = bucket.id;
            for (_, number, at) in gone.iter().filter(|(of, _, _)| *of == id) {
                let inode = bucket.inode_mut(*number);
                inode.may_be_gone = true;
                for chunk in inode.content.chunks() {
                    let last = self.unnamed.entry(chunk).or_default();
                    *last = (*last).max(*at);
                }
            }
        }
    }

    /// Ends an entry: finds the chunks that were lost in it.
    pub(crate) fn find_lost(&mut self) {
        let live = self.live_chunks();
        let unnamed = std::mem::take(&mut self.unnamed);
        for id in self.chunks.keys().filter(|id| !live.contains(*id)) {
            // What went with an inode was out of reach of new readers since the inode lost its name.
            let lost_at = unnamed.get(id).copied().unwrap_or(self.log_index);
            self.lost.entry(id.clone()).or_insert(lost_at);
        }
    }

    /// Every chunk that something refers to.
    pub(crate) fn live_chunks(&self) -> BTreeSet<Bytes> {
        let mut live = BTreeSet::new();
        for bucket in self.buckets.values().chain(&self.deleted) {
            let inodes = bucket.inodes.values().filter(|inode| !inode.may_be_gone);
            let parts = bucket.uploads.values().flat_map(|upload| upload.parts.values());
            let contents = inodes
                .map(|inode| &inode.content)
                .chain(parts.map(|part| &part.content));
            for content in contents {
                live.extend(content.chunks());
            }
        }
        live
    }

    /// Chunks that were lost and yet may stay for now: those of parts, under what was laid over them.
    pub(crate) fn pinned_chunks(&self) -> BTreeSet<Bytes> {
        let buckets = self.buckets.values().chain(&self.deleted);
        let inodes = buckets.flat_map(|bucket| bucket.inodes.values());
        let pinned = inodes
            .filter(|inode| !inode.may_be_gone)
            .flat_map(|inode| inode.part_chunks.iter());
        pinned.filter(|id| self.lost.contains_key(*id)).cloned().collect()
    }

    /// Forgets the inodes that may be gone: everything that could be released was.
    pub(crate) fn prune(&mut self) {
        for bucket in self.buckets.values_mut().chain(&mut self.deleted) {
            bucket.inodes.retain(|_, inode| !inode.may_be_gone);
        }
        self.deleted.retain(|bucket| !bucket.inodes.is_empty());
    }
}
