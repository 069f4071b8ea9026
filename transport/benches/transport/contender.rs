//! What every contender must do, and the few bytes that all of them speak.
//!
//! Owns: the trait that the workloads drive, and the request header. It must never know one carrier from another.
//!
//! Invariant: one request is always [`REQUEST_BYTES`] long, so that a small request is a bare header and its answer has
//! the same length, whatever carries it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::pacer::Pacer;

/// Length of a request's header and of the answer to an upload or a small request.
pub(crate) const REQUEST_BYTES: usize = 64;
/// Longest body either side takes: a bound on what a header can make the other side send.
pub(crate) const MAX_BODY_BYTES: usize = 8 << 20;

/// Which of the two connections of a peer: bulk bytes must not queue before control messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Bulk,
    Control,
}

/// Where the server process listens for one lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) quic: SocketAddr,
}

/// Where the server process listens, and the certificate to trust.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) bulk: Addresses,
    pub(crate) control: Addresses,
    /// Where Cairn's carrier takes control requests; it tells where it takes bulk bytes.
    pub(crate) cairn: SocketAddr,
    /// DER of the server's self-signed certificate.
    pub(crate) certificate: Vec<u8>,
    /// The folder with the certificates of Cairn's carrier.
    pub(crate) certificates: PathBuf,
}

impl Target {
    pub(crate) fn addresses(&self, lane: Lane) -> Addresses {
        match lane {
            Lane::Bulk => self.bulk,
            Lane::Control => self.control,
        }
    }

    /// The line that the server prints and the client reads.
    pub(crate) fn to_line(&self) -> String {
        let certificate: String = self.certificate.iter().map(|byte| format!("{byte:02x}")).collect();
        let words = [self.bulk, self.control].map(|lane| format!("{} {} {}", lane.tcp, lane.tls, lane.quic));
        format!("{} {} {certificate}", words.join(" "), self.cairn)
    }

    /// # Errors
    /// When the line is not one of [`Target::to_line`].
    pub(crate) fn from_line(line: &str, certificates: &Path) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [addresses @ .., certificate] = words.as_slice() else {
            bail!("the server ended before it listened");
        };
        let addresses: Vec<SocketAddr> = addresses.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
        let &[tcp, tls, quic, control_tcp, control_tls, control_quic, cairn] = addresses.as_slice() else {
            bail!("the server did not say where it listens: {line:?}");
        };
        Ok(Self {
            bulk: Addresses { tcp, tls, quic },
            control: Addresses {
                tcp: control_tcp,
                tls: control_tls,
                quic: control_quic,
            },
            cairn,
            certificate: hex_bytes(certificate)?,
            certificates: certificates.to_owned(),
        })
    }
}

/// One way of carrying requests, seen from the client.
#[async_trait]
pub(crate) trait Contender: Send + Sync + 'static {
    /// Opens a connection (or a pool of them) of its own.
    async fn connect(target: &Target, lane: Lane) -> Result<Self>
    where
        Self: Sized;
    /// Sends `bytes` and waits until the server says that it has them all.
    async fn upload(&self, bytes: Bytes) -> Result<()>;
    /// As [`Contender::upload`] with `chunk` sent `chunks` times over, each when the pacer allows.
    async fn paced_upload(&self, chunk: Bytes, chunks: usize, pacer: &Pacer) -> Result<()>;
    /// Fetches a body of `len` bytes and lets it go.
    async fn download(&self, len: usize) -> Result<()>;
    /// One request of 64 bytes and its answer of 64 bytes.
    async fn small_request(&self) -> Result<()>;
}

/// A contender under its name in the report.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) bulk: Arc<dyn Contender>,
    pub(crate) control: Arc<dyn Contender>,
    /// Where the control connection and those who use it run: never behind bulk work.
    pub(crate) control_runtime: Handle,
}

impl Entry {
    /// Connects both lanes; the control lane on a runtime of its own.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn connect<C: Contender>(
        name: &'static str,
        target: &Target,
        control_runtime: &Handle,
    ) -> Result<Self> {
        let bulk = C::connect(target, Lane::Bulk)
            .await
            .with_context(|| format!("connect {name}, bulk"))?;
        let target = target.clone();
        let control = control_runtime
            .spawn(async move { C::connect(&target, Lane::Control).await })
            .await?
            .with_context(|| format!("connect {name}, control"))?;
        Ok(Self {
            name,
            bulk: Arc::new(bulk),
            control: Arc::new(control),
            control_runtime: control_runtime.clone(),
        })
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// A body of this many bytes follows; answer with [`REQUEST_BYTES`] when it is all there.
    Upload(usize),
    /// Answer with a body of this many bytes.
    Download(usize),
    /// Answer with [`REQUEST_BYTES`].
    Small,
}

impl Request {
    /// Layout: kind (1 byte), length of the body (8 bytes, little-endian), zeros.
    pub(crate) fn encode(self) -> [u8; REQUEST_BYTES] {
        let (kind, len) = match self {
            Self::Upload(len) => (1, len),
            Self::Download(len) => (2, len),
            Self::Small => (3, 0),
        };
        let mut header = [0; REQUEST_BYTES];
        header[0] = kind;
        header[1..9].copy_from_slice(&(len as u64).to_le_bytes());
        header
    }

    /// # Errors
    /// When the kind is unknown or the body longer than [`MAX_BODY_BYTES`].
    pub(crate) fn decode(header: &[u8; REQUEST_BYTES]) -> Result<Self> {
        let mut len = [0; 8];
        len.copy_from_slice(&header[1..9]);
        let len = usize::try_from(u64::from_le_bytes(len))?;
        if len > MAX_BODY_BYTES {
            bail!("a body of {len} bytes is too long");
        }
        match header[0] {
            1 => Ok(Self::Upload(len)),
            2 => Ok(Self::Download(len)),
            3 => Ok(Self::Small),
            kind => bail!("unknown request kind {kind}"),
        }
    }
}

fn hex_bytes(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes();
    digits
        .chunks(2)
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}
