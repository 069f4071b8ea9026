//! `cairn chunkserver inspect`

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use anyhow::Context as _;
use cairn_chunkserver::maintenance::{Filter, Line, StoppedDevice, Summary};
use serde_json::json;

use crate::cli::InspectDeviceArgs;

pub(super) fn run(args: &InspectDeviceArgs) -> anyhow::Result<ExitCode> {
    let device = StoppedDevice::open(&args.device)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.shows_records() {
        let filter = Filter {
            segment: args.segment,
            chunk: args.chunk.clone(),
            limit: args.limit,
        };
        // Whoever reads may have seen enough.
        let mut written = Ok(());
        device.inspect(&filter, &mut |line| {
            written = print_line(&mut out, &line, args.json);
            written.is_ok()
        })?;
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.context("writing to standard output")?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let summary = device.summarize()?;
    let printed = if args.json {
        writeln!(out, "{}", summary_json(&device, &summary))
    } else {
        print_summary(&mut out, &device, &summary)
    };
    printed
        .and_then(|()| out.flush())
        .context("writing to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn print_line(out: &mut impl Write, line: &Line, as_json: bool) -> io::Result<()> {
    if as_json {
        let object = json!({
            "segment": line.segment, "offset": line.offset, "kind": line.kind, "chunk": line.chunk, "shard": line.shard,
            "sequence": line.sequence, "record_len": line.record_len, "shard_len": line.shard_len,
            "chunk_len": line.chunk_len, "target": line.target, "state": line.state.name(),
        });
        return writeln!(out, "{object}");
    }
    let (segment, offset, chunk, shard, state) =
        (line.segment, line.offset, &line.chunk, line.shard, line.state.name());
    write!(out, "segment {segment} byte {offset}: {} {chunk}.{shard} ", line.kind)?;
    match line.target {
        Some(target) => write!(out, "of segment {target}")?,
        None => write!(out, "{} of {} bytes", line.shard_len, line.chunk_len)?,
    }
    writeln!(
        out,
        ", record {} bytes, sequence {}, {state}",
        line.record_len, line.sequence
    )
}

fn print_summary(out: &mut impl Write, device: &StoppedDevice, summary: &Summary) -> io::Result<()> {
    let identity = device.identity();
    writeln!(out, "cluster     {}", hex::encode(identity.cluster_id))?;
    writeln!(out, "device      {} in life {}", identity.device, identity.incarnation)?;
    let indexed = match &summary.indexed {
        Ok(Some((segment, offset))) => format!("all up to segment {segment}, byte {offset}"),
        Ok(None) => "empty: a start makes it anew from the segments".to_owned(),
        Err(reason) => format!("cannot be read: {reason}"),
    };
    writeln!(out, "index       {indexed}")?;
    let scrubbed = match summary.scrub_finished_ms {
        0 => "never as a whole".to_owned(),
        ended => format!("{ended} ms since 1970"),
    };
    writeln!(out, "scrubbed    {scrubbed}")?;
    writeln!(
        out,
        "{:>8} {:<10} {:>12} {:>12} {:>8} {:>10} {:>10}",
        "segment", "stage", "used bytes", "live bytes", "damaged", "shards", "tombstones"
    )?;
    for segment in &summary.segments {
        let (number, stage, used, live) = (segment.number, segment.stage, segment.used_bytes, segment.live_bytes);
        let (damaged, shards, tombstones) = (segment.damaged, segment.shards, segment.tombstones);
        writeln!(
            out,
            "{number:>8} {stage:<10} {used:>12} {live:>12} {damaged:>8} {shards:>10} {tombstones:>10}"
        )?;
        if let Some(error) = &segment.error {
            writeln!(out, "         cannot be read: {error}")?;
        }
    }
    Ok(())
}

fn summary_json(device: &StoppedDevice, summary: &Summary) -> serde_json::Value {
    let identity = device.identity();
    let segments: Vec<_> = summary
        .segments
        .iter()
        .map(|segment| {
            json!({
                "segment": segment.number, "stage": segment.stage, "used_bytes": segment.used_bytes,
                "live_bytes": segment.live_bytes, "damaged": segment.damaged, "shards": segment.shards,
                "tombstones": segment.tombstones, "error": segment.error,
            })
        })
        .collect();
    let (indexed, index_error) = match &summary.indexed {
        Ok(end) => (
            end.map(|(segment, offset)| json!({ "segment": segment, "offset": offset })),
            None,
        ),
        Err(reason) => (None, Some(reason)),
    };
    json!({
        "cluster": hex::encode(identity.cluster_id),
        "device": identity.device.value(),
        "incarnation": identity.incarnation.value(),
        "indexed": indexed,
        "index_error": index_error,
        "scrub_finished_ms": summary.scrub_finished_ms,
        "segments": segments,
    })
}
