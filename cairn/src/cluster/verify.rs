//! `cairn cluster verify`: what every device holds against what the metadata says, and whether that agrees with itself, every count of
//! references included. Nothing is changed.
//!
//! Invariant: what it finds is so for certain where nothing is written meanwhile; each shard that seems to be missing is looked for
//! once more after the metadata said that it should be there.

use std::{
    collections::HashSet,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, PlacementHash},
    limits::REPAIR_BATCH_MAX,
    wire::{
        chunk::{ChunkQuery, ChunkQuestion, ChunkReply},
        inventory::{ExpectedQuery, JudgeQuery, ShardVerdict},
        kind::RequestKind,
        query::{Answer, MapQuery, Query, SummaryQuery},
        server::{ServersPage, ServersQuery},
        shard::{ListShards, ListShardsReply, ShardName},
    },
};

use super::{Way, state::waiting};
use crate::{alone::alone, cli::ClusterVerifyArgs, metadata_state, progress::Progress};

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    shards: u64,
    orphans: u64,
    strays: u64,
    missing: u64,
    damaged: u64,
    /// Devices that could not be asked, each with the reason.
    silent: Vec<String>,
    /// Chunks that wait for repair, groups on the move, and devices to be looked through.
    waiting: u64,
    /// Records of the metadata, and those that contradict others.
    records: u64,
    inconsistent: u64,
    /// Deletions that are not done yet.
    releasing: u64,
}

/// `cairn cluster verify`
pub(super) fn verify(args: &ClusterVerifyArgs) -> anyhow::Result<ExitCode> {
    let (mut findings, state) = alone(async {
        let mut way = Way::to_service(&args.data.data).await?;
        let findings = gather(&mut way, args.show).await;
        let state = way
            .fetch_state(args.scratch.clone().unwrap_or_else(std::env::temp_dir))
            .await;
        way.close().await;
        Ok((findings?, state?))
    })?;
    let verified = metadata_state::check(&state, args.show)?;
    (findings.records, findings.inconsistent) = (verified.records, verified.findings);
    let mut out = io::stdout().lock();
    findings.print(&mut out).context("writing to standard output")?;
    Ok(if findings.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn gather(way: &mut Way, show: u64) -> anyhow::Result<Findings> {
    let Answer::Map(map) = way.query(Query::Map(MapQuery::default())).await? else {
        bail!("the metadata service gave no map");
    };
    let map = ClusterMap::try_from(map)?;
    let Answer::Servers(page) = way.query(Query::Servers(ServersQuery {})).await? else {
        bail!("the metadata service named no chunkservers");
    };
    announce(way, page);
    let progress = Progress::new("shards");
    let (mut findings, mut shown) = (Findings::default(), show);
    for device in map.devices.values() {
        let verified = Walk::new(way, device, &mut shown).run(&mut findings, &progress).await;
        if let Err(error) = verified {
            findings.silent.push(format!("device {}: {error:#}", device.id));
        }
    }
    drop(progress);
    let Answer::Summary(summary) = way.query(Query::Summary(SummaryQuery {})).await? else {
        bail!("the metadata service gave no summary");
    };
    findings.waiting = waiting(way).await?;
    findings.releasing = summary.release_pending;
    Ok(findings)
}

fn announce(way: &Way, page: ServersPage) {
    for info in page.servers.into_iter().filter_map(|server| server.info) {
        way.announce(info.node, &info.address);
    }
}

/// The way through one device's inventory.
struct Walk<'w> {
    way: &'w mut Way,
    device: &'w Device,
    /// Findings that are still printed.
    shown: &'w mut u64,
}

impl<'w> Walk<'w> {
    fn new(way: &'w mut Way, device: &'w Device, shown: &'w mut u64) -> Self {
        Self { way, device, shown }
    }

    async fn run(mut self, findings: &mut Findings, progress: &Progress) -> anyhow::Result<()> {
        let (mut cursor, mut after) = (Bytes::new(), Bytes::new());
        loop {
            let page = self.list(&cursor).await?;
            self.judge(&page, findings).await?;
            let last = page
                .shards
                .last()
                .map(|shard| shard.chunk_id.clone())
                .unwrap_or_default();
            let through = if page.next_cursor.is_empty() {
                Bytes::new()
            } else {
                last.clone()
            };
            self.expect(&cursor, &page, after, through, findings).await?;
            progress.records(&format!("device {}", self.device.id), findings.shards);
            if page.next_cursor.is_empty() {
                return Ok(());
            }
            (cursor, after) = (page.next_cursor, last);
        }
    }

    async fn list(&self, cursor: &Bytes) -> anyhow::Result<ListShardsReply> {
        let message = ListShards {
            device: self.device.id.value(),
            incarnation: self.device.incarnation.value(),
            cursor: cursor.clone(),
        };
        let kind = RequestKind::ListShards;
        Ok(self.way.ask_node(self.device.server, kind, &message).await?)
    }

    async fn judge(&mut self, page: &ListShardsReply, findings: &mut Findings) -> anyhow::Result<()> {
        findings.shards += page.shards.len() as u64;
        let question = ChunkQuestion::Judge(JudgeQuery {
            device: self.device.id.value(),
            shards: page.shards.clone(),
        });
        let ChunkReply::Verdicts(verdicts) = self.ask(question).await? else {
            bail!("the metadata service did not judge a page of shards");
        };
        for (shard, verdict) in page.shards.iter().zip(verdicts.verdicts()) {
            if shard.damaged {
                findings.damaged += 1;
                self.show("damaged", shard)?;
            }
            match verdict {
                ShardVerdict::Kept => {}
                ShardVerdict::Orphan => {
                    findings.orphans += 1;
                    self.show("orphan", shard)?;
                }
                ShardVerdict::Stray => {
                    findings.strays += 1;
                    self.show("stray", shard)?;
                }
            }
        }
        Ok(())
    }

    /// Looks for what should be in the range of a page.
    async fn expect(
        &mut self,
        cursor: &Bytes,
        page: &ListShardsReply,
        mut after: Bytes,
        through: Bytes,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let listed: HashSet<(&Bytes, u32)> = names(page);
        loop {
            let question = ChunkQuestion::Expected(ExpectedQuery {
                device: self.device.id.value(),
                after,
                through: through.clone(),
                limit: REPAIR_BATCH_MAX as u32,
            });
            let ChunkReply::Expected(expected) = self.ask(question).await? else {
                bail!("the metadata service did not tell what a device should hold");
            };
            let is_missed = |shard: &&ShardName| !listed.contains(&(&shard.chunk_id, shard.shard_index));
            let missed: Vec<&ShardName> = expected.shards.iter().filter(is_missed).collect();
            for shard in self.still_missed(cursor, missed).await? {
                findings.missing += 1;
                self.show("missing", shard)?;
            }
            if expected.next_after.is_empty() {
                return Ok(());
            }
            after = expected.next_after;
        }
    }

    /// Those of `missed` that a second listing from `cursor` does not show either: what was stored since the first pushes others onto
    /// further pages.
    async fn still_missed<'s>(
        &self,
        cursor: &Bytes,
        mut missed: Vec<&'s ShardName>,
    ) -> anyhow::Result<Vec<&'s ShardName>> {
        let end = missed.iter().filter_map(|shard| place(shard)).max();
        let mut cursor = cursor.clone();
        while !missed.is_empty() {
            let page = self.list(&cursor).await?;
            let present = names(&page);
            missed.retain(|shard| !present.contains(&(&shard.chunk_id, shard.shard_index)));
            let is_passed = page.shards.last().and_then(place) > end;
            if is_passed || page.next_cursor.is_empty() {
                break;
            }
            cursor = page.next_cursor;
        }
        Ok(missed)
    }

    async fn ask(&mut self, question: ChunkQuestion) -> anyhow::Result<ChunkReply> {
        let question = Some(question);
        match self.way.query(Query::Chunk(ChunkQuery { question })).await? {
            Answer::Chunk(answer) => answer.reply.context("an empty answer about chunks"),
            _ => bail!("the metadata service answered something else about chunks"),
        }
    }

    fn show(&mut self, what: &str, shard: &ShardName) -> io::Result<()> {
        if *self.shown == 0 {
            return Ok(());
        }
        *self.shown -= 1;
        let chunk = ChunkId::from_bytes(&shard.chunk_id).map_or_else(|| "?".to_owned(), |id| id.to_string());
        let device = self.device.id;
        writeln!(
            io::stdout().lock(),
            "{what:<11} shard {} of chunk {chunk} on device {device}",
            shard.shard_index
        )
    }
}

/// Where a shard comes in its device's inventory.
fn place(shard: &ShardName) -> Option<(PlacementHash, ChunkId)> {
    let chunk = ChunkId::from_bytes(&shard.chunk_id)?;
    Some((chunk.placement_hash(), chunk))
}

fn names(page: &ListShardsReply) -> HashSet<(&Bytes, u32)> {
    page.shards
        .iter()
        .map(|shard| (&shard.chunk_id, shard.shard_index))
        .collect()
}

impl Findings {
    fn is_clean(&self) -> bool {
        let found = self.orphans + self.strays + self.missing + self.damaged + self.waiting;
        let found = found + self.releasing + self.inconsistent;
        found == 0 && self.silent.is_empty()
    }

    fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        for silent in &self.silent {
            writeln!(out, "not asked   {silent}")?;
        }
        let counts = [
            ("shards", self.shards),
            ("orphans", self.orphans),
            ("strays", self.strays),
            ("missing", self.missing),
            ("damaged", self.damaged),
            ("waiting", self.waiting),
            ("releasing", self.releasing),
            ("records", self.records),
            ("findings", self.inconsistent),
        ];
        for (name, count) in counts {
            writeln!(out, "{name:<11} {count}")?;
        }
        let verdict = if self.is_clean() {
            "every shard is where it belongs, and nothing else is there"
        } else {
            "see above; what is written meanwhile, or was deleted a moment ago, may show too"
        };
        writeln!(out, "result      {verdict}")
    }
}
