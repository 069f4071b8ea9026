//! The QUIC carrier between real sockets: what it carries, and what bad peers, restarts and lost trust do to it.

mod failures;
mod harness;
mod metrics;
mod rubbish;
mod trust;
