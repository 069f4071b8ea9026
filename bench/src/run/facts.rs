//! What figures are to be read by: asked of the server where it tells, else taken from flags.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::args::TargetArgs;
use crate::limits::{ADMIN_WAIT, MAX_ADMIN_ANSWER_BYTES};
use crate::target::{Fact, Facts};

/// What a Cairn server's admin address says.
#[derive(Debug, Default, Deserialize)]
struct Status {
    version: Option<String>,
    redundancy: Option<String>,
    sync_mode: Option<String>,
}

/// Adds to what the target has told of itself.
///
/// # Errors
/// An admin address that does not answer.
pub(super) fn complete_facts(told: Facts, target: &TargetArgs) -> Result<Facts> {
    let status = match &target.admin {
        Some(url) => ask(url).with_context(|| format!("cannot ask the admin address {url}"))?,
        None => Status::default(),
    };
    let version = status.version.map(|version| format!("cairn {version}"));
    let version = version.or_else(|| told.version.as_ref().map(|fact| fact.value.clone()));
    Ok(Facts {
        version: Fact::first(version, target.server_version.as_deref()),
        redundancy: Fact::first(status.redundancy, target.redundancy.as_deref()),
        sync_mode: Fact::first(status.sync_mode, target.sync_mode.as_deref()),
        ..told
    })
}

/// The status of a Cairn server.
fn ask(url: &str) -> Result<Status> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let address = authority
        .to_socket_addrs()
        .context("it is not http://HOST:PORT")?
        .next()
        .context("it has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, ADMIN_WAIT)?;
    stream.set_read_timeout(Some(ADMIN_WAIT))?;
    stream.set_write_timeout(Some(ADMIN_WAIT))?;
    // The server closes after an answer by HTTP/1.0, so that its end is known.
    let request = format!("GET /status HTTP/1.0\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ADMIN_ANSWER_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    ensure!(
        head.split(' ').nth(1) == Some("200"),
        "it answered: {}",
        body.lines().next().unwrap_or(head)
    );
    serde_json::from_str(body).context("the answer is not a Cairn server's")
}
