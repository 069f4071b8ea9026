//! `cairn metadata release-deletion`

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use cairn_common::{
    limits::METADATA_DEADLINE_MS,
    wire::{
        command::{Command, HoldDeletion, Outcome, WriteReply, WriteRequest},
        kind::RequestKind,
    },
};
use cairn_transport::{Body, LocalTransport, call};

use crate::{alone::alone, cli::DataArgs, metadata_state::LOCAL};

pub(super) fn run(args: &DataArgs) -> anyhow::Result<ExitCode> {
    let transport = LocalTransport::new(&args.data);
    let release = HoldDeletion {
        held: false,
        generation: 0,
    };
    let message = WriteRequest {
        command: Some(Command::HoldDeletion(release)),
        ..WriteRequest::default()
    };
    let timeout = Duration::from_millis(METADATA_DEADLINE_MS);
    let reply = alone(async {
        let kind = RequestKind::MetadataWrite;
        let answer = call(&transport, LOCAL, kind, &message, Body::empty(), timeout).await;
        Ok(answer?.0)
    });
    let reply: WriteReply = reply?;
    match reply.outcome {
        Some(Outcome::Done(_)) => {}
        Some(Outcome::Refused(refusal)) => bail!("refused: {}", refusal.detail),
        other => bail!("the metadata service answered {other:?}"),
    }
    writeln!(io::stdout().lock(), "deletion of data goes on")?;
    Ok(ExitCode::SUCCESS)
}
