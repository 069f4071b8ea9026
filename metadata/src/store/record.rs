//! The records of the log, and of the state's own bookkeeping.
//!
//! Every value is the envelope of `common::envelope` (version, CRC-32C, protobuf body) around one of these messages:
//!
//! ```text
//! database  family   key                      value
//! log       default  'e' ‖ index u64 BE       EntryRecord: position, and blank | batch | membership
//! log       default  'm' ‖ "identity"         IdentityRecord: whose log this is
//! log       default  'm' ‖ "vote"             VoteRecord
//! log       default  'm' ‖ "committed"        LogPosition: a hint, not synced by itself
//! log       default  'm' ‖ "purged"           LogPosition: entries up to it are gone
//! state     meta     "applied"                AppliedRecord: position, chained hash, newest time stamp
//! state     meta     "membership"             MembershipRecord: the newest applied
//! ```
//!
//! Invariant: an entry's position names the index that its key has; a record that does not decode stops the server.

use bytes::Bytes;
use cairn_common::{
    checksum::Hash,
    envelope::{self, Record},
};
use prost::{Message, Oneof};

use super::{StoreError, chain::CHAIN_START};

/// The place of an entry in the replicated log.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct LogPosition {
    /// Term of the leader that proposed the entry.
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    /// That leader.
    #[prost(uint64, tag = "2")]
    pub(crate) node: u64,
    /// The entry's index, from 0.
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
}

impl Record for LogPosition {
    const VERSION: u8 = 1;
}

/// An entry of the log.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryRecord {
    /// Where it stands.
    #[prost(message, required, tag = "1")]
    pub(crate) position: LogPosition,
    /// What it holds.
    #[prost(oneof = "EntryKind", tags = "2, 3, 4")]
    pub(crate) kind: Option<EntryKind>,
}

impl Record for EntryRecord {
    const VERSION: u8 = 1;
}

/// What an entry holds.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum EntryKind {
    /// Nothing: a new leader's first entry.
    #[prost(message, tag = "2")]
    Blank(BlankRecord),
    /// A sealed batch of commands.
    #[prost(bytes = "bytes", tag = "3")]
    Batch(Bytes),
    /// A new membership; its own position is left out.
    #[prost(message, tag = "4")]
    Membership(MembershipRecord),
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct BlankRecord {}

/// The members of the Raft group.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MembershipRecord {
    /// The entry that brought it, where it is kept apart from that entry.
    #[prost(message, optional, tag = "1")]
    pub(crate) position: Option<LogPosition>,
    /// One set of voters; two while it changes.
    #[prost(message, repeated, tag = "2")]
    pub(crate) voter_sets: Vec<VoterSet>,
    /// All members, learners among them.
    #[prost(message, repeated, tag = "3")]
    pub(crate) members: Vec<MemberRecord>,
}

/// A member and where it is called.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MemberRecord {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub(crate) node: u64,
    /// Its address: host and port; empty for a server that is alone and was given none.
    #[prost(string, tag = "2")]
    pub(crate) address: String,
}

impl Record for MembershipRecord {
    const VERSION: u8 = 1;
}

/// A set of voters.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct VoterSet {
    /// Their numbers.
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) voters: Vec<u64>,
}

/// The newest vote given.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct VoteRecord {
    /// The term.
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    /// Whom it was given to.
    #[prost(uint64, tag = "2")]
    pub(crate) node: u64,
    /// Whether a quorum gave it too.
    #[prost(bool, tag = "3")]
    pub(crate) committed: bool,
}

impl Record for VoteRecord {
    const VERSION: u8 = 1;
}

/// Whose log this is.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct IdentityRecord {
    /// The server.
    #[prost(uint64, tag = "1")]
    pub(crate) server: u64,
}

impl Record for IdentityRecord {
    const VERSION: u8 = 1;
}

/// How far the state is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AppliedRecord {
    /// The newest entry whose writes the state holds; none before the first.
    #[prost(message, optional, tag = "1")]
    pub(crate) position: Option<LogPosition>,
    /// The chained hash of all writes, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) chain: Vec<u8>,
    /// The newest time stamp of an entry, in milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub(crate) time_ms: u64,
}

impl Record for AppliedRecord {
    const VERSION: u8 = 1;
}

impl AppliedRecord {
    /// The state before the first entry.
    pub(crate) fn start() -> Self {
        Self {
            position: None,
            chain: CHAIN_START.as_bytes().to_vec(),
            time_ms: 0,
        }
    }

    /// Index of the newest applied entry, or 0 before the first.
    pub(crate) fn index(&self) -> u64 {
        self.position.map_or(0, |position| position.index)
    }

    /// The chained hash.
    pub(crate) fn chain_hash(&self) -> Result<Hash, StoreError> {
        Hash::from_slice(&self.chain).ok_or_else(|| StoreError::Corrupt {
            what: "the state's applied position",
            detail: format!("a chained hash of {} bytes", self.chain.len()),
        })
    }
}

/// Decodes a stored record; `what` names it in the error.
pub(crate) fn decode<R: Record>(what: &'static str, bytes: &[u8]) -> Result<R, StoreError> {
    envelope::open(bytes).map_err(|error| StoreError::from_envelope(what, &error))
}

#[cfg(test)]
mod tests {
    use cairn_common::envelope::seal;
    use proptest::prelude::*;

    use super::*;

    fn entry(index: u64, batch: &'static [u8]) -> EntryRecord {
        let position = LogPosition {
            term: 3,
            node: 1,
            index,
        };
        EntryRecord {
            position,
            kind: Some(EntryKind::Batch(Bytes::from_static(batch))),
        }
    }

    fn member(node: u64) -> MemberRecord {
        let address = "a:1".to_owned();
        MemberRecord { node, address }
    }

    fn membership() -> MembershipRecord {
        MembershipRecord {
            position: Some(LogPosition {
                term: 1,
                node: 1,
                index: 0,
            }),
            voter_sets: vec![VoterSet { voters: vec![1, 2, 3] }],
            members: [1, 2, 3, 4].map(member).to_vec(),
        }
    }

    fn survives<R: Record + PartialEq + std::fmt::Debug>(record: &R) {
        let sealed = seal(record);
        assert_eq!(decode::<R>("a record", &sealed).as_ref(), Ok(record));
        for length in 0..sealed.len() {
            assert!(
                decode::<R>("a record", &sealed[..length]).is_err(),
                "cut to {length} bytes"
            );
        }
    }

    #[test]
    fn records_survive_their_bytes_and_cut_ones_are_refused() {
        survives(&entry(7, b"batch"));
        survives(&EntryRecord {
            kind: Some(EntryKind::Blank(BlankRecord {})),
            ..entry(8, b"")
        });
        survives(&EntryRecord {
            kind: Some(EntryKind::Membership(membership())),
            ..entry(9, b"")
        });
        survives(&membership());
        survives(&VoteRecord {
            term: 5,
            node: 2,
            committed: true,
        });
        survives(&IdentityRecord { server: 1 });
        survives(&AppliedRecord {
            position: Some(LogPosition {
                term: 1,
                node: 1,
                index: 4,
            }),
            ..AppliedRecord::start()
        });
    }

    #[test]
    fn a_newer_version_asks_for_a_newer_program() {
        let mut sealed = seal(&IdentityRecord { server: 1 });
        sealed[0] = IdentityRecord::VERSION + 1;
        let crc = crc_of(&sealed);
        sealed[1..5].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            decode::<IdentityRecord>("identity", &sealed),
            Err(StoreError::Newer { .. })
        ));
    }

    /// CRC-32C, bit by bit: the test must not lean on the code it tests.
    fn crc_of(sealed: &[u8]) -> u32 {
        let bytes = sealed[..1].iter().chain(&sealed[5..]);
        !bytes.fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0x82f6_3b78
                } else {
                    crc >> 1
                }
            })
        })
    }

    #[test]
    fn samples_of_version_1_are_still_read() {
        let position = LogPosition {
            term: 3,
            node: 1,
            index: 7,
        };
        is_stored_as(
            &position,
            &[0x01, 0xdf, 0x9b, 0x36, 0xc1, 0x08, 0x03, 0x10, 0x01, 0x18, 0x07],
        );
        is_stored_as(
            &VoteRecord {
                term: 5,
                node: 2,
                committed: true,
            },
            &[0x01, 0xac, 0xdd, 0xde, 0x9d, 0x08, 0x05, 0x10, 0x02, 0x18, 0x01],
        );
        is_stored_as(
            &IdentityRecord { server: 1 },
            &[0x01, 0xbf, 0x71, 0x5a, 0xaa, 0x08, 0x01],
        );
        let kind = Some(EntryKind::Batch(Bytes::from_static(b"cd")));
        is_stored_as(
            &EntryRecord { position, kind },
            &[
                0x01, 0x8e, 0x87, 0x6b, 0x5b, 0x0a, 0x06, 0x08, 0x03, 0x10, 0x01, 0x18, 0x07, 0x1a, 0x02, 0x63, 0x64,
            ],
        );
        let voter_sets = vec![VoterSet { voters: vec![1, 2] }];
        let members = MembershipRecord {
            position: Some(position),
            voter_sets,
            members: vec![member(1)],
        };
        is_stored_as(
            &members,
            &[
                0x01, 0xf7, 0x80, 0x3e, 0xde, 0x0a, 0x06, 0x08, 0x03, 0x10, 0x01, 0x18, 0x07, 0x12, 0x04, 0x0a, 0x02,
                0x01, 0x02, 0x1a, 0x07, 0x08, 0x01, 0x12, 0x03, 0x61, 0x3a, 0x31,
            ],
        );
        let applied = AppliedRecord {
            position: Some(position),
            chain: vec![0xab, 0xcd],
            time_ms: 1000,
        };
        is_stored_as(
            &applied,
            &[
                0x01, 0x6c, 0x71, 0x0d, 0x7d, 0x0a, 0x06, 0x08, 0x03, 0x10, 0x01, 0x18, 0x07, 0x12, 0x02, 0xab, 0xcd,
                0x18, 0xe8, 0x07,
            ],
        );
    }

    fn is_stored_as<R: Record + PartialEq + std::fmt::Debug>(record: &R, sample: &[u8]) {
        assert_eq!(decode::<R>("a record", sample).as_ref(), Ok(record));
        assert_eq!(seal(record), sample);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<EntryRecord>("entry", &bytes);
            let _ = decode::<AppliedRecord>("applied", &bytes);
            let _ = decode::<MembershipRecord>("membership", &bytes);
        }
    }
}
