//! What the processes that serve have in common: log, runtime, signals, and what the service manager (systemd) is told.
//!
//! Invariant: the manager hears that a process is ready only once it serves, and that it lives only as long as the runtime does
//! work and nothing has stopped the process for good. Without a service manager all of this says nothing.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::AbortHandle,
};

use crate::logging::{self, LogFormat};

/// Signs of life within the time after which the manager holds the process for hung.
const SIGNS_OF_LIFE: u32 = 3;

/// Time between signs of life while the process starts, where the manager watches nothing later.
const START_SIGN: Duration = Duration::from_secs(20);

/// How long a start may go on after each of them: reading a large device again takes as long as it takes.
const START_EXTENSION_US: u32 = 60_000_000;

/// Why the process cannot go on as it is; none while it can.
pub(crate) type Failed = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// A process on its way from start to stop.
pub(crate) struct Serving {
    terminate: Signal,
    interrupt: Signal,
    /// Set once the process is ready.
    failed: Arc<OnceLock<Failed>>,
    signs: Option<AbortHandle>,
}

/// Logs, and serves on a runtime of its own until `serve` ends.
pub(crate) fn run(
    format: LogFormat,
    filter: &str,
    serve: impl AsyncFnOnce(Serving) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let runtime = runtime(format, filter)?;
    runtime.block_on(async { serve(Serving::begin()?).await })
}

/// The runtime of a process that serves, which logs from here on.
pub(crate) fn runtime(format: LogFormat, filter: &str) -> anyhow::Result<Runtime> {
    logging::start(format, filter)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

impl Serving {
    /// Takes the signals, and tells the manager from now on that the process lives.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let failed = Arc::new(OnceLock::new());
        let watched = std::env::var_os("NOTIFY_SOCKET").is_some();
        let signs = watched.then(|| tokio::spawn(give_signs(Arc::clone(&failed))).abort_handle());
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            failed,
            signs,
        })
    }

    /// Tells the manager that the process serves, and from now on that it lives, as long as `failed` gives no reason against.
    pub(crate) fn ready(&self, failed: Failed) {
        // A process becomes ready once: there is nothing in it yet.
        let _set = self.failed.set(failed);
        tell(&[NotifyState::Ready, NotifyState::Status("serves")]);
    }

    /// Waits until the process is told to stop.
    pub(crate) async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("stopping on SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("stopping on SIGINT"),
        }
        tell(&[NotifyState::Stopping, NotifyState::Status("stops")]);
    }

    /// Waits for SIGINT, which means at once to a process that stops already.
    pub(crate) async fn interrupted(&mut self) {
        self.interrupt.recv().await;
        tracing::warn!("stopping at once on a second SIGINT; what is under way is lost");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.signs.iter().for_each(AbortHandle::abort);
    }
}

/// Tells the manager again and again that the process lives. A task of the runtime: where that does no more work, it is silent.
async fn give_signs(failed: Arc<OnceLock<Failed>>) {
    let pause = sd_notify::watchdog_enabled().map_or(START_SIGN, |bound| bound / SIGNS_OF_LIFE);
    let mut told = false;
    loop {
        match Sign::of(failed.get()) {
            Sign::Starts => tell(&[NotifyState::ExtendTimeoutUsec(START_EXTENSION_US)]),
            Sign::Lives => tell(&[NotifyState::Watchdog]),
            Sign::Failed(reason) if !told => {
                told = true;
                tracing::error!(reason, "the service manager is given no further sign of life");
                tell(&[NotifyState::Status(&reason)]);
            }
            Sign::Failed(_) => {}
        }
        tokio::time::sleep(pause).await;
    }
}

/// What there is to be told.
#[derive(Debug, PartialEq, Eq)]
enum Sign {
    Starts,
    Lives,
    /// It cannot go on as it is, and for this reason.
    Failed(String),
}

impl Sign {
    fn of(failed: Option<&Failed>) -> Self {
        match failed.map(|failed| failed()) {
            None => Self::Starts,
            Some(None) => Self::Lives,
            Some(Some(reason)) => Self::Failed(reason),
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told how the process is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_failed_gives_no_sign_of_life() {
        let failed = |reason: Option<&'static str>| -> Failed { Box::new(move || reason.map(str::to_owned)) };
        assert_eq!(Sign::of(None), Sign::Starts);
        assert_eq!(Sign::of(Some(&failed(None))), Sign::Lives);
        let differs = failed(Some("its store differs"));
        assert_eq!(Sign::of(Some(&differs)), Sign::Failed("its store differs".to_owned()));
    }
}
