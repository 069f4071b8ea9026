//! Files and objects for programs: everything above the chunk and below the protocols.
//!
//! Owns the session, the cached cluster map, the cutting of bodies into chunks and the reading of plans. Invariant: an object
//! becomes visible by one committed command after all its chunks are durable, and every byte handed out was verified.

mod accounts;
mod body_writer;
mod buckets;
mod error;
mod files;
mod holding;
mod leases;
mod list;
mod metadata;
mod objects;
mod open_files;
mod reader;
mod recalls;
mod router;
mod session;
mod uploads;

pub use body_writer::{BodyWriter, StoredBody};
pub use error::ClientError;
pub use files::{FileError, Files, NewFile, Piece, PlannedFile, PlannedRange, StoredRange};
pub use leases::LeaseHolder;
pub use metadata::{Client, ClientConfig};
pub use objects::Committed;
pub use open_files::OpenFile;
pub use reader::ObjectReader;
