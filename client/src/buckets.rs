//! Buckets: made, looked up, listed and removed.

use cairn_common::{
    limits,
    name::check_bucket_name,
    redundancy::Redundancy,
    wire::{
        command::{Command, CreateBucket, DeleteBucket},
        query::{Answer, BucketInfo, BucketQuery, BucketsQuery, Query},
    },
};

use crate::{
    error::{ClientError, unexpected},
    metadata::Client,
};

impl Client {
    /// Makes a bucket with the store's default redundancy. The access key `owner_key` gets all rights in it; an empty one stands
    /// for nobody.
    pub async fn create_bucket(&self, name: &str, owner_key: &str) -> Result<(), ClientError> {
        let redundancy = self.cluster_map().default_redundancy.or(self.shared.default_redundancy);
        let redundancy = redundancy.ok_or_else(|| {
            ClientError::Unavailable(
                "the cluster has no devices in use yet: `cairn cluster apply` takes them in".to_owned(),
            )
        })?;
        self.create_bucket_with(name, redundancy, owner_key).await
    }

    /// The same with a redundancy of its own.
    pub async fn create_bucket_with(
        &self,
        name: &str,
        redundancy: Redundancy,
        owner_key: &str,
    ) -> Result<(), ClientError> {
        check_bucket_name(name)?;
        let shards = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let create = CreateBucket {
            name: name.to_owned(),
            data_shards: shards(redundancy.data_shards()),
            parity_shards: shards(redundancy.parity_shards()),
            chunk_size_bytes: 0,
            owner_key: owner_key.to_owned(),
        };
        self.write(Command::CreateBucket(create)).await.map(|_| ())
    }

    /// The bucket of this name, as it is now.
    pub async fn bucket(&self, name: &str) -> Result<BucketInfo, ClientError> {
        let answer = self.read(Query::Bucket(BucketQuery { name: name.to_owned() })).await;
        let mut cache = self.shared.buckets.lock();
        match answer {
            Ok(Answer::Bucket(info)) => {
                if cache.len() >= limits::BUCKET_CACHE_MAX {
                    cache.clear();
                }
                cache.insert(name.to_owned(), info.clone());
                Ok(info)
            }
            Ok(_) => Err(unexpected()),
            Err(error) => {
                cache.remove(name);
                Err(error)
            }
        }
    }

    /// The settings of a bucket as they were when last seen. For choices that a commit checks, or that do not matter much.
    pub(crate) async fn cached_bucket(&self, name: &str) -> Result<BucketInfo, ClientError> {
        let cached = self.shared.buckets.lock().get(name).cloned();
        match cached {
            Some(info) => Ok(info),
            None => self.bucket(name).await,
        }
    }

    /// Forgets what was cached of a bucket that a commit found missing.
    pub(crate) fn forget_bucket_if_gone<T>(&self, name: &str, result: &Result<T, ClientError>) {
        if matches!(result, Err(ClientError::NoSuchBucket)) {
            self.shared.buckets.lock().remove(name);
        }
    }

    /// All buckets, by name.
    pub async fn buckets(&self) -> Result<Vec<BucketInfo>, ClientError> {
        match self.read(Query::Buckets(BucketsQuery {})).await? {
            Answer::Buckets(page) => Ok(page.buckets),
            _ => Err(unexpected()),
        }
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), ClientError> {
        let result = self
            .write(Command::DeleteBucket(DeleteBucket { name: name.to_owned() }))
            .await;
        self.shared.buckets.lock().remove(name);
        result.map(|_| ())
    }
}
