//! The whole cluster, seeded. Today: the executable model of a chunk's life, and the checker that visits all of its states.
//!
//! *Invariant*: nobody imports this crate, and the models import no code that they speak about: they say what the rules
//! are, the code says how they are kept.

#![forbid(unsafe_code)]

pub mod checker;
pub mod chunk_life;
