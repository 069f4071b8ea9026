//! Two network namespaces joined by a veth pair: a path with an MTU of 1,500 bytes on one machine.
//!
//! Owns: the namespaces, which go with the value. It must never touch one that it did not make: names carry the pid.
//!
//! Invariant: removing a namespace removes its end of the pair, and with it the other end; nothing else is left behind.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Documentation addresses (RFC 5737): no route of the machine can be meant by them.
const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A pair of namespaces, removed on drop.
#[derive(Debug)]
pub(crate) struct NamespacePair {
    pub(crate) server: String,
    pub(crate) client: String,
}

impl NamespacePair {
    /// Makes both namespaces and the path between them.
    ///
    /// # Errors
    /// When `ip` is missing or refuses; what was made until then is removed.
    pub(crate) fn create(mtu_bytes: u16) -> Result<Self> {
        let pid = std::process::id();
        let pair = Self {
            server: format!("cairn-bench-s{pid}"),
            client: format!("cairn-bench-c{pid}"),
        };
        // Interface names hold at most 15 bytes.
        let (server_link, client_link) = (format!("cbs{pid}"), format!("cbc{pid}"));
        ip(&["netns", "add", &pair.server])?;
        ip(&["netns", "add", &pair.client])?;
        ip(&[
            "link",
            "add",
            &server_link,
            "netns",
            &pair.server,
            "type",
            "veth",
            "peer",
            "name",
            &client_link,
            "netns",
            &pair.client,
        ])?;
        bring_up(&pair.server, &server_link, SERVER_ADDRESS, mtu_bytes)?;
        bring_up(&pair.client, &client_link, CLIENT_ADDRESS, mtu_bytes)?;
        Ok(pair)
    }

    pub(crate) fn server_address() -> IpAddr {
        SERVER_ADDRESS.into()
    }
}

impl Drop for NamespacePair {
    fn drop(&mut self) {
        for name in [&self.server, &self.client] {
            // It may never have been made, so a refusal says nothing.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn bring_up(namespace: &str, link: &str, address: Ipv4Addr, mtu_bytes: u16) -> Result<()> {
    ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", link])?;
    ip(&[
        "-n",
        namespace,
        "link",
        "set",
        link,
        "mtu",
        &mtu_bytes.to_string(),
        "up",
    ])?;
    ip(&["-n", namespace, "link", "set", "lo", "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("run ip (iproute2)")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
