//! What a service promises, as a sequential machine: the measure for histories of its concurrent use.
//!
//! *Invariant*: a specification is a function; it knows no time, no clients and no concurrency.

use std::fmt::Debug;
use std::hash::Hash;

use super::operation::Operation;

/// A sequential machine.
pub trait Specification {
    /// What is checked by itself: operations on different partitions must not see each other's effects.
    type Partition: Ord + Clone + Debug;
    type Call: Clone + Debug + PartialEq;
    type Reply: Clone + Debug;
    /// What a partition holds.
    type State: Clone + Eq + Hash + Debug;

    /// How many of the answered operations to come the search holds against [`Self::is_out_of_reach`] before each step.
    const LOOK_AHEAD: usize = 0;

    fn partition(&self, call: &Self::Call) -> Self::Partition;

    /// What a partition holds at first.
    fn initial(&self) -> Self::State;

    /// The state after `call` in `state`, or `None` where it cannot be answered by `reply` there. Without a reply it is the
    /// state after an effect that nobody was told of, and there always is one.
    fn step(&self, state: &Self::State, call: &Self::Call, reply: Option<&Self::Reply>) -> Option<Self::State>;

    /// Whether `call`, answered by `reply`, leaves every state as it is. Saying no is always right.
    fn is_look(&self, call: &Self::Call, reply: &Self::Reply) -> bool;

    /// Whether no state that may follow on `state` lets `call` be answered by `reply`. Saying no is always right; saying yes
    /// where it holds saves the search from ways that lead nowhere.
    fn is_out_of_reach(&self, _state: &Self::State, _call: &Self::Call, _reply: &Self::Reply) -> bool {
        false
    }
}

/// An operation on what a specification describes.
pub type Recorded<S> = Operation<<S as Specification>::Call, <S as Specification>::Reply>;
