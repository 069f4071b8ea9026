//! The figures of a suite by phase and target, round by round: what tables, plots and comparisons are made from.

use super::report::SuiteReport;
use crate::report::PhaseReport;

/// One figure of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Throughput,
    Ops,
    P50,
    P99,
    P999,
    ClientCpu,
    ServerCpu,
    ServerCpuOps,
}

/// The phases of one name on one target.
pub(crate) struct Figures<'a> {
    pub(crate) phase: &'a str,
    pub(crate) target: &'a str,
    /// Of runs that are sound, with the round of each.
    pub(crate) runs: Vec<(u32, &'a PhaseReport)>,
    /// Of runs that failed or were interrupted.
    pub(crate) unsound: Vec<&'a PhaseReport>,
}

impl Metric {
    pub(crate) const ALL: [Self; 8] = [
        Self::Throughput,
        Self::Ops,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::ClientCpu,
        Self::ServerCpu,
        Self::ServerCpuOps,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Throughput => "GB/s",
            Self::Ops => "ops/s",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::P999 => "p99.9 ms",
            Self::ClientCpu => "client CPU s/GB",
            Self::ServerCpu => "server CPU s/GB",
            Self::ServerCpuOps => "server CPU s/1000 ops",
        }
    }

    /// Absent where it says nothing: bytes of loads that move none, the CPU of servers that were not watched.
    pub(crate) fn of(self, phase: &PhaseReport) -> Option<f64> {
        let server = phase.server.as_ref();
        let latency = Some(phase.all.latency_ms).filter(|_| phase.all.ops > 0);
        match self {
            Self::Throughput => Some(phase.all.gb_per_s).filter(|_| phase.all.bytes > 0),
            Self::Ops => Some(phase.all.ops_per_s),
            Self::P50 => latency.map(|latency| latency.p50),
            Self::P99 => latency.map(|latency| latency.p99),
            Self::P999 => latency.map(|latency| latency.p999),
            Self::ClientCpu => phase.client_cpu.cpu_s_per_gb,
            Self::ServerCpu => server.and_then(|server| server.cpu.cpu_s_per_gb),
            Self::ServerCpuOps => server.and_then(|server| server.cpu.cpu_s_per_1000_ops),
        }
    }
}

impl<'a> Figures<'a> {
    /// In the order in which phases and targets were first run.
    pub(crate) fn of(report: &'a SuiteReport) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for run in &report.runs {
            let phases = run.report.iter().flat_map(|report| &report.phases);
            for phase in phases.filter(|phase| phase.is_measured()) {
                let known = all
                    .iter()
                    .position(|figures| figures.phase == phase.name && figures.target == run.target);
                let place = known.unwrap_or_else(|| {
                    all.push(Self {
                        phase: &phase.name,
                        target: &run.target,
                        runs: Vec::new(),
                        unsound: Vec::new(),
                    });
                    all.len() - 1
                });
                if run.is_sound() {
                    all[place].runs.push((run.round, phase));
                } else {
                    all[place].unsound.push(phase);
                }
            }
        }
        // Targets take turns at being first; phases stand together.
        let mut order: Vec<&str> = Vec::new();
        for figures in &all {
            if !order.contains(&figures.phase) {
                order.push(figures.phase);
            }
        }
        all.sort_by_key(|figures| order.iter().position(|phase| *phase == figures.phase));
        all
    }

    /// One sample for each run.
    pub(crate) fn samples(&self, metric: Metric) -> Vec<f64> {
        self.runs.iter().filter_map(|(_, phase)| metric.of(phase)).collect()
    }

    /// The samples of two targets that were taken in the same round.
    pub(crate) fn pairs(&self, other: &Self, metric: Metric) -> Vec<(f64, f64)> {
        let sample = |figures: &Self, round| {
            let run = figures.runs.iter().find(|(other, _)| *other == round);
            run.and_then(|(_, phase)| metric.of(phase))
        };
        let pairs = self
            .runs
            .iter()
            .map(|(round, phase)| metric.of(phase).zip(sample(other, *round)));
        pairs.flatten().collect()
    }

    /// How many runs there were: `3`, or `2 of 3` where one is not sound.
    pub(crate) fn shown_runs(&self) -> String {
        let sound = self.runs.len();
        match self.unsound.len() {
            0 => sound.to_string(),
            unsound => format!("{sound} of {}", sound + unsound),
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.unsound.iter().map(|phase| phase.error_count()).sum()
    }
}
