//! Request kinds: what a request asks for, who may ask it, and how it travels; all known before its message is decoded.

use super::role::{Role, Roles};

/// The kind of a request. The numbers are persistent: they go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum RequestKind {
    /// A command to the metadata service ([`super::command::WriteRequest`]).
    MetadataWrite = 1,
    /// A linearizable read of the metadata service ([`super::query::Query`]).
    MetadataRead = 2,
    /// Commands to the metadata service, sent together ([`super::gathered::Gathered`]).
    MetadataWrites = 3,
    /// A chunkserver tells that it lives ([`super::server::ServerReport`]).
    ServerReport = 4,
    /// A mount asks which of its leases are recalled ([`super::lease::LeasePoll`]).
    LeasePoll = 5,
    /// Stores a shard durably ([`super::shard::PutShard`], the shard's bytes behind it).
    PutShard = 16,
    /// Reads blocks of a shard ([`super::shard::GetShard`]).
    GetShard = 17,
    /// Deletes a shard ([`super::shard::DeleteShard`]).
    DeleteShard = 18,
    /// Lists the shards that a device holds ([`super::shard::ListShards`]).
    ListShards = 19,
    /// State and space of a server's devices ([`super::shard::DeviceStatusRequest`]).
    DeviceStatus = 20,
    /// Has a shard made again ([`super::shard::RepairShard`]).
    RepairShard = 21,
    /// Has a chunk's bytes stored as another chunk ([`super::recode::RecodeChunk`]).
    RecodeChunk = 22,
    /// First request of a connection, and later the sign of life ([`super::node::Hello`]).
    Hello = 32,
    /// Asks for a node's first certificate ([`super::node::Join`]).
    Join = 33,
    /// Asks for a new certificate in place of one that still holds ([`super::node::RenewCertificate`]).
    RenewCertificate = 34,
    /// Asks for the newest list of revoked certificates ([`super::node::Revocations`]).
    Revocations = 35,
    /// A stream of appends to a member's Raft log ([`super::raft::AppendFrame`]).
    RaftAppend = 48,
    /// A vote, or the hand-over of leadership ([`super::raft::VoteMessage`]).
    RaftVote = 49,
    /// Has a member fetch a checkpoint and put it in force ([`super::raft::SnapshotOffer`]).
    RaftSnapshot = 50,
    /// Asks the leader for a read index ([`super::raft::ReadIndex`]).
    ReadIndex = 51,
    /// Changes a Raft group's members ([`super::group::GroupChange`]).
    GroupChange = 52,
    /// How a member and its Raft group are ([`super::group::GroupStatusRequest`]).
    GroupStatus = 53,
    /// Reads a piece of a metadata checkpoint ([`super::checkpoint::ReadCheckpoint`]), bytes behind the answer.
    ReadCheckpoint = 54,
    /// Asks for a metadata checkpoint to back up ([`super::checkpoint::BackUp`]).
    BackUp = 55,
}

/// Which of a peer's connections a request takes. Bulk bytes would make the rest wait on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrafficClass {
    /// Small requests and answers.
    Control,
    /// Requests or answers with bulk bytes.
    Bulk,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 24] = [
        Self::MetadataWrite,
        Self::MetadataRead,
        Self::MetadataWrites,
        Self::ServerReport,
        Self::LeasePoll,
        Self::PutShard,
        Self::GetShard,
        Self::DeleteShard,
        Self::ListShards,
        Self::DeviceStatus,
        Self::RepairShard,
        Self::RecodeChunk,
        Self::Hello,
        Self::Join,
        Self::RenewCertificate,
        Self::Revocations,
        Self::RaftAppend,
        Self::RaftVote,
        Self::RaftSnapshot,
        Self::ReadIndex,
        Self::GroupChange,
        Self::GroupStatus,
        Self::ReadCheckpoint,
        Self::BackUp,
    ];

    /// The number that goes over the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The kind of that number, where this program knows it.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| u32::from(kind.number()) == number)
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetadataWrite => "metadata_write",
            Self::MetadataRead => "metadata_read",
            Self::MetadataWrites => "metadata_writes",
            Self::ServerReport => "server_report",
            Self::LeasePoll => "lease_poll",
            Self::PutShard => "put_shard",
            Self::GetShard => "get_shard",
            Self::DeleteShard => "delete_shard",
            Self::ListShards => "list_shards",
            Self::DeviceStatus => "device_status",
            Self::RepairShard => "repair_shard",
            Self::RecodeChunk => "recode_chunk",
            Self::Hello => "hello",
            Self::Join => "join",
            Self::RenewCertificate => "renew_certificate",
            Self::Revocations => "revocations",
            Self::RaftAppend => "raft_append",
            Self::RaftVote => "raft_vote",
            Self::RaftSnapshot => "raft_snapshot",
            Self::ReadIndex => "read_index",
            Self::GroupChange => "group_change",
            Self::GroupStatus => "group_status",
            Self::ReadCheckpoint => "read_checkpoint",
            Self::BackUp => "back_up",
        }
    }

    /// Who may ask it. A client writes and reads shards and deletes none: the metadata service has them deleted.
    pub const fn senders(self) -> Roles {
        match self {
            Self::MetadataWrite | Self::MetadataRead | Self::MetadataWrites => Roles::MEMBER,
            Self::ServerReport => Roles::of(&[Role::Chunkserver]),
            Self::LeasePoll => Roles::of(&[Role::Client]),
            Self::PutShard => Roles::of(&[Role::Client, Role::Chunkserver]),
            // The metadata service asks whether a shard is there before it has a stray deleted.
            Self::GetShard => Roles::of(&[Role::Client, Role::Chunkserver, Role::Metadata]),
            Self::DeleteShard | Self::RepairShard | Self::RecodeChunk => Roles::of(&[Role::Metadata]),
            Self::ListShards => Roles::of(&[Role::Metadata, Role::Operator]),
            Self::DeviceStatus | Self::Hello | Self::RenewCertificate | Self::Revocations | Self::GroupStatus => {
                Roles::MEMBER
            }
            Self::RaftAppend | Self::RaftVote | Self::RaftSnapshot | Self::ReadIndex => Roles::of(&[Role::Metadata]),
            Self::Join => Roles::of(&[Role::Joiner]),
            Self::GroupChange | Self::ReadCheckpoint | Self::BackUp => Roles::of(&[Role::Metadata, Role::Operator]),
        }
    }

    /// Which connection it takes.
    pub const fn class(self) -> TrafficClass {
        match self {
            Self::PutShard | Self::GetShard | Self::ReadCheckpoint => TrafficClass::Bulk,
            Self::MetadataWrite
            | Self::MetadataRead
            | Self::MetadataWrites
            | Self::ServerReport
            | Self::LeasePoll
            | Self::DeleteShard
            | Self::ListShards
            | Self::DeviceStatus
            | Self::RepairShard
            | Self::RecodeChunk
            | Self::Hello
            | Self::Join
            | Self::RenewCertificate
            | Self::Revocations
            | Self::RaftAppend
            | Self::RaftVote
            | Self::RaftSnapshot
            | Self::ReadIndex
            | Self::GroupChange
            | Self::GroupStatus
            | Self::BackUp => TrafficClass::Control,
        }
    }

    /// Which of a connection's streams is sent first: the highest. A sign of life never waits behind work, and reads, which
    /// someone waits for, go before background work. Others wait for a mount that lets go of a lease. A Raft group whose votes or appends wait loses its leader.
    pub const fn priority(self) -> i32 {
        match self {
            Self::Hello
            | Self::ServerReport
            | Self::LeasePoll
            | Self::RaftAppend
            | Self::RaftVote
            | Self::ReadIndex => 2,
            Self::MetadataWrite
            | Self::MetadataRead
            | Self::MetadataWrites
            | Self::PutShard
            | Self::GetShard
            | Self::Join
            | Self::RenewCertificate
            | Self::Revocations
            | Self::RaftSnapshot
            | Self::GroupChange
            | Self::GroupStatus => 1,
            Self::DeleteShard
            | Self::ListShards
            | Self::DeviceStatus
            | Self::RepairShard
            | Self::RecodeChunk
            | Self::ReadCheckpoint
            | Self::BackUp => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_kinds() {
        for kind in RequestKind::ALL {
            assert_eq!(RequestKind::from_number(kind.number().into()), Some(kind));
        }
        assert_eq!(RequestKind::from_number(0), None);
        assert_eq!(RequestKind::from_number(1 << 16 | 1), None);
    }

    #[test]
    fn only_joining_needs_no_certificate() {
        for kind in RequestKind::ALL {
            let joins = kind == RequestKind::Join;
            assert_eq!(kind.senders().has(Role::Joiner), joins, "{}", kind.name());
            assert!(!kind.senders().is_empty());
        }
    }

    #[test]
    fn clients_delete_nothing() {
        assert!(!RequestKind::DeleteShard.senders().has(Role::Client));
    }
}
