//! How far the log is known to be synced and committed, noted beside the log: a log that ends before it has lost its end.
//!
//! ```text
//! DIR/log.committed    offset 0, 8 bytes: index u64, little-endian | offset 8, 8 bytes: its complement
//! ```
//!
//! RocksDB takes a log file that ends early for one that was being written when the power went, and cuts it there: right for
//! entries that were never acknowledged, wrong for those that were. The note is written only after the entry was synced and
//! committed, and is itself never synced: after a power cut it may be old, which costs nothing but sharpness. Invariant: it
//! never runs ahead of what the log holds on disk, and never names an entry that Raft may take back.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use parking_lot::Mutex;

use super::StoreError;

const FILE: &str = "log.committed";
const BYTES: usize = 16;

/// The note.
pub(super) struct Watermark {
    file: File,
    noted: Mutex<Option<u64>>,
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
            let noted = read(&file)?;
            Ok(Self {
                file,
                noted: Mutex::new(noted),
            })
        };
        open().map_err(|error: io::Error| StoreError::from_io("opening the note of the log's end", &error))
    }

    /// The index that was noted last; none where none was, or a power cut has torn it.
    pub(super) fn noted(&self) -> Option<u64> {
        *self.noted.lock()
    }

    /// Notes that the entries up to `index` are synced and committed. What cannot be noted leaves the older note.
    pub(super) fn note(&self, index: u64) {
        let mut noted = self.noted.lock();
        if noted.is_some_and(|noted| noted >= index) {
            return;
        }
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        bytes[8..].copy_from_slice(&(!index).to_le_bytes());
        if self.file.write_all_at(&bytes, 0).is_ok() {
            *noted = Some(index);
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
