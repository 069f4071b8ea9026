//! The way to the metadata service: which group holds a bucket, which of its members leads, and when to ask again.
//!
//! It must never hide whether a command may have happened. Invariant: a request is sent again only unchanged: a command keeps
//! its number, so that however often and to whomever it is sent, it happens at most once.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use cairn_common::{
    ids::{BucketId, GroupId, NodeId},
    limits,
    wire::{
        command::WriteRequest,
        failure::FailureCode,
        group::{GroupTable, GroupTableQuery},
        kind::RequestKind,
        lease::LeasePoll,
        query::{Answer, Query, ReadReply, ReadRequest},
    },
};
use cairn_transport::{Addresses, Body, CallError, Gatherer, Transport, call};
use parking_lot::RwLock;
use prost::Message;
use tokio::time::Instant;

use crate::error::{ClientError, unexpected};

/// First and longest pause before a request is sent again; it doubles, and each is shortened by chance.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How long the first member asked may take before another is asked too; it doubles with each try. A leader that was cut off
/// is left within it, and one that only syncs slowly answers within it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// A request that brought no answer.
pub(crate) struct SendFailed {
    pub(crate) error: ClientError,
    /// Whether a server may have carried it out all the same.
    pub(crate) may_have_happened: bool,
    /// Whether the group that was asked does not hold the bucket.
    wrong_group: bool,
}

/// A request that names the group it is meant for.
pub(crate) trait Grouped: Message {
    /// Lets it be meant for `group`.
    fn set_group(&mut self, group: GroupId);

    /// Lets it say that it was sent before and may have been carried out then.
    fn set_resent(&mut self);

    /// Whether others may be waiting for it, so that it must not wait for those it would travel with.
    fn is_awaited(&self) -> bool {
        false
    }
}

/// Leads requests to the members of groups.
pub(crate) struct Router {
    transport: Arc<dyn Transport>,
    /// Commands travel together: a gateway has many under way.
    commands: Gatherer,
    addresses: Option<Arc<dyn Addresses>>,
    table: RwLock<Table>,
    chance: RandomState,
}

/// What is known of the groups.
#[derive(Debug, Default)]
struct Table {
    default_group: GroupId,
    /// Buckets that lie elsewhere.
    buckets: HashMap<BucketId, GroupId>,
    groups: HashMap<GroupId, Group>,
}

/// The members of a group, and who is asked first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    members: Vec<NodeId>,
    first: usize,
}

/// What to do after a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// Ask the same member again.
    Same,
    /// Ask another member.
    Other,
    /// Ask this one, at this address where that is known: it leads.
    Leader(NodeId, String),
    /// Nothing that another try could mend.
    GiveUp,
}

impl Router {
    /// Knows only `members` of the first group.
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        addresses: Option<Arc<dyn Addresses>>,
        members: Vec<NodeId>,
    ) -> Self {
        let mut table = Table::default();
        table.groups.insert(GroupId::default(), Group { members, first: 0 });
        let (one, many) = (RequestKind::MetadataWrite, RequestKind::MetadataWrites);
        Self {
            commands: Gatherer::new(Arc::clone(&transport), one, many),
            transport,
            addresses,
            table: RwLock::new(table),
            chance: RandomState::new(),
        }
    }

    /// The group that holds a bucket; of none, the one that holds what belongs to no bucket.
    pub(crate) fn group_of(&self, bucket: Option<BucketId>) -> GroupId {
        let table = self.table.read();
        let elsewhere = bucket.and_then(|bucket| table.buckets.get(&bucket).copied());
        elsewhere.unwrap_or(table.default_group)
    }

    /// Asks the service for its groups.
    pub(crate) async fn refresh(&self) -> Result<(), SendFailed> {
        let query = Some(Query::Groups(GroupTableQuery {}));
        let group = self.group_of(None);
        let mut request = ReadRequest {
            query,
            group: group.value(),
            ..ReadRequest::default()
        };
        let reply: ReadReply = self.send(group, RequestKind::MetadataRead, &mut request).await?;
        match reply.answer {
            Some(Answer::Groups(table)) => self.learn(&table),
            _ => return Err(unexpected().into()),
        }
        Ok(())
    }

    /// Takes over what the service says of its groups. Members that are asked first stay first.
    fn learn(&self, learnt: &GroupTable) {
        if let Some(addresses) = &self.addresses {
            let members = learnt.groups.iter().flat_map(|group| &group.members);
            // A store of one process has no address for others in its group; where it is called is known from joining.
            for member in members.filter(|member| !member.address.is_empty()) {
                addresses.set(NodeId::new(member.node), &member.address);
            }
        }
        let mut table = self.table.write();
        for group in &learnt.groups {
            let members: Vec<NodeId> = group.members.iter().map(|member| NodeId::new(member.node)).collect();
            if members.is_empty() {
                continue;
            }
            let known = table.groups.entry(GroupId::new(group.group)).or_default();
            let asked = known.asked();
            let first = members.iter().position(|member| Some(*member) == asked);
            *known = Group {
                members,
                first: first.unwrap_or(0),
            };
        }
        table.default_group = GroupId::new(learnt.default_group);
        let buckets = learnt.buckets.iter();
        table.buckets = buckets
            .map(|bucket| (BucketId::new(bucket.bucket_id), GroupId::new(bucket.group)))
            .collect();
    }

    /// Sends a request about a bucket, or about none, to the group that holds it.
    pub(crate) async fn send_about<Reply: Message + Default>(
        &self,
        bucket: Option<BucketId>,
        kind: RequestKind,
        message: &mut impl Grouped,
    ) -> Result<Reply, SendFailed> {
        let group = self.group_of(bucket);
        message.set_group(group);
        let failed = match self.send(group, kind, message).await {
            Err(failed) if failed.wrong_group => failed,
            outcome => return outcome,
        };
        // The bucket lies elsewhere than was known: once is enough, or the service contradicts itself.
        self.refresh().await?;
        let now = self.group_of(bucket);
        if now == group {
            return Err(failed);
        }
        message.set_group(now);
        self.send(now, kind, message).await
    }

    /// Sends a request to a group, again and to other members as long as that can help.
    async fn send<Reply: Message + Default>(
        &self,
        group: GroupId,
        kind: RequestKind,
        message: &mut impl Grouped,
    ) -> Result<Reply, SendFailed> {
        let mut may_have_happened = false;
        let deadline = Instant::now() + Duration::from_millis(limits::METADATA_DEADLINE_MS);
        let (mut pause, mut patience) = (BACK_OFF.0, PATIENCE.0);
        // Who brought no answer, and until when it is passed over: others name a dead leader until they have another.
        let mut silent: Option<(NodeId, Instant)> = None;
        loop {
            let avoided = silent
                .filter(|(_, until)| Instant::now() < *until)
                .map(|(node, _)| node);
            let Some(server) = self.asked_but(group, avoided) else {
                let error = ClientError::Unavailable(format!("no server of metadata group {group} is known"));
                return Err(SendFailed {
                    error,
                    may_have_happened,
                    wrong_group: false,
                });
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // The only member is given all the time there is.
            let timeout = if self.has_others(group) {
                left.min(patience)
            } else {
                left
            };
            let error = match self.ask(server, kind, &*message, timeout).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if is_uncertain(&error) {
                may_have_happened = true;
                message.set_resent();
            }
            let next = next_step(&error, self.has_others(group));
            let wait = self.shortened(pause).max(asked_wait(&error));
            if next == Next::GiveUp || Instant::now() + wait >= deadline {
                let wrong_group =
                    matches!(&error, CallError::Failed(failure) if failure.code() == FailureCode::WrongGroup);
                return Err(SendFailed {
                    error: error.into(),
                    may_have_happened,
                    wrong_group,
                });
            }
            if next == Next::Other && !matches!(error, CallError::Failed(_)) {
                silent = Some((server, Instant::now() + patience));
            }
            let avoided = silent.map(|(node, _)| node);
            if !self.turn(group, server, avoided, next) {
                tokio::time::sleep(wait).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
            patience = (patience * 2).min(PATIENCE.1);
        }
    }

    /// Asks whom the first group is asked by first, once, and learns from a failure whom to ask next time.
    pub(crate) async fn send_once<Reply: Message + Default>(
        &self,
        kind: RequestKind,
        message: &mut impl Grouped,
        within: Duration,
    ) -> Result<Reply, ClientError> {
        let group = self.group_of(None);
        message.set_group(group);
        let Some(server) = self.asked_but(group, None) else {
            let detail = format!("no server of metadata group {group} is known");
            return Err(ClientError::Unavailable(detail));
        };
        let failed = match self.ask(server, kind, &*message, within).await {
            Ok(reply) => return Ok(reply),
            Err(failed) => failed,
        };
        self.turn(group, server, None, next_step(&failed, self.has_others(group)));
        Err(failed.into())
    }

    async fn ask<Reply: Message + Default>(
        &self,
        server: NodeId,
        kind: RequestKind,
        message: &impl Grouped,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        if kind == RequestKind::MetadataWrite && !message.is_awaited() {
            return self.commands.call(server, message, timeout).await;
        }
        let (reply, _) = call(self.transport.as_ref(), server, kind, message, Body::empty(), timeout).await?;
        Ok(reply)
    }

    /// Who is asked first, or the one after that where this is `avoided`.
    fn asked_but(&self, group: GroupId, avoided: Option<NodeId>) -> Option<NodeId> {
        let table = self.table.read();
        let group = table.groups.get(&group)?;
        let asked = group.asked()?;
        if Some(asked) == avoided {
            return group.after(asked, avoided);
        }
        Some(asked)
    }

    fn has_others(&self, group: GroupId) -> bool {
        self.table
            .read()
            .groups
            .get(&group)
            .is_some_and(|group| group.members.len() > 1)
    }

    /// Chooses who is asked next. `true` where somebody is said to lead whom nobody has asked meanwhile.
    fn turn(&self, group: GroupId, failed: NodeId, avoided: Option<NodeId>, next: Next) -> bool {
        let mut table = self.table.write();
        let Some(group) = table.groups.get_mut(&group) else {
            return false;
        };
        let asked = group.asked();
        // Another request has turned already.
        if asked != Some(failed) && (avoided.is_none() || asked != avoided) {
            return false;
        }
        match next {
            Next::Same | Next::GiveUp => false,
            Next::Leader(leader, address) if leader != failed && Some(leader) != avoided => {
                // One that has joined since the members were asked for is as good as any: its certificate says that it is it.
                if group.index(leader).is_none() && group.members.len() < limits::MEMBERS_MAX && !address.is_empty() {
                    if let Some(addresses) = &self.addresses {
                        addresses.set(leader, &address);
                    }
                    group.members.push(leader);
                }
                let found = group.index(leader);
                group.first = found.unwrap_or_else(|| (group.first + 1) % group.members.len().max(1));
                found.is_some()
            }
            Next::Other | Next::Leader(..) => {
                let after = group.after(failed, avoided).and_then(|node| group.index(node));
                group.first = after.unwrap_or(0);
                false
            }
        }
    }

    /// Between half of `pause` and all of it, so that those who failed together do not come back together.
    fn shortened(&self, pause: Duration) -> Duration {
        let drawn = self.chance.hash_one(Instant::now()) % 512;
        pause * (512 + drawn as u32) / 1024
    }
}

impl Group {
    fn asked(&self) -> Option<NodeId> {
        self.members.get(self.first).copied()
    }

    fn index(&self, node: NodeId) -> Option<usize> {
        self.members.iter().position(|member| *member == node)
    }

    /// The member behind `node`, passing over `avoided` where there is any other.
    fn after(&self, node: NodeId, avoided: Option<NodeId>) -> Option<NodeId> {
        let from = self.index(node).map_or(0, |index| index + 1);
        let others = self.members.iter().cycle().skip(from).take(self.members.len());
        let mut others = others.copied().filter(|member| Some(*member) != avoided);
        others.next().or_else(|| self.asked())
    }
}

/// How long the server asked to be left alone.
fn asked_wait(error: &CallError) -> Duration {
    match error {
        CallError::Failed(failure) => Duration::from_millis(failure.retry_after_ms.into()),
        CallError::Unreachable { .. }
        | CallError::ConnectionLost { .. }
        | CallError::DeadlineExceeded
        | CallError::Malformed(_)
        | CallError::Body(_) => Duration::ZERO,
    }
}

/// What may help after `error`.
fn next_step(error: &CallError, has_others: bool) -> Next {
    match error {
        CallError::Unreachable { .. } | CallError::ConnectionLost { .. } | CallError::DeadlineExceeded => Next::Other,
        CallError::Failed(failure) => match failure.code() {
            FailureCode::NotLeader if failure.leader != 0 => {
                Next::Leader(NodeId::new(failure.leader), failure.leader_address.clone())
            }
            FailureCode::NotLeader => Next::Other,
            FailureCode::Busy | FailureCode::DeadlineExceeded => Next::Same,
            // A member that has failed for good leaves the others to go on.
            FailureCode::Internal if has_others => Next::Other,
            FailureCode::Unspecified
            | FailureCode::NotFound
            | FailureCode::Corrupt
            | FailureCode::DeviceDown
            | FailureCode::DeviceFull
            | FailureCode::WrongDevice
            | FailureCode::Malformed
            | FailureCode::Internal
            | FailureCode::Forbidden
            | FailureCode::Unsupported
            // The table is fetched anew by whoever chose the group.
            | FailureCode::WrongGroup
            | FailureCode::WrongEpoch => Next::GiveUp,
        },
        CallError::Malformed(_) | CallError::Body(_) => Next::GiveUp,
    }
}

/// Whether a command that met this error may have been carried out. A server that says why it failed did not, unless it
/// stopped in the middle.
fn is_uncertain(error: &CallError) -> bool {
    match error {
        CallError::Unreachable { .. } => false,
        CallError::ConnectionLost { .. }
        | CallError::DeadlineExceeded
        | CallError::Malformed(_)
        | CallError::Body(_) => true,
        CallError::Failed(failure) => match failure.code() {
            // The server answers "busy" also where it stopped waiting for its own proposal.
            FailureCode::Busy
            | FailureCode::NotLeader
            | FailureCode::Internal
            | FailureCode::DeadlineExceeded
            | FailureCode::Unspecified => true,
            FailureCode::NotFound
            | FailureCode::Corrupt
            | FailureCode::DeviceDown
            | FailureCode::DeviceFull
            | FailureCode::WrongDevice
            | FailureCode::Forbidden
            | FailureCode::Unsupported
            | FailureCode::WrongGroup
            | FailureCode::WrongEpoch
            | FailureCode::Malformed => false,
        },
    }
}

impl From<ClientError> for SendFailed {
    fn from(error: ClientError) -> Self {
        Self {
            error,
            may_have_happened: false,
            wrong_group: false,
        }
    }
}

impl Grouped for ReadRequest {
    fn set_group(&mut self, group: GroupId) {
        self.group = group.value();
    }

    // A query changes nothing, however often it is sent.
    fn set_resent(&mut self) {}
}

impl Grouped for LeasePoll {
    fn set_group(&mut self, group: GroupId) {
        self.group = group.value();
    }

    // What was recalled is told until it is let go of.
    fn set_resent(&mut self) {}
}

impl Grouped for WriteRequest {
    fn set_group(&mut self, group: GroupId) {
        self.group = group.value();
    }

    fn set_resent(&mut self) {
        self.resent = true;
    }

    fn is_awaited(&self) -> bool {
        self.settles
    }
}

impl From<SendFailed> for ClientError {
    fn from(failed: SendFailed) -> Self {
        failed.error
    }
}

#[cfg(test)]
mod tests;
