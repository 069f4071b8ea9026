//! Results: what a run and its phases have come to (`model`), as a table and BENCH lines (`text`) and as CSV. The only module
//! that reaches standard output.

mod csv;
mod model;
mod text;

pub(crate) use csv::csv;
pub(crate) use model::{FORMAT, LoadReport, PhaseReport, RunReport};
pub(crate) use text::{print_facts, print_phase, significant, standard_output};

#[cfg(test)]
mod tests;
