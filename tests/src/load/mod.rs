//! A load of many clients on few keys, recorded so that it can be judged: is the history linearizable, is every acknowledged append
//! there exactly once, how long was nothing acknowledged after a fault.
//!
//! `client` is what is loaded, `cluster` one over the network; `driver` loads it; `ledger` appends by compare-and-swap; `availability` and `summary` read the history.
//!
//! *Invariant*: what a client was told is recorded as it was told: the load itself repeats nothing and interprets nothing.

mod availability;
mod client;
mod cluster;
mod driver;
mod ledger;
mod summary;

#[cfg(test)]
mod tests;

pub use availability::{Fault, Outage, outages};
pub use client::{MetadataClient, Missed};
pub use cluster::{GroupClient, GroupWay};
pub use driver::{Length, Load, Plan};
pub use ledger::{Ledger, Listing};
pub use summary::Summary;
