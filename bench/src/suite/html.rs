//! The page of a suite: what was measured on what, a table, and plots; one file that needs no other.

use std::fmt::Write as _;

use super::figures::{Figures, Metric};
use super::report::{SuiteReport, SuiteRun};
use super::svg::{Bar, Line, bars, colour, escaped, over_time, percentiles};
use super::table::{mean, shown};
use crate::statistics::{Ratio, mean_and_spread};
use crate::target::{Fact, ToldBy};

const STYLE: &str = "body{font:14px/1.4 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}\
                     table{border-collapse:collapse;margin:1em 0}td,th{border-bottom:1px solid #ddd;padding:.25em .6em;\
                     text-align:right}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}\
                     .plots{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{color:#555}\
                     svg text{font:11px sans-serif;fill:#444}.key span{margin-right:1.5em}.bad{color:#b00}";

const COLUMNS: [Metric; 7] = [
    Metric::Throughput,
    Metric::Ops,
    Metric::P50,
    Metric::P99,
    Metric::P999,
    Metric::ClientCpu,
    Metric::ServerCpu,
];

/// The whole page.
pub(super) fn page(report: &SuiteReport) -> String {
    let title = format!("cairn bench: {}", escaped(&report.suite));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n"
    );
    let targets = targets(report);
    push_facts(&mut page, report, &targets);
    push_failures(&mut page, report);
    let all = Figures::of(report);
    let mut phases: Vec<&str> = all.iter().map(|figures| figures.phase).collect();
    phases.dedup();
    for phase in phases {
        let figures: Vec<_> = all.iter().filter(|figures| figures.phase == phase).collect();
        push_phase(&mut page, phase, &figures, &targets);
    }
    page.push_str("</html>\n");
    page
}

fn targets(report: &SuiteReport) -> Vec<&str> {
    let mut targets: Vec<&str> = Vec::new();
    for run in &report.runs {
        if !targets.contains(&run.target.as_str()) {
            targets.push(&run.target);
        }
    }
    targets
}

fn push_facts(page: &mut String, report: &SuiteReport, targets: &[&str]) {
    let first = report.runs.iter().find_map(|run| run.report.as_ref());
    if let Some(first) = first {
        let client = &first.client;
        let _ = writeln!(
            page,
            "<p>Load from {} × {}, {:.1} GiB of memory, Linux {}; cairn bench {}; {} rounds, targets in turn; figures are \
             means of rounds with their 95% intervals, without runs that failed.</p>",
            client.cpus,
            escaped(&client.cpu),
            client.memory_bytes as f64 / f64::from(1 << 30),
            escaped(&client.kernel),
            escaped(&first.tool_version),
            report.rounds
        );
    }
    page.push_str("<table><tr><th>target<th>address<th>version<th>redundancy<th>sync<th>TLS</tr>\n");
    for target in targets {
        let mut runs = report.runs.iter().filter(|run| run.target == *target);
        let Some(facts) = runs.find_map(|run| run.report.as_ref()).map(|report| &report.target) else {
            continue;
        };
        let [version, redundancy, sync] = [&facts.version, &facts.redundancy, &facts.sync_mode].map(fact);
        let tls = escaped(facts.tls.as_deref().unwrap_or("–"));
        let (name, address) = (escaped(target), escaped(&facts.address));
        let _ = writeln!(
            page,
            "<tr><td>{name}<td>{address}<td>{version}<td>{redundancy}<td>{sync}<td>{tls}</tr>"
        );
    }
    page.push_str("</table>\n");
}

fn fact(fact: &Option<Fact>) -> String {
    match fact {
        None => "not known".to_owned(),
        Some(fact) if fact.told_by == ToldBy::Flag => format!("{} (as said)", escaped(&fact.value)),
        Some(fact) => escaped(&fact.value),
    }
}

fn push_failures(page: &mut String, report: &SuiteReport) {
    let failed: Vec<&SuiteRun> = report.runs.iter().filter(|run| run.error.is_some()).collect();
    if failed.is_empty() {
        return;
    }
    page.push_str("<h2 class=\"bad\">Runs that failed</h2><ul>\n");
    for run in failed {
        let error = escaped(run.error.as_deref().unwrap_or_default());
        let (workload, target) = (escaped(&run.workload), escaped(&run.target));
        let _ = writeln!(
            page,
            "<li>{workload} on {target}, round {}: {error}</li>",
            run.round + 1
        );
    }
    page.push_str("</ul>\n");
}

fn push_phase(page: &mut String, phase: &str, figures: &[&Figures<'_>], targets: &[&str]) {
    let _ = writeln!(page, "<h2>{}</h2>", escaped(phase));
    page.push_str("<p class=\"key\">");
    for one in figures {
        let _ = write!(
            page,
            "<span style=\"color:{}\">■ {}</span>",
            colour(place(targets, one)),
            escaped(one.target)
        );
    }
    page.push_str("</p>\n");
    push_table(page, figures);
    let moves_bytes = figures.iter().any(|one| !one.samples(Metric::Throughput).is_empty());
    page.push_str("<div class=\"plots\">\n");
    if moves_bytes {
        push_plot(page, Metric::Throughput.label(), &bar_plot(figures, Metric::Throughput));
    }
    push_plot(page, Metric::Ops.label(), &bar_plot(figures, Metric::Ops));
    push_plot(page, "latency in ms, every run", &latency_plot(figures, targets));
    push_plot(page, "ops/s over time, every run", &time_plot(figures, targets));
    page.push_str("</div>\n");
}

fn push_table(page: &mut String, figures: &[&Figures<'_>]) {
    page.push_str("<table><tr><th>target<th>runs");
    for metric in COLUMNS {
        let _ = write!(page, "<th>{}", metric.label());
    }
    page.push_str("<th>errors<th>ops ratio to first</tr>\n");
    for one in figures {
        let _ = write!(page, "<tr><td>{}<td>{}", escaped(one.target), one.shown_runs());
        for metric in COLUMNS {
            let _ = write!(page, "<td>{}", mean(one, metric));
        }
        let first = figures.first().filter(|first| first.target != one.target);
        let ratio = first.and_then(|first| Ratio::paired(&first.pairs(one, Metric::Ops)));
        let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| shown(&ratio));
        let _ = writeln!(page, "<td>{}<td>{ratio}</tr>", one.errors());
    }
    page.push_str("</table>\n");
}

fn push_plot(page: &mut String, caption: &str, svg: &str) {
    if !svg.is_empty() {
        let _ = writeln!(page, "<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    }
}

fn bar_plot(figures: &[&Figures<'_>], metric: Metric) -> String {
    let all = figures.iter().map(|one| {
        let runs = one.samples(metric);
        let (mean, spread) = if runs.is_empty() {
            (0.0, None)
        } else {
            mean_and_spread(&runs)
        };
        Bar {
            name: one.target,
            mean,
            spread,
            runs,
        }
    });
    bars(&all.collect::<Vec<_>>())
}

fn latency_plot(figures: &[&Figures<'_>], targets: &[&str]) -> String {
    let mut lines = Vec::new();
    for one in figures {
        lines.extend(one.runs.iter().map(|(_, phase)| {
            let latency = phase.all.latency_ms;
            Line {
                place: place(targets, one),
                points: vec![latency.p50, latency.p90, latency.p99, latency.p999, latency.max],
            }
        }));
    }
    percentiles(&["p50", "p90", "p99", "p99.9", "max"], &lines)
}

fn time_plot(figures: &[&Figures<'_>], targets: &[&str]) -> String {
    let mut lines = Vec::new();
    for one in figures {
        lines.extend(one.runs.iter().map(|(_, phase)| {
            // The last second is cut short by the end of the phase.
            let whole = phase.series.len().min(phase.elapsed_s as usize);
            Line {
                place: place(targets, one),
                points: phase.series[..whole].iter().map(|second| second.ops as f64).collect(),
            }
        }));
    }
    over_time(&lines)
}

fn place(targets: &[&str], figures: &Figures<'_>) -> usize {
    targets.iter().position(|target| *target == figures.target).unwrap_or(0)
}
