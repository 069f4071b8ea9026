//! `cairn metadata inspect`

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use anyhow::Context as _;
use cairn_metadata::maintenance::{Filter, Line, Summary, inspect, summarize};
use serde_json::json;

use crate::{cli::InspectArgs, metadata_state::Place};

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let place = Place::of(&args.source)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let damaged = if args.summary {
        let summary = summarize(&place.source, &place.scratch)?;
        let printed = if args.json {
            writeln!(out, "{}", summary_json(&summary))
        } else {
            print_summary(&mut out, &summary)
        };
        printed.context("writing to standard output")?;
        summary.families.iter().map(|family| family.damaged).sum()
    } else {
        let filter = filter_of(args)?;
        // Whoever reads may have seen enough.
        let mut written = Ok(());
        let damaged = inspect(&place.source, &place.scratch, &filter, &mut |line| {
            written = print_line(&mut out, &line, args.json);
            written.is_ok()
        })?;
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.context("writing to standard output")?,
        }
        damaged
    };
    if damaged == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let told = writeln!(
        io::stderr().lock(),
        "{damaged} damaged records: `cairn metadata verify` tells what to do"
    );
    told.context("writing to standard error")?;
    Ok(ExitCode::FAILURE)
}

fn filter_of(args: &InspectArgs) -> anyhow::Result<Filter> {
    let mut filter = Filter {
        family: args.family.clone(),
        bucket: args.bucket.clone(),
        limit: args.limit,
        ..Filter::default()
    };
    let prefix = args.key_prefix.as_deref().unwrap_or_default();
    match prefix.strip_prefix("0x") {
        Some(digits) => filter.key_prefix = hex::decode(digits).context("--key-prefix 0x…")?,
        None => filter.name_prefix = prefix.as_bytes().to_vec(),
    }
    Ok(filter)
}

fn print_line(out: &mut impl Write, line: &Line, as_json: bool) -> io::Result<()> {
    if as_json {
        let (value, damage) = match &line.value {
            Ok(value) => (Some(value), None),
            Err(damage) => (None, Some(damage)),
        };
        let object = json!({
            "family": line.family, "key": line.key, "key_hex": line.key_hex, "value": value, "damage": damage,
        });
        return writeln!(out, "{object}");
    }
    match &line.value {
        Ok(value) => writeln!(out, "{} {} -> {value}", line.family, line.key),
        Err(damage) => writeln!(out, "{} 0x{} DAMAGED {damage}", line.family, line.key_hex),
    }
}

fn print_summary(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let applied = summary.applied.map_or_else(
        || "nothing".to_owned(),
        |(term, leader, index)| format!("entry {index} of term {term}, leader {leader}"),
    );
    writeln!(out, "applied     {applied}")?;
    writeln!(out, "hash        {}", summary.chain)?;
    writeln!(out, "time        {} ms since 1970", summary.time_ms)?;
    writeln!(out, "voters      {:?}", summary.voters)?;
    writeln!(out, "members     {:?}", summary.members)?;
    if let Some(log) = &summary.log {
        let index = |index: Option<u64>| index.map_or_else(|| "none".to_owned(), |index| index.to_string());
        writeln!(out, "log of      server {}", index(log.server))?;
        writeln!(
            out,
            "log         purged to {}, newest entry {}",
            index(log.purged),
            index(log.last)
        )?;
        let vote = log.vote.map_or_else(
            || "none".to_owned(),
            |(term, node, won)| format!("term {term} for {node}{}", if won { ", won" } else { "" }),
        );
        writeln!(out, "vote        {vote}")?;
    }
    if let Some(backup) = &summary.backup {
        let store = if backup.about.store.is_empty() {
            "unknown"
        } else {
            &backup.about.store
        };
        writeln!(out, "store       {store}")?;
        writeln!(
            out,
            "made        {} ms since 1970, by cairn {}",
            backup.created_ms, backup.program
        )?;
    }
    writeln!(
        out,
        "{:<10} {:>14} {:>18} {:>8}",
        "family", "records", "bytes", "damaged"
    )?;
    for family in &summary.families {
        let (name, records, bytes, damaged) = (family.name, family.records, family.bytes, family.damaged);
        writeln!(out, "{name:<10} {records:>14} {bytes:>18} {damaged:>8}")?;
    }
    Ok(())
}

fn summary_json(summary: &Summary) -> serde_json::Value {
    let family = |family: &cairn_metadata::maintenance::FamilySummary| {
        json!({
            "family": family.name, "records": family.records, "bytes": family.bytes, "damaged": family.damaged,
        })
    };
    let families: Vec<_> = summary.families.iter().map(family).collect();
    json!({
        "applied_index": summary.applied.map(|(_, _, index)| index),
        "applied_term": summary.applied.map(|(term, ..)| term),
        "hash": summary.chain.to_string(),
        "time_ms": summary.time_ms,
        "voters": summary.voters,
        "members": summary.members,
        "log": summary.log.as_ref().map(|log| json!({
            "server": log.server, "purged": log.purged, "last": log.last, "vote_term": log.vote.map(|(term, ..)| term),
        })),
        "families": families,
    })
}
