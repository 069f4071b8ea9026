//! `cairn metadata verify`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{
    cli::VerifyArgs,
    metadata_state::{self, Place},
};

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let verified = metadata_state::check(&Place::of(&args.source)?, args.show)?;
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
