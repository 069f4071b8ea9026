//! How the subcommands ask the process that runs the cluster: a line of JSON over a socket in the cluster's directory, and a line
//! in return.
//!
//! Invariant: only the user whose cluster it is, and root, may ask: under its name the socket was never open to others.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::report::Status;

const SOCKET: &str = "dev-cluster.sock";
const SOCKET_ASIDE: &str = "dev-cluster.sock.new";

/// How long an answer may take: a start of several processes waits for each of them.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);

/// Longest line.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Requests that wait.
const REQUESTS_MAX: usize = 16;

/// What a running cluster is asked. Names are those of processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    Status,
    Signal(Signalled, Vec<String>),
    Start(Vec<String>),
    Wipe(Vec<String>),
    Partition { names: Vec<String>, from: Vec<String> },
    Heal(Vec<String>),
}

/// The signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Signalled {
    Kill,
    Stop,
    Continue,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// What was done, a line each.
    Done(Vec<String>),
    Status(Box<Status>),
    Refused(String),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The listening end. It ends with its value.
#[derive(Debug)]
pub(super) struct Listener {
    task: AbortHandle,
    socket: PathBuf,
}

/// Asks the cluster that runs on `root`.
pub(super) fn ask(root: &Path, request: &Request) -> anyhow::Result<Answer> {
    let connected = File::open(root).and_then(|opened| UnixStream::connect(short_path(&opened, SOCKET)));
    let Ok(mut stream) = connected else {
        bail!(
            "no dev-cluster runs on {0}: `cairn dev-cluster --data {0}` starts one",
            root.display()
        );
    };
    let exchanged = exchange(&mut stream, request);
    exchanged.context("the dev-cluster has ended without an answer")
}

fn exchange(stream: &mut UnixStream, request: &Request) -> anyhow::Result<Answer> {
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

impl Listener {
    /// Listens for requests on `root`, whose lock the caller holds.
    pub(super) fn start(root: &Path) -> anyhow::Result<(Self, mpsc::Receiver<Asked>)> {
        let socket = root.join(SOCKET);
        let listener = listen(root, &socket).with_context(|| format!("listening at {}", socket.display()))?;
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let task = tokio::spawn(accept(listener, sender)).abort_handle();
        Ok((Self { task, socket }, receiver))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        // The next start removes it too.
        let _ = fs::remove_file(&self.socket);
    }
}

fn listen(root: &Path, socket: &Path) -> io::Result<UnixListener> {
    let aside = root.join(SOCKET_ASIDE);
    for stale in [&aside, socket] {
        match fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let opened = File::open(root)?;
    let listener = UnixListener::bind(short_path(&opened, SOCKET_ASIDE))?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
    fs::rename(&aside, socket)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, requests: mpsc::Sender<Asked>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, requests.clone()));
        }
    }
}

/// One request; whoever sends none, or does not wait for its answer, gets none.
async fn serve(stream: tokio::net::UnixStream, requests: mpsc::Sender<Asked>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(read.take(LINE_BYTES_MAX));
    if reader.read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str(&line) {
        Err(error) => Answer::Refused(format!("a request that this program does not know: {error}")),
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            let asked = Asked {
                request,
                answer: sender,
            };
            if requests.send(asked).await.is_err() {
                return;
            }
            let stopped = || Answer::Refused("the dev-cluster is stopping".to_owned());
            receiver.await.unwrap_or_else(|_| stopped())
        }
    };
    if let Ok(mut text) = serde_json::to_string(&answer) {
        text.push('\n');
        let _ = write.write_all(text.as_bytes()).await;
    }
}

/// A path to `name` in an open directory that fits a socket's address, however long the directory's own path is.
fn short_path(directory: &File, name: &str) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name)
}
