//! Holes, ranges by reference, and what a bucket holds.

use cairn_common::wire::file::{
    ChangeSpace, CloneRange, FileAction, FileAttributes, FileQuestion, FileReply, Space, SpaceQuery,
};

use super::{FileError, Files};
use crate::error::unexpected;

impl Files {
    /// Makes holes, or room behind the end.
    pub async fn change_space(&self, change: ChangeSpace) -> Result<FileAttributes, FileError> {
        Self::attributes_of(self.change(FileAction::ChangeSpace(change)).await?)
    }

    /// Lets a range of a file be the same data as a range of another. Gives the target's attributes and the bytes cloned.
    pub async fn clone_range(&self, clone: CloneRange) -> Result<(FileAttributes, u64), FileError> {
        let outcome = self.change(FileAction::CloneRange(clone)).await?;
        let cloned = outcome.cloned_bytes;
        Ok((Self::attributes_of(outcome)?, cloned))
    }

    /// Bytes that the store could hold with the bucket's redundancy, and bytes that it holds: an estimate, since other buckets
    /// may have others.
    pub async fn store_space(&self) -> Result<(u64, u64), FileError> {
        let info = self.client.cached_bucket(&self.name).await?;
        let map = self.client.cluster_map();
        let raw: u64 = map.devices.values().map(|device| device.weight_bytes).sum();
        let (data, parity) = (u64::from(info.data_shards.max(1)), u64::from(info.parity_shards));
        let total = raw / (data + parity) * data;
        Ok((total, self.client.summary().await?.object_bytes))
    }

    /// What the bucket holds and may hold.
    pub async fn space(&self) -> Result<Space, FileError> {
        match self.ask(FileQuestion::Space(SpaceQuery {})).await? {
            FileReply::Space(space) => Ok(space),
            _ => Err(unexpected().into()),
        }
    }
}
