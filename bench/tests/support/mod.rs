//! A small in-memory server that speaks just enough S3 for the benchmark, with faults to order. One thread per
//! connection; it stops accepting when dropped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

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
    /// Refuses PUTs before their body was read, and closes.
    EarlyPutStatus(u16),
    /// Closes the connection after every n-th request, as announced.
    CloseAfter(u64),
    /// Knows no DeleteObjects.
    NoBatchDelete,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    fault: Fault,
    stopped: AtomicBool,
    puts: AtomicU64,
    connections: AtomicU64,
    buckets: Mutex<Vec<String>>,
    objects: Mutex<BTreeMap<String, Arc<Vec<u8>>>>,
}

struct Incoming {
    method: String,
    target: String,
    length: usize,
    authorized: bool,
}

impl Server {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            stopped: AtomicBool::new(false),
            puts: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            buckets: Mutex::default(),
            objects: Mutex::default(),
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
        let mut output = stream.try_clone()?;
        let mut input = BufReader::with_capacity(256 << 10, stream);
        let mut served = 0;
        while let Some(incoming) = read_head(&mut input)? {
            served += 1;
            if let (Fault::EarlyPutStatus(status), "PUT", 1..) = (self.fault, incoming.method.as_str(), incoming.length)
            {
                return respond(&mut output, status, &error_body(status), false);
            }
            let mut body = vec![0; incoming.length];
            input.read_exact(&mut body)?;
            let keep = !matches!(self.fault, Fault::CloseAfter(n) if served % n == 0);
            let (status, answer) = self.answer(&incoming, body);
            if incoming.method == "GET" && self.fault == Fault::StallGet {
                // Until the client hangs up.
                input.read_exact(&mut [0])?;
            }
            let answer = if incoming.method == "HEAD" {
                Arc::default()
            } else {
                answer
            };
            respond(&mut output, status, &answer, keep)?;
            if !keep {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, incoming: &Incoming, body: Vec<u8>) -> (u16, Arc<Vec<u8>>) {
        if !incoming.authorized {
            return (403, error_body(403));
        }
        let path = incoming.target.trim_start_matches('/');
        match (incoming.method.as_str(), path.split_once('/')) {
            ("HEAD", None) if self.buckets.lock().unwrap().iter().any(|bucket| bucket == path) => (200, Arc::default()),
            ("HEAD", None) => (404, Arc::default()),
            ("PUT", None) => {
                self.buckets.lock().unwrap().push(path.to_owned());
                (200, Arc::default())
            }
            ("POST", None) => self.delete_batch(&body),
            ("PUT", Some((_, key))) => self.put(key, body),
            ("GET", Some((_, key))) => self.get(key),
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
            _ => {
                self.objects.lock().unwrap().insert(key.to_owned(), Arc::new(body));
                (200, Arc::default())
            }
        }
    }

    fn get(&self, key: &str) -> (u16, Arc<Vec<u8>>) {
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
        (200, object)
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

fn read_head(input: &mut impl BufRead) -> std::io::Result<Option<Incoming>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut incoming = Incoming {
        method,
        target,
        length: 0,
        authorized: false,
    };
    loop {
        line.clear();
        input.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok(Some(incoming));
        };
        match name {
            "content-length" => incoming.length = value.parse().unwrap(),
            "authorization" => {
                let expected = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/");
                incoming.authorized = value.starts_with(&expected);
            }
            _ => {}
        }
    }
}

fn respond(output: &mut TcpStream, status: u16, body: &[u8], keep: bool) -> std::io::Result<()> {
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
        body.len()
    );
    if body.len() < 64 << 10 {
        return output.write_all(&[head.as_bytes(), body].concat());
    }
    output.write_all(head.as_bytes())?;
    output.write_all(body)
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
