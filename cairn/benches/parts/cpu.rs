//! CPU time of one thread, in user mode and in the kernel. Never of the process: those who feed a part are not counted.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How long each part is measured: a thousand of the kernel's coarsest ticks.
pub(crate) const MEASURED: Duration = Duration::from_secs(1);

/// Repeats `round`, which serves `bytes` bytes of objects on the calling thread; gives CPU seconds per GB of them.
///
/// # Errors
/// Those of `round`; a kernel that does not tell CPU times.
pub(crate) fn measure(bytes: usize, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    // Touches the memory and fills the caches.
    round()?;
    let (started, before) = (Instant::now(), thread_cpu()?);
    let mut rounds = 0;
    while started.elapsed() < MEASURED {
        round()?;
        rounds += 1;
    }
    Ok(per_gb(thread_cpu()? - before, rounds * bytes))
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Result<Duration> {
    const PATH: &str = "/proc/thread-self/schedstat";
    let text = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    nanoseconds
        .map(Duration::from_nanos)
        .with_context(|| format!("{PATH} holds no CPU time"))
}

/// Seconds per 10^9 bytes.
pub(crate) fn per_gb(cpu: Duration, bytes: usize) -> f64 {
    cpu.as_secs_f64() / (bytes as f64 / 1e9)
}
