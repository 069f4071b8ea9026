//! Messages between nodes as such: greeting, joining, renewing, revoking.

use prost::Message;

/// First request on a connection; later the sign of life.
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// The caller's program version, for a person.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// The answer to [`Hello`].
#[derive(Clone, PartialEq, Message)]
pub struct HelloReply {
    /// The server's program version, for a person.
    #[prost(string, tag = "1")]
    pub version: String,
    /// UDP ports, at the address that was called, that take bulk requests.
    #[prost(uint32, repeated, tag = "2")]
    pub bulk_ports: Vec<u32>,
}

/// What stands before the certificate request where a join token's key signs it, so that the signature means nothing else.
pub const JOIN_SIGNATURE_DOMAIN: &[u8] = b"cairn join 1\0";

/// Asks for a node's first certificate. The request itself shows that the sender holds a join token, so it means the same
/// on every carrier.
#[derive(Clone, PartialEq, Message)]
pub struct Join {
    /// A PKCS#10 request, DER: the node's new key, shown to be its own.
    #[prost(bytes = "bytes", tag = "1")]
    pub certificate_request: bytes::Bytes,
    /// Ed25519 signature of [`JOIN_SIGNATURE_DOMAIN`] and the certificate request by the token's key, 64 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub token_signature: bytes::Bytes,
    /// The token's Ed25519 public key, 32 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub token_public_key: bytes::Bytes,
}

/// A certificate and what it rests on.
#[derive(Clone, PartialEq, Message)]
pub struct Certificate {
    /// The node's certificate, DER.
    #[prost(bytes = "bytes", tag = "1")]
    pub certificate: bytes::Bytes,
    /// The cluster's CA certificate, DER.
    #[prost(bytes = "bytes", tag = "2")]
    pub ca_certificate: bytes::Bytes,
    /// The newest list of revoked certificates, DER.
    #[prost(bytes = "bytes", tag = "3")]
    pub revocations: bytes::Bytes,
}

/// Asks for a new certificate with the same id and roles.
#[derive(Clone, PartialEq, Message)]
pub struct RenewCertificate {
    /// A PKCS#10 request, DER: the node's next key, shown to be its own.
    #[prost(bytes = "bytes", tag = "1")]
    pub certificate_request: bytes::Bytes,
}

/// Asks for the newest list of revoked certificates.
#[derive(Clone, PartialEq, Message)]
pub struct Revocations {}

/// The answer to [`Revocations`].
#[derive(Clone, PartialEq, Message)]
pub struct RevocationsReply {
    /// The list, signed by the cluster's CA, DER.
    #[prost(bytes = "bytes", tag = "1")]
    pub revocations: bytes::Bytes,
}
