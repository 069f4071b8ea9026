//! Cairn's carrier beside plain TCP, TCP with TLS, and quinn with nothing around it.
//!
//! Owns: the processes' parts and the order of things. Three of them run: this one, which makes the path and cleans up;
//! the client, which measures; the server. The same path is used by all contenders, one after the other, in rounds.
//!
//! `TRANSPORT_BENCH_ROUNDS` (5) and `TRANSPORT_BENCH_SECONDS` (2: for one contender in one round) change the length.
//!
//! Invariant: nothing is left behind, neither a process nor a namespace, however the benchmark ends short of SIGKILL.

mod bare_quinn;
mod cairn;
mod contender;
mod heartbeat;
mod netns;
mod pacer;
mod process;
mod report;
// The carrier's own: the bare copy has no worse a socket.
#[path = "../../src/quic/socket.rs"]
#[expect(unreachable_pub, reason = "it is public where it belongs")]
mod socket;
mod tcp;
mod tls;
mod workload;

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cairn_transport::QuicServer;
use rustix::process::geteuid;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::bare_quinn::BareQuinn;
use crate::cairn::Cairn;
use crate::contender::{Addresses, Entry, Target};
use crate::netns::NamespacePair;
use crate::process::Server;
use crate::report::{Report, progress};
use crate::tcp::{PlainTcp, Pooled};
use crate::tls::{Identity, TlsTcp};
use crate::workload::Plan;

/// MTU of the path between the namespaces. That of loopback is 65,536 bytes.
const ETHERNET_MTU_BYTES: u16 = 1_500;
/// Stands for "no namespace" in the client's arguments.
const NO_NAMESPACE: &str = "-";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["server", address, certificates] => run_server(address.parse()?, Path::new(certificates)),
        ["client", path, namespace, address] => run_client(path, namespace, address.parse()?),
        // Whatever cargo passes.
        _ => Builder::new_current_thread().enable_all().build()?.block_on(run_all()),
    }
}

/// Both halves, one after the other.
async fn run_all() -> Result<()> {
    run_half(None, &["client", "loopback", NO_NAMESPACE, "127.0.0.1"]).await?;
    if !geteuid().is_root() {
        progress("SKIPPED: the half at MTU 1500 makes network namespaces, for which only root has the right");
        return Ok(());
    }
    let pair = NamespacePair::create(ETHERNET_MTU_BYTES)?;
    let address = NamespacePair::server_address().to_string();
    run_half(Some(&pair.client), &["client", "mtu1500", &pair.server, &address]).await
}

/// Runs a client to its end, or until someone wants us gone; the client's server goes with it.
async fn run_half(namespace: Option<&str>, arguments: &[&str]) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut command = tokio::process::Command::from(process::this_program(namespace, arguments)?);
    let mut client = command.kill_on_drop(true).spawn().context("start the client")?;
    let status = tokio::select! {
        status = client.wait() => Some(status?),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let Some(status) = status else {
        client.kill().await.context("end the client")?;
        bail!("interrupted");
    };
    ensure!(status.success(), "the client failed: {status}");
    Ok(())
}

/// The client process: starts the server, connects everyone, measures, prints.
fn run_client(path: &str, namespace: &str, address: IpAddr) -> Result<()> {
    process::settle_child()?;
    let plan = plan_from_environment()?;
    let namespace = (namespace != NO_NAMESPACE).then_some(namespace);
    let certificates = tempfile::tempdir()?;
    cairn::make_certificates(certificates.path())?;
    let mut server = Server::start(namespace, address, certificates.path())?;
    let (runtime, control) = (Runtime::new()?, control_runtime()?);
    let mut report = Report::default();
    let measured = runtime.block_on(measure(path, &mut server, control.handle(), plan, &mut report));
    // What was measured before a failure is worth reading too.
    report.print(cairn::NAME, "bare_quinn")?;
    measured
}

async fn measure(path: &str, server: &mut Server, control: &Handle, plan: Plan, report: &mut Report) -> Result<()> {
    let target = server.target.clone();
    let entries = vec![
        Entry::connect::<Pooled<PlainTcp>>("tcp", &target, control).await?,
        Entry::connect::<Pooled<TlsTcp>>("tcp_tls", &target, control).await?,
        Entry::connect::<BareQuinn>("bare_quinn", &target, control).await?,
        Entry::connect::<Cairn>(cairn::NAME, &target, control).await?,
    ];
    workload::run(path, &entries, server, plan, report).await?;
    for _ in 0..plan.rounds {
        for entry in &entries {
            heartbeat::run(path, entry, server, plan.per_turn, report).await?;
        }
    }
    Ok(())
}

/// The server process: listens, says where, and answers its parent until that closes the pipe.
fn run_server(address: IpAddr, certificates: &Path) -> Result<()> {
    process::settle_child()?;
    let (runtime, control) = (Runtime::new()?, control_runtime()?);
    let (target, _cairn) = runtime.block_on(listen(address, certificates, control.handle()))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", target.to_line())?;
    out.flush()?;
    drop(out);
    process::answer_parent()?;
    runtime.shutdown_background();
    control.shutdown_background();
    Ok(())
}

/// Listens for both lanes, each on its own runtime.
async fn listen(address: IpAddr, certificates: &Path, control: &Handle) -> Result<(Target, QuicServer)> {
    let cairn = cairn::listen(address, certificates, control)?;
    let identity = Arc::new(Identity::new()?);
    let bulk = listen_lane(address, Arc::clone(&identity)).await?;
    let control = control.spawn(listen_lane(address, Arc::clone(&identity))).await??;
    let target = Target {
        bulk,
        control,
        cairn: cairn.local_address(),
        certificate: identity.certificate.to_vec(),
        certificates: certificates.to_owned(),
    };
    Ok((target, cairn))
}

async fn listen_lane(address: IpAddr, identity: Arc<Identity>) -> Result<Addresses> {
    let tcp_listener = TcpListener::bind((address, 0)).await?;
    let tls_listener = TcpListener::bind((address, 0)).await?;
    let addresses = Addresses {
        tcp: tcp_listener.local_addr()?,
        tls: tls_listener.local_addr()?,
        quic: bare_quinn::listen(address, identity.server_config()?)?,
    };
    tokio::spawn(tcp::listen(tcp_listener));
    tokio::spawn(tls::listen(tls_listener, identity.server_config()?));
    Ok(addresses)
}

/// One thread for control traffic alone: behind bulk work on the same thread, a heartbeat waits for its turn too long.
fn control_runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn plan_from_environment() -> Result<Plan> {
    let number = |name: &str, default: f64| match std::env::var(name) {
        Ok(text) => text
            .parse::<f64>()
            .with_context(|| format!("{name} is not a number: {text:?}")),
        Err(_) => Ok(default),
    };
    let rounds = number("TRANSPORT_BENCH_ROUNDS", 5.0)?;
    let seconds = number("TRANSPORT_BENCH_SECONDS", 2.0)?;
    ensure!(
        rounds >= 1.0 && seconds > 0.0,
        "at least one round, of more than no time"
    );
    Ok(Plan {
        rounds: rounds as usize,
        per_turn: Duration::from_secs_f64(seconds),
    })
}
