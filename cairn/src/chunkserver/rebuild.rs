//! `cairn chunkserver rebuild-index`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use cairn_chunkserver::maintenance::StoppedDevice;

use crate::{cli::RebuildIndexArgs, progress::Progress};

pub(super) fn run(args: &RebuildIndexArgs) -> anyhow::Result<ExitCode> {
    let device = StoppedDevice::open(&args.device)?;
    let progress = Progress::new("reading segments");
    let rebuilt = device.rebuild_index(&|done, total| progress.bytes(done, total))?;
    drop(progress);
    let mut out = io::stdout().lock();
    writeln!(out, "records     {}", rebuilt.records)?;
    writeln!(out, "cut         {} that nobody was promised", rebuilt.cut)?;
    writeln!(out, "damaged     {} shards known to be", rebuilt.damaged)?;
    writeln!(out, "unreadable  {} segments", rebuilt.unreadable)?;
    Ok(if rebuilt.unreadable == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
