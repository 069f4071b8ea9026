//! The mark of a store whose state differs from that of the other members.
//!
//! Invariant: a marked store is never served again, so that a restart does not bring wrong answers back.

use std::{fs, io::Write as _, path::Path};

const FILE: &str = "DIFFERS";

/// Marks the store under `dir`, and says why.
pub(super) fn mark(dir: &Path, reason: &str) {
    let marked = fs::File::create(dir.join(FILE)).and_then(|mut file| {
        file.write_all(reason.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = marked {
        tracing::error!(%error, "the store could not be marked as one that differs from the others'");
    }
}

/// Why the store under `dir` is not to be served, where it is marked.
pub(super) fn reason(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join(FILE)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(reason(dir.path()), None);
        mark(dir.path(), "why");
        assert_eq!(reason(dir.path()).as_deref(), Some("why"));
    }
}
