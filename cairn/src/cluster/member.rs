//! What a node does over the network about its own membership: join, renew, and a greeting to see that it works.

use std::{
    future::Future,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use cairn_common::{
    ids::NodeId,
    wire::{
        kind::RequestKind,
        node::{Hello, HelloReply},
    },
};
use cairn_transport::{
    Body, NodeAddresses, QuicSettings, QuicTransport, TransportMetrics, call,
    identity::{self, Identity, JoinError, JoinToken, NodeCredentials, NodeKey},
};

use super::{ClusterDir, Contacts};
use crate::{
    alone::alone,
    cli::{DataArgs, JoinArgs, PingArgs},
    data_dir::DataDir,
    running::Running,
};

/// How long each request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long telling the other node that we are done may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// Longest token or key read from standard input.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// `cairn cluster join`
pub(super) fn join(args: &JoinArgs) -> anyhow::Result<()> {
    let token: JoinToken = read_secret(&args.token)?.trim().parse()?;
    let data = DataDir::open(&args.data.data)?;
    let directory = ClusterDir::of(data.root());
    ensure!(
        !directory.exists(),
        "{} is a node of a cluster already",
        data.root().display()
    );
    ensure!(
        data.store_id()?.is_none(),
        "{} holds a store of its own: join with an empty directory",
        data.root().display()
    );
    let addresses = args
        .address
        .clone()
        .map_or_else(|| token.addresses.clone(), |address| vec![address]);
    let key = directory.joining_key()?;
    let joiner = Identity::joiner(&token)?;
    let credentials = alone(async {
        let admitting = |transport: Arc<QuicTransport>| {
            let (token, key) = (token.clone(), key.clone());
            async move { identity::join(transport.as_ref(), &token, &key, TIMEOUT).await }
        };
        first_that_answers(&joiner, token.node, &addresses, admitting).await
    })?;
    directory.create(|new| {
        identity::save_credentials(new, &credentials)?;
        ClusterDir::note_admission(new, token.node, &addresses)
    })?;
    directory.forget_joining_key()?;
    let joined = directory.identity()?;
    let mut out = io::stdout().lock();
    writeln!(out, "cluster     {}", joined.cluster())?;
    writeln!(out, "node        {}", joined.peer().node)?;
    writeln!(out, "roles       {}", joined.peer().roles)?;
    Ok(())
}

/// `cairn cluster ping`
pub(super) fn ping(args: &PingArgs) -> anyhow::Result<()> {
    let directory = ClusterDir::of(&args.data.data);
    let identity = directory.identity()?;
    let (node, addresses) = admitting_node(&directory, args)?;
    alone(async {
        let greeting = |transport: Arc<QuicTransport>| async move {
            for _ in 0..args.count {
                let started = Instant::now();
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let hello = Hello { version };
                let reply = call(
                    transport.as_ref(),
                    node,
                    RequestKind::Hello,
                    &hello,
                    Body::empty(),
                    TIMEOUT,
                )
                .await;
                let (reply, _): (HelloReply, _) = reply?;
                let took = started.elapsed();
                let told = writeln!(io::stdout().lock(), "node {node}: cairn {}, {took:.1?}", reply.version);
                told.context("writing to standard output")?;
            }
            Ok::<_, anyhow::Error>(())
        };
        first_that_answers(&identity, node, &addresses, greeting).await
    })
}

/// `cairn cluster renew`
pub(super) fn renew(args: &DataArgs) -> anyhow::Result<()> {
    let directory = ClusterDir::of(&args.data);
    let identity = directory.identity()?;
    let credentials = if directory.has_authority() {
        renew_here(&directory, &identity)?
    } else {
        alone(renew_elsewhere(&directory, &identity))?
    };
    directory.replace_credentials(&credentials)?;
    writeln!(
        io::stdout().lock(),
        "node {} has a new certificate and key",
        identity.peer().node
    )?;
    Ok(())
}

/// New credentials from the node that let this one in or, where that does not answer, from a metadata server that took over.
async fn renew_elsewhere(directory: &ClusterDir, identity: &Identity) -> anyhow::Result<NodeCredentials> {
    let admitted_by = directory.admitted_by()?;
    let first = NodeId::new(admitted_by.node);
    let mut holders = vec![(first, admitted_by.addresses)];
    if let Ok(contacts) = Contacts::of(directory) {
        holders[0].1.extend(contacts.addresses_of(first));
        let nodes = contacts.announce(&NodeAddresses::new());
        let others = nodes.into_iter().filter(|node| node.value() != admitted_by.node);
        holders.extend(others.map(|node| (node, contacts.addresses_of(node))));
    }
    let mut first = None;
    for (node, addresses) in holders {
        let renewing = |transport: Arc<QuicTransport>| {
            let identity = identity.clone();
            async move { identity::renew(transport.as_ref(), node, &identity, TIMEOUT).await }
        };
        match first_that_answers(identity, node, &addresses, renewing).await {
            Ok(credentials) => return Ok(credentials),
            Err(error) if matches!(error.downcast_ref(), Some(JoinError::Refused(_))) => return Err(error),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.context("no node is known that could renew the certificate")?)
}

/// New credentials out of the authority in the same directory.
pub(super) fn renew_here(directory: &ClusterDir, identity: &Identity) -> anyhow::Result<NodeCredentials> {
    let key = NodeKey::make()?;
    let request = key.certificate_request(identity.cluster())?;
    let issued = directory
        .authority()?
        .renew(identity.peer(), &request, SystemTime::now())?;
    Ok(NodeCredentials::of(issued, key))
}

/// A secret that is given as an argument or, for `-`, on standard input.
pub(super) fn read_secret(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    let read = io::stdin().lock().take(SECRET_BYTES_MAX).read_to_string(&mut text);
    read.context("reading the secret from standard input")?;
    Ok(text)
}

/// Who let this node in; the first node greets itself.
fn admitting_node(directory: &ClusterDir, args: &PingArgs) -> anyhow::Result<(NodeId, Vec<String>)> {
    if !directory.has_authority() {
        let admitted_by = directory.admitted_by()?;
        return Ok((NodeId::new(admitted_by.node), admitted_by.addresses));
    }
    let running = Running::load(&args.data.data)?;
    let address = running
        .cluster
        .context("the server that runs here was started before `cairn cluster init`: restart it")?;
    Ok((directory.identity()?.peer().node, vec![address]))
}

/// Does `work` with `node` over the first of its addresses that leads to it.
async fn first_that_answers<T, E, F>(
    identity: &Identity,
    node: NodeId,
    addresses: &[String],
    work: impl Fn(Arc<QuicTransport>) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, E>>,
    anyhow::Error: From<E>,
{
    let mut last = None;
    for address in resolve(addresses)? {
        let known = NodeAddresses::new();
        known.set(node, address);
        let transport = QuicTransport::new(identity, known, QuicSettings::default(), TransportMetrics::default())?;
        let transport = Arc::new(transport);
        let done = work(Arc::clone(&transport)).await;
        transport.close(CLOSE_TIMEOUT).await;
        match done {
            Ok(done) => return Ok(done),
            Err(error) => {
                let error = anyhow::Error::from(error);
                if let Some(JoinError::Refused(_)) = error.downcast_ref() {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.context("no address of the other node is known: give one with --address")?)
}

/// The socket addresses behind HOST:PORT texts.
pub(super) fn resolve(addresses: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for address in addresses {
        let resolved = address.to_socket_addrs();
        found.extend(resolved.with_context(|| format!("looking up {address}, which is to be HOST:PORT"))?);
    }
    if found.is_empty() && !addresses.is_empty() {
        bail!("none of {addresses:?} has an address");
    }
    Ok(found)
}
