//! Three etcd processes and their driver.
//!
//! Owns: their ports, folders and settings, which are etcd's defaults: each put is synced by a majority before it is
//! answered, each get is linearizable.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::value_bytes;
use crate::process::{Talker, end};
use crate::report::progress;
use crate::workload::{CLIENTS, GATEWAYS};

/// Members of the cluster.
const MEMBERS: usize = 3;
/// Looks for an answer, a tenth of a second apart.
const START_LOOKS: usize = 300;

/// A running cluster; dropping it ends it.
pub(crate) struct Etcd {
    members: Vec<Child>,
    client_ports: Vec<u16>,
}

impl Etcd {
    /// Starts a cluster with its data under `directory`.
    ///
    /// # Errors
    /// When etcd is not installed, or does not start.
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        let ports = free_ports(2 * MEMBERS)?;
        let (client_ports, peer_ports) = ports.split_at(MEMBERS);
        let names: Vec<String> = peer_ports
            .iter()
            .enumerate()
            .map(|(number, port)| format!("m{number}=http://127.0.0.1:{port}"))
            .collect();
        let mut etcd = Self {
            members: Vec::new(),
            client_ports: client_ports.to_vec(),
        };
        for number in 0..MEMBERS {
            let client = format!("http://127.0.0.1:{}", client_ports[number]);
            let peer = format!("http://127.0.0.1:{}", peer_ports[number]);
            let log = std::fs::File::create(directory.join(format!("etcd{number}.log")))?;
            // etcd ends with this thread, however that ends.
            let member = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "etcd", "--name", &format!("m{number}")])
                .arg("--data-dir")
                .arg(directory.join(format!("etcd{number}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &names.join(","), "--log-level", "warn"])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("start etcd: `scripts/deps bench` installs it")?;
            etcd.members.push(member);
        }
        etcd.wait().await?;
        Ok(etcd)
    }

    async fn wait(&self) -> Result<()> {
        for port in &self.client_ports {
            let mut looks = 0;
            // A member listens for clients once it knows a leader.
            while TcpStream::connect(("127.0.0.1", *port)).await.is_err() {
                looks += 1;
                if looks > START_LOOKS {
                    bail!("etcd does not answer at port {port}: see its log in the benchmark's folder");
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// The members' process ids.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.members.iter().map(Child::id).collect()
    }

    /// Starts the driver, which talks to the member that leads: what etcd serves fastest.
    ///
    /// # Errors
    /// When the driver was not built, or finds no leader.
    pub(crate) async fn drive(&self, program: &str) -> Result<Talker> {
        let leader = self.leader_port().await?;
        progress(&format!(
            "etcd's leader is at port {leader}; values of {} bytes",
            value_bytes()
        ));
        let mut command = Command::new(program);
        command
            .arg(format!("http://127.0.0.1:{leader}"))
            .args([CLIENTS, GATEWAYS, value_bytes()].map(|number| number.to_string()));
        Talker::start(command).context("start the driver of etcd: `make bench-metadata` builds it")
    }

    /// The leader tells so in its metrics.
    async fn leader_port(&self) -> Result<u16> {
        for _ in 0..START_LOOKS {
            for port in &self.client_ports {
                if metrics(*port).await?.contains("\netcd_server_is_leader 1") {
                    return Ok(*port);
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("etcd elects no leader: see its log in the benchmark's folder")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(end);
    }
}

async fn metrics(port: u16) -> Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}
