//! `cairn explain s3://BUCKET/KEY`: where an object's bytes lie, on what, and what may fail without loss.
//!
//! Invariant: what it calls safe is so by what the metadata service knows now: shards that are noted as missing, and devices that
//! do not serve, count as lost.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use cairn_common::{
    cluster_map::ClusterMap,
    ids::{ChunkId, DeviceId},
    redundancy::Redundancy,
    wire::{
        object::{Chunk, Extent},
        query::{Answer, MapQuery, ObjectQuery, PlanQuery, Query},
        server::{ServerState, ServersQuery},
        shard::DeviceStatus,
    },
};
use serde::Serialize;

use super::Way;
use crate::{alone::alone, cli::ExplainArgs};

/// What is known of an object.
#[derive(Debug, Serialize)]
struct Explained {
    bucket: String,
    key: String,
    size_bytes: u64,
    etag: String,
    /// Bytes that lie in the metadata itself, under every metadata server's own copy.
    inline_bytes: u64,
    chunks: Vec<ExplainedChunk>,
    /// Devices, any, that may fail without loss; none where all lies in the metadata.
    devices_to_spare: Option<usize>,
    /// Failure domains, any, that may fail without loss.
    domains_to_spare: Option<usize>,
}

#[derive(Debug, Serialize)]
struct ExplainedChunk {
    id: String,
    /// Of the object.
    offset: u64,
    length: u64,
    redundancy: String,
    shards: Vec<ExplainedShard>,
    devices_to_spare: usize,
    domains_to_spare: usize,
}

#[derive(Debug, Serialize)]
struct ExplainedShard {
    device: u32,
    server: u64,
    domain: String,
    /// Well, missing, or on a device that does not serve.
    state: &'static str,
    /// When the last pass of the device's scrub ended, in milliseconds since 1970; 0 where none has.
    scrub_finished_ms: u64,
}

/// What shards lie on.
struct Ground {
    map: ClusterMap,
    devices: BTreeMap<DeviceId, (DeviceStatus, bool)>,
}

/// `cairn explain`
pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let (bucket, key) = parts_of(&args.object)?;
    let explained = alone(async {
        let mut way = Way::to_service(&args.data.data).await?;
        let explained = gather(&mut way, bucket, key).await;
        way.close().await;
        explained
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
        return Ok(());
    }
    print(&mut out, &explained, args.chunks).context("writing to standard output")
}

fn parts_of(object: &str) -> anyhow::Result<(&str, &str)> {
    let parts = object.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let (bucket, key) = parts.with_context(|| format!("{object} is not of the form s3://BUCKET/KEY"))?;
    ensure!(
        !bucket.is_empty() && !key.is_empty(),
        "{object} is not of the form s3://BUCKET/KEY"
    );
    Ok((bucket, key))
}

async fn gather(way: &mut Way, bucket: &str, key: &str) -> anyhow::Result<Explained> {
    let ground = Ground::of(way).await?;
    let query = ObjectQuery {
        bucket: bucket.to_owned(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        with_plan: true,
        plan_from: 0,
    };
    let Answer::Object(answer) = way.query(Query::Object(query)).await? else {
        bail!("the metadata service answered something else about an object");
    };
    let info = answer.info.context("an object without a description")?;
    let mut plan = answer.plan.context("an object without a plan")?;
    let mut explained = Explained {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        size_bytes: info.size,
        etag: info.attributes.map(|attributes| attributes.etag).unwrap_or_default(),
        inline_bytes: plan.inline.len() as u64,
        chunks: Vec::new(),
        devices_to_spare: None,
        domains_to_spare: None,
    };
    loop {
        for extent in &plan.extents {
            explained.inline_bytes += extent.inline.len() as u64;
            explained.chunks.extend(ground.chunk(extent)?);
        }
        if plan.next_from == 0 {
            break;
        }
        let further = PlanQuery {
            bucket_id: answer.bucket_id,
            inode: info.inode,
            from: plan.next_from,
            data_version: plan.data_version,
        };
        plan = match way.query(Query::Plan(further)).await? {
            Answer::Plan(page) => page,
            _ => bail!("the metadata service answered something else about a plan"),
        };
    }
    explained.devices_to_spare = explained.chunks.iter().map(|chunk| chunk.devices_to_spare).min();
    explained.domains_to_spare = explained.chunks.iter().map(|chunk| chunk.domains_to_spare).min();
    Ok(explained)
}

impl Ground {
    async fn of(way: &mut Way) -> anyhow::Result<Self> {
        let Answer::Map(map) = way.query(Query::Map(MapQuery::default())).await? else {
            bail!("the metadata service gave no map");
        };
        let Answer::Servers(page) = way.query(Query::Servers(ServersQuery {})).await? else {
            bail!("the metadata service named no chunkservers");
        };
        let told = |server: ServerState| {
            let is_up = server.is_up;
            let devices = server.devices.into_iter();
            devices.map(move |device| (DeviceId::new(device.device), (device, is_up)))
        };
        Ok(Self {
            map: ClusterMap::try_from(map)?,
            devices: page.servers.into_iter().flat_map(told).collect(),
        })
    }

    fn chunk(&self, extent: &Extent) -> anyhow::Result<Option<ExplainedChunk>> {
        let Some(chunk) = &extent.chunk else { return Ok(None) };
        let id = chunk.chunk_id().context("a chunk without an id")?;
        let redundancy = chunk.redundancy().context("a chunk of an unknown scheme")?;
        let location = self.location(id, redundancy, chunk);
        let location = location.with_context(|| format!("the map says nothing of where chunk {id} lies"))?;
        let shards: Vec<ExplainedShard> = (0..)
            .zip(location)
            .map(|(index, device)| self.shard(device, chunk.missing & 1 << index != 0))
            .collect();
        Ok(Some(ExplainedChunk {
            id: id.to_string(),
            offset: extent.file_offset,
            length: extent.length,
            redundancy: redundancy.to_string(),
            devices_to_spare: to_spare(&shards, redundancy.data_shards(), |shard| shard.device.to_string()),
            domains_to_spare: to_spare(&shards, redundancy.data_shards(), |shard| shard.domain.clone()),
            shards,
        }))
    }

    fn location(&self, id: ChunkId, redundancy: Redundancy, chunk: &Chunk) -> Option<Vec<DeviceId>> {
        let group = id.placement_hash().group(self.map.group_bits);
        let explicit = chunk.explicit_row();
        explicit.or_else(|| Some(self.map.row(redundancy.width(), group)?.to_vec()))
    }

    fn shard(&self, id: DeviceId, is_missing: bool) -> ExplainedShard {
        let device = self.map.devices.get(&id);
        let told = self.devices.get(&id);
        // Of a server that never told anything nothing bad is known.
        let serves = told.is_none_or(|(device, is_up)| *is_up && device.up);
        ExplainedShard {
            device: id.value(),
            server: device.map_or(0, |device| device.server.value()),
            domain: device.map_or_else(|| format!("gone:{id}"), |device| device.failure_domain.clone()),
            state: match (is_missing, device.is_some() && serves) {
                (true, _) => "missing",
                (false, true) => "well",
                (false, false) => "down",
            },
            scrub_finished_ms: told.map_or(0, |(device, _)| device.scrub_finished_ms),
        }
    }
}

/// How many groups of shards, as `group` names them, may fail whichever they are, so that `needed` are left.
fn to_spare(shards: &[ExplainedShard], needed: usize, group: impl Fn(&ExplainedShard) -> String) -> usize {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for shard in shards.iter().filter(|shard| shard.state == "well") {
        *counts.entry(group(shard)).or_default() += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by(|one, other| other.cmp(one));
    let mut left: usize = counts.iter().sum();
    let mut spared = 0;
    for count in counts {
        left = left.saturating_sub(count);
        if left < needed {
            break;
        }
        spared += 1;
    }
    spared
}

fn print(out: &mut impl io::Write, explained: &Explained, chunks: usize) -> io::Result<()> {
    writeln!(out, "object      s3://{}/{}", explained.bucket, explained.key)?;
    writeln!(out, "size        {} bytes", explained.size_bytes)?;
    writeln!(out, "etag        {}", explained.etag)?;
    if explained.inline_bytes > 0 {
        writeln!(
            out,
            "inline      {} bytes, on every metadata server",
            explained.inline_bytes
        )?;
    }
    for chunk in explained.chunks.iter().take(chunks) {
        writeln!(
            out,
            "chunk       {} {} at {}, {} bytes",
            chunk.id, chunk.redundancy, chunk.offset, chunk.length
        )?;
        for (index, shard) in chunk.shards.iter().enumerate() {
            let scrubbed = match shard.scrub_finished_ms {
                0 => "never scrubbed".to_owned(),
                finished => format!("scrubbed {} h ago", hours_since(finished)),
            };
            writeln!(
                out,
                "  shard {index:<3} device {} of server {}, {}: {}, {scrubbed}",
                shard.device, shard.server, shard.domain, shard.state
            )?;
        }
    }
    if explained.chunks.len() > chunks {
        writeln!(
            out,
            "            and {} chunks more (--chunks)",
            explained.chunks.len() - chunks
        )?;
    }
    if let (Some(devices), Some(domains)) = (explained.devices_to_spare, explained.domains_to_spare) {
        writeln!(
            out,
            "may fail    any {devices} devices, any {domains} failure domains, without loss"
        )?;
    }
    Ok(())
}

fn hours_since(milliseconds: u64) -> u64 {
    let since = UNIX_EPOCH + Duration::from_millis(milliseconds);
    SystemTime::now().duration_since(since).unwrap_or_default().as_secs() / 3600
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(of: &[(u32, &str, &'static str)]) -> Vec<ExplainedShard> {
        let shard = |(device, domain, state): &(u32, &str, &'static str)| ExplainedShard {
            device: *device,
            server: 1,
            domain: (*domain).to_owned(),
            state,
            scrub_finished_ms: 0,
        };
        of.iter().map(shard).collect()
    }

    #[test]
    fn what_may_fail_is_counted_by_the_worst_that_can_happen() {
        let spare = |of: &[_], needed| {
            let shards = shards(of);
            (
                to_spare(&shards, needed, |shard| shard.device.to_string()),
                to_spare(&shards, needed, |shard| shard.domain.clone()),
            )
        };
        let apart = [(1, "a", "well"), (2, "b", "well"), (3, "c", "well")];
        assert_eq!(
            (spare(&apart, 1), spare(&apart, 2), spare(&apart, 3)),
            ((2, 2), (1, 1), (0, 0))
        );
        let together = [(1, "a", "well"), (2, "a", "well"), (3, "b", "well")];
        assert_eq!(spare(&together, 2), (1, 0));
        let ill = [(1, "a", "well"), (2, "b", "down"), (3, "c", "missing")];
        assert_eq!((spare(&ill, 1), spare(&ill, 2)), ((0, 0), (0, 0)));
    }

    #[test]
    fn an_object_is_named_by_bucket_and_key() {
        assert_eq!(parts_of("s3://bucket/a/b").expect("both"), ("bucket", "a/b"));
        for wrong in ["bucket/key", "s3://bucket", "s3:///key", "s3://bucket/"] {
            assert!(parts_of(wrong).is_err(), "{wrong}");
        }
    }
}
