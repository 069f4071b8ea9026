//! S3 over HTTP: requests are verified, mapped to the client, and answered as AWS documents.
//!
//! Owns the HTTP server and the S3 protocol; keeps no state but what a request needs while it runs. hyper speaks HTTP, s3s
//! routes, verifies signatures and speaks XML; payloads (coding, digests, signatures of chunks) are read here. Invariant: an
//! upload is committed only after every claim of its request about its bytes was verified.

mod attributes;
mod auth;
mod aws_chunked;
mod bucket;
mod bucket_settings;
mod certificate;
mod checksum;
mod chunk_signature;
mod conditions;
mod config;
mod connection;
mod content_sha256;
mod copy;
mod delete;
mod digest;
mod error;
mod exchange;
mod front;
mod gate;
mod handshake;
mod ingest;
mod keys;
mod list;
mod list_objects;
mod metrics;
mod multipart;
mod multipart_complete;
mod multipart_list;
mod object_attributes;
mod object_get;
mod object_put;
mod payload;
mod range;
mod rights;
mod server;
mod service;
mod stall;
mod unsupported;
mod xml;
mod xml_check;

pub use certificate::{ServerCertificate, TlsError};
pub use config::{Credentials, GatewayConfig, GatewayLimits};
pub use metrics::GatewayMetrics;
pub use server::{Gateway, GatewayError};
