//! Programs that wait for an answer and are to be interrupted.
//!
//! The kernel says so by a request that fuser does not pass on, and waits for the answer all the same. So whoever lets a
//! program wait looks at its signals now and then.

use std::fs;

/// Whether a thread has a signal that it neither blocks nor ignores.
pub(crate) fn is_interrupted(thread: u32) -> bool {
    // What cannot be read is in another namespace of processes, or gone.
    let Ok(status) = fs::read_to_string(format!("/proc/{thread}/status")) else {
        return false;
    };
    is_pending(&status)
}

fn is_pending(status: &str) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(0)
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !(mask("SigBlk:") | mask("SigIgn:")) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_counts_unless_it_is_blocked_or_ignored() {
        let status = |pending: &str, blocked: &str, ignored: &str| {
            format!("Name:\tx\nSigPnd:\t{pending}\nShdPnd:\t0000000000000000\nSigBlk:\t{blocked}\nSigIgn:\t{ignored}\n")
        };
        assert!(is_pending(&status(
            "0000000000000100",
            "0000000000000000",
            "0000000000000000"
        )));
        assert!(!is_pending(&status(
            "0000000000000100",
            "0000000000000100",
            "0000000000000000"
        )));
        assert!(!is_pending(&status(
            "0000000000000100",
            "0000000000000000",
            "0000000000000100"
        )));
        assert!(!is_pending(&status(
            "0000000000000000",
            "0000000000000000",
            "0000000000000000"
        )));
        assert!(!is_pending(""));
    }
}
