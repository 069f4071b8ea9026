//! How far the log is known to be synced, noted beside the log: a log that ends before it has lost its end.
//!
//! ```text
//! DIR/log.synced    offset 0, 8 bytes: sequence u64, little-endian | offset 8, 8 bytes: its complement
//! ```
//!
//! The number is RocksDB's of the newest change: entries, votes, truncations and purges all count, so it only ever grows. RocksDB
//! ends a log at the first record that is not whole, and cannot tell one that was being written when the power went, which
//! nobody was promised, from one that was synced and damaged since. The note tells. It is written after the sync, and is
//! itself synced only now and then: after a power cut it may be that old, which costs nothing but sharpness. Invariant: it
//! never runs ahead of what the log holds on disk.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::StoreError;

const FILE: &str = "log.synced";
const BYTES: usize = 16;

/// Time after which the note itself is synced.
const SYNC_PERIOD: Duration = Duration::from_secs(1);

/// The note.
pub(super) struct Watermark {
    file: File,
    noted: Mutex<Noted>,
}

struct Noted {
    sequence: Option<u64>,
    synced_at: Instant,
}

impl Watermark {
    /// Opens the note in a store's directory.
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let open = || {
            let path = directory.join(FILE);
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            let noted = Noted {
                sequence: read(&file)?,
                synced_at: Instant::now(),
            };
            Ok(Self {
                file,
                noted: Mutex::new(noted),
            })
        };
        open().map_err(|error: io::Error| StoreError::from_io("opening the note of the log's end", &error))
    }

    /// What was noted last; none where nothing was, or a power cut has torn it.
    pub(super) fn noted(&self) -> Option<u64> {
        self.noted.lock().sequence
    }

    /// Notes that all changes up to `sequence` are synced. What cannot be noted leaves the older note.
    pub(super) fn note(&self, sequence: u64) {
        let mut noted = self.noted.lock();
        if noted.sequence.is_some_and(|noted| noted >= sequence) {
            return;
        }
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&(!sequence).to_le_bytes());
        if self.file.write_all_at(&bytes, 0).is_ok() {
            noted.sequence = Some(sequence);
        }
        if noted.synced_at.elapsed() >= SYNC_PERIOD {
            noted.synced_at = Instant::now();
            // One that is not synced is only older after a power cut.
            _ = self.file.sync_data();
        }
    }
}

fn read(file: &File) -> io::Result<Option<u64>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let half = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Ok((half(0) == !half(8)).then_some(half(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_note_is_found_again_and_a_torn_one_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let noted = || Watermark::open(directory.path()).expect("opened").noted();
        assert_eq!(noted(), None);
        let watermark = Watermark::open(directory.path()).expect("opened");
        watermark.note(7);
        watermark.note(5);
        assert_eq!(noted(), Some(7));
        std::fs::write(directory.path().join(FILE), [7; BYTES]).expect("written");
        assert_eq!(noted(), None);
    }
}
