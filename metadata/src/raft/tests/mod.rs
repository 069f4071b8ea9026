//! openraft's own conformance suite over the store, and restarts after a kill.

mod conformance;
mod restart;
