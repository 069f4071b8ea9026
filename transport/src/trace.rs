//! Which larger piece of work the current task belongs to, so that the requests it sends say so.
//!
//! Invariant: the context travels with requests, never with threads: a task that is spawned has none unless it is given one.

use cairn_common::wire::head::TraceContext;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The context of the current task, if it has one.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|context| *context).ok()
}

/// Runs `work` within `context`.
pub async fn scope<F: Future>(context: Option<TraceContext>, work: F) -> F::Output {
    match context {
        Some(context) => CURRENT.scope(context, work).await,
        None => work.await,
    }
}

/// The trace id as it stands in logs: 32 hexadecimal digits.
pub fn id_text(context: TraceContext) -> String {
    format!("{:016x}{:016x}", context.trace_id_high, context.trace_id_low)
}
