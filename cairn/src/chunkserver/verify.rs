//! `cairn chunkserver verify`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use cairn_chunkserver::maintenance::{Finding, StoppedDevice};

use crate::{cli::VerifyDeviceArgs, progress::Progress};

pub(super) fn run(args: &VerifyDeviceArgs) -> anyhow::Result<ExitCode> {
    let device = StoppedDevice::open(&args.device)?;
    let place = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new().prefix("cairn-verify-").tempdir_in(&place);
    let scratch = scratch.with_context(|| format!("a directory for the time being in {}", place.display()))?;
    let progress = Progress::new("verifying");
    let mut shown = 0;
    let mut written = Ok(());
    let mut report = |finding: &Finding| {
        if shown < args.show && written.is_ok() {
            shown += 1;
            written = print(finding);
        }
    };
    let verified = device.verify(scratch.path(), &mut report, &|done, total| progress.bytes(done, total))?;
    drop(progress);
    written.context("writing to standard output")?;
    let mut out = io::stdout().lock();
    writeln!(out, "shards      {}", verified.shards)?;
    writeln!(out, "live        {} bytes", verified.live_bytes)?;
    writeln!(out, "garbage     {} bytes", verified.garbage_bytes)?;
    writeln!(out, "unfinished  {} records that nobody was promised", verified.cut)?;
    writeln!(out, "findings    {}", verified.findings)?;
    Ok(if verified.findings == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", finding.subject, finding.what)?;
    writeln!(out, "    to do: {}", finding.advice)
}
