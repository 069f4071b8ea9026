//! What only the first node can do, since it holds the authority: make the cluster, let nodes in, shut nodes out.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use cairn_common::{ids::NodeId, wire::role::Roles};
use cairn_transport::identity::{AuthorityDir, NodeCredentials, NodeKey, RecoveryKey, save_credentials};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ClusterDir, safekeeping};
use crate::{
    cli::{DataArgs, RevokeArgs, TokenArgs},
    data_dir::{DataDir, new_cluster_id},
    running::Running,
};

/// `cairn cluster init`
pub(super) fn init(args: &DataArgs) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data)?;
    let directory = ClusterDir::of(data.root());
    let cluster = data.store_id()?.map_or_else(new_cluster_id, Ok)?;
    let recovery_key = RecoveryKey::make()?;
    directory.create(|new| {
        let authority = AuthorityDir::create(&new.join("authority"), cluster)?;
        authority.seal(&recovery_key)?;
        let key = NodeKey::make()?;
        let request = key.certificate_request(cluster)?;
        let issued = authority.enrol(Roles::MEMBER, &request, SystemTime::now())?;
        Ok(save_credentials(new, &NodeCredentials::of(issued, key))?)
    })?;
    let identity = directory.identity()?;
    let mut out = io::stdout().lock();
    writeln!(out, "cluster     {cluster}")?;
    writeln!(out, "node        {}", identity.peer().node)?;
    tell_recovery_key(&mut out, &recovery_key)?;
    writeln!(
        out,
        "next        `cairn server --data {} --cluster-listen ADDR`, then `cairn cluster token` for each further node",
        args.data.display()
    )?;
    Ok(())
}

/// Tells the recovery key, this once.
pub(super) fn tell_recovery_key(out: &mut impl io::Write, key: &RecoveryKey) -> io::Result<()> {
    writeln!(out, "recovery    {key}")?;
    writeln!(
        out,
        "note        keep the recovery key in a safe, off these machines, and nowhere else: it is told this once, and with it \
         another node can go on in place of this one (`cairn cluster recover-authority`)"
    )
}

/// `cairn cluster token`
pub(super) fn token(args: &TokenArgs) -> anyhow::Result<()> {
    let directory = ClusterDir::of(&args.data.data);
    let node = directory.identity()?.peer().node;
    let authority = directory.authority()?;
    let mut addresses = args.address.clone();
    if addresses.is_empty() {
        let running = Running::load(&args.data.data).ok().and_then(|running| running.cluster);
        let reachable = |address: &SocketAddr| !address.ip().is_unspecified();
        let address = running.and_then(|address| address.parse().ok()).filter(reachable);
        addresses.extend(address.map(|address| address.to_string()));
    }
    ensure!(
        !addresses.is_empty(),
        "it is not known under which address others reach this node: give --address HOST:PORT"
    );
    let roles = args.roles.iter().copied().collect();
    let token = authority.make_token(roles, args.valid, addresses, node)?;
    // Nothing else on standard output: it goes into variables and pipes.
    writeln!(io::stdout().lock(), "{token}")?;
    Ok(())
}

/// `cairn cluster members`
pub(super) fn members(args: &DataArgs) -> anyhow::Result<()> {
    let members = ClusterDir::of(&args.data).authority()?.members()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{:<6} {:<40} {:<22} state", "node", "roles", "certificate ends")?;
    let now = SystemTime::now();
    for member in members {
        let ends = UNIX_EPOCH + Duration::from_millis(member.expires_ms);
        let state = match (member.revoked, ends <= now) {
            (true, _) => "revoked",
            (false, true) => "expired",
            (false, false) => "member",
        };
        let ends = OffsetDateTime::from(ends).replace_nanosecond(0).context("a time")?;
        let ends = ends.format(&Rfc3339).context("a time")?;
        let (node, roles) = (member.node.value(), member.roles.to_string());
        writeln!(out, "{node:<6} {roles:<40} {ends:<22} {state}")?;
    }
    Ok(())
}

/// `cairn cluster revoke`
pub(super) fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let directory = ClusterDir::of(&args.data.data);
    let node = NodeId::new(args.node);
    ensure!(
        directory.identity()?.peer().node != node,
        "node {node} is this one: its certificate is what the others know the authority by"
    );
    let authority = directory.authority()?;
    let certificates = authority.revoke(node)?;
    writeln!(
        io::stdout().lock(),
        "node {node} is shut out: {certificates} of its certificates no longer hold"
    )?;
    // Whoever recovers the authority has to know it too. A server that runs here tries again where it fails.
    safekeeping::keep_now(&args.data.data)
}
