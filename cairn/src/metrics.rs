//! All metrics of the process in one registry, as text for Prometheus.

use std::{sync::atomic::AtomicU64, time::Instant};

use prometheus_client::{
    encoding::text::encode,
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};

/// The registry, filled at the start.
pub(crate) struct Metrics {
    registry: Registry,
    uptime_seconds: Gauge,
    resident_bytes: Gauge,
    cpu_seconds: Gauge<f64, AtomicU64>,
    started: Instant,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("cairn_build", "The running program", Info::new(version));
        let (uptime_seconds, resident_bytes) = (Gauge::default(), Gauge::default());
        registry.register(
            "cairn_uptime_seconds",
            "Seconds since the server started",
            uptime_seconds.clone(),
        );
        registry.register(
            "cairn_resident_bytes",
            "Resident memory of the process",
            resident_bytes.clone(),
        );
        let cpu_seconds = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "cairn_cpu_seconds",
            "CPU time of the process, user and system",
            cpu_seconds.clone(),
        );
        Self {
            registry,
            uptime_seconds,
            resident_bytes,
            cpu_seconds,
            started: Instant::now(),
        }
    }

    /// For the parts to add theirs.
    pub(crate) fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The present values in the OpenMetrics text format.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        self.uptime_seconds
            .set(i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX));
        self.resident_bytes.set(resident_bytes().unwrap_or(0));
        self.cpu_seconds.set(cpu_seconds());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Resident memory as the kernel counts it.
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
}
