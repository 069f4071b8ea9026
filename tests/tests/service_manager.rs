//! What a service manager is told by a server, over the socket that systemd would give it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::server::{Options, Server};
use rustix::process::Signal;

/// Longest wait for a message.
const BOUND: Duration = Duration::from_secs(60);

/// The time within which the manager wants a sign of life; so short that some come while a test watches.
const WATCHDOG_US: &str = "300000";

fn next(socket: &UnixDatagram) -> Result<String> {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).context("the server tells nothing more")?;
    Ok(String::from_utf8(message[..length].to_vec())?)
}

/// Reads until a message holds the line `wanted`; the messages before it.
fn until(socket: &UnixDatagram, wanted: &str) -> Result<Vec<String>> {
    let mut before = Vec::new();
    loop {
        let message = next(socket)?;
        if message.lines().any(|line| line == wanted) {
            return Ok(before);
        }
        before.push(message);
    }
}

#[test]
fn a_server_tells_that_it_is_ready_that_it_lives_and_that_it_stops() -> Result<()> {
    let folder = cairn_tests::place::scratch("manager")?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(BOUND))?;
    let options = Options::new(1, "1")
        .environment("NOTIFY_SOCKET", path.to_str().context("a path of ours")?)
        .environment("WATCHDOG_USEC", WATCHDOG_US);
    let mut server = Server::start_with("service-manager", options)?;

    let before = until(&socket, "READY=1")?;
    ensure!(
        before.iter().all(|message| message.starts_with("EXTEND_TIMEOUT_USEC=")),
        "before it is ready it only asks for time: {before:?}"
    );
    for _ in 0..3 {
        let before = until(&socket, "WATCHDOG=1")?;
        ensure!(before.is_empty(), "{before:?}");
    }
    server.signal(Signal::TERM)?;
    until(&socket, "STOPPING=1")?;
    ensure!(server.ended()?.success(), "it ends well");
    Ok(())
}
