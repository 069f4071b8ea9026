//! HTTP's part: a server with the gateway's settings that drops what it is sent, and answers out of memory.
//!
//! The server runs on one thread, whose CPU time is what counts; plain sockets on threads of their own feed it, as many as
//! the load that it is compared with has clients.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use cairn_common::limits::READ_PIECE_BYTES;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use crate::{
    OBJECT_SIZE_BYTES,
    cpu::{MEASURED, per_gb, thread_cpu},
};

const CLIENTS: usize = 8;

/// Longest wait of a client for a byte, so that a fault ends the run.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest head of an answer.
const HEAD_LEN_MAX: usize = 4 << 10;

/// Bodies that come in.
pub(crate) fn put() -> Result<f64> {
    serve(put_object)
}

/// Bodies that go out.
pub(crate) fn get() -> Result<f64> {
    serve(get_object)
}

/// The server's CPU time per GB while every client repeats `request` on its connection.
fn serve(request: fn(&mut TcpStream, &mut [u8]) -> Result<()>) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr().context("the listener has no address")?;
    let server = thread::spawn(move || run_server(listener));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| thread::spawn(move || run_client(address, request)))
        .collect();
    let mut objects = 0;
    for client in clients {
        objects += client.join().map_err(|_| anyhow!("a client panicked"))??;
    }
    let cpu = server.join().map_err(|_| anyhow!("the server panicked"))??;
    Ok(per_gb(cpu, objects * OBJECT_SIZE_BYTES))
}

/// Serves every client to its end; gives the CPU time of that.
fn run_server(listener: TcpListener) -> Result<Duration> {
    let object = Bytes::from(vec![7; OBJECT_SIZE_BYTES]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = thread_cpu()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let object = object.clone();
            let service = service_fn(move |request| answer(request, object.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service);
            connections.spawn(connection);
        }
        while let Some(served) = connections.join_next().await {
            served
                .context("a connection panicked")?
                .context("a connection failed")?;
        }
        anyhow::Ok(())
    })?;
    Ok(thread_cpu()? - before)
}

async fn answer(request: Request<Incoming>, object: Bytes) -> Result<Response<Pieces>, hyper::Error> {
    if request.method() == Method::GET {
        return Ok(Response::new(Pieces(object)));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    Ok(Response::new(Pieces(Bytes::new())))
}

/// A body in frames of the length that a reader of the store gives.
struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.0.len().min(READ_PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Repeats `request` for the time of a measurement; gives how often.
fn run_client(address: SocketAddr, request: fn(&mut TcpStream, &mut [u8]) -> Result<()>) -> Result<usize> {
    let mut stream = TcpStream::connect(address).context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut memory = vec![7; READ_PIECE_BYTES];
    let started = Instant::now();
    let mut objects = 0;
    while started.elapsed() < MEASURED {
        request(&mut stream, &mut memory)?;
        objects += 1;
    }
    Ok(objects)
}

fn put_object(stream: &mut TcpStream, memory: &mut [u8]) -> Result<()> {
    let head = format!("PUT /object HTTP/1.1\r\nhost: parts\r\ncontent-length: {OBJECT_SIZE_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    for _ in 0..OBJECT_SIZE_BYTES / memory.len() {
        stream.write_all(memory)?;
    }
    read_answer(stream, memory, 0)
}

fn get_object(stream: &mut TcpStream, memory: &mut [u8]) -> Result<()> {
    stream.write_all(b"GET /object HTTP/1.1\r\nhost: parts\r\n\r\n")?;
    read_answer(stream, memory, OBJECT_SIZE_BYTES)
}

/// Reads the head and `body_len` bytes behind it.
fn read_answer(stream: &mut TcpStream, memory: &mut [u8], body_len: usize) -> Result<()> {
    let mut filled = 0;
    let head_len = loop {
        let taken = stream.read(&mut memory[filled..HEAD_LEN_MAX])?;
        filled += taken;
        let end = memory[..filled].windows(4).position(|window| window == b"\r\n\r\n");
        match end {
            Some(at) => break at + 4,
            None if taken == 0 => bail!("the server's answer ends early or is too long"),
            None => {}
        }
    };
    let mut left = (head_len + body_len)
        .checked_sub(filled)
        .context("the server's answer is longer than expected")?;
    while left > 0 {
        let len = left.min(memory.len());
        let taken = stream.read(&mut memory[..len])?;
        if taken == 0 {
            bail!("the server's answer ends early");
        }
        left -= taken;
    }
    Ok(())
}
