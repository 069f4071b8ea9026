//! Memory that the kernel can read and write directly: whole pages, page-aligned.
//!
//! Invariant: address and length are multiples of [`ALIGNMENT`].

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

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
}
