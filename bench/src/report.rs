//! Results as a table, as BENCH lines and as JSON. The only module that reaches standard output.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::args::BenchArgs;
use crate::phase::{PhaseResult, ServerCost};

/// Bytes in the GB of every figure.
const GB: f64 = 1e9;
const MIB: f64 = 1_048_576.0;

/// All results of a run, as JSON has them.
#[derive(Serialize)]
pub(crate) struct RunReport<'a> {
    endpoint: &'a str,
    bucket: &'a str,
    verified: bool,
    payload_signed: bool,
    interrupted: bool,
    phases: &'a [PhaseReport],
}

/// The results of one phase.
#[derive(Debug, Serialize)]
pub(crate) struct PhaseReport {
    name: String,
    phase: &'static str,
    size_bytes: u64,
    concurrency: u32,
    elapsed_s: f64,
    ops: u64,
    bytes: u64,
    ops_per_s: f64,
    gb_per_s: f64,
    latency_ms: Latency,
    client_cpu: Cost,
    server: Option<ServerReport>,
    errors: BTreeMap<&'static str, ErrorReport>,
    /// Slots that ended early because nothing succeeded.
    slots_given_up: u32,
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// CPU time, whole and in relation; relations are absent where nothing was moved.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cost {
    cpu_s: f64,
    cpu_s_per_gb: Option<f64>,
    cpu_s_per_1000_ops: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ServerReport {
    cpu: Cost,
    rss_bytes: u64,
    rss_max_bytes: u64,
    rss_peak_bytes: u64,
}

#[derive(Debug, Serialize)]
struct ErrorReport {
    count: u64,
    first: String,
}

impl<'a> RunReport<'a> {
    pub(crate) fn new(args: &'a BenchArgs, phases: &'a [PhaseReport], interrupted: bool) -> Self {
        Self {
            endpoint: &args.endpoint,
            bucket: &args.bucket,
            verified: !args.no_verify,
            payload_signed: args.sign_payload,
            interrupted,
            phases,
        }
    }
}

impl PhaseReport {
    pub(crate) fn new(args: &BenchArgs, phase: &'static str, result: &PhaseResult) -> Self {
        let tally = &result.tally;
        let elapsed_s = result.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let cost = |cpu_s: f64| Cost {
            cpu_s,
            cpu_s_per_gb: (tally.bytes > 0).then(|| cpu_s / (tally.bytes as f64 / GB)),
            cpu_s_per_1000_ops: (tally.ops > 0).then(|| cpu_s / (tally.ops as f64 / 1000.0)),
        };
        let server = |used: &ServerCost| ServerReport {
            cpu: cost(used.cpu.as_secs_f64()),
            rss_bytes: used.rss_bytes,
            rss_max_bytes: used.rss_max_bytes,
            rss_peak_bytes: used.rss_peak_bytes,
        };
        let errors = tally.errors.iter().map(|(kind, error)| {
            (
                kind.label(),
                ErrorReport {
                    count: error.count,
                    first: error.first.clone(),
                },
            )
        });
        Self {
            name: name(args, phase),
            phase,
            size_bytes: args.size.0,
            concurrency: args.concurrency,
            elapsed_s,
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
            client_cpu: cost(tally.cpu.as_secs_f64()),
            server: result.server.as_ref().map(server),
            errors: errors.collect(),
            slots_given_up: tally.gave_up,
            interrupted: result.interrupted,
        }
    }

    /// The gravest error in words: wrong data before anything else.
    pub(crate) fn worst_error(&self) -> Option<String> {
        let gravest = ["corrupt", "length"].iter().find_map(|label| self.errors.get(label));
        gravest
            .or_else(|| self.errors.values().next())
            .map(|error| error.first.clone())
    }

    /// Name, value and unit of every BENCH line.
    fn metrics(&self) -> Vec<(&'static str, f64, &'static str)> {
        let latency = &self.latency_ms;
        let mut metrics = vec![("throughput", self.gb_per_s, "GB/s"), ("ops", self.ops_per_s, "ops/s")];
        if self.ops > 0 {
            metrics.extend([
                ("p50", latency.p50, "ms"),
                ("p90", latency.p90, "ms"),
                ("p99", latency.p99, "ms"),
                ("p99.9", latency.p999, "ms"),
                ("max", latency.max, "ms"),
            ]);
        }
        metrics.extend(
            self.client_cpu
                .cpu_s_per_gb
                .map(|cost| ("client_cpu", cost, "cpu_s_per_GB")),
        );
        if let Some(server) = &self.server {
            metrics.extend(server.cpu.cpu_s_per_gb.map(|cost| ("server_cpu", cost, "cpu_s_per_GB")));
            metrics.extend(
                server
                    .cpu
                    .cpu_s_per_1000_ops
                    .map(|cost| ("server_cpu_ops", cost, "cpu_s_per_1000_ops")),
            );
            metrics.extend([
                ("server_rss", server.rss_bytes as f64 / MIB, "MiB"),
                ("server_rss_max", server.rss_max_bytes as f64 / MIB, "MiB"),
                ("server_rss_peak", server.rss_peak_bytes as f64 / MIB, "MiB"),
            ]);
        }
        metrics.push((
            "errors",
            self.errors.values().map(|error| error.count).sum::<u64>() as f64,
            "count",
        ));
        metrics
    }
}

/// Standard output, locked for the length of the run.
pub(crate) fn standard_output() -> io::StdoutLock<'static> {
    io::stdout().lock()
}

/// The table of one phase and, where it is one that was asked for, its BENCH lines.
pub(crate) fn print_phase(out: &mut dyn Write, report: &PhaseReport) -> io::Result<()> {
    print_table(out, report)?;
    if report.phase != "prepare" {
        for (metric, value, unit) in report.metrics() {
            writeln!(out, "BENCH {}_{metric} {} {unit}", report.name, significant(value))?;
        }
    }
    out.flush()
}

fn print_table(out: &mut dyn Write, report: &PhaseReport) -> io::Result<()> {
    let PhaseReport {
        phase,
        name,
        ops,
        concurrency,
        elapsed_s,
        ..
    } = report;
    let gigabytes = report.bytes as f64 / GB;
    let early = if report.interrupted { ", interrupted" } else { "" };
    writeln!(
        out,
        "{phase} ({name}): {ops} requests by {concurrency} slots, {gigabytes:.3} GB in {elapsed_s:.2} s{early}"
    )?;
    let (gb_per_s, ops_per_s) = (significant(report.gb_per_s), significant(report.ops_per_s));
    writeln!(out, "  throughput   {gb_per_s} GB/s, {ops_per_s} ops/s")?;
    if report.ops > 0 {
        let latency = &report.latency_ms;
        let [p50, p90, p99] = [latency.p50, latency.p90, latency.p99].map(significant);
        let [p999, max] = [latency.p999, latency.max].map(significant);
        writeln!(
            out,
            "  latency ms   p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}"
        )?;
    }
    print_cost(out, "client CPU", report.client_cpu)?;
    if let Some(server) = &report.server {
        print_cost(out, "server CPU", server.cpu)?;
        let memory = [server.rss_bytes, server.rss_max_bytes, server.rss_peak_bytes];
        let [now, most, peak] = memory.map(|bytes| significant(bytes as f64 / MIB));
        writeln!(
            out,
            "  server RSS   {now} MiB at the end, {most} MiB at most, {peak} MiB since its start"
        )?;
    }
    for (kind, error) in &report.errors {
        writeln!(out, "  errors       {} {kind}, the first: {}", error.count, error.first)?;
    }
    if report.slots_given_up > 0 {
        writeln!(
            out,
            "  gave up      {} slots, after too many failures in a row",
            report.slots_given_up
        )?;
    }
    Ok(())
}

fn print_cost(out: &mut dyn Write, label: &str, cost: Cost) -> io::Result<()> {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), significant);
    let (per_gb, per_1000_ops) = (shown(cost.cpu_s_per_gb), shown(cost.cpu_s_per_1000_ops));
    writeln!(
        out,
        "  {label}   {per_gb} s per GB, {per_1000_ops} s per 1,000 requests"
    )
}

/// `put_16MiB_c8`, or the name that was given; with both operations in one run each has its own.
fn name(args: &BenchArgs, phase: &str) -> String {
    use crate::args::Operation;
    match (&args.name, args.op) {
        (Some(name), Operation::Put | Operation::Get) => name.clone(),
        (Some(name), Operation::PutGet) => format!("{name}_{phase}"),
        (None, _) => format!("{phase}_{}_c{}", args.size, args.concurrency),
    }
}

/// Whole numbers as they are, others with at least three significant digits; never an exponent.
fn significant(value: f64) -> String {
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    // A value that is not whole is finite and not zero, so its logarithm is within ±324.
    let decimals = (2 - value.abs().log10().floor() as i32).clamp(0, 9);
    format!("{value:.0$}", decimals as usize)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
