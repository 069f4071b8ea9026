//! What the S3 driver itself costs, against a server in the same process that answers from memory. The lines to look at are
//! `driver_get_16MiB_client_cpu` (at most 0.45 s per GB is the aim) and `driver_get_4KiB_client_cpu_ops` (at most 0.04 s per
//! 1,000 requests): CPU time of the driver's threads alone.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where its ground is gone")]

#[expect(dead_code, reason = "the benchmark needs the sound server only")]
#[path = "../tests/runs/support/mod.rs"]
mod support;

use cairn_bench::{BenchArgs, Stop, run_with};
use clap::Parser;
use support::{ACCESS_KEY, Fault, Server};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

fn main() {
    for (name, load) in [
        (
            "driver_get_16MiB",
            "--op get --size 16MiB --objects 4 --concurrency 2 --duration 5",
        ),
        ("driver_put_16MiB", "--op put --size 16MiB --concurrency 2 --count 100"),
        (
            "driver_get_4KiB",
            "--op get --size 4KiB --objects 64 --concurrency 4 --duration 5",
        ),
        ("driver_put_4KiB", "--op put --size 4KiB --concurrency 4 --count 40000"),
    ] {
        let server = Server::start(Fault::None);
        let url = server.url();
        let line = format!("x --s3 {url} --access-key {ACCESS_KEY} --secret-key s --name {name} --warm-up 1 {load}");
        let args = Line::parse_from(line.split(' ')).args;
        run_with(&args, &Stop::default(), &mut std::io::stdout().lock()).unwrap();
    }
}
