//! TLS: whom a run trusts.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::support::{Fault, Server};
use super::{args, run};

/// A server with a certificate for `localhost` that its own key has signed, and that certificate as a file.
fn secured() -> (Server, tempfile::NamedTempFile) {
    secured_with(Fault::None)
}

fn secured_with(fault: Fault) -> (Server, tempfile::NamedTempFile) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem(&certificate)).unwrap();
    (Server::start_secured(fault, Arc::new(config)), file)
}

fn pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

#[test]
fn a_certificate_that_is_given_is_trusted() {
    let (server, file) = secured();
    let url = format!("https://localhost:{}", server.address.port());
    let ca = format!("--ca {}", file.path().display());
    for size in ["10", "3MiB"] {
        let (out, result) = run(&args(&url, &format!("--count 6 --size {size} {ca}")));
        assert_eq!(result, Ok(()), "{out}");
        assert!(out.contains("TLS TLS 1.3"), "{out}");
    }
    assert!(server.keys().is_empty());
}

#[test]
fn any_other_is_not_unless_that_was_asked_for() {
    let (server, _file) = secured();
    let (_, other) = secured();
    let url = format!("https://localhost:{}", server.address.port());
    let error = run(&args(&url, &format!("--count 2 --ca {}", other.path().display())))
        .1
        .unwrap_err();
    assert!(
        error.contains("TLS with localhost") && error.contains("certificate"),
        "{error}"
    );
    let (out, result) = run(&args(&url, "--count 2 --size 10 --insecure"));
    assert_eq!(result, Ok(()), "{out}");
    assert!(out.contains("TLS 1.3, any certificate trusted"), "{out}");
}

#[test]
fn a_connection_that_was_closed_without_a_word_is_no_error() {
    let (server, file) = secured_with(Fault::HangUpAfter(3));
    let url = format!("https://localhost:{}", server.address.port());
    let more = format!("--count 12 --size 4KiB --ca {}", file.path().display());
    let (out, result) = run(&args(&url, &more));
    assert_eq!(result, Ok(()), "{out}");
    assert!(server.connections() >= 8, "{}", server.connections());
}

#[test]
fn a_server_without_tls_is_said_so() {
    let server = Server::start(Fault::None);
    let url = format!("https://localhost:{}", server.address.port());
    let error = run(&args(&url, "--count 1 --timeout 2 --insecure")).1.unwrap_err();
    assert!(error.contains("TLS"), "{error}");
}
