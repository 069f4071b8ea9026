//! A small in-memory server that speaks just enough S3 for the benchmark, with faults to order. One thread per
//! connection; it stops accepting when dropped.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use uploads::Uploads;

mod uploads;

pub(crate) const ACCESS_KEY: &str = "test-access";

/// What a server does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Flips a bit of every GET's body, at this offset.
    WrongByte(usize),
    /// Sends the bytes of another object.
    OtherObject,
    /// Leaves the last byte of every object away.
    ShortObject,
    /// Never answers a GET.
    StallGet,
    /// Answers every n-th PUT with this status.
    PutStatus(u16, u64),
    /// Answers the first n PUTs with this status.
    FirstPutsStatus(u16, u64),
    /// Takes every n-th PUT, and answers it with 503 all the same.
    TakenPutStatus(u64),
    /// Refuses PUTs before their body was read, and closes.
    EarlyPutStatus(u16),
    /// Closes the connection after every n-th request, as announced.
    CloseAfter(u64),
    /// Closes the connection after every n-th request, without a word.
    HangUpAfter(u64),
    /// Reads every n-th request of a connection, and closes it.
    Swallow(u64),
    /// Knows no DeleteObjects.
    NoBatchDelete,
    /// Serves so many requests, and is gone.
    DieAfter(u64),
    /// Answers so many requests, and none after them; connections are taken all the same.
    SilentAfter(u64),
    /// Answers nothing for that long, from the n-th request on.
    StallOnce(u64, Duration),
    /// Leaves the second key out of every listing.
    ForgetsAKey,
    /// Ends each page of a listing after three keys, and says that more is to come.
    ShortPages,
    /// Keeps what an object had before it is overwritten.
    OldVersion,
    /// Completes no upload.
    NoComplete,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    fault: Fault,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    stopped: AtomicBool,
    requests: AtomicU64,
    stalled_until: Mutex<Option<Instant>>,
    puts: AtomicU64,
    connections: AtomicU64,
    buckets: Mutex<Vec<String>>,
    objects: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
    uploads: Uploads,
}

struct Incoming {
    method: String,
    host: String,
    /// Bucket and key.
    path: String,
    query: BTreeMap<String, String>,
    range: Option<(usize, usize)>,
    copy_source: Option<String>,
    length: usize,
    authorized: bool,
}

impl Server {
    pub(crate) fn start(fault: Fault) -> Self {
        Self::start_with(fault, None)
    }

    /// One that speaks TLS.
    pub(crate) fn start_secured(fault: Fault, tls: Arc<ServerConfig>) -> Self {
        Self::start_with(fault, Some(tls))
    }

    fn start_with(fault: Fault, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            address,
            tls,
            stopped: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            stalled_until: Mutex::default(),
            puts: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            buckets: Mutex::default(),
            objects: Mutex::default(),
            uploads: Uploads::default(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    break;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                // A client that hangs up ends its connection's thread.
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn puts(&self) -> u64 {
        self.state.puts.load(Ordering::Relaxed)
    }

    /// What another program has put there.
    pub(crate) fn add_foreign(&self, key: &str) {
        self.state.uploads.begin(key);
        let mut objects = self.state.objects.lock().unwrap();
        objects.insert(key.to_owned(), Arc::default());
    }

    pub(crate) fn unfinished_uploads(&self) -> usize {
        self.state.uploads.len()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        if let Some(tls) = &self.tls {
            let session = ServerConnection::new(Arc::clone(tls)).unwrap();
            let stream = RefCell::new(StreamOwned::new(session, stream));
            return self.converse(BufReader::with_capacity(256 << 10, Half(&stream)), Half(&stream));
        }
        let output = stream.try_clone()?;
        self.converse(BufReader::with_capacity(256 << 10, stream), output)
    }

    fn converse(&self, mut input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
        let mut served = 0;
        while let Some(incoming) = read_head(&mut input)? {
            served += 1;
            if let (Fault::EarlyPutStatus(status), "PUT", 1..) = (self.fault, incoming.method.as_str(), incoming.length)
            {
                return respond(&mut output, status, &error_body(status), false);
            }
            let mut body = vec![0; incoming.length];
            input.read_exact(&mut body)?;
            if self.is_dead() || matches!(self.fault, Fault::Swallow(n) if served % n == 0) {
                return Ok(());
            }
            if matches!(self.fault, Fault::SilentAfter(n) if self.requests.load(Ordering::Relaxed) > n) {
                // Until the client hangs up.
                input.read_exact(&mut [0])?;
            }
            self.stall();
            let keep = !matches!(self.fault, Fault::CloseAfter(n) if served % n == 0);
            let (status, answer) = self.answer(&incoming, body);
            if incoming.method == "GET" && self.fault == Fault::StallGet {
                // Until the client hangs up.
                input.read_exact(&mut [0])?;
            }
            if incoming.method == "HEAD" {
                respond_to_head(&mut output, status, answer.len())?;
            } else {
                respond(&mut output, status, &answer, keep)?;
            }
            if !keep || matches!(self.fault, Fault::HangUpAfter(n) if served % n == 0) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the server has served as much as it was to; then it no longer listens either.
    fn is_dead(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let dead = matches!(self.fault, Fault::DieAfter(n) if number >= n);
        if dead && !self.stopped.swap(true, Ordering::Relaxed) {
            let _ = TcpStream::connect(self.address);
        }
        dead
    }

    fn stall(&self) {
        let Fault::StallOnce(from, length) = self.fault else {
            return;
        };
        let mut until = self.stalled_until.lock().unwrap();
        if self.requests.load(Ordering::Relaxed) >= from && until.is_none() {
            *until = Some(Instant::now() + length);
        }
        let until = *until;
        while let Some(left) = until.map(|until| until.saturating_duration_since(Instant::now())) {
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
    }

    fn answer(&self, incoming: &Incoming, body: Vec<u8>) -> (u16, Arc<Vec<u8>>) {
        if !incoming.authorized {
            return (403, error_body(403));
        }
        let path = incoming.path.as_str();
        let asks = |name: &str| incoming.query.contains_key(name);
        match (incoming.method.as_str(), path.split_once('/')) {
            ("POST" | "PUT" | "DELETE", Some((_, key))) if asks("uploads") || asks("uploadId") => {
                self.upload(incoming, key, body)
            }
            ("GET", None) if asks("uploads") => (200, self.uploads.list(&incoming.query["prefix"])),
            ("GET", None) => (200, self.list(&incoming.query)),
            ("HEAD", Some((_, key))) => self.get(key, None),
            ("PUT", Some((_, key))) if incoming.copy_source.is_some() => {
                self.copy(incoming.copy_source.as_deref().unwrap(), key)
            }
            ("HEAD", None) if self.buckets.lock().unwrap().iter().any(|bucket| bucket == path) => (200, Arc::default()),
            ("HEAD", None) => (404, Arc::default()),
            ("PUT", None) => {
                self.buckets.lock().unwrap().push(path.to_owned());
                (200, Arc::default())
            }
            ("POST", None) => self.delete_batch(&body),
            ("PUT", Some((_, key))) => self.put(key, body),
            ("GET", Some((_, key))) => self.get(key, incoming.range),
            ("DELETE", Some((_, key))) => {
                self.objects.lock().unwrap().remove(key);
                (204, Arc::default())
            }
            _ => (501, error_body(501)),
        }
    }

    fn put(&self, key: &str, body: Vec<u8>) -> (u16, Arc<Vec<u8>>) {
        let number = self.puts.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Fault::PutStatus(status, every) if number.is_multiple_of(every) => (status, error_body(status)),
            Fault::FirstPutsStatus(status, count) if number <= count => (status, error_body(status)),
            _ => {
                let mut objects = self.objects.lock().unwrap();
                if self.fault != Fault::OldVersion || !objects.contains_key(key) {
                    objects.insert(key.to_owned(), Arc::new(body));
                }
                if matches!(self.fault, Fault::TakenPutStatus(every) if number.is_multiple_of(every)) {
                    return (503, error_body(503));
                }
                (200, Arc::default())
            }
        }
    }

    fn get(&self, key: &str, range: Option<(usize, usize)>) -> (u16, Arc<Vec<u8>>) {
        let objects = self.objects.lock().unwrap();
        let Some(object) = objects.get(key) else {
            return (404, error_body(404));
        };
        let object = match self.fault {
            Fault::WrongByte(offset) => {
                let mut damaged = object.as_ref().clone();
                damaged[offset] ^= 4;
                Arc::new(damaged)
            }
            Fault::OtherObject => Arc::clone(
                objects
                    .iter()
                    .find(|(other, _)| *other != key)
                    .map_or(object, |(_, other)| other),
            ),
            Fault::ShortObject => Arc::new(object[..object.len() - 1].to_vec()),
            _ => Arc::clone(object),
        };
        match range {
            Some((first, last)) => (206, Arc::new(object[first..=last].to_vec())),
            None => (200, object),
        }
    }

    fn copy(&self, source: &str, key: &str) -> (u16, Arc<Vec<u8>>) {
        let (_, from) = source.trim_start_matches('/').split_once('/').unwrap();
        let mut objects = self.objects.lock().unwrap();
        let Some(object) = objects.get(from).cloned() else {
            return (404, error_body(404));
        };
        objects.insert(key.to_owned(), object);
        (200, Arc::new(b"<CopyObjectResult></CopyObjectResult>".to_vec()))
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Arc<Vec<u8>> {
        let after = query.get("start-after").cloned().unwrap_or_default();
        let objects = self.objects.lock().unwrap();
        let mut keys: Vec<_> = objects
            .keys()
            .filter(|key| key.starts_with(&query["prefix"]) && **key > after)
            .collect();
        let count = keys.len();
        let most: usize = query["max-keys"].parse().unwrap();
        keys.truncate(if self.fault == Fault::ShortPages { 3 } else { most });
        let truncated = count > keys.len();
        if self.fault == Fault::ForgetsAKey && keys.len() > 1 {
            keys.remove(1);
        }
        let keys: String = keys
            .iter()
            .map(|key| format!("<Contents><Key>{key}</Key></Contents>"))
            .collect();
        Arc::new(
            format!("<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{keys}</ListBucketResult>").into_bytes(),
        )
    }

    fn upload(&self, incoming: &Incoming, key: &str, body: Vec<u8>) -> (u16, Arc<Vec<u8>>) {
        let Some(id) = incoming.query.get("uploadId") else {
            return (200, self.uploads.begin(key));
        };
        match incoming.method.as_str() {
            "PUT" => {
                self.uploads
                    .put(id, incoming.query["partNumber"].parse().unwrap(), body);
                (200, Arc::default())
            }
            "POST" if self.fault == Fault::NoComplete => (503, error_body(503)),
            "POST" => {
                let whole = self.uploads.complete(id, std::str::from_utf8(&body).unwrap());
                self.put(key, whole);
                (200, Arc::new(b"<CompleteMultipartUploadResult/>".to_vec()))
            }
            _ => {
                self.uploads.abort(id);
                (204, Arc::default())
            }
        }
    }

    fn delete_batch(&self, body: &[u8]) -> (u16, Arc<Vec<u8>>) {
        if self.fault == Fault::NoBatchDelete {
            return (501, error_body(501));
        }
        let body = std::str::from_utf8(body).unwrap();
        let mut objects = self.objects.lock().unwrap();
        for rest in body.split("<Key>").skip(1) {
            objects.remove(rest.split_once("</Key>").unwrap().0);
        }
        (200, Arc::new(b"<DeleteResult></DeleteResult>".to_vec()))
    }
}

/// Both halves of a stream that cannot be doubled.
struct Half<'a>(&'a RefCell<StreamOwned<ServerConnection, TcpStream>>);

impl Read for Half<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for Half<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

fn read_head(input: &mut impl BufRead) -> std::io::Result<Option<Incoming>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut incoming = Incoming {
        method,
        host: String::new(),
        path: path.trim_start_matches('/').to_owned(),
        query: query
            .map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")))
            .collect(),
        range: None,
        copy_source: None,
        length: 0,
        authorized: false,
    };
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            incoming.name_bucket();
            return Ok(Some(incoming));
        };
        match name {
            "content-length" => incoming.length = value.parse().unwrap(),
            "host" => incoming.host = value.to_owned(),
            "x-amz-copy-source" => incoming.copy_source = Some(value.to_owned()),
            "range" => {
                let (first, last) = value.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                incoming.range = Some((first.parse().unwrap(), last.parse().unwrap()));
            }
            "authorization" => {
                let expected = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/");
                incoming.authorized = value.starts_with(&expected);
            }
            _ => {}
        }
    }
}

impl Incoming {
    /// The bucket of a host BUCKET.localhost is put before the path.
    fn name_bucket(&mut self) {
        if let Some((bucket, _)) = self.host.split_once(".localhost") {
            self.path = format!("{bucket}/{}", self.path).trim_end_matches('/').to_owned();
        }
    }
}

fn respond(output: &mut impl Write, status: u16, body: &[u8], keep: bool) -> std::io::Result<()> {
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} X\r\nserver: memory/1\r\netag: \"e\"\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
        body.len()
    );
    if body.len() < 64 << 10 {
        return output.write_all(&[head.as_bytes(), body].concat());
    }
    output.write_all(head.as_bytes())?;
    output.write_all(body)?;
    output.flush()
}

fn respond_to_head(output: &mut impl Write, status: u16, length: usize) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} X\r\nserver: memory/1\r\ncontent-length: {length}\r\n\r\n");
    output.write_all(head.as_bytes())
}

fn error_body(status: u16) -> Arc<Vec<u8>> {
    let code = match status {
        403 => "InvalidAccessKeyId",
        404 => "NoSuchKey",
        503 => "SlowDown",
        507 => "InsufficientStorage",
        _ => "NotImplemented",
    };
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>");
    Arc::new(text.into_bytes())
}
