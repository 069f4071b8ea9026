//! Asks the state what it holds, and compares the answers with the model's.
//!
//! Invariant: a comparison changes nothing.

mod chunks;
mod feed;
mod files;
mod objects;
mod others;
mod records;

use cairn_common::wire::{
    command::ErrorCode,
    query::{Answer, Query},
};

use super::{
    rng::Rng,
    world::{Verdict, World},
};
use crate::core::{self, view::View};

pub(super) use {
    feed::Follower,
    records::{clean, drained},
};

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    Some,
    All,
}

impl Sample {
    /// How many of 100 things are asked about, and how many at most.
    const fn bounds(self) -> (u64, usize) {
        match self {
            Self::Some => (20, 6),
            Self::All => (100, usize::MAX),
        }
    }
}

/// Questions about one state.
pub(super) struct Questions<'a> {
    world: &'a World,
    view: &'a dyn View,
    log_index: u64,
    rng: Rng,
}

impl<'a> Questions<'a> {
    pub(super) const fn new(world: &'a World, view: &'a dyn View, log_index: u64, rng: Rng) -> Self {
        Self {
            world,
            view,
            log_index,
            rng,
        }
    }

    /// A sample of everything.
    pub(super) fn some(&mut self) -> Result<(), String> {
        self.summary()?;
        records::garbage_in_time(self.world, self.view)?;
        let names: Vec<&String> = self.world.buckets.keys().collect();
        if !names.is_empty() {
            let name = (*self.rng.pick(&names)).clone();
            self.bucket(&name, Sample::Some)?;
        }
        self.chunks(Sample::Some)?;
        self.accounts()
    }

    /// Everything.
    pub(super) fn all(&mut self) -> Result<(), String> {
        self.summary()?;
        records::garbage_in_time(self.world, self.view)?;
        self.buckets()?;
        for name in self.world.buckets.keys() {
            self.bucket(name, Sample::All)?;
        }
        self.chunks(Sample::All)?;
        self.accounts()
    }

    fn bucket(&mut self, name: &str, sample: Sample) -> Result<(), String> {
        self.bucket_info(name)?;
        self.listings(name)?;
        self.objects(name, sample)?;
        self.uploads(name, sample)?;
        self.inodes(name, sample)?;
        self.locks(name, sample)
    }

    /// The answer to a query, or the code of its refusal.
    fn ask(&self, query: &Query) -> Result<Result<Answer, ErrorCode>, String> {
        let reply = core::answer(self.view, self.log_index, query).map_err(|error| format!("{query:?}: {error}"))?;
        if reply.log_index != self.log_index {
            return Err(format!("{query:?} is answered for log index {}", reply.log_index));
        }
        Ok(match reply.answer {
            Some(Answer::Refused(refusal)) => Err(refusal.code()),
            Some(answer) => Ok(answer),
            None => return Err(format!("{query:?} has no answer")),
        })
    }

    /// The answer to a query must be this one.
    fn expect(&self, query: &Query, expected: Verdict<Answer>) -> Result<(), String> {
        let answer = self.ask(query)?;
        let agrees = match (&answer, &expected) {
            (Ok(answer), Ok(expected)) => answer == expected,
            (Err(code), Err(codes)) => codes.contains(code),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        same(agrees, query, &expected, &answer)
    }
}

/// Says what differs, unless nothing does.
fn same<Q: std::fmt::Debug, E: std::fmt::Debug, A: std::fmt::Debug>(
    agrees: bool,
    query: &Q,
    expected: &E,
    answer: &A,
) -> Result<(), String> {
    if agrees {
        Ok(())
    } else {
        Err(format!("{query:?}\n  expected {expected:?}\n  but was  {answer:?}"))
    }
}
