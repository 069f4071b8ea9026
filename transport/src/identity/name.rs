//! The names in certificates: which node, in which roles, of which cluster.
//!
//! ```text
//! 7.node.<cluster, 32 hex digits>.cairn.internal        one in a node's certificate
//! client.role.<cluster, 32 hex digits>.cairn.internal   one for each role
//! <cluster, 32 hex digits>.cairn.internal               one in the CA's certificate
//! ```
//!
//! Invariant: a name is read back only in the one spelling in which it is written.

use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::role::{Role, Roles},
};
use rustls_pki_types::ServerName;

use super::IdentityError;
use crate::Peer;

const DOMAIN: &str = ".cairn.internal";

/// The name of a node.
pub(super) fn node_name(cluster: ClusterId, node: NodeId) -> String {
    format!("{node}.node.{cluster}{DOMAIN}")
}

/// The name of a role.
pub(super) fn role_name(cluster: ClusterId, role: Role) -> String {
    format!("{role}.role.{cluster}{DOMAIN}")
}

/// The name of the CA.
pub(super) fn authority_name(cluster: ClusterId) -> String {
    format!("{cluster}{DOMAIN}")
}

/// The name that a caller of this node asks TLS to check.
pub(super) fn server_name(cluster: ClusterId, node: NodeId) -> ServerName<'static> {
    ServerName::try_from(node_name(cluster, node)).expect("digits and letters in short labels are a DNS name")
}

/// The names of a node's certificate.
pub(super) fn member_names(cluster: ClusterId, member: Peer) -> Vec<String> {
    let roles = member.roles.iter().map(|role| role_name(cluster, role));
    std::iter::once(node_name(cluster, member.node)).chain(roles).collect()
}

/// The cluster whose CA has these names.
pub(super) fn authority_of(names: &[String]) -> Option<ClusterId> {
    let [name] = names else { return None };
    let cluster = ClusterId::from_hex(name.strip_suffix(DOMAIN)?)?;
    (authority_name(cluster) == *name).then_some(cluster)
}

/// The member of `cluster` that has these names.
pub(super) fn member_of(cluster: ClusterId, names: &[String]) -> Result<Peer, IdentityError> {
    let (mut node, mut roles) = (None, Vec::new());
    for name in names {
        match read(cluster, name) {
            Some(Name::Node(id)) if node.is_none() => node = Some(id),
            Some(Name::Node(_)) => return Err(IdentityError::Names(format!("{name} is a second node name"))),
            Some(Name::Role(role)) => roles.push(role),
            None => return Err(IdentityError::Names(format!("{name} is no name of cluster {cluster}"))),
        }
    }
    let node = node.ok_or_else(|| IdentityError::Names("there is no node name".to_owned()))?;
    let roles: Roles = roles.into_iter().collect();
    if roles.is_empty() {
        return Err(IdentityError::Names("there is no role".to_owned()));
    }
    Ok(Peer { node, roles })
}

enum Name {
    Node(NodeId),
    Role(Role),
}

fn read(cluster: ClusterId, name: &str) -> Option<Name> {
    let (first, rest) = name.split_once('.')?;
    let kind = rest.strip_suffix(&format!(".{}", authority_name(cluster)))?;
    match kind {
        "node" => {
            let id: u64 = first.parse().ok()?;
            (id != 0 && id.to_string() == first).then_some(Name::Node(NodeId::new(id)))
        }
        "role" => Role::from_name(first)
            .filter(|role| Roles::MEMBER.has(*role))
            .map(Name::Role),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId::new([0xab; 16]);

    #[test]
    fn names_lead_back_to_the_member() {
        for (node, roles) in [
            (1, Roles::of(&[Role::Client])),
            (7, Roles::of(&[Role::Metadata, Role::Chunkserver])),
            (u64::MAX, Roles::MEMBER),
        ] {
            let member = Peer {
                node: NodeId::new(node),
                roles,
            };
            assert_eq!(member_of(CLUSTER, &member_names(CLUSTER, member)), Ok(member));
        }
        assert_eq!(authority_of(&[authority_name(CLUSTER)]), Some(CLUSTER));
    }

    #[test]
    fn other_names_are_refused() {
        let hex = "ab".repeat(16);
        let node = format!("7.node.{hex}.cairn.internal");
        let role = format!("client.role.{hex}.cairn.internal");
        let other = "cd".repeat(16);
        for names in [
            vec![],
            vec![node.clone()],
            vec![role.clone()],
            vec![node.clone(), node.clone(), role.clone()],
            vec![node.clone(), format!("root.role.{hex}.cairn.internal")],
            vec![node.clone(), format!("joiner.role.{hex}.cairn.internal")],
            vec![node.clone(), format!("client.role.{other}.cairn.internal")],
            vec![node.clone(), role.clone(), "example.com".to_owned()],
            vec![format!("07.node.{hex}.cairn.internal"), role.clone()],
            vec![format!("+7.node.{hex}.cairn.internal"), role.clone()],
            vec![format!("0.node.{hex}.cairn.internal"), role.clone()],
            vec![format!("7.x.node.{hex}.cairn.internal"), role.clone()],
            vec![format!("7.node.{}.cairn.internal", "AB".repeat(16)), role],
        ] {
            let found = member_of(CLUSTER, &names);
            assert!(matches!(found, Err(IdentityError::Names(_))), "{names:?}: {found:?}");
        }
        assert_eq!(authority_of(&[node]), None);
    }
}
