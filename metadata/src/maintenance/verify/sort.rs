//! Sorts more records of one length than fit memory: sorted runs in files, merged.
//!
//! Invariant: memory is bounded by the buffer and a window of each run, however many records there are; the files have no
//! name, so nothing is left of them.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, OpenOptions},
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// Bytes of records sorted in memory at a time.
const BUFFER_BYTES: usize = 32 << 20;

/// Bytes of each run held while runs are merged.
const WINDOW_BYTES: usize = 256 << 10;

/// Takes records in any order.
pub(super) struct Sorter<const N: usize> {
    buffer: Vec<[u8; N]>,
    buffer_max: usize,
    runs: Vec<fs::File>,
    scratch: PathBuf,
}

/// Gives them in ascending order.
pub(super) struct Sorted<const N: usize> {
    runs: Vec<BufReader<fs::File>>,
    /// What was not written to a file: all of it, where there are no runs.
    rest: std::vec::IntoIter<[u8; N]>,
    /// The least record of each run, and of the rest under the number behind theirs.
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
}

impl<const N: usize> Sorter<N> {
    /// Runs are written under `scratch`.
    pub(super) fn new(scratch: &Path) -> Self {
        Self::with_buffer(scratch, BUFFER_BYTES / N)
    }

    fn with_buffer(scratch: &Path, buffer_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            buffer_max,
            runs: Vec::new(),
            scratch: scratch.to_owned(),
        }
    }

    /// Takes a record.
    pub(super) fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.buffer.len() >= self.buffer_max {
            self.spill()?;
        }
        self.buffer.push(record);
        Ok(())
    }

    /// Gives all records that were taken, in order.
    pub(super) fn finish(mut self) -> io::Result<Sorted<N>> {
        self.buffer.sort_unstable();
        let mut runs = Vec::with_capacity(self.runs.len());
        for mut run in self.runs {
            run.rewind()?;
            runs.push(BufReader::with_capacity(WINDOW_BYTES, run));
        }
        let mut sorted = Sorted {
            runs,
            rest: self.buffer.into_iter(),
            heads: BinaryHeap::new(),
        };
        for number in 0..=sorted.runs.len() {
            sorted.refill(number)?;
        }
        Ok(sorted)
    }

    fn spill(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        let path = self.scratch.join(format!(
            "cairn-run-{}-{:p}-{}",
            std::process::id(),
            self,
            self.runs.len()
        ));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        let mut out = BufWriter::with_capacity(WINDOW_BYTES, file);
        for record in self.buffer.drain(..) {
            out.write_all(&record)?;
        }
        self.runs
            .push(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }
}

impl<const N: usize> Sorted<N> {
    /// The least record that is left, without taking it.
    pub(super) fn peek(&self) -> Option<&[u8; N]> {
        self.heads.peek().map(|Reverse((record, _))| record)
    }

    /// Takes the least record that is left.
    pub(super) fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(Reverse((record, number))) = self.heads.pop() else {
            return Ok(None);
        };
        self.refill(number)?;
        Ok(Some(record))
    }

    fn refill(&mut self, number: usize) -> io::Result<()> {
        let record = match self.runs.get_mut(number) {
            None => self.rest.next(),
            Some(run) => {
                let mut record = [0; N];
                match run.read_exact(&mut record) {
                    Ok(()) => Some(record),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                    Err(error) => return Err(error),
                }
            }
        };
        self.heads.extend(record.map(|record| Reverse((record, number))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(records in proptest::collection::vec(any::<[u8; 3]>(), 0..200), buffer in 1_usize..40) {
            let scratch = tempfile::tempdir().expect("a directory");
            let mut sorter = Sorter::with_buffer(scratch.path(), buffer);
            for record in &records {
                sorter.push(*record).expect("taken");
            }
            prop_assert_eq!(fs::read_dir(scratch.path()).expect("a listing").count(), 0);
            let mut sorted = sorter.finish().expect("sorted");
            let mut found = Vec::new();
            while let Some(least) = sorted.peek().copied() {
                prop_assert_eq!(sorted.next().expect("read"), Some(least));
                found.push(least);
            }
            let mut expected = records;
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
