//! Random commands against a plain model: same replies, same state, on replicas that restart meanwhile.
//!
//! ```text
//! rng        random numbers          generate   a command for a step
//! world      the model               content    what a file holds
//! replicas   what applies entries    check      questions, and the model's answers
//! run        one sequence            shrink     a short one that fails too
//! ```
//!
//! Invariant: a run depends on its seed alone. `CAIRN_MODEL_SEED=N` runs the one sequence of that seed.

mod check;
mod content;
mod generate;
mod replicas;
mod rng;
mod run;
mod shrink;
mod world;

use std::{env, fmt::Write as _};

use generate::{Profile, Step};
use rng::Rng;
use run::Run;

/// Commands of one sequence.
const SEQUENCE: u64 = 800;

/// Commands of the part that always runs.
const SHORT_COMMANDS: u64 = 40_000;

/// Commands of the long part.
const LONG_COMMANDS: u64 = 1_000_000;

/// Every so many sequences one has a replica on disk.
const ON_DISK_EVERY: u64 = 5;

fn steps(seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    (0..SEQUENCE).map(|id| Step { id, seed: rng.next() }).collect()
}

/// Runs the sequence of a seed; where it fails, a short one that fails too is printed.
fn run_seed(seed: u64) -> u64 {
    let profile = Profile::ALL[(seed % Profile::ALL.len() as u64) as usize];
    let on_disk = seed.is_multiple_of(ON_DISK_EVERY);
    let steps = steps(seed);
    match Run::steps(profile, &steps, on_disk) {
        Ok(commands) => commands,
        Err(first) => {
            let needs_disk = on_disk && Run::steps(profile, &steps, false).is_ok();
            let (shortest, difference) = shrink::shrink(profile, &steps, needs_disk, first);
            let mut report = format!("seed {seed} ({profile:?}): {}\n", difference.kind);
            for line in &difference.trace {
                writeln!(report, "{line}").expect("a string takes all");
            }
            panic!(
                "{report}{}\n{} steps left of {}",
                difference.detail,
                shortest.len(),
                steps.len()
            );
        }
    }
}

fn run_commands(commands: u64, first_seed: u64) {
    let (mut seed, mut done, mut told) = (first_seed, 0, 0);
    while done < commands {
        done += run_seed(seed);
        seed += 1;
        if done / 50_000 > told {
            told = done / 50_000;
            eprintln!("{done} commands, up to seed {seed}");
        }
    }
}

fn is_long() -> bool {
    env::var("CAIRN_TEST_LONG").is_ok_and(|value| value == "1")
}

#[test]
fn fixed_sequences_agree_with_the_model() {
    match env::var("CAIRN_MODEL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => {
            run_seed(seed);
        }
        None => run_commands(SHORT_COMMANDS, 0),
    }
}

#[test]
fn a_million_commands_agree_with_the_model() {
    if is_long() {
        run_commands(LONG_COMMANDS, 1_000_000);
    }
}
