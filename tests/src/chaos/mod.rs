//! A cluster under load and under faults: what was acknowledged is there and right at every moment, and in the end with all its
//! redundancy.
//!
//! `schedule` says what is done to which process, from a seed; `objects` what one client's objects must be; `worker` is a client;
//! `measure` counts and times; `trial` does all of it on a `cairn dev-cluster`.
//!
//! *Invariant*: an object has one writer, which does one thing after the other: at every moment there is exactly one right answer to
//! a read of it and to a listing. Where a writer does not know what came of an attempt, it repeats that until it knows, and never
//! writes that key again: a late first attempt can change nothing.

mod measure;
mod objects;
mod schedule;
mod trial;
mod worker;

pub use trial::Chaos;
