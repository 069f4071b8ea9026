//! Where hashing and coding run: on the task's own thread while short, on the blocking pool where they would hold up others.
//!
//! Measured on the 2-core machine of the design: a chunk of 8 MiB takes 2 to 3 ms to hash and code, which is some hundred small
//! requests' worth on a worker thread, while a change of threads costs about 10 µs. It must never be used for I/O.

use cairn_common::limits::INLINE_COMPUTE_BYTES;

/// Runs `work`, which walks over `bytes` bytes.
pub(crate) async fn compute<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= INLINE_COMPUTE_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being torn down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
