//! One HTTP/1.1 connection, by hand: what is sent goes out as given, so that a test can lie about lengths, stop in the
//! middle, or send a path that a client library would tidy up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cairn_transport::identity::provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

/// No answer takes longer than this, on however loaded a machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);
const HEADERS_MAX: usize = 100;

#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Received and not yet consumed.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Connection {
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: &str) -> Result<Self> {
        Self::open_with(address, TIMEOUT)
    }

    /// The same, for a client that waits no longer than `timeout` for the next bytes.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open_with(address: &str, timeout: Duration) -> Result<Self> {
        Ok(Self {
            stream: Stream::Plain(connect(address, timeout)?),
            buffer: Vec::new(),
        })
    }

    /// The same with TLS, to a server that shows a certificate of this PEM text, or one that it has signed.
    ///
    /// # Errors
    /// Nobody listens there, or shows another certificate.
    pub fn open_tls(address: &str, trusted_pem: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted_pem.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = address.rsplit_once(':').context("host:port")?.0.to_owned();
        let session = ClientConnection::new(Arc::new(config), ServerName::try_from(host)?)?;
        let mut stream = StreamOwned::new(session, connect(address, TIMEOUT)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).context("shaking hands")?;
        }
        Ok(Self {
            stream: Stream::Tls(Box::new(stream)),
            buffer: Vec::new(),
        })
    }

    /// # Errors
    /// The peer is gone.
    pub fn send_head(&mut self, method: &str, target: &str, headers: &[(String, String)]) -> Result<()> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes())
    }

    /// # Errors
    /// The peer is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes)?,
            Stream::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// Waits for the server to close without an answer.
    ///
    /// # Errors
    /// It answers, or does not close.
    pub fn closed(&mut self) -> Result<()> {
        let received = self.fill()?;
        ensure!(received == 0, "the server sent {received} bytes instead of closing");
        Ok(())
    }

    /// Says that nothing more is coming; answers are still read.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn finish_sending(&mut self) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write)?,
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// Reads one answer; `method` tells whether it can have a body.
    ///
    /// # Errors
    /// The peer closed or stalled in the middle, or what it sent is no HTTP.
    pub fn response(&mut self, method: &str) -> Result<Response> {
        loop {
            let (status, headers) = self.head()?;
            if status == 100 {
                continue;
            }
            let mut response = Response {
                status,
                headers,
                body: Vec::new(),
            };
            if method != "HEAD" && !matches!(status, 204 | 304) {
                response.body = self.body(&response)?;
            }
            return Ok(response);
        }
    }

    /// Reads one answer whose body is given to `take` as it comes, so that any length fits; the answer's own body stays
    /// empty unless the status is an error.
    ///
    /// # Errors
    /// As [`Self::response`], or `take` failed.
    pub fn stream_response(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<Response> {
        let (status, headers) = self.head()?;
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        if !(200..300).contains(&status) {
            response.body = self.body(&response)?;
            return Ok(response);
        }
        let mut left: usize = response
            .header("content-length")
            .context("a body has a length")?
            .parse()?;
        while left > 0 {
            if self.buffer.is_empty() {
                ensure!(
                    self.fill()? > 0,
                    "the server closed the connection {left} bytes before the end of the body"
                );
            }
            let length = self.buffer.len().min(left);
            take(&self.buffer[..length])?;
            self.buffer.drain(..length);
            left -= length;
        }
        Ok(response)
    }

    fn head(&mut self) -> Result<(u16, Vec<(String, String)>)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut parsed = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = parsed.parse(&self.buffer)? {
                let status = parsed.code.context("a status line has a code")?;
                let headers = parsed
                    .headers
                    .iter()
                    .map(|header| {
                        (
                            header.name.to_ascii_lowercase(),
                            String::from_utf8_lossy(header.value).into_owned(),
                        )
                    })
                    .collect();
                self.buffer.drain(..length);
                return Ok((status, headers));
            }
            ensure!(self.fill()? > 0, "the server closed the connection before an answer");
        }
    }

    fn body(&mut self, response: &Response) -> Result<Vec<u8>> {
        if let Some(length) = response.header("content-length") {
            return self.exactly(length.parse()?);
        }
        if response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return self.chunks();
        }
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            let missing = length - self.buffer.len();
            ensure!(
                self.fill()? > 0,
                "the server closed the connection {missing} bytes before the end of the body"
            );
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            if length == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(length)?);
            ensure!(self.line()?.is_empty(), "a chunk ends with an empty line");
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.fill()? == 0 {
                bail!("the server closed the connection within a chunked body");
            }
        }
    }

    /// Receives once: the number of bytes, 0 at the end.
    fn fill(&mut self) -> Result<usize> {
        let start = self.buffer.len();
        self.buffer.resize(start + (256 << 10), 0);
        let received = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut self.buffer[start..]),
            Stream::Tls(stream) => stream.read(&mut self.buffer[start..]),
        };
        self.buffer
            .truncate(start + received.as_ref().map_or(0, |count| *count));
        received.context("reading the answer")
    }
}

/// What `host:port` answers to a plain GET, on a connection of its own.
///
/// # Errors
/// No answer.
pub fn get(address: &str, path: &str) -> Result<Response> {
    let mut connection = Connection::open(address)?;
    let headers = [("host", address), ("connection", "close")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    connection.send_head("GET", path, &headers)?;
    connection.response("GET")
}

impl Response {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands in the first `<name>…</name>` of the body, with XML's entities resolved.
    #[must_use]
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// What stands in every `<name>…</name>` of the body, in order, with XML's entities resolved.
    #[must_use]
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let pieces = text.split(&open).skip(1);
        pieces
            .filter_map(|piece| piece.split_once(&close))
            .map(|(inner, _)| unescaped(inner))
            .collect()
    }

    /// Status and S3 error code in one word for messages: `404 NoSuchKey`.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.element("Code") {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }

    /// # Errors
    /// The status is not 2xx.
    pub fn success(self) -> Result<Self> {
        ensure!((200..300).contains(&self.status), "{}: {}", self.verdict(), self.text());
        Ok(self)
    }
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, after) = after.split_once(';').unwrap_or((after, ""));
        plain.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "amp" => '&',
            number => character_reference(number).unwrap_or(char::REPLACEMENT_CHARACTER),
        });
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn character_reference(entity: &str) -> Option<char> {
    let number = entity.strip_prefix('#')?;
    let code = match number.strip_prefix('x') {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::Response;

    #[test]
    fn elements_come_in_order_and_unescaped() {
        let body = b"<L><Key>a&amp;b</Key><K>x</K><Key>&#10;&#xe4;&lt;</Key></L>".to_vec();
        let response = Response {
            status: 200,
            headers: Vec::new(),
            body,
        };
        assert_eq!(response.elements("Key"), ["a&b", "\nä<"]);
        assert_eq!(response.element("Code"), None);
    }
}
