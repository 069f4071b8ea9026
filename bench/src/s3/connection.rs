//! One HTTP/1.1 connection over a blocking socket, in plain or by TLS: vectored writes, response heads and bodies, each wait with a
//! deadline. Knows nothing of S3. A connection that returned an error must not be used again.

use std::io::{ErrorKind as IoKind, IoSlice};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failure::OpError;
use crate::limits::{MAX_CONNECT_WAIT, MAX_RESPONSE_HEADERS, MIN_BYTES_PER_SECOND, SOCKET_TICK};
use crate::s3::endpoint::Endpoint;
use crate::s3::tls::Wire;

/// Takes the pieces of a response body in order.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), OpError> + 'a;

/// One open connection.
pub(crate) struct Connection<'a> {
    stream: Wire,
    halt: &'a AtomicBool,
    /// Longest wait without progress.
    idle_limit: Duration,
    /// When the request in progress has failed whatever its progress.
    deadline: Instant,
    request_limit: Duration,
    /// It has answered a request before the one in progress.
    was_used: bool,
    /// A byte has come since the request in progress began.
    is_answering: bool,
    buffer: Box<[u8]>,
    /// Received and not yet used: `buffer[start..end]`.
    start: usize,
    end: usize,
}

/// The head of a response, as far as it says how to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    /// Also of an answer that has no body (HEAD).
    pub(crate) content_length: Option<u64>,
    pub(crate) etag: Option<String>,
    /// What the server says that it is.
    pub(crate) server: Option<String>,
}

/// How a response body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl<'a> Connection<'a> {
    /// # Errors
    /// The last address's error, where none can be connected to in time; a certificate that is not trusted.
    pub(crate) fn open(
        endpoint: &Endpoint,
        buffer_bytes: usize,
        idle_limit: Duration,
        halt: &'a AtomicBool,
    ) -> Result<Self, OpError> {
        let mut last = OpError::Protocol("the endpoint has no address".to_owned());
        for address in &endpoint.addresses {
            let stream = match TcpStream::connect_timeout(address, idle_limit.min(MAX_CONNECT_WAIT))
                .and_then(|stream| prepare(stream, idle_limit))
            {
                Ok(stream) => stream,
                Err(error) if error.kind() == IoKind::ConnectionRefused => {
                    last = OpError::Refused(*address);
                    continue;
                }
                Err(error) => {
                    last = OpError::Connect(*address, error);
                    continue;
                }
            };
            return Ok(Self {
                stream: Wire::open(stream, endpoint, idle_limit, halt)?,
                halt,
                idle_limit,
                deadline: Instant::now() + idle_limit,
                request_limit: idle_limit,
                was_used: false,
                is_answering: false,
                buffer: vec![0; buffer_bytes].into_boxed_slice(),
                start: 0,
                end: 0,
            });
        }
        Err(last)
    }

    /// Whether the next request can be sent: neither closed meanwhile, nor with anything that nobody has asked for.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.start == self.end && self.stream.is_idle()
    }

    /// Whether the server has begun to answer the request in progress.
    pub(crate) fn is_answering(&self) -> bool {
        self.is_answering
    }

    /// Starts the clock of a request that moves `bytes`.
    pub(crate) fn begin_request(&mut self, bytes: u64) {
        // Only where an answer was read to its end another request follows.
        self.was_used |= self.is_answering;
        self.is_answering = false;
        self.request_limit = self.idle_limit + Duration::from_secs(bytes / MIN_BYTES_PER_SECOND);
        self.deadline = Instant::now() + self.request_limit;
    }

    /// Shortens every wait to come; for a last look at a connection that is given up.
    pub(crate) fn limit_waits(&mut self, limit: Duration) {
        self.idle_limit = self.idle_limit.min(limit);
        self.request_limit = limit;
        self.deadline = Instant::now() + limit;
    }

    /// Sends all pieces.
    pub(crate) fn send(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), OpError> {
        const DOING: &str = "sending the request";
        let mut pieces = pieces;
        let mut waited = Duration::ZERO;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match self.stream.write_vectored(pieces) {
                Ok(0) => return Err(self.closed(DOING)),
                Ok(sent) => {
                    IoSlice::advance_slices(&mut pieces, sent);
                    waited = Duration::ZERO;
                }
                Err(error) => waited = self.waited_longer(error, waited, DOING)?,
            }
            self.check_deadline(DOING)?;
        }
        waited = Duration::ZERO;
        while let Err(error) = self.stream.flush() {
            waited = self.waited_longer(error, waited, DOING)?;
            self.check_deadline(DOING)?;
        }
        Ok(())
    }

    /// Reads up to the end of the next final response head; interim (1xx) responses are skipped.
    ///
    /// `bodiless`: the request was one whose response has no body (HEAD).
    pub(crate) fn receive_head(&mut self, bodiless: bool) -> Result<ResponseHead, OpError> {
        loop {
            if let Some((length, head)) = parse_head(&self.buffer[self.start..self.end], bodiless)? {
                self.start += length;
                if head.status >= 200 {
                    return Ok(head);
                }
            } else {
                self.fill("waiting for the answer")?;
            }
        }
    }

    /// Hands the body to `sink`, to its end.
    pub(crate) fn receive_body(&mut self, framing: Framing, sink: &mut Sink<'_>) -> Result<(), OpError> {
        match framing {
            Framing::Length(length) => self.receive_exactly(length, sink),
            Framing::Chunked => self.receive_chunks(sink),
            Framing::UntilClose => match self.receive_exactly(u64::MAX, sink) {
                Err(OpError::Closed { .. }) => Ok(()),
                result => result,
            },
        }
    }

    fn receive_exactly(&mut self, length: u64, sink: &mut Sink<'_>) -> Result<(), OpError> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                self.fill("receiving the body")?;
            }
            let available = self.end - self.start;
            let taken = usize::try_from(left).map_or(available, |left| left.min(available));
            sink(&self.buffer[self.start..self.start + taken])?;
            self.start += taken;
            left -= taken as u64;
        }
        Ok(())
    }

    fn receive_chunks(&mut self, sink: &mut Sink<'_>) -> Result<(), OpError> {
        loop {
            let size = self.receive_chunk_size()?;
            if size == 0 {
                // Trailers, up to an empty line.
                while self.receive_line()? > 0 {}
                return Ok(());
            }
            self.receive_exactly(size, sink)?;
            if self.receive_line()? > 0 {
                return Err(OpError::Protocol("a chunk is longer than its size".to_owned()));
            }
        }
    }

    fn receive_chunk_size(&mut self) -> Result<u64, OpError> {
        loop {
            match httparse::parse_chunk_size(&self.buffer[self.start..self.end]) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.start += length;
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) => self.fill("receiving a chunk size")?,
                Err(_) => return Err(OpError::Protocol("a chunk has no valid size".to_owned())),
            }
        }
    }

    /// Skips a line and returns its length without the line end.
    fn receive_line(&mut self) -> Result<usize, OpError> {
        loop {
            let received = &self.buffer[self.start..self.end];
            if let Some(length) = received.iter().position(|byte| *byte == b'\n') {
                let text = received[..length].strip_suffix(b"\r").map_or(length, <[u8]>::len);
                self.start += length + 1;
                return Ok(text);
            }
            self.fill("receiving a line")?;
        }
    }

    /// Receives at least one byte more.
    fn fill(&mut self, doing: &'static str) -> Result<(), OpError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start == 0 {
                return Err(OpError::Protocol(
                    "a head or line is longer than the receive buffer".to_owned(),
                ));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut waited = Duration::ZERO;
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(self.closed(doing)),
                Ok(received) => {
                    self.is_answering = true;
                    self.end += received;
                    return self.check_deadline(doing);
                }
                Err(error) => waited = self.waited_longer(error, waited, doing)?,
            }
            self.check_deadline(doing)?;
        }
    }

    /// How long a wait has lasted after a socket call ended without progress.
    fn waited_longer(&self, error: std::io::Error, waited: Duration, doing: &'static str) -> Result<Duration, OpError> {
        match error.kind() {
            IoKind::Interrupted => Ok(waited),
            IoKind::WouldBlock | IoKind::TimedOut => {
                let waited = waited + tick(self.idle_limit);
                if waited >= self.idle_limit {
                    return Err(OpError::Stalled {
                        doing,
                        limit: self.idle_limit,
                    });
                }
                Ok(waited)
            }
            IoKind::BrokenPipe | IoKind::ConnectionReset => Err(self.closed(doing)),
            _ => Err(OpError::Io { doing, source: error }),
        }
    }

    /// A server may close a connection that was idle just when the next request is on its way.
    fn closed(&self, doing: &'static str) -> OpError {
        if self.was_used && !self.is_answering {
            OpError::ClosedIdle { doing }
        } else {
            OpError::Closed { doing }
        }
    }

    fn check_deadline(&self, doing: &'static str) -> Result<(), OpError> {
        if self.halt.load(Ordering::Relaxed) {
            return Err(OpError::Interrupted);
        }
        if Instant::now() >= self.deadline {
            return Err(OpError::TooSlow {
                doing,
                limit: self.request_limit,
            });
        }
        Ok(())
    }
}

/// The kernel sizes its own buffers: a size set here would switch that off and be capped lower.
fn prepare(stream: TcpStream, idle_limit: Duration) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(tick(idle_limit)))?;
    stream.set_write_timeout(Some(tick(idle_limit)))?;
    Ok(stream)
}

fn tick(idle_limit: Duration) -> Duration {
    idle_limit.min(SOCKET_TICK)
}

/// The length of the head and what it says, or `None` where more bytes are needed.
fn parse_head(bytes: &[u8], bodiless: bool) -> Result<Option<(usize, ResponseHead)>, OpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_RESPONSE_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(OpError::Protocol(error.to_string())),
    };
    let status = response.code.unwrap_or(0);
    let (mut framing, mut keep_alive) = (Framing::UntilClose, response.version == Some(1));
    let (mut declared, mut etag, mut server) = (None, None, None);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = content_length(header.value)?;
            declared = Some(length);
            if framing != Framing::Chunked {
                framing = Framing::Length(length);
            }
        } else if header.name.eq_ignore_ascii_case("etag") {
            etag = Some(String::from_utf8_lossy(header.value).into_owned());
        } else if header.name.eq_ignore_ascii_case("server") {
            server = Some(String::from_utf8_lossy(header.value).into_owned());
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = keep_alive && !header.value.eq_ignore_ascii_case(b"close");
        }
    }
    if bodiless || status < 200 || status == 204 || status == 304 {
        framing = Framing::Length(0);
    }
    keep_alive = keep_alive && framing != Framing::UntilClose;
    Ok(Some((
        length,
        ResponseHead {
            status,
            framing,
            keep_alive,
            content_length: declared,
            etag,
            server,
        },
    )))
}

fn content_length(value: &[u8]) -> Result<u64, OpError> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| OpError::Protocol("content-length is not a number".to_owned()))
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
