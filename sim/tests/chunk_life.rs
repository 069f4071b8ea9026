//! A chunk's life, every state of it: no committed chunk is deleted or unreadable, no read loses its chunk, no garbage stays.
//!
//! The numbers of states are what the model comes to. One that changes without a rule having changed is a mistake.

use std::time::Instant;

use cairn_sim::{
    checker::check,
    chunk_life::{
        ChunkLife, Scenario,
        scenario::{
            LOSS_AND_DELETE, LOSS_AND_MOVE, LOSS_AND_OVERWRITE, LOSS_AND_RESTORE, LOSSES, MOVE_AND_OVERWRITE, MOVES,
            OVERWRITE, RESTORE, RESTORE_AND_MOVE, THREE_MOVES, THREE_SHARDS_LOST, TWO_SESSIONS, TWO_SHARDS,
            TWO_SHARDS_MOVE,
        },
    },
};

/// About 10 GB.
const STATES_MAX: usize = 30_000_000;

#[expect(clippy::print_stdout, reason = "how large the model is and how long it takes")]
fn holds(scenario: Scenario, states: usize) {
    let started = Instant::now();
    let name = scenario.name;
    let report = check(&ChunkLife::new(scenario), STATES_MAX).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    println!("{name}: {report:?} in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(report.states, states, "{name} has another number of states than it had");
}

/// Whether the long parts of the suites run (`make test-long`).
fn is_long() -> bool {
    std::env::var("CAIRN_TEST_LONG").is_ok_and(|value| value == "1")
}

#[test]
fn overwrite() {
    holds(OVERWRITE, 362_215);
}

#[test]
fn two_shards() {
    holds(TWO_SHARDS, 67_086);
}

#[test]
fn restore() {
    holds(RESTORE, 59_163);
}

#[test]
fn restore_and_move() {
    holds(RESTORE_AND_MOVE, 214_864);
}

#[test]
fn moves() {
    holds(MOVES, 469_581);
}

#[test]
fn move_and_overwrite() {
    if is_long() {
        holds(MOVE_AND_OVERWRITE, 1_599_947);
    }
}

#[test]
fn three_moves() {
    if is_long() {
        holds(THREE_MOVES, 1_530_171);
    }
}

#[test]
fn two_shards_move() {
    holds(TWO_SHARDS_MOVE, 457_772);
}

#[test]
fn two_sessions() {
    if is_long() {
        holds(TWO_SESSIONS, 5_323_569);
    }
}

#[test]
fn losses() {
    holds(LOSSES, 115_913);
}

#[test]
fn loss_and_delete() {
    holds(LOSS_AND_DELETE, 350_378);
}

#[test]
fn loss_and_move() {
    holds(LOSS_AND_MOVE, 405_423);
}

#[test]
fn three_shards_lost() {
    holds(THREE_SHARDS_LOST, 207_377);
}

#[test]
fn loss_and_restore() {
    holds(LOSS_AND_RESTORE, 200_943);
}

#[test]
fn loss_and_overwrite() {
    if is_long() {
        holds(LOSS_AND_OVERWRITE, 685_469);
    }
}

/// Everything that was sent may come again.
#[test]
fn loss_and_move_with_repetitions() {
    if is_long() {
        let scenario = Scenario {
            deliver_once: false,
            ..LOSS_AND_MOVE
        };
        holds(scenario, 1_118_075);
    }
}

#[test]
fn losses_and_move() {
    if is_long() {
        let scenario = Scenario {
            losses: 2,
            ..LOSS_AND_MOVE
        };
        holds(scenario, 3_388_617);
    }
}

/// Two moves, by which shards of a chunk could meet on a device.
#[test]
fn loss_and_moves() {
    if is_long() {
        let scenario = Scenario {
            moves: 2,
            ..LOSS_AND_MOVE
        };
        holds(scenario, 7_612_026);
    }
}
