//! The runtime of a command that does one piece of work and ends.

use anyhow::Context as _;

/// Does `work` on a runtime of its own.
pub(crate) fn alone<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(work)
}
