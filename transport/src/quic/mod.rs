//! The QUIC carrier: every request a stream, every node proved by its certificate.
//!
//! Invariant: nothing is answered to a peer that has not proved who it is; bulk bytes are not copied here; every wait has a
//! deadline, and every number of things at once a bound.
//!
//! [`QuicTransport`] asks, [`QuicServer`] answers; each has sockets of its own. A node is called at one address, for control;
//! its answer to the greeting names the ports that take bulk bytes.

mod answer;
mod backoff;
mod caller;
mod codes;
mod dial;
mod endpoint;
mod path;
mod pool;
mod reason;
mod server;
mod settings;
mod socket;
mod stream;

pub use caller::QuicTransport;
pub use pool::NodeAddresses;
pub use server::{QuicServer, ServeError};
pub use settings::QuicSettings;
pub use socket::BindError;
