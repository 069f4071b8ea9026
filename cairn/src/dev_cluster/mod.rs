//! `cairn dev-cluster`: a whole cluster of local processes, for trying out and for tests, and the faults that one may want to see.
//!
//! The process in the foreground starts every part as a child of its own and answers the other subcommands over a socket in the
//! cluster's directory.
//!
//! ```text
//! DIR/dev-cluster.toml     what the cluster is made of
//! DIR/dev-cluster.lock     held by the process that runs it
//! DIR/dev-cluster.sock     where that process is asked
//! DIR/credentials.toml     the S3 keys of all gateways
//! DIR/<part>/              the directory of the node; log and stdout of its process; devices/N of a chunkserver
//! ```
//!
//! Invariant: no process outlives the one that started it, however that ends; what a directory holds is started again, never
//! made anew.

mod cluster;
mod control;
mod life;
mod names;
mod network;
mod part;
mod program;
mod report;
mod serve;
mod shape;
mod start;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};

use crate::cli::{DevClusterArgs, DevClusterCommand, DevClusterStatusArgs};
use control::{Answer, Request, Signalled, ask};

pub(crate) fn run(args: DevClusterArgs) -> anyhow::Result<ExitCode> {
    let Some(command) = args.command else {
        return serve::run(&args.run);
    };
    let (data, request) = match command {
        DevClusterCommand::Part(part) => return life::run(&part),
        DevClusterCommand::Status(args) => return status(&args),
        DevClusterCommand::Kill(args) => (args.data, Request::Signal(Signalled::Kill, args.names)),
        DevClusterCommand::Stop(args) => (args.data, Request::Signal(Signalled::Stop, args.names)),
        DevClusterCommand::Cont(args) => (args.data, Request::Signal(Signalled::Continue, args.names)),
        DevClusterCommand::Start(args) => (args.data, Request::Start(args.names)),
        DevClusterCommand::Wipe(args) => (args.data, Request::Wipe(args.names)),
        DevClusterCommand::Partition(args) => {
            let (names, from) = (args.names, args.from);
            (args.data, Request::Partition { names, from })
        }
        DevClusterCommand::Heal(args) => (args.data, Request::Heal(args.names)),
    };
    match ask(&data.data, &request)? {
        Answer::Done(lines) => {
            let mut out = io::stdout().lock();
            for line in lines {
                writeln!(out, "{line}").context("writing to standard output")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Answer::Refused(reason) => bail!("{reason}"),
        Answer::Status(_) => bail!("the dev-cluster answered something else than it was asked"),
    }
}

fn status(args: &DevClusterStatusArgs) -> anyhow::Result<ExitCode> {
    let status = match ask(&args.data.data, &Request::Status)? {
        Answer::Status(status) => status,
        Answer::Refused(reason) => bail!("{reason}"),
        Answer::Done(_) => bail!("the dev-cluster answered something else than it was asked"),
    };
    let mut out = io::stdout().lock();
    if args.json {
        let text = serde_json::to_string_pretty(&status).context("writing JSON")?;
        writeln!(out, "{text}").context("writing to standard output")?;
    } else {
        status.print(&mut out).context("writing to standard output")?;
    }
    Ok(ExitCode::SUCCESS)
}
