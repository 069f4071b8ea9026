//! The one binary: subcommands, configuration, and the wiring of all parts in one process; nothing else.

mod admin;
mod alone;
mod bench;
mod bootstrap;
mod bucket;
mod chunkserver;
mod cli;
mod cluster;
mod config;
mod credentials;
mod data_dir;
mod describe;
mod dev_cluster;
mod env;
mod gateway;
mod gauges;
mod key;
mod logging;
mod metadata;
mod metadata_state;
mod metrics;
mod mount;
mod parts;
mod progress;
mod running;
mod server;
mod serving;
mod status;
mod tls;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use cli::{Cli, Command};

/// Eight-megabyte buffers come and go on many threads: jemalloc gives their memory back and does not fragment.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let written = writeln!(io::stderr().lock(), "cairn: {error:#}");
            if written.is_ok() {
                ExitCode::FAILURE
            } else {
                ExitCode::from(2)
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Server(args) => server::run(*args),
        Command::Env(args) => env::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Cluster(command) => cluster::run(command),
        Command::Bucket(command) => bucket::run(command),
        Command::Explain(args) => cluster::explain(&args).map(|()| ExitCode::SUCCESS),
        Command::Key(command) => key::run(command),
        Command::Metadata(args) => metadata::run(*args),
        Command::Chunkserver(args) => chunkserver::run(*args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Mount(args) => mount::run(&args),
        Command::DevCluster(args) => dev_cluster::run(*args),
        Command::Completions(args) => describe::completions(&args).map(|()| ExitCode::SUCCESS),
        Command::Man(args) => describe::man(&args).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => cairn_bench::run(*args, &bench::Connector).map(|()| ExitCode::SUCCESS),
    }
}
