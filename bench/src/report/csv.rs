//! Results as CSV: a line for each phase, and for each kind of operation within it.

use super::model::{OpReport, PhaseReport, RunReport};
use crate::target::Fact;

const HEADER: &str = "target,version,redundancy,sync_mode,tls,name,phase,operation,size,concurrency,rate,elapsed_s,ops,bytes,\
                      ops_per_s,gb_per_s,p50_ms,p90_ms,p99_ms,p99.9_ms,max_ms,errors,client_cpu_s_per_gb,\
                      client_cpu_s_per_1000_ops,server_cpu_s_per_gb,server_cpu_s_per_1000_ops,server_rss_max_bytes\n";

/// All runs in one table.
pub(crate) fn csv(reports: &[RunReport]) -> String {
    let mut text = HEADER.to_owned();
    for report in reports {
        for phase in report.phases.iter().filter(|phase| phase.is_measured()) {
            push_line(&mut text, report, phase, "all", &phase.all);
            for (operation, figures) in &phase.by_op {
                push_line(&mut text, report, phase, operation, figures);
            }
        }
    }
    text
}

fn push_line(text: &mut String, report: &RunReport, phase: &PhaseReport, operation: &str, figures: &OpReport) {
    let fact = |fact: &Option<Fact>| fact.as_ref().map_or_else(String::new, |fact| fact.value.clone());
    let target = &report.target;
    let some = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let server = phase.server.as_ref();
    let latency = figures.latency_ms;
    let cells = [
        target.address.clone(),
        fact(&target.version),
        fact(&target.redundancy),
        fact(&target.sync_mode),
        target.tls.clone().unwrap_or_default(),
        phase.name.clone(),
        phase.phase.clone(),
        operation.to_owned(),
        report.load.size.clone(),
        phase.concurrency.to_string(),
        some(report.load.rate),
        phase.elapsed_s.to_string(),
        figures.ops.to_string(),
        figures.bytes.to_string(),
        figures.ops_per_s.to_string(),
        figures.gb_per_s.to_string(),
        latency.p50.to_string(),
        latency.p90.to_string(),
        latency.p99.to_string(),
        latency.p999.to_string(),
        latency.max.to_string(),
        phase.error_count().to_string(),
        some(phase.client_cpu.cpu_s_per_gb),
        some(phase.client_cpu.cpu_s_per_1000_ops),
        some(server.and_then(|server| server.cpu.cpu_s_per_gb)),
        some(server.and_then(|server| server.cpu.cpu_s_per_1000_ops)),
        server.map_or_else(String::new, |server| server.rss_max_bytes.to_string()),
    ];
    text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
    text.push('\n');
}

/// A cell as RFC 4180 writes it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(quoted("a b"), "a b");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
