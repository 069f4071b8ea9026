//! `cairn metadata verify`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use cairn_metadata::maintenance::{Finding, Verified, verify};

use super::source::Place;
use crate::{cli::VerifyArgs, progress::Progress};

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let verified = check(&Place::of(&args.source)?, args.show)?;
    let mut out = io::stdout().lock();
    let (records, findings) = (verified.records, verified.findings);
    writeln!(out, "applied     entry {}", verified.applied_index)?;
    writeln!(out, "hash        {}", verified.chain)?;
    writeln!(out, "records     {records}")?;
    writeln!(out, "findings    {findings}")?;
    Ok(if findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Checks all records of a state; prints up to `show` findings.
pub(crate) fn check(place: &Place, show: u64) -> anyhow::Result<Verified> {
    let progress = Progress::new("verifying");
    let mut shown = 0;
    let mut written = Ok(());
    let mut report = |finding: &Finding| {
        if shown < show && written.is_ok() {
            shown += 1;
            written = print(finding);
        }
    };
    let mut advance = |kind: &'static str, count: u64| progress.records(kind, count);
    let verified = verify(&place.source, &place.scratch, &mut report, &mut advance)?;
    written.context("writing to standard output")?;
    Ok(verified)
}

fn print(finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} {}: {}", finding.family, finding.record, finding.what)?;
    writeln!(out, "    to do: {}", finding.advice)
}
