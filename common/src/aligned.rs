//! Memory that the kernel can read and write directly: whole pages, page-aligned.
//!
//! Invariant: address and length are multiples of [`ALIGNMENT`]. What is kept idle for the next transfer has a bound.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
};

use bytemuck::{Pod, Zeroable};
use parking_lot::Mutex;

/// What direct I/O asks of address, offset and length on every disk in use.
pub const ALIGNMENT: usize = 4096;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
struct Page([u8; ALIGNMENT]);

const _: () = assert!(size_of::<Page>() == ALIGNMENT && align_of::<Page>() == ALIGNMENT);

/// Bytes in whole, aligned pages.
#[derive(Default)]
pub struct AlignedBytes(Box<[Page]>);

impl AlignedBytes {
    /// At least `len` zeroed bytes, rounded up to whole pages.
    pub fn zeroed(len: usize) -> Self {
        Self(bytemuck::zeroed_slice_box(len.div_ceil(ALIGNMENT)))
    }
}

/// Aligned memory for one transfer, kept for the next one when it is dropped: to map and zero each MiB anew is a tenth of what a GET
/// costs its server (docs/performance.md).
pub struct TransferBytes(AlignedBytes);

/// Memory that waits for the next transfer, of the whole process.
struct Idle {
    bytes: usize,
    by_len: BTreeMap<usize, Vec<AlignedBytes>>,
}

/// Idle memory of a process at most.
const IDLE_BYTES_MAX: usize = 16 << 20;

static IDLE: Mutex<Idle> = Mutex::new(Idle {
    bytes: 0,
    by_len: BTreeMap::new(),
});

impl TransferBytes {
    /// At least `len` bytes, which may hold anything.
    pub fn take(len: usize) -> Self {
        // Few lengths, so that what is idle fits; an eighth at most is not used.
        let unit = (len.next_power_of_two() / 8).max(ALIGNMENT);
        let len = len.next_multiple_of(unit);
        let idle = IDLE.lock().take(len);
        Self(idle.unwrap_or_else(|| AlignedBytes::zeroed(len)))
    }
}

impl Idle {
    fn take(&mut self, len: usize) -> Option<AlignedBytes> {
        let bytes = self.by_len.get_mut(&len)?.pop()?;
        self.bytes -= len;
        Some(bytes)
    }

    /// Keeps `bytes`; gives what is to go instead, which is freed outside of the lock.
    fn keep(&mut self, bytes: AlignedBytes) -> BTreeMap<usize, Vec<AlignedBytes>> {
        let mut gone = BTreeMap::new();
        // Lengths that are not asked for any more are not to stay for ever.
        if self.bytes + bytes.len() > IDLE_BYTES_MAX {
            self.bytes = 0;
            gone = std::mem::take(&mut self.by_len);
        }
        self.bytes += bytes.len();
        self.by_len.entry(bytes.len()).or_default().push(bytes);
        gone
    }
}

impl Drop for TransferBytes {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        if bytes.len() <= IDLE_BYTES_MAX {
            let gone = IDLE.lock().keep(bytes);
            drop(gone);
        }
    }
}

impl Deref for TransferBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for TransferBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for TransferBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Whether direct I/O takes these bytes as they lie.
pub fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) && bytes.len().is_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_rounded_up() {
        for (wanted, given) in [(0, 0), (1, 4096), (4096, 4096), (5000, 8192)] {
            let mut bytes = AlignedBytes::zeroed(wanted);
            assert_eq!(bytes.len(), given);
            assert!(is_aligned(&bytes) && bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
        }
        let bytes = AlignedBytes::zeroed(8192);
        assert!(!is_aligned(&bytes[1..]) && !is_aligned(&bytes[..100]) && is_aligned(&bytes[4096..]));
    }

    #[test]
    fn memory_of_transfers_is_used_again() {
        for (wanted, given) in [(1, 4096), (1 << 20, 1 << 20), ((1 << 20) + 1, 1280 << 10)] {
            assert_eq!(TransferBytes::take(wanted).len(), given);
        }
        // No other test takes this length.
        let bytes = TransferBytes::take(3 << 20);
        assert!(is_aligned(&bytes));
        let address = bytes.as_ptr();
        drop(bytes);
        assert_eq!(TransferBytes::take(3 << 20).as_ptr(), address);
    }

    #[test]
    fn idle_memory_has_a_bound_and_old_lengths_go() {
        let mut idle = Idle {
            bytes: 0,
            by_len: BTreeMap::new(),
        };
        assert!(idle.keep(AlignedBytes::zeroed(10 << 20)).is_empty());
        let gone = idle.keep(AlignedBytes::zeroed(8 << 20));
        assert_eq!(gone.into_keys().collect::<Vec<_>>(), [10 << 20]);
        assert_eq!(idle.bytes, 8 << 20);
        assert!(idle.take(10 << 20).is_none() && idle.take(8 << 20).is_some());
        assert_eq!(idle.bytes, 0);
    }
}
