//! Holds what is read against what was written, piece by piece. Where an object is being overwritten while it is read, either
//! version may come, but one of them from beginning to end. Invariant: `finish` is Ok only if every byte was compared, or
//! comparing was switched off.

use std::ops::{Range, RangeInclusive};

use crate::content::{Dataset, Object};
use crate::failure::OpError;

/// Versions that an object may be found at.
#[derive(Debug, Clone)]
pub(crate) struct Versions {
    pub(crate) range: RangeInclusive<u32>,
    /// Before the range: of those that were given up, and may come to be all the same.
    pub(crate) stragglers: Vec<u32>,
}

/// Those that a read may see by now.
pub(crate) type Seen<'a> = dyn Fn() -> Versions + 'a;

/// One read of an object, or of a range of it.
pub(crate) struct Reading<'a> {
    dataset: &'a Dataset,
    key: String,
    /// Whose content it has: that of another object, where it is a copy.
    content: u64,
    versions: &'a Seen<'a>,
    verify: bool,
    range: Range<u64>,
    at: u64,
    /// The versions that what came so far can be of; known from the first piece on.
    candidates: Option<Vec<Object>>,
}

impl Versions {
    pub(crate) fn only(version: u32) -> Self {
        Self {
            range: version..=version,
            stragglers: Vec::new(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.stragglers.iter().copied().chain(self.range.clone())
    }
}

impl<'a> Reading<'a> {
    /// A read of that range of what is called `key` and has the content of object `content`.
    pub(crate) fn new(
        dataset: &'a Dataset,
        key: String,
        content: u64,
        versions: &'a Seen<'a>,
        range: Range<u64>,
    ) -> Self {
        let at = range.start;
        Self {
            dataset,
            key,
            content,
            versions,
            verify: true,
            range,
            at,
            candidates: None,
        }
    }

    pub(crate) fn without_verification(self) -> Self {
        Self { verify: false, ..self }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The bytes that are wanted.
    pub(crate) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Bytes that are not of any version that may be seen, or too many.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), OpError> {
        let end = self.at + piece.len() as u64;
        if end > self.range.end {
            return Err(self.wrong_length(end - self.range.start));
        }
        if self.verify && !piece.is_empty() {
            self.compare(piece)?;
        }
        self.at = end;
        Ok(())
    }

    /// # Errors
    /// Bytes that are missing.
    pub(crate) fn finish(&self) -> Result<(), OpError> {
        if self.at == self.range.end {
            Ok(())
        } else {
            Err(self.wrong_length(self.at - self.range.start))
        }
    }

    fn compare(&mut self, piece: &[u8]) -> Result<(), OpError> {
        let (dataset, content, versions, at) = (self.dataset, self.content, self.versions, self.at);
        let candidates = self.candidates.get_or_insert_with(|| {
            versions()
                .iter()
                .map(|version| dataset.object(content, version))
                .collect()
        });
        let mut mismatch = None;
        candidates.retain(|object| {
            let result = dataset.verify(object, at, piece);
            let is_it = result.is_ok();
            mismatch = mismatch.take().or_else(|| result.err());
            is_it
        });
        match mismatch.filter(|_| candidates.is_empty()) {
            None => Ok(()),
            Some(mismatch) => Err(OpError::Corrupt {
                key: self.key.clone(),
                offset: mismatch.offset,
                expected: mismatch.expected,
                found: mismatch.found,
            }),
        }
    }

    fn wrong_length(&self, found: u64) -> OpError {
        OpError::Length {
            key: self.key.clone(),
            expected: self.bytes(),
            found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(dataset: &Dataset, version: u32) -> Vec<u8> {
        let object = dataset.object(3, version);
        let mut bytes = Vec::new();
        dataset
            .window(&object, 0..object.size_bytes)
            .pieces()
            .for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    fn read(dataset: &Dataset, range: RangeInclusive<u32>, body: &[u8]) -> Result<(), OpError> {
        read_one_of(
            dataset,
            Versions {
                range,
                stragglers: Vec::new(),
            },
            body,
        )
    }

    fn read_one_of(dataset: &Dataset, versions: Versions, body: &[u8]) -> Result<(), OpError> {
        let versions = || versions.clone();
        let mut reading = Reading::new(dataset, dataset.key(3), 3, &versions, 0..20_000);
        // Pieces that are too short to tell versions apart are among them.
        for piece in body.chunks(3_001).flat_map(|chunk| [&chunk[..1], &chunk[1..]]) {
            reading.take(piece)?;
        }
        reading.finish()
    }

    #[test]
    fn any_version_that_may_be_seen_passes_and_no_other() {
        let dataset = Dataset::new("p/", 1, &"20000".parse().unwrap());
        for version in 2..=4 {
            assert!(read(&dataset, 2..=4, &bytes(&dataset, version)).is_ok(), "{version}");
        }
        for version in [1, 5] {
            let error = read(&dataset, 2..=4, &bytes(&dataset, version)).unwrap_err();
            assert!(matches!(error, OpError::Corrupt { .. }), "{version}: {error}");
        }
    }

    #[test]
    fn what_was_given_up_may_be_seen_and_what_lies_between_may_not() {
        let dataset = Dataset::new("p/", 1, &"20000".parse().unwrap());
        let versions = Versions {
            range: 4..=4,
            stragglers: vec![2],
        };
        for (version, may_be) in [(1, false), (2, true), (3, false), (4, true), (5, false)] {
            let result = read_one_of(&dataset, versions.clone(), &bytes(&dataset, version));
            assert_eq!(result.is_ok(), may_be, "{version}");
        }
    }

    #[test]
    fn a_mix_of_versions_does_not_pass() {
        let dataset = Dataset::new("p/", 1, &"20000".parse().unwrap());
        let mut mixed = bytes(&dataset, 2);
        mixed[8192..].copy_from_slice(&bytes(&dataset, 3)[8192..]);
        let error = read(&dataset, 2..=3, &mixed).unwrap_err();
        assert!(matches!(error, OpError::Corrupt { offset: 8192, .. }), "{error}");
    }

    #[test]
    fn lengths_are_exact() {
        let dataset = Dataset::new("p/", 1, &"20000".parse().unwrap());
        let body = bytes(&dataset, 0);
        for wrong in [&body[..19_999], &[body.as_slice(), b"x"].concat()] {
            let error = read(&dataset, 0..=0, wrong).unwrap_err();
            assert!(matches!(error, OpError::Length { expected: 20_000, .. }), "{error}");
        }
    }
}
