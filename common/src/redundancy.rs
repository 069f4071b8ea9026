//! How a chunk is spread: n replicas, or k data shards and m parity shards.
//!
//! Invariant: a `Redundancy` that exists is within limits; text and stored numbers are checked where they enter.

use std::{fmt, str::FromStr};

use crate::limits::{SMALL_CHUNK_SIZE_BYTES, WIDTH_MAX};

/// The scheme of a chunk, or the setting of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Redundancy {
    data: u8,
    parity: u8,
}

/// Why a scheme was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedundancyError {
    /// The text is not `N` or `K+M`.
    #[error("redundancy {0:?} is neither a number of copies such as \"3\" nor data+parity such as \"4+2\"")]
    Syntax(String),
    /// The numbers are outside what can be stored.
    #[error("redundancy needs at least 1 data shard or copy and at most {WIDTH_MAX} shards in all")]
    OutOfRange,
}

impl Redundancy {
    /// One copy, no tolerance.
    pub const ONE_COPY: Self = Self { data: 1, parity: 0 };

    /// `copies` replicas of each chunk.
    pub fn replicated(copies: usize) -> Result<Self, RedundancyError> {
        Self::checked(1, copies.checked_sub(1).ok_or(RedundancyError::OutOfRange)?)
    }

    /// `data` + `parity` Reed-Solomon shards. One data shard means replicas.
    pub fn erasure_coded(data: usize, parity: usize) -> Result<Self, RedundancyError> {
        Self::checked(data, parity)
    }

    fn checked(data: usize, parity: usize) -> Result<Self, RedundancyError> {
        let in_range = data >= 1 && data.saturating_add(parity) <= WIDTH_MAX;
        match (u8::try_from(data), u8::try_from(parity)) {
            (Ok(data), Ok(parity)) if in_range => Ok(Self { data, parity }),
            _ => Err(RedundancyError::OutOfRange),
        }
    }

    /// Data shards: 1 for replicas.
    pub const fn data_shards(self) -> usize {
        self.data as usize
    }

    /// Shards beyond the data: further copies, or parity.
    pub const fn parity_shards(self) -> usize {
        self.parity as usize
    }

    /// All shards of a chunk.
    pub const fn width(self) -> usize {
        self.data as usize + self.parity as usize
    }

    /// Devices that may be lost without loss of data.
    pub const fn tolerance(self) -> usize {
        self.parity as usize
    }

    /// Whether every shard is a whole copy.
    pub const fn is_replicated(self) -> bool {
        self.data == 1
    }

    /// The scheme of the same tolerance made of whole copies, for small chunks and for when no full row is healthy.
    pub const fn as_replicas(self) -> Self {
        Self {
            data: 1,
            parity: self.parity,
        }
    }

    /// The scheme of a chunk of `chunk_len` bytes in a bucket of this one: small chunks are copied.
    pub const fn for_chunk(self, chunk_len: usize) -> Self {
        if chunk_len <= SMALL_CHUNK_SIZE_BYTES {
            self.as_replicas()
        } else {
            self
        }
    }

    /// Bytes of one shard of a chunk of `chunk_len` bytes: the chunk split into equal parts, the last padded with zeros.
    pub const fn shard_len(self, chunk_len: usize) -> usize {
        chunk_len.div_ceil(self.data as usize)
    }
}

impl fmt::Display for Redundancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_replicated() {
            write!(f, "{}", self.width())
        } else {
            write!(f, "{}+{}", self.data, self.parity)
        }
    }
}

impl FromStr for Redundancy {
    type Err = RedundancyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            part.trim()
                .parse::<usize>()
                .map_err(|_| RedundancyError::Syntax(text.to_owned()))
        };
        match text.split_once('+') {
            Some((data, parity)) => Self::erasure_coded(number(data)?, number(parity)?),
            None => Self::replicated(number(text)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        for text in ["1", "3", "4+2", "16+4", "2+1"] {
            assert_eq!(text.parse::<Redundancy>().map(|r| r.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "4+", "+2", "4+2+1", "-1"] {
            assert!(
                matches!(text.parse::<Redundancy>(), Err(RedundancyError::Syntax(_))),
                "{text}"
            );
        }
        for text in ["0", "0+2", "33", "30+3", "99999"] {
            assert_eq!(text.parse::<Redundancy>(), Err(RedundancyError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn shard_length_covers_the_chunk() {
        let scheme: Redundancy = "4+2".parse().expect("a valid scheme");
        assert_eq!(scheme.shard_len(8 << 20), 2 << 20);
        assert_eq!(scheme.shard_len(5), 2);
        assert_eq!(scheme.as_replicas().width(), 3);
    }
}
