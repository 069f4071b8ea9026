//! Identifiers: one newtype for each kind, so that no two can be mixed up.
//!
//! Invariant: an identifier is never reused. A chunk id holds the session that made it and that session's own counter,
//! so two clients can never choose the same one and a retry can never overwrite other data.

use std::fmt;

macro_rules! id_u64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps the number as it was stored or received.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number as it is stored and sent.
            pub const fn value(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id_u64!(
    /// A bucket: a named volume with its own root directory and redundancy. Prefix of every namespace key.
    BucketId
);
id_u64!(
    /// A file, directory or object body inside one bucket. The root directory of a bucket is [`InodeId::ROOT`].
    InodeId
);
id_u64!(
    /// A client's leased identity: 24 bits of store generation, then a 40-bit counter.
    SessionId
);
id_u64!(
    /// The version of the cluster map.
    Epoch
);
/// A Raft group of the metadata service. The first holds the map, the users, and every bucket that lies in no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u32);

impl GroupId {
    /// Wraps the number as it was stored or received.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number as it is stored and sent.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

id_u64!(
    /// A multipart upload within its bucket.
    UploadId
);
id_u64!(
    /// A process of the cluster: a server, or one that only asks, such as a mount. Its certificate holds it.
    NodeId
);
id_u64!(
    /// One life of a device: a wiped device returns only under a new incarnation.
    Incarnation
);

impl InodeId {
    /// The root directory of every bucket.
    pub const ROOT: Self = Self(1);
}

/// A cluster, or a store of one process: random, made once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// Wraps the bytes as they were made, stored or received.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are stored and sent.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The id written as 32 hexadecimal digits, or `None` where `text` is not that.
    pub fn from_hex(text: &str) -> Option<Self> {
        let number = (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| u128::from_str_radix(text, 16).ok())??;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One disk or directory of a chunkserver: what placement picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u32);

impl DeviceId {
    /// Wraps the number as it was stored or received.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number as it is stored and sent.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A chunk: up to 8 MiB of file data, immutable once written. 128 bits: the session, then that session's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId {
    /// The session that wrote the chunk.
    pub session: SessionId,
    /// That session's own count of chunk ids, from 1.
    pub counter: u64,
}

impl ChunkId {
    /// Bytes of an encoded chunk id.
    pub const LEN: usize = 16;

    /// The id's bytes: session, then counter, both big-endian.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.session.value().to_be_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    /// The id in `bytes`, or `None` where they are not exactly 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let session = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let counter = u64::from_be_bytes(bytes.get(8..)?.try_into().ok()?);
        Some(Self {
            session: SessionId::new(session),
            counter,
        })
    }

    /// Where the chunk lies in the hash space: its top bits name the placement group.
    pub fn placement_hash(self) -> PlacementHash {
        let digest = blake3::hash(&self.to_bytes());
        let mut top = [0; 8];
        top.copy_from_slice(&digest.as_bytes()[..8]);
        PlacementHash(u64::from_be_bytes(top))
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.session.value(), self.counter)
    }
}

/// A chunk's place in the 64-bit hash space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementHash(u64);

impl PlacementHash {
    /// The number as it is stored: big-endian in keys, so that a placement group is one key range.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The group, of 2^`group_bits`, that this hash falls in.
    pub const fn group(self, group_bits: u8) -> PlacementGroup {
        let shifted = if group_bits == 0 {
            0
        } else {
            self.0 >> (64 - group_bits as u32)
        };
        PlacementGroup(shifted as u32)
    }
}

/// A slice of the hash space. Its row in the cluster map lists the devices that hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementGroup(u32);

impl PlacementGroup {
    /// The group with this number, from 0.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The group's number, from 0.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The group's number as an index into the rows of the map.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_id_survives_its_bytes() {
        let id = ChunkId {
            session: SessionId::new(0x0001_0000_0000_002a),
            counter: 7,
        };
        assert_eq!(ChunkId::from_bytes(&id.to_bytes()), Some(id));
        assert_eq!(ChunkId::from_bytes(&id.to_bytes()[..15]), None);
        assert_eq!(ChunkId::from_bytes(&[0; 17]), None);
    }

    #[test]
    fn placement_group_takes_the_top_bits() {
        let hash = PlacementHash(0xabcd_0000_0000_0000);
        assert_eq!(hash.group(0).value(), 0);
        assert_eq!(hash.group(8).value(), 0xab);
        assert_eq!(hash.group(16).value(), 0xabcd);
    }
}
