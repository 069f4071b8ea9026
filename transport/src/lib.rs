//! Requests between the parts of Cairn: a message header, bulk bytes behind it in either direction, and a deadline.
//!
//! One trait, [`Transport`], and its carriers. Invariant: bulk bytes are handed over as `Bytes` and never copied here; every
//! call ends by its deadline; dropping a call's future cancels it.

mod addresses;
mod body;
mod call;
mod faults;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod gather;
pub mod identity;
mod in_process;
mod local;
mod metrics;
mod neighbours;
mod quic;
mod services;
mod simulated;
#[cfg(test)]
mod tests;
pub mod trace;

pub use addresses::{Addresses, NoAddresses};
pub use body::{Body, BodyError, BodySender};
pub use call::{CallError, Peer, Request, Response, Service, Transport, call, failure, reply};
pub use faults::{Fault, FaultId, FaultRule, Faults, FaultyTransport};
pub use gather::{Gatherer, answer_gathered};
pub use identity::{Identity, IdentityError};
pub use in_process::InProcess;
pub use local::{LocalServer, LocalTransport};
pub use metrics::TransportMetrics;
pub use neighbours::Neighbours;
pub use quic::{BindError, NodeAddresses, QuicServer, QuicSettings, QuicTransport, ServeError};
pub use services::Services;
pub use simulated::{SimulatedLinks, SimulatedNetwork};
