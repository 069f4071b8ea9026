//! The carrier between an operator's commands and the server that runs on the same directory: a Unix socket in it.
//!
//! ```text
//! DIR/control.sock, mode 0600; a connection for each request
//! request:  head, as on a network's stream (see frame.rs)
//! answer:   head, then the bulk bytes in pieces: length u32, big-endian | bytes; a piece of length 0 ends them
//! ```
//!
//! Requests have no bulk bytes of their own. It must never answer a process of another user than the server's own or root:
//! whoever may read the directory may do what an operator may. Invariant: an answer's body without its last piece is cut,
//! never taken for a whole one.

use std::{
    fs, io,
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cairn_common::{
    ids::NodeId,
    wire::{
        failure::{Failure, FailureCode},
        head::HEAD_LENGTH_BYTES,
        role::{Role, Roles},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Body, BodySender, CallError, Peer, Request, Response, Services, Transport, failure,
    frame::{self, IncomingKind},
};

const SOCKET: &str = "control.sock";
const SOCKET_ASIDE: &str = "control.sock.new";

/// Connections served at once: an operator has a handful of terminals.
const CONNECTIONS_MAX: usize = 32;

/// How long the head of a request may take to come.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Longest piece of a body.
const PIECE_BYTES_MAX: usize = 8 << 20;

/// Pieces that wait for a reader.
const PIECES_AHEAD: usize = 2;

/// The listening end. It ends with its value.
#[derive(Debug)]
pub struct LocalServer {
    task: AbortHandle,
}

/// The calling end: any node number leads to the server on the directory.
#[derive(Clone, Debug)]
pub struct LocalTransport {
    directory: PathBuf,
}

impl LocalServer {
    /// Lets `services` answer the operators of the server on `directory`, whose lock the caller holds, as if `node` asked itself.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(directory: &Path, node: NodeId, services: Services) -> io::Result<Self> {
        let aside = directory.join(SOCKET_ASIDE);
        for stale in [&aside, &directory.join(SOCKET)] {
            match fs::remove_file(stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let opened = fs::File::open(directory)?;
        let listener = UnixListener::bind(short_path(&opened, SOCKET_ASIDE))?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&aside, directory.join(SOCKET))?;
        let peer = Peer {
            node,
            roles: Roles::of(&[Role::Operator]),
        };
        let task = tokio::spawn(accept(listener, peer, Arc::new(services))).abort_handle();
        Ok(Self { task })
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LocalTransport {
    /// Leads to the server that runs on `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Whether a server listens.
    pub async fn answers(&self) -> bool {
        self.connect().await.is_ok()
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let opened = fs::File::open(&self.directory)?;
        UnixStream::connect(short_path(&opened, SOCKET)).await
    }
}

#[async_trait]
impl Transport for LocalTransport {
    async fn send(&self, node: NodeId, request: Request) -> Result<Response, CallError> {
        if !request.body.is_empty() {
            return Err(CallError::Malformed(
                "a request with bulk bytes to a local server".to_owned(),
            ));
        }
        let connected = timeout_at(request.deadline, self.connect()).await;
        let connected = connected.map_err(|_| CallError::DeadlineExceeded)?;
        let mut stream = connected.map_err(|error| CallError::Unreachable {
            node,
            reason: format!(
                "no server listens on {}: {error}",
                self.directory.join(SOCKET).display()
            ),
        })?;
        let lost = |error: io::Error| CallError::ConnectionLost {
            node,
            reason: error.to_string(),
        };
        let left = request.deadline.saturating_duration_since(Instant::now());
        let head = frame::encode_request_head(request.kind, left, &request.header, request.trace);
        let exchange = async {
            stream.write_all(&head).await?;
            read_head(&mut stream).await
        };
        let answered = timeout_at(request.deadline, exchange).await;
        let answered = answered.map_err(|_| CallError::DeadlineExceeded)?.map_err(lost)?;
        let header =
            frame::decode_response_head(answered).map_err(|error| CallError::Malformed(error.to_string()))??;
        let (sender, body) = Body::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            // A body that is not finished is cut, which its reader notices.
            let _received = timeout_at(request.deadline, receive_body(stream, sender)).await;
        });
        Ok(Response { header, body })
    }
}

/// A path to `name` in an open directory that fits a socket's address, however long the directory's own path is.
fn short_path(directory: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

async fn accept(listener: UnixListener, peer: Peer, services: Arc<Services>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an operator's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let own = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(caller) if caller.uid() == own || caller.uid() == 0 => {}
            Ok(caller) => {
                tracing::warn!(
                    uid = caller.uid(),
                    "another user's connection to the control socket is refused"
                );
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "whose a connection to the control socket is cannot be told: refused");
                continue;
            }
        }
        let services = Arc::clone(&services);
        tokio::spawn(async move {
            // A caller that has gone needs no word.
            let _answered = answer(stream, peer, &services).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: UnixStream, peer: Peer, services: &Services) -> io::Result<()> {
    let head = timeout(HEAD_DEADLINE, read_head(&mut stream)).await??;
    let head = frame::decode_request_head(head).map_err(io::Error::other)?;
    let deadline = Instant::now() + head.timeout;
    let answered = match head.kind {
        IncomingKind::Known(kind) => match services.admit(peer, kind) {
            Ok(place) => {
                let request = Request {
                    kind,
                    header: head.message,
                    body: Body::empty(),
                    deadline,
                    trace: head.trace,
                };
                place.handle(peer, request).await
            }
            Err(refusal) => Err(refusal),
        },
        IncomingKind::Unknown(number) => Err(unknown(number)),
    };
    let sending = async {
        match answered {
            Ok(response) => {
                stream
                    .write_all(&frame::encode_response_head(&Ok(response.header)))
                    .await?;
                send_body(&mut stream, response.body).await
            }
            Err(failed) => stream.write_all(&frame::encode_response_head(&Err(failed))).await,
        }
    };
    timeout_at(deadline, sending).await?
}

fn unknown(number: u32) -> Failure {
    let text = format!("this server knows no request of kind {number}: upgrade it");
    failure(FailureCode::Unsupported, text)
}

async fn read_head(stream: &mut UnixStream) -> io::Result<Bytes> {
    let mut prefix = [0; HEAD_LENGTH_BYTES];
    stream.read_exact(&mut prefix).await?;
    let length = frame::checked_length(prefix).map_err(io::Error::other)?;
    let mut head = BytesMut::zeroed(length);
    stream.read_exact(&mut head).await?;
    Ok(head.freeze())
}

async fn send_body(stream: &mut UnixStream, mut body: Body) -> io::Result<()> {
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(io::Error::other)?;
        for part in piece.chunks(PIECE_BYTES_MAX) {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            stream.write_all(&length.to_be_bytes()).await?;
            stream.write_all(part).await?;
        }
    }
    stream.write_all(&[0; 4]).await
}

async fn receive_body(mut stream: UnixStream, sender: BodySender) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await? as usize;
        if length == 0 {
            sender.finish();
            return Ok(());
        }
        if length > PIECE_BYTES_MAX {
            return Err(io::Error::other("a piece of a body that is too long"));
        }
        let mut piece = BytesMut::zeroed(length);
        stream.read_exact(&mut piece).await?;
        sender.send(piece.freeze()).await.map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests {
    use cairn_common::wire::kind::RequestKind;

    use super::*;
    use crate::Service;

    /// Answers with the request's message, twice as body; `cut` ends the body early.
    struct Echo {
        cut: bool,
    }

    #[async_trait]
    impl Service for Echo {
        async fn handle(&self, from: Peer, request: Request) -> Result<Response, Failure> {
            assert_eq!(from.roles, Roles::of(&[Role::Operator]));
            let (sender, body) = Body::channel(4);
            for _ in 0..2 {
                sender.send(request.header.clone()).await.expect("room for two");
            }
            if !self.cut {
                sender.finish();
            }
            Ok(Response {
                header: request.header,
                body,
            })
        }
    }

    fn request(kind: RequestKind) -> Request {
        Request {
            kind,
            header: Bytes::from_static(b"asked"),
            body: Body::empty(),
            deadline: Instant::now() + Duration::from_secs(20),
            trace: None,
        }
    }

    fn serve(directory: &Path, cut: bool) -> LocalServer {
        let services = Services::new().with(
            &[RequestKind::ReadCheckpoint, RequestKind::DeleteShard],
            Arc::new(Echo { cut }),
            4,
        );
        LocalServer::start(directory, NodeId::new(1), services).expect("a socket")
    }

    #[tokio::test]
    async fn an_operator_is_answered_and_may_not_do_everything() {
        let directory = tempfile::tempdir().expect("a directory");
        // Longer than a socket's address may be.
        let directory = directory.path().join("d".repeat(120));
        fs::create_dir(&directory).expect("a directory");
        let node = NodeId::new(1);
        let transport = LocalTransport::new(&directory);
        let unreachable = transport.send(node, request(RequestKind::ReadCheckpoint)).await;
        assert!(matches!(unreachable, Err(CallError::Unreachable { .. })));
        let server = serve(&directory, false);
        let mode = fs::metadata(directory.join(SOCKET))
            .expect("a socket")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let response = transport
            .send(node, request(RequestKind::ReadCheckpoint))
            .await
            .expect("answered");
        assert_eq!(response.header, "asked");
        assert_eq!(response.body.collect(100).await.expect("whole").concat(), b"askedasked");
        let forbidden = transport.send(node, request(RequestKind::DeleteShard)).await;
        let Err(CallError::Failed(refusal)) = forbidden else {
            panic!("not refused: {forbidden:?}")
        };
        assert_eq!(refusal.code(), FailureCode::Forbidden);
        drop(server);
        // A socket that is left behind is no server.
        let again = serve(&directory, true);
        let response = transport
            .send(node, request(RequestKind::ReadCheckpoint))
            .await
            .expect("answered");
        assert!(response.body.collect(100).await.is_err());
        drop(again);
    }
}
