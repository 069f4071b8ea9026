//! One turn: a number of clients, each with one request under way, for a while.
//!
//! Owns: the figures of a turn, and the line in which a driver process tells them. It must never know what it drives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::process::cpu_time;

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) operations: u64,
    pub(crate) elapsed: Duration,
    /// CPU time of the process that drives.
    pub(crate) driver_cpu: Duration,
    /// CPU time of the processes that serve; nothing where they are the same.
    pub(crate) server_cpu: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Figures {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Seconds of `cpu` for 1,000 operations.
    pub(crate) fn per_1000(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1000.0 / self.operations as f64
    }

    /// As a line.
    pub(crate) fn to_line(self) -> String {
        let nanos = [self.elapsed, self.driver_cpu, self.p50, self.p99].map(|time| time.as_nanos().to_string());
        format!("{} {}", self.operations, nanos.join(" "))
    }

    /// What a line says.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn from_line(line: &str) -> Result<Self> {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("not a driver's figures: {line:?}"))?;
        let [operations, elapsed, driver_cpu, p50, p99] = numbers
            .try_into()
            .ok()
            .with_context(|| format!("not five figures: {line:?}"))?;
        let [elapsed, driver_cpu, p50, p99] = [elapsed, driver_cpu, p50, p99].map(Duration::from_nanos);
        Ok(Self {
            operations,
            elapsed,
            driver_cpu,
            server_cpu: Duration::ZERO,
            p50,
            p99,
        })
    }
}

/// Runs `client` for every number of `clients` until the time is up; each answers its latencies.
///
/// # Errors
/// Those of a client.
pub(crate) async fn run<Client>(
    clients: usize,
    time: Duration,
    client: impl Fn(usize, Instant) -> Client,
) -> Result<Figures>
where
    Client: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut running = JoinSet::new();
    for number in 0..clients {
        running.spawn(client(number, start + time));
    }
    let mut latencies = Vec::new();
    while let Some(ended) = running.join_next().await {
        latencies.extend(ended??);
    }
    let (elapsed, driver_cpu) = (start.elapsed(), cpu_time() - cpu);
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * share) as usize;
        latencies.get(index).copied().unwrap_or_default()
    };
    Ok(Figures {
        operations: latencies.len() as u64,
        elapsed,
        driver_cpu,
        server_cpu: Duration::ZERO,
        p50: at(0.50),
        p99: at(0.99),
    })
}

/// The clock of one client: until when it goes on, and how long each of its requests took.
pub(crate) struct Stopwatch {
    deadline: Instant,
    began: Instant,
    latencies: Vec<Duration>,
}

impl Stopwatch {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            began: Instant::now(),
            latencies: Vec::new(),
        }
    }

    /// Whether another request is to begin, which it does now.
    pub(crate) fn begin(&mut self) -> bool {
        self.began = Instant::now();
        self.began < self.deadline
    }

    /// The request is answered.
    pub(crate) fn end(&mut self) {
        self.latencies.push(self.began.elapsed());
    }

    pub(crate) fn latencies(self) -> Vec<Duration> {
        self.latencies
    }
}
