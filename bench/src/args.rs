//! The command line: flags, their parsing and their defaults. Decides nothing about the run itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::MAX_CONCURRENCY;
use crate::load::{Bound, ByteSize, KeyOrder, Mix, Operation, Sizes};

/// Length of a phase where neither time nor count is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// Loads a store and checks every byte that comes back.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum BenchCommand {
    /// Runs a list of workloads on one or several targets, in turn, and writes a table, a page with plots, JSON and CSV.
    Suite(SuiteArgs),
    /// Tells how much faster or slower one set of results is than another, and how sure that is.
    Compare(CompareArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct SuiteArgs {
    /// The list: see bench/suites/ for examples.
    #[arg(value_name = "FILE.toml")]
    pub file: PathBuf,

    /// A target, by the flags of `cairn bench` that reach it: 'NAME=--s3 http://HOST:PORT'; may be repeated, and adds to
    /// those of the file.
    #[arg(long = "target", value_name = "NAME=FLAGS")]
    pub targets: Vec<String>,

    /// How often each workload is run on each target, instead of what the file says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,

    /// Only these workloads, by name, with commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Folder for report.html, results.json, results.csv and table.txt; made where missing.
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Results of a run or a suite, as JSON.
    #[arg(value_name = "A.json")]
    pub before: PathBuf,

    /// The results that are held against them.
    #[arg(value_name = "B.json")]
    pub after: PathBuf,
}

/// The flags of one run.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub work: WorkArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is measured, and how it is reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// An S3 endpoint, as http://HOST:PORT or https://HOST:PORT; several, repeated or with commas, share the load.
    #[arg(
        long,
        visible_alias = "endpoint",
        value_name = "URL",
        env = "AWS_ENDPOINT_URL_S3",
        value_delimiter = ','
    )]
    pub s3: Vec<String>,

    /// The directory of a node of a Cairn cluster with the role client: objects go by the native client, without S3.
    #[arg(long, value_name = "DIR", conflicts_with = "mount")]
    pub native: Option<PathBuf>,

    /// A folder of any file system, where files are read and written instead.
    #[arg(long, value_name = "DIR")]
    pub mount: Option<PathBuf>,

    /// Access key id.
    #[arg(long, value_name = "ID", env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub access_key: Option<String>,

    /// Secret access key; better given by the environment, where other users cannot read it.
    #[arg(long, value_name = "KEY", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub secret_key: Option<SecretKey>,

    /// Region that requests are signed for.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    pub region: String,

    /// Bucket to work in; created where missing, and left in place.
    #[arg(long, value_name = "NAME", default_value = "cairn-bench")]
    pub bucket: String,

    /// Name the bucket in the host, as BUCKET.HOST, instead of in the path.
    #[arg(long)]
    pub virtual_host: bool,

    /// Certificates (PEM) that https:// endpoints are trusted by, instead of the system's.
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    pub ca: Option<PathBuf>,

    /// Trust whatever certificate an https:// endpoint shows; for trials only.
    #[arg(long)]
    pub insecure: bool,

    /// Longest wait for a connection, and for the server to take or give a byte.
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,

    /// Process of the server on this machine, whose CPU time and memory are reported; may be repeated.
    #[arg(long = "server-pid", value_name = "PID", value_delimiter = ',')]
    pub server_pids: Vec<u32>,

    /// Admin address of a Cairn server, as http://HOST:PORT, which is asked for version, redundancy and sync mode; and for CPU
    /// time and memory, where no --server-pid is given.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,

    /// Redundancy of the target, to be noted beside the figures where the server does not tell.
    #[arg(long, value_name = "TEXT")]
    pub redundancy: Option<String>,

    /// What the target has made durable when it acknowledges, to be noted beside the figures; such as `every write synced`.
    #[arg(long, value_name = "TEXT")]
    pub sync_mode: Option<String>,

    /// Product and version of the target, to be noted beside the figures where the server does not tell.
    #[arg(long, value_name = "TEXT")]
    pub server_version: Option<String>,
}

/// What is done to the target.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Workload")]
pub struct WorkArgs {
    /// What to measure. What reads first writes the objects it will read.
    #[arg(long, value_enum, default_value_t = Operation::PutGet)]
    pub op: Operation,

    /// Size of each object or file: bytes, or with KiB, MiB, GiB (powers of 1024), KB, MB, GB (powers of 1000). LEAST-MOST
    /// is a range, @FILE a distribution: lines `WEIGHT SIZE`. By default 1MiB of objects, 64MiB of files that are read and
    /// written in blocks, 4KiB of `metadata`, and the sizes of a source tree for `untar`.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Sizes>,

    /// Objects or files written beforehand; by default about 1 GiB of objects, at least one per slot, at most 4 GiB or 4096;
    /// one file per slot; 5000 files of `metadata`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub objects: Option<u64>,

    /// Which of them an operation takes: turn, uniform, zipf or zipf:EXPONENT; of files, which blocks rand-read and rand-write
    /// take. By default objects in turn, blocks uniformly.
    #[arg(long, value_name = "ORDER")]
    pub keys: Option<KeyOrder>,

    /// Shares of the operations of `mixed`.
    #[arg(long, value_name = "OP=WEIGHT,…", default_value_t)]
    pub mix: Mix,

    /// Bytes that range-get asks for, at any offset.
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    pub range_size: ByteSize,

    /// Bytes of each part of `multipart`; S3 wants at least 5 MiB.
    #[arg(long, value_name = "SIZE", default_value = "8MiB")]
    pub part_size: ByteSize,

    /// Bytes of one read or write of a file: by default 1MiB in sequence, 4KiB otherwise.
    #[arg(long, value_name = "SIZE")]
    pub block_size: Option<ByteSize>,

    /// Sync what a slot has written after so many of its writes, as a part of the last of them; 0 is at the end of a file and of
    /// the load only. `fsync` syncs every write where nothing is said.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fsync_every: u32,

    /// Keys in a page of `list`.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub page: u32,

    /// Put before every key, and the folder under the mount.
    #[arg(long, value_name = "PREFIX", default_value = "bench/")]
    pub prefix: String,

    /// Determines keys, content and order; by default new each run, so that objects of an earlier run cannot pass for
    /// this one's.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Leave the objects in place.
    #[arg(long)]
    pub keep: bool,

    /// Measure nothing, but delete what earlier runs have left under the prefix; with --seed only that run's.
    #[arg(long)]
    pub cleanup: bool,

    /// Do not compare what is read with what was written.
    #[arg(long)]
    pub no_verify: bool,

    /// After the load, read and verify everything that it has left, outside of the figures.
    #[arg(long, conflicts_with = "no_verify")]
    pub read_back: bool,

    /// Sign the SHA-256 of each payload (costs client CPU); otherwise payloads are sent unsigned.
    #[arg(long)]
    pub sign_payload: bool,
}

impl WorkArgs {
    /// The sizes that were given, or those of the operation.
    pub(crate) fn sizes(&self) -> Sizes {
        self.size.clone().unwrap_or_else(|| Sizes::usual(self.op))
    }

    /// The order of keys that was given, or that of the operation.
    pub(crate) fn key_order(&self) -> KeyOrder {
        let is_random = self.op.is_random();
        let usual = if is_random { KeyOrder::Uniform } else { KeyOrder::Turn };
        self.keys.unwrap_or(usual)
    }

    /// The block that was given, or that of the operation; absent where it has none.
    pub(crate) fn block(&self) -> Option<ByteSize> {
        self.op.usual_block().map(|usual| self.block_size.unwrap_or(usual))
    }

    /// After how many writes of a slot it syncs; 0 is at the end only.
    pub(crate) fn syncs_every(&self) -> u32 {
        match (self.op, self.fsync_every) {
            (Operation::Fsync, 0) => 1,
            (_, every) => every,
        }
    }
}

/// How hard, and how long.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Operations in flight at most; each has its own thread and connection.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CONCURRENCY)))]
    pub concurrency: u32,

    /// Begin so many operations a second, whatever the server does; latency counts from when each was due. Otherwise
    /// each slot begins its next one when the last is done.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// Load for so long before the figures begin.
    #[arg(long, value_name = "SECS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub warm_up: u64,

    /// Length of each measured phase; 10 seconds where neither this nor --count is given.
    #[arg(long, value_name = "SECS", conflicts_with = "count", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub duration: Option<u64>,

    /// Operations in each measured phase, instead of a duration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

impl LoadArgs {
    /// What ends each measured phase.
    pub(crate) fn bound(&self) -> Bound {
        let time = self.duration.map_or(DEFAULT_DURATION, Duration::from_secs);
        self.count.map_or(Bound::Time(time), Bound::Count)
    }
}

/// What becomes of the figures.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Results")]
pub struct OutputArgs {
    /// Name in the BENCH lines, instead of one made from operation, size and concurrency.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Also write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also write the results to this file, as CSV: one line for each phase and operation.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// A secret that does not show in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(String);

impl SecretKey {
    /// The secret itself, for signing only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl FromStr for SecretKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e7).contains(&rate) => Ok(rate),
        _ => Err("a rate lies between 0.001 and 10000000 operations a second".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        let key: SecretKey = "hunter2".parse().unwrap();
        assert!(!format!("{key:?}").contains("hunter2"));
    }

    #[test]
    fn rates_are_bounded() {
        assert_eq!(parse_rate("2.5"), Ok(2.5));
        for text in ["0", "-1", "NaN", "inf", "1e8", "x"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
