//! All figures of a run, as JSON has them. Invariant: with every figure stands what it was measured on and how.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{RunArgs, WorkArgs};
use crate::engine::{PhaseResult, ServerCost};
use crate::load::{Bound, OpKind, Operation};
use crate::measure::{Errors, Second, Tally};
use crate::target::Facts;

/// Bytes in the GB of every figure.
pub(super) const GB: f64 = 1e9;

/// Of the JSON; a reader that knows another one refuses.
pub(crate) const FORMAT: u32 = 1;

/// All results of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunReport {
    pub(crate) format: u32,
    pub(crate) tool_version: String,
    /// When the results were put together, RFC 3339.
    pub(crate) ended: String,
    pub(crate) client: Machine,
    pub(crate) target: Facts,
    pub(crate) load: LoadReport,
    pub(crate) interrupted: bool,
    pub(crate) phases: Vec<PhaseReport>,
}

/// The machine that the load came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: u64,
}

/// What was asked for; absent is what has no meaning for the operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadReport {
    #[serde(default)]
    pub(crate) op: String,
    pub(crate) bucket: String,
    /// Objects or files that were there to be worked on.
    pub(crate) objects: Option<u64>,
    pub(crate) size: String,
    pub(crate) size_mean_bytes: f64,
    pub(crate) keys: String,
    /// Of `mixed` only.
    pub(crate) mix: Option<String>,
    pub(crate) range_bytes: Option<u64>,
    pub(crate) part_bytes: Option<u64>,
    /// Keys of a listing.
    pub(crate) page: Option<u32>,
    pub(crate) block_bytes: Option<u64>,
    /// Writes of a slot between two syncs of what it has written; 0 is at the end of a file and of the load only.
    pub(crate) fsync_every: Option<u32>,
    pub(crate) concurrency: u32,
    /// Operations a second of an open loop.
    pub(crate) rate: Option<f64>,
    pub(crate) warm_up_s: u64,
    /// Of each phase: how long, or how many operations.
    pub(crate) duration_s: Option<u64>,
    pub(crate) count: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) verified: bool,
    pub(crate) payload_signed: bool,
}

/// The results of one phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PhaseReport {
    pub(crate) name: String,
    pub(crate) phase: String,
    pub(crate) concurrency: u32,
    pub(crate) elapsed_s: f64,
    /// All operations together.
    #[serde(flatten)]
    pub(crate) all: OpReport,
    /// Each kind alone, where there are several.
    pub(crate) by_op: BTreeMap<String, OpReport>,
    /// Operations of an open loop that were due and never begun; their wait is among the latencies.
    pub(crate) not_begun: u64,
    pub(crate) client_cpu: Cost,
    pub(crate) server: Option<ServerReport>,
    pub(crate) errors: BTreeMap<String, ErrorReport>,
    /// Those during the warm-up, which are among no figures.
    #[serde(default)]
    pub(crate) warm_up_errors: BTreeMap<String, ErrorReport>,
    /// Slots that ended early because nothing succeeded.
    pub(crate) slots_given_up: u32,
    pub(crate) interrupted: bool,
    /// Second by second, from the end of the warm-up.
    pub(crate) series: Vec<Second>,
}

/// The results of some operations.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpReport {
    pub(crate) ops: u64,
    pub(crate) bytes: u64,
    pub(crate) ops_per_s: f64,
    pub(crate) gb_per_s: f64,
    pub(crate) latency_ms: Latency,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// CPU time, whole and in relation; relations are absent where nothing was moved.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) cpu_s: f64,
    pub(crate) cpu_s_per_gb: Option<f64>,
    pub(crate) cpu_s_per_1000_ops: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServerReport {
    pub(crate) cpu: Cost,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_max_bytes: u64,
    /// Absent where the server's own word is all that is known.
    pub(crate) rss_peak_bytes: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ErrorReport {
    pub(crate) count: u64,
    pub(crate) first: String,
}

impl RunReport {
    pub(crate) fn new(load: LoadReport, target: Facts, phases: Vec<PhaseReport>, interrupted: bool) -> Self {
        let ended = OffsetDateTime::from(SystemTime::now());
        Self {
            format: FORMAT,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            ended: ended.format(&Rfc3339).unwrap_or_default(),
            client: Machine::this(),
            target,
            load,
            interrupted,
            phases,
        }
    }
}

impl LoadReport {
    /// `objects`: how many there were to be worked on.
    pub(crate) fn new(args: &RunArgs, seed: u64, objects: Option<u64>) -> Self {
        let RunArgs { work, load, .. } = args;
        let sizes = work.sizes();
        let takes = |kind| work.op.takes(kind, &work.mix);
        let block = work.block();
        let bound = (!work.op.is_counted()).then(|| load.bound());
        Self {
            op: work.op.label(),
            bucket: args.target.bucket.clone(),
            objects,
            size: sizes.to_string(),
            size_mean_bytes: sizes.mean(),
            keys: work.key_order().to_string(),
            mix: (work.op == Operation::Mixed).then(|| work.mix.to_string()),
            range_bytes: takes(OpKind::RangeGet).then_some(work.range_size.0),
            part_bytes: takes(OpKind::Multipart).then_some(work.part_size.0),
            page: takes(OpKind::List).then_some(work.page),
            block_bytes: block.map(|block| block.0),
            fsync_every: block.map(|_| work.syncs_every()),
            concurrency: load.concurrency,
            rate: load.rate,
            warm_up_s: load.warm_up,
            duration_s: match bound {
                Some(Bound::Time(time)) => Some(time.as_secs()),
                _ => None,
            },
            count: match bound {
                Some(Bound::Count(count)) => Some(count),
                _ => None,
            },
            seed,
            verified: !work.no_verify,
            payload_signed: work.sign_payload,
        }
    }
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim());
            value.unwrap_or_default().to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kibibytes: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or(0);
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kibibytes << 10,
        }
    }
}

impl PhaseReport {
    pub(crate) fn new(args: &RunArgs, phase: &str, result: &PhaseResult) -> Self {
        let elapsed_s = result.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let (ops, bytes) = (result.total.ops, result.total.bytes);
        let server = |used: &ServerCost| ServerReport {
            cpu: Cost::new(used.cpu.as_secs_f64(), ops, bytes),
            rss_bytes: used.rss_bytes,
            rss_max_bytes: used.rss_max_bytes,
            rss_peak_bytes: used.rss_peak_bytes,
        };
        let by_kind = &result.slots.by_kind;
        let by_op = by_kind.iter().filter(|_| by_kind.len() > 1);
        let by_op = by_op.map(|(kind, tally)| ((*kind).to_owned(), OpReport::new(tally, elapsed_s)));
        Self {
            name: name(args, phase),
            phase: phase.to_owned(),
            concurrency: args.load.concurrency,
            elapsed_s,
            all: OpReport::new(&result.total, elapsed_s),
            by_op: by_op.collect(),
            not_begun: result.not_begun,
            client_cpu: Cost::new(result.slots.cpu.as_secs_f64(), ops, bytes),
            server: result.server.as_ref().map(server),
            errors: error_reports(&result.slots.errors),
            warm_up_errors: error_reports(&result.slots.warm_up_errors),
            slots_given_up: result.slots.gave_up,
            interrupted: result.interrupted,
            series: result.slots.series.seconds().to_vec(),
        }
    }

    /// The gravest error in words: wrong data before anything else.
    pub(crate) fn worst_error(&self) -> Option<String> {
        let grave = ["corrupt", "length", "listing", "attribute"];
        let all = [&self.errors, &self.warm_up_errors];
        let gravest = grave
            .iter()
            .find_map(|label| all.iter().find_map(|errors| errors.get(*label)));
        gravest
            .or_else(|| all.iter().find_map(|errors| errors.values().next()))
            .map(|error| error.first.clone())
    }

    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    /// Whether it is one that was asked for, and not one that serves it.
    pub(crate) fn is_measured(&self) -> bool {
        !matches!(self.phase.as_str(), "prepare" | "read-back")
    }
}

impl OpReport {
    fn new(tally: &Tally, elapsed_s: f64) -> Self {
        Self {
            ops: tally.ops,
            bytes: tally.bytes,
            ops_per_s: tally.ops as f64 / elapsed_s,
            gb_per_s: tally.bytes as f64 / GB / elapsed_s,
            latency_ms: Latency {
                p50: tally.latency_ms(0.5),
                p90: tally.latency_ms(0.9),
                p99: tally.latency_ms(0.99),
                p999: tally.latency_ms(0.999),
                max: tally.latency_ms(1.0),
            },
        }
    }
}

impl Cost {
    fn new(cpu_s: f64, ops: u64, bytes: u64) -> Self {
        Self {
            cpu_s,
            cpu_s_per_gb: (bytes > 0).then(|| cpu_s / (bytes as f64 / GB)),
            cpu_s_per_1000_ops: (ops > 0).then(|| cpu_s / (ops as f64 / 1000.0)),
        }
    }
}

fn error_reports(errors: &Errors) -> BTreeMap<String, ErrorReport> {
    let reports = errors.iter().map(|(kind, error)| {
        let (count, first) = (error.count, error.first.clone());
        (kind.label().to_owned(), ErrorReport { count, first })
    });
    reports.collect()
}

/// The size that tells one load from another: of objects, or of the blocks that files are read and written in.
fn unit(work: &WorkArgs) -> String {
    match work.block() {
        Some(block) => block.to_string(),
        None => work.sizes().to_string(),
    }
}

/// `put_16MiB_c8`, or the name that was given; with two operations in one run each has its own.
fn name(args: &RunArgs, phase: &str) -> String {
    match &args.output.name {
        Some(name) if args.work.op.measured_phases() == 1 => name.clone(),
        Some(name) => format!("{name}_{phase}"),
        None => format!("{phase}_{}_c{}", unit(&args.work), args.load.concurrency),
    }
}
