//! Writes PEM, the text form of keys and certificates; `rustls-pki-types` reads it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const LINE_CHARACTERS: usize = 64;

/// DER as PEM (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(LINE_CHARACTERS) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
