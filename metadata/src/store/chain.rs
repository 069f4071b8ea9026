//! The chained hash of every entry's writes: replicas that differ in a single byte are found out.
//!
//! ```text
//! hash(n) = BLAKE3( hash(n-1) ‖ for each write: family u8 ‖ length of key u32 ‖ key ‖ tag u8 ‖ length of value u32 ‖ value )
//! ```
//!
//! Numbers are little-endian; tag is 1 for a record set, 0 for one removed (then without length and value). Before the
//! first entry the hash is 32 zero bytes. Invariant: it depends on the writes and their order, and on nothing else.

use cairn_common::checksum::Hash;

use crate::core::view::Write;

/// The chained hash before the first entry.
pub(super) const CHAIN_START: Hash = Hash::new([0; Hash::LEN]);

/// Bytes around a key and a value.
const FRAME_BYTES: usize = 1 + 4 + 1 + 4;

/// The chained hash after an entry that made `writes`.
pub(super) fn chain_hash(previous: Hash, writes: &[Write]) -> Hash {
    let value_bytes = |write: &Write| write.value.as_ref().map_or(0, Vec::len);
    let bytes: usize = writes
        .iter()
        .map(|write| FRAME_BYTES + write.key.len() + value_bytes(write))
        .sum();
    // In one piece: hashed many blocks at a time, where small pieces would be hashed one after the other.
    let mut hashed = Vec::with_capacity(Hash::LEN + bytes);
    hashed.extend_from_slice(previous.as_bytes());
    for write in writes {
        hashed.push(write.family as u8);
        push_with_length(&mut hashed, &write.key);
        match &write.value {
            Some(value) => {
                hashed.push(1);
                push_with_length(&mut hashed, value);
            }
            None => hashed.push(0),
        }
    }
    Hash::new(*blake3::hash(&hashed).as_bytes())
}

fn push_with_length(hashed: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("keys and values are bounded by the entry that brought them");
    hashed.extend_from_slice(&length.to_le_bytes());
    hashed.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::Family;

    fn write(family: Family, key: &[u8], value: Option<&[u8]>) -> Write {
        Write {
            family,
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn every_difference_in_the_writes_shows() {
        let variants = [
            vec![],
            vec![write(Family::Inode, b"a", Some(b"b"))],
            vec![write(Family::Dentry, b"a", Some(b"b"))],
            vec![write(Family::Inode, b"ab", Some(b""))],
            vec![write(Family::Inode, b"a", Some(b""))],
            vec![write(Family::Inode, b"a", None)],
            vec![write(Family::Inode, b"a", None), write(Family::Inode, b"b", None)],
            vec![write(Family::Inode, b"b", None), write(Family::Inode, b"a", None)],
        ];
        let hashes: std::collections::HashSet<_> = variants
            .iter()
            .map(|writes| *chain_hash(CHAIN_START, writes).as_bytes())
            .collect();
        assert_eq!(hashes.len(), variants.len());
    }

    #[test]
    fn the_hash_depends_on_all_entries_before() {
        let writes = [write(Family::Inode, b"a", Some(b"b"))];
        let once = chain_hash(CHAIN_START, &writes);
        assert_ne!(chain_hash(once, &writes), once);
    }
}
