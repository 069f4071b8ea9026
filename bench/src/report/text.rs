//! Results as people and scripts read them: a table, and lines `BENCH <name> <value> <unit>`.

use std::io::{self, Write};

use super::model::{Cost, GB, OpReport, PhaseReport};
use crate::target::{Fact, Facts, ToldBy};

const MIB: f64 = 1_048_576.0;

/// Standard output, locked for the length of the run.
pub(crate) fn standard_output() -> io::StdoutLock<'static> {
    io::stdout().lock()
}

/// What the figures to come are to be read by.
pub(crate) fn print_facts(out: &mut dyn Write, facts: &Facts) -> io::Result<()> {
    let shown = |fact: &Option<Fact>| match fact {
        None => "not known".to_owned(),
        Some(fact) if fact.told_by == ToldBy::Flag => format!("{} (as said)", fact.value),
        Some(fact) => fact.value.clone(),
    };
    writeln!(
        out,
        "target {} {}: version {}",
        facts.kind,
        facts.address,
        shown(&facts.version)
    )?;
    let (redundancy, sync_mode) = (shown(&facts.redundancy), shown(&facts.sync_mode));
    let tls = facts.tls.as_deref().unwrap_or("not known");
    writeln!(out, "  redundancy {redundancy}, sync {sync_mode}, TLS {tls}")
}

/// The table of one phase and, where it is one that was asked for, its BENCH lines.
pub(crate) fn print_phase(out: &mut dyn Write, report: &PhaseReport) -> io::Result<()> {
    print_table(out, report)?;
    if report.is_measured() {
        for (metric, value, unit) in metrics(report) {
            writeln!(out, "BENCH {}_{metric} {} {unit}", report.name, significant(value))?;
        }
        for (kind, figures) in &report.by_op {
            for (metric, value, unit) in op_metrics(figures) {
                writeln!(
                    out,
                    "BENCH {}_{kind}_{metric} {} {unit}",
                    report.name,
                    significant(value)
                )?;
            }
        }
    }
    out.flush()
}

/// Name, value and unit of every BENCH line of the phase as a whole.
fn metrics(report: &PhaseReport) -> Vec<(&'static str, f64, &'static str)> {
    let mut metrics = op_metrics(&report.all);
    let client = report.client_cpu;
    metrics.extend(client.cpu_s_per_gb.map(|cost| ("client_cpu", cost, "cpu_s_per_GB")));
    metrics.extend(
        client
            .cpu_s_per_1000_ops
            .map(|cost| ("client_cpu_ops", cost, "cpu_s_per_1000_ops")),
    );
    if let Some(server) = &report.server {
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
        ]);
        let peak = server.rss_peak_bytes;
        metrics.extend(peak.map(|bytes| ("server_rss_peak", bytes as f64 / MIB, "MiB")));
    }
    if report.not_begun > 0 {
        metrics.push(("not_begun", report.not_begun as f64, "count"));
    }
    metrics.push(("errors", report.error_count() as f64, "count"));
    metrics
}

fn op_metrics(figures: &OpReport) -> Vec<(&'static str, f64, &'static str)> {
    let mut metrics = vec![
        ("throughput", figures.gb_per_s, "GB/s"),
        ("ops", figures.ops_per_s, "ops/s"),
    ];
    if figures.ops > 0 {
        let latency = &figures.latency_ms;
        metrics.extend([
            ("p50", latency.p50, "ms"),
            ("p90", latency.p90, "ms"),
            ("p99", latency.p99, "ms"),
            ("p99.9", latency.p999, "ms"),
            ("max", latency.max, "ms"),
        ]);
    }
    metrics
}

fn print_table(out: &mut dyn Write, report: &PhaseReport) -> io::Result<()> {
    let PhaseReport {
        phase,
        name,
        concurrency,
        elapsed_s,
        all,
        ..
    } = report;
    let (ops, gigabytes) = (all.ops, all.bytes as f64 / GB);
    let early = if report.interrupted { ", interrupted" } else { "" };
    writeln!(
        out,
        "{phase} ({name}): {ops} requests by {concurrency} slots, {gigabytes:.3} GB in {elapsed_s:.2} s{early}"
    )?;
    print_figures(out, all)?;
    for (kind, figures) in &report.by_op {
        writeln!(out, "  {kind}: {} requests", figures.ops)?;
        print_figures(out, figures)?;
    }
    if report.not_begun > 0 {
        writeln!(
            out,
            "  not begun    {} that were due; their wait is among the latencies",
            report.not_begun
        )?;
    }
    print_cost(out, "client CPU", report.client_cpu)?;
    if let Some(server) = &report.server {
        print_cost(out, "server CPU", server.cpu)?;
        let mib = |bytes: u64| significant(bytes as f64 / MIB);
        let (now, most) = (mib(server.rss_bytes), mib(server.rss_max_bytes));
        let peak = server
            .rss_peak_bytes
            .map_or_else(|| "not known".to_owned(), |peak| mib(peak) + " MiB");
        writeln!(
            out,
            "  server RSS   {now} MiB at the end, {most} MiB at most by samples, peak since its start {peak}"
        )?;
    }
    for (label, errors) in [("errors ", &report.errors), ("warm-up", &report.warm_up_errors)] {
        for (kind, error) in errors {
            writeln!(out, "  {label}      {} {kind}, the first: {}", error.count, error.first)?;
        }
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

fn print_figures(out: &mut dyn Write, figures: &OpReport) -> io::Result<()> {
    let (gb_per_s, ops_per_s) = (significant(figures.gb_per_s), significant(figures.ops_per_s));
    writeln!(out, "  throughput   {gb_per_s} GB/s, {ops_per_s} ops/s")?;
    if figures.ops > 0 {
        let latency = &figures.latency_ms;
        let [p50, p90, p99] = [latency.p50, latency.p90, latency.p99].map(significant);
        let [p999, max] = [latency.p999, latency.max].map(significant);
        writeln!(
            out,
            "  latency ms   p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}"
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

/// Whole numbers as they are, others with at least three significant digits; never an exponent.
pub(crate) fn significant(value: f64) -> String {
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    // A value that is not whole is finite and not zero, so its logarithm is within ±324.
    let decimals = (2 - value.abs().log10().floor() as i32).clamp(0, 9);
    format!("{value:.0$}", decimals as usize)
}
