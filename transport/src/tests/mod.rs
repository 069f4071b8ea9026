//! Tests of the carriers: the rules that all keep, and what each does beyond them.

mod carrier;
mod faults;
mod simulated;
