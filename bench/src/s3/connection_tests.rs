//! Heads and bodies as servers frame them, and waits that end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use super::*;

const IDLE: Duration = Duration::from_millis(60);

fn plain(address: SocketAddr) -> Endpoint {
    Endpoint::resolve(&format!("http://{address}"), None, None).unwrap()
}

/// A connection whose peer sends `pieces` one by one and then closes, or keeps silent.
fn connection<'a>(pieces: &'static [&'static [u8]], closes: bool, halt: &'a AtomicBool) -> Connection<'a> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece).unwrap();
        }
        if !closes {
            // Ends when the client hangs up.
            let _ = stream.read(&mut [0; 1]);
        }
    });
    let mut connection = Connection::open(&plain(address), 4096, IDLE, halt).unwrap();
    connection.begin_request(0);
    connection
}

fn body(connection: &mut Connection<'_>) -> Result<(ResponseHead, Vec<u8>), OpError> {
    let head = connection.receive_head(false)?;
    let mut body = Vec::new();
    connection.receive_body(head.framing, &mut |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    Ok((head, body))
}

#[test]
fn bodies_are_read_to_their_end() {
    let halt = AtomicBool::new(false);
    let cases: [(&'static [&'static [u8]], bool); 4] = [
        (&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", b"\r\nhel", b"lo"], true),
        (
            &[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
            true,
        ),
        (
            &[
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n",
                b"3\r",
                b"\nllo\r\n0\r\nx: y\r\n\r\n",
            ],
            true,
        ),
        (&[b"HTTP/1.1 200 OK\r\n\r\nhe", b"llo"], false),
    ];
    for (pieces, keep_alive) in cases {
        let (head, body) = body(&mut connection(pieces, true, &halt)).unwrap();
        assert_eq!(
            (head.status, head.keep_alive, body.as_slice()),
            (200, keep_alive, b"hello".as_slice())
        );
    }
}

#[test]
fn close_is_honoured() {
    let halt = AtomicBool::new(false);
    let pieces: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"];
    assert!(!body(&mut connection(pieces, true, &halt)).unwrap().0.keep_alive);
}

#[test]
fn a_body_cut_short_is_an_error() {
    let halt = AtomicBool::new(false);
    let cases: [&[&[u8]]; 2] = [
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"],
        &[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello"],
    ];
    for pieces in cases {
        let error = body(&mut connection(pieces, true, &halt)).unwrap_err();
        assert!(matches!(error, OpError::Closed { .. }), "{error}");
    }
}

#[test]
fn what_is_not_http_is_an_error() {
    let halt = AtomicBool::new(false);
    let cases: [&[&[u8]]; 3] = [
        &[b"SSH-2.0-OpenSSH_9.6\r\n"],
        &[b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"],
        &[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
    ];
    for pieces in cases {
        let error = body(&mut connection(pieces, true, &halt)).unwrap_err();
        assert!(matches!(error, OpError::Protocol(_)), "{error}");
    }
}

#[test]
fn silence_ends_in_an_error() {
    let halt = AtomicBool::new(false);
    let pieces: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"];
    let error = body(&mut connection(pieces, false, &halt)).unwrap_err();
    assert!(matches!(error, OpError::Stalled { limit: IDLE, .. }), "{error}");
}

#[test]
fn a_peer_that_reads_nothing_ends_in_an_error() {
    let halt = AtomicBool::new(false);
    let mut connection = connection(&[], false, &halt);
    // The peer takes one byte and no more, so the socket's buffers fill up.
    let flood = vec![0; 64 << 20];
    let error = connection.send(&mut [IoSlice::new(&flood)]).unwrap_err();
    assert!(
        matches!(error, OpError::Stalled { .. } | OpError::Closed { .. }),
        "{error}"
    );
}

#[test]
fn a_halt_ends_a_wait() {
    let halt = AtomicBool::new(true);
    let error = body(&mut connection(&[b"HTTP/1.1"], false, &halt)).unwrap_err();
    assert!(matches!(error, OpError::Interrupted), "{error}");
}

#[test]
fn a_closed_port_is_refused() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let halt = AtomicBool::new(false);
    let error = Connection::open(&plain(address), 4096, IDLE, &halt).err().unwrap();
    assert!(
        matches!(error, OpError::Refused(refused) if refused == address),
        "{error}"
    );
}
