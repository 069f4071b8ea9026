//! Building and reading record keys.

/// Bytes of most keys at most: those of a name in a directory are longer where the name is.
const USUAL_LEN: usize = 64;

/// A key under construction.
#[derive(Debug)]
pub(crate) struct KeyWriter(Vec<u8>);

impl KeyWriter {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(USUAL_LEN))
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes that end the key.
    pub(crate) fn tail(mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(bytes);
        self.0
    }

    /// Bytes of any length with more behind them. Zero bytes are escaped (`00` → `00 ff`) and the end is `00 01`, which keeps
    /// the order of the bytes themselves.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self.0.extend_from_slice(&[0, 1]);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// The number at `offset` of a key, or `None` where the key is too short.
pub(crate) fn u64_at(key: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(offset..offset + 8)?.try_into().ok()?))
}

/// The smallest byte string greater than all that start with `prefix`; empty where there is none.
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            break;
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_bytes_keep_their_order(
            left in proptest::collection::vec(0_u8..3, 0..6), right in proptest::collection::vec(0_u8..3, 0..6),
        ) {
            let key = |bytes: &[u8]| KeyWriter::new().bytes(bytes).u64(7).finish();
            prop_assert_eq!(key(&left).cmp(&key(&right)), left.cmp(&right));
        }

        #[test]
        fn the_successor_is_behind_the_prefix(prefix in proptest::collection::vec(any::<u8>(), 0..4), tail: Vec<u8>) {
            let next = successor(&prefix);
            let extended = [prefix.as_slice(), &tail].concat();
            prop_assert!(next.is_empty() || next > extended);
        }
    }
}
