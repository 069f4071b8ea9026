//! `cairn bucket`: what an operator can do about buckets beyond S3.
//!
//! Invariant: what a bucket is refused for is said with what to do about it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use cairn_common::{
    cluster_map::ClusterMap,
    redundancy::Redundancy,
    wire::{
        command::{Command, CreateBucket, ErrorCode, RedundancyMessage, UpdateBucket},
        query::{Answer, BucketInfo, BucketsQuery, MapQuery, Query},
    },
};
use serde::Serialize;

use crate::{
    alone::alone,
    cli::{BucketCommand, BucketListArgs, CreateBucketArgs, DataArgs, SetBucketArgs},
    cluster::{Operator, Refused},
};

/// A bucket as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    redundancy: String,
    objects: u64,
    object_bytes: u64,
    /// 0 where there is no bound.
    quota_bytes: u64,
    /// 0 where there is no bound.
    quota_objects: u64,
}

pub(crate) fn run(command: BucketCommand) -> anyhow::Result<ExitCode> {
    match command {
        BucketCommand::Create(args) => create(&args)?,
        BucketCommand::Set(args) => set(&args)?,
        BucketCommand::List(args) => list(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &CreateBucketArgs) -> anyhow::Result<()> {
    let redundancy = with_operator(&args.data, async |operator| {
        let redundancy = match args.redundancy {
            Some(redundancy) => redundancy,
            None => usual(operator).await?,
        };
        let numbers = numbers(redundancy);
        let create = CreateBucket {
            name: args.name.clone(),
            data_shards: numbers.data_shards,
            parity_shards: numbers.parity_shards,
            chunk_size_bytes: 0,
            owner_key: String::new(),
        };
        operator
            .change(Command::CreateBucket(create))
            .await
            .map_err(|error| advised(error, redundancy))?;
        Ok(redundancy)
    })?;
    writeln!(io::stdout().lock(), "bucket      {} with {redundancy}", args.name)?;
    Ok(())
}

fn set(args: &SetBucketArgs) -> anyhow::Result<()> {
    with_operator(&args.data, async |operator| {
        let update = UpdateBucket {
            name: args.name.clone(),
            quota_bytes: args.quota_bytes,
            quota_objects: args.quota_objects,
            redundancy: args.redundancy.map(numbers),
            ..UpdateBucket::default()
        };
        let changed = operator.change(Command::UpdateBucket(update)).await;
        changed.map_err(|error| match args.redundancy {
            Some(redundancy) => advised(error, redundancy),
            None => error,
        })
    })?;
    writeln!(io::stdout().lock(), "bucket      {} changed", args.name)?;
    Ok(())
}

fn list(args: &BucketListArgs) -> anyhow::Result<()> {
    let buckets = with_operator(&args.data, async |operator| {
        match operator.query(Query::Buckets(BucketsQuery {})).await? {
            Answer::Buckets(page) => Ok(page.buckets),
            _ => bail!("the metadata service answered something else about buckets"),
        }
    })?;
    let buckets: Vec<Listed> = buckets.into_iter().map(listed).collect();
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&buckets)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<32} {:<10} {:>12} {:>20}",
        "bucket", "redundancy", "objects", "bytes"
    )?;
    for bucket in buckets {
        writeln!(
            out,
            "{:<32} {:<10} {:>12} {:>20}",
            bucket.name, bucket.redundancy, bucket.objects, bucket.object_bytes
        )?;
    }
    Ok(())
}

fn listed(info: BucketInfo) -> Listed {
    let redundancy = Redundancy::erasure_coded(info.data_shards as usize, info.parity_shards as usize);
    let (usage, settings) = (info.usage.unwrap_or_default(), info.settings.unwrap_or_default());
    Listed {
        name: info.name,
        redundancy: redundancy.map_or_else(|_| "unknown".to_owned(), |redundancy| redundancy.to_string()),
        objects: usage.objects,
        object_bytes: usage.object_bytes,
        quota_bytes: settings.quota_bytes,
        quota_objects: settings.quota_objects,
    }
}

/// The redundancy of buckets that are made without one of their own.
async fn usual(operator: &mut Operator) -> anyhow::Result<Redundancy> {
    let Answer::Map(map) = operator.query(Query::Map(MapQuery::default())).await? else {
        bail!("the metadata service gave no map");
    };
    let map = ClusterMap::try_from(map)?;
    map.default_redundancy
        .context("the cluster map says no redundancy for new buckets: give --redundancy")
}

fn numbers(redundancy: Redundancy) -> RedundancyMessage {
    let narrow = |shards: usize| u32::try_from(shards).expect("a width is at most 32");
    RedundancyMessage {
        data_shards: narrow(redundancy.data_shards()),
        parity_shards: narrow(redundancy.parity_shards()),
    }
}

fn advised(error: anyhow::Error, redundancy: Redundancy) -> anyhow::Error {
    match error.downcast_ref::<Refused>().map(|refused| refused.code) {
        Some(ErrorCode::LimitExceeded) => anyhow!(
            "{error:#}: in a cluster `cairn cluster apply --also {redundancy}` adds them; a store of `cairn server` is started with \
             --redundancy {redundancy}"
        ),
        _ => error,
    }
}

/// Does `work` on the store or cluster of a directory.
fn with_operator<T>(args: &DataArgs, work: impl AsyncFnOnce(&mut Operator) -> anyhow::Result<T>) -> anyhow::Result<T> {
    alone(async {
        let mut operator = Operator::reach(&args.data).await?;
        let done = work(&mut operator).await;
        operator.close().await;
        done
    })
}
