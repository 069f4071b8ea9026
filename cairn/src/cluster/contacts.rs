//! The metadata servers that a node knows of, kept in its directory: it finds the service again also when those that it first
//! met are gone.
//!
//! ```text
//! DIR/cluster/metadata.toml   node and address of each member, as the service last told
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cairn_common::{
    ids::NodeId,
    wire::{
        group::{GroupMembers, GroupTableQuery},
        kind::RequestKind,
        query::{Answer, Query, ReadReply, ReadRequest},
    },
};
use cairn_transport::{Addresses, Body, NodeAddresses, Transport, call};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{task::AbortHandle, time::MissedTickBehavior};

use super::{ClusterDir, ClusterNode};
use crate::data_dir::replace_file;

/// How often the service is asked who its members are, by those who do not hear it anyway.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// How long a member may take to answer that.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The members of the metadata service.
pub(crate) struct Contacts {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(default)]
    member: Vec<Contact>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contact {
    node: u64,
    address: String,
}

impl Contacts {
    /// Those that the node of `directory` knows; at first only the one that let it in.
    pub(crate) fn of(directory: &ClusterDir) -> anyhow::Result<Self> {
        let file = directory.contacts_file();
        let known = if file.exists() {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            toml::from_str(&text).with_context(|| format!("{}", file.display()))?
        } else {
            let admitted_by = directory.admitted_by().context("this node knows no metadata server")?;
            let contact = |address: &String| Contact {
                node: admitted_by.node,
                address: address.clone(),
            };
            Known {
                member: admitted_by.addresses.first().map(contact).into_iter().collect(),
            }
        };
        if known.member.is_empty() {
            bail!("{} names no metadata server", file.display());
        }
        Ok(Self {
            file,
            known: Mutex::new(known),
        })
    }

    /// Keeps those that a metadata server knows, itself at first, for as long as its task is not aborted: for commands on its directory
    /// while it does not run.
    pub(crate) fn keep_of_member(data: &Path, node: &ClusterNode, address: String) -> AbortHandle {
        let directory = ClusterDir::of(data);
        let contacts = Self::of(&directory).unwrap_or_else(|_| {
            let node = node.peer().node.value();
            let member = vec![Contact { node, address }];
            Self {
                file: directory.contacts_file(),
                known: Mutex::new(Known { member }),
            }
        });
        tokio::spawn(contacts.keep_fresh(node.transport(), node.addresses().clone())).abort_handle()
    }

    /// Who they are; `addresses` is told where they are called.
    pub(crate) fn announce(&self, addresses: &NodeAddresses) -> Vec<NodeId> {
        let known = self.known.lock();
        for contact in &known.member {
            Addresses::set(addresses, NodeId::new(contact.node), &contact.address);
        }
        known.member.iter().map(|contact| NodeId::new(contact.node)).collect()
    }

    /// Where a member is called; nothing where it is unknown.
    pub(super) fn addresses_of(&self, node: NodeId) -> Vec<String> {
        let known = self.known.lock();
        let of_node = known.member.iter().filter(|contact| contact.node == node.value());
        of_node.map(|contact| contact.address.clone()).collect()
    }

    /// Keeps what the service says of itself.
    pub(crate) fn learn(&self, group: &GroupMembers) {
        let members = group.members.iter().filter(|member| !member.address.is_empty());
        let member: Vec<Contact> = members
            .map(|member| Contact {
                node: member.node,
                address: member.address.clone(),
            })
            .collect();
        let mut known = self.known.lock();
        if member.is_empty() || known.member == member {
            return;
        }
        known.member = member;
        let saved = toml::to_string(&*known)
            .context("writing the metadata servers")
            .and_then(|text| replace_file(&self.file, &text));
        if let Err(error) = saved {
            tracing::warn!(
                error = format!("{error:#}"),
                "which metadata servers there are is not kept"
            );
        }
    }

    /// Asks the service now and again who its members are, and keeps what it says.
    pub(crate) async fn keep_fresh(self, transport: Arc<dyn Transport>, addresses: NodeAddresses) {
        let mut ticks = tokio::time::interval(ASK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for node in self.announce(&addresses) {
                if let Some(group) = ask(transport.as_ref(), node).await {
                    self.learn(&group);
                    break;
                }
            }
        }
    }
}

/// The members of the first group, as `node` knows them; none where it does not answer.
async fn ask(transport: &dyn Transport, node: NodeId) -> Option<GroupMembers> {
    let request = ReadRequest {
        query: Some(Query::Groups(GroupTableQuery {})),
        ..ReadRequest::default()
    };
    let kind = RequestKind::MetadataRead;
    let asked = call(transport, node, kind, &request, Body::empty(), ASK_TIMEOUT).await;
    let (reply, _): (ReadReply, _) = asked.ok()?;
    let Some(Answer::Groups(table)) = reply.answer else {
        return None;
    };
    table.groups.into_iter().find(|group| group.group == request.group)
}
