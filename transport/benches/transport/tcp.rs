//! Plain TCP: a pool of connections, one request on each at a time.
//!
//! Owns: the pool and the byte-stream side of the requests, which TLS shares. It must never know of encryption: what
//! makes a connection is behind [`Dial`].

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::contender::{Contender, Lane, MAX_BODY_BYTES, REQUEST_BYTES, Request, Target};
use crate::pacer::Pacer;

/// Bytes taken from a connection at once: large enough that system calls do not count.
const READ_BYTES: usize = 256 << 10;

/// What a connection must be able to do.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for S {}

/// Opens connections of one kind.
#[async_trait]
pub(crate) trait Dial: Send + Sync + Sized + 'static {
    type Stream: ByteStream;
    fn new(target: &Target, lane: Lane) -> Result<Self>;
    async fn dial(&self) -> Result<Self::Stream>;
}

/// Connections that are opened on demand and kept: as many as there ever were requests at a time.
pub(crate) struct Pooled<D: Dial> {
    dialer: D,
    idle: Mutex<Vec<Connection<D::Stream>>>,
}

/// Plain TCP.
pub(crate) struct PlainTcp(SocketAddr);

#[async_trait]
impl Dial for PlainTcp {
    type Stream = TcpStream;

    fn new(target: &Target, lane: Lane) -> Result<Self> {
        Ok(Self(target.addresses(lane).tcp))
    }

    async fn dial(&self) -> Result<TcpStream> {
        connect(self.0).await
    }
}

#[async_trait]
impl<D: Dial> Contender for Pooled<D> {
    async fn connect(target: &Target, lane: Lane) -> Result<Self> {
        Ok(Self {
            dialer: D::new(target, lane)?,
            idle: Mutex::default(),
        })
    }

    async fn upload(&self, bytes: Bytes) -> Result<()> {
        let mut connection = self.take().await?;
        connection
            .stream
            .write_all(&Request::Upload(bytes.len()).encode())
            .await?;
        connection.stream.write_all(&bytes).await?;
        self.finish(connection).await
    }

    async fn paced_upload(&self, chunk: Bytes, chunks: usize, pacer: &Pacer) -> Result<()> {
        let mut connection = self.take().await?;
        let request = Request::Upload(chunk.len() * chunks).encode();
        connection.stream.write_all(&request).await?;
        for _ in 0..chunks {
            pacer.turn(chunk.len()).await;
            connection.stream.write_all(&chunk).await?;
        }
        self.finish(connection).await
    }

    async fn download(&self, len: usize) -> Result<()> {
        let mut connection = self.take().await?;
        connection.stream.write_all(&Request::Download(len).encode()).await?;
        connection.stream.flush().await?;
        connection.skip(len).await?;
        self.put_back(connection);
        Ok(())
    }

    async fn small_request(&self) -> Result<()> {
        let mut connection = self.take().await?;
        connection.stream.write_all(&Request::Small.encode()).await?;
        self.finish(connection).await
    }
}

impl<D: Dial> Pooled<D> {
    async fn take(&self) -> Result<Connection<D::Stream>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Ok(Connection {
                stream: self.dialer.dial().await?,
                buffer: Vec::new(),
            }),
        }
    }

    async fn finish(&self, mut connection: Connection<D::Stream>) -> Result<()> {
        connection.stream.flush().await?;
        let mut answer = [0; REQUEST_BYTES];
        connection.stream.read_exact(&mut answer).await?;
        self.put_back(connection);
        Ok(())
    }

    fn put_back(&self, connection: Connection<D::Stream>) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }
}

/// One connection with the buffer into which it reads bodies.
struct Connection<S> {
    stream: S,
    /// Grows at the first body, so that 1,000 connections for small requests stay small.
    buffer: Vec<u8>,
}

impl<S: ByteStream> Connection<S> {
    /// Reads `len` bytes and lets them go.
    async fn skip(&mut self, mut len: usize) -> Result<()> {
        self.buffer.resize(READ_BYTES, 0);
        while len > 0 {
            let room = len.min(READ_BYTES);
            let read = self.stream.read(&mut self.buffer[..room]).await?;
            ensure!(read > 0, "the peer closed within a body");
            len -= read;
        }
        Ok(())
    }
}

/// A TCP connection without Nagle's delay.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Accepts plain connections for as long as the process lives.
///
/// # Errors
/// When accepting fails.
pub(crate) async fn listen(listener: TcpListener) -> Result<()> {
    let body = Bytes::from(vec![7; MAX_BODY_BYTES]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A client that goes away ends its connection with an error, which is nobody's loss.
        tokio::spawn(serve(stream, body.clone()));
    }
}

/// Answers the requests of one connection.
pub(crate) async fn serve<S: ByteStream>(stream: S, body: Bytes) -> Result<()> {
    let mut connection = Connection {
        stream,
        buffer: Vec::new(),
    };
    let mut header = [0; REQUEST_BYTES];
    loop {
        connection.stream.read_exact(&mut header).await?;
        match Request::decode(&header)? {
            Request::Upload(len) => {
                connection.skip(len).await?;
                connection.stream.write_all(&header).await?;
            }
            Request::Download(len) => connection.stream.write_all(&body[..len]).await?,
            Request::Small => connection.stream.write_all(&header).await?,
        }
        connection.stream.flush().await?;
    }
}
