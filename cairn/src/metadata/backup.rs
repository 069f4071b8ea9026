//! `cairn metadata backup`

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use cairn_metadata::maintenance::{About, back_up};
use cairn_transport::LocalTransport;

use crate::{alone::alone, cli::BackupArgs, data_dir::stored_settings, metadata_state::LOCAL, progress::Progress};

pub(super) fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let root = &args.data.data;
    let about = stored_settings(root)?.map_or_else(About::default, |(settings, cluster)| About {
        store: cluster.to_string(),
        settings,
    });
    let progress = Progress::new("fetching");
    let transport = LocalTransport::new(root);
    let info = alone(async {
        let show = |now: cairn_metadata::Progress| progress.bytes(now.bytes_done, now.bytes_total);
        Ok(back_up(&transport, LOCAL, &args.file, about, &show).await?)
    })?;
    drop(progress);
    let mut out = io::stdout().lock();
    writeln!(out, "backup      {}", args.file.display())?;
    writeln!(out, "applied     entry {}", info.applied_index)?;
    writeln!(out, "hash        {}", info.chain)?;
    writeln!(out, "bytes       {}", info.bytes)?;
    writeln!(
        out,
        "note        objects' data is not in it: it stays on the devices; what is deleted after now cannot be read back"
    )?;
    Ok(ExitCode::SUCCESS)
}
