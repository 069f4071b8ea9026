//! Each rule of a chunk's life is needed, and the model sees it missing: without it the checker finds a run that goes wrong.

use cairn_sim::{
    checker::{Wrong, check},
    chunk_life::{
        ChunkLife, Scenario, Weakening,
        scenario::{
            LOSS_AND_DELETE, LOSS_AND_MOVE, LOSS_AND_RESTORE, LOSSES, MOVES, OVERWRITE, RESTORE, RESTORE_AND_MOVE,
            THREE_MOVES, TWO_SHARDS,
        },
    },
};

const STATES_MAX: usize = 10_000_000;

/// What a run without the rule comes to: a promise that says this is broken, or garbage stays for ever.
enum Expected {
    Breach(&'static str),
    Litter,
}

use Expected::{Breach, Litter};

/// As little as shows what is wrong.
const ONE_MOVE: Scenario = Scenario { moves: 1, ..MOVES };
const TWO_MOVES: Scenario = Scenario { deletes: 0, ..MOVES };
const LOSS_AND_MOVES: Scenario = Scenario {
    moves: 2,
    ..LOSS_AND_MOVE
};

#[expect(clippy::print_stdout, reason = "the run is what a reader of the test wants to see")]
fn goes_wrong(scenario: Scenario, weakenings: &'static [Weakening], expected: &Expected) {
    let scenario = scenario.without(weakenings);
    let failure = match check(&ChunkLife::new(scenario), STATES_MAX) {
        Err(failure) => failure,
        Ok(report) => panic!("{weakenings:?} goes unnoticed in {}: {report:?}", scenario.name),
    };
    let is_expected = match (&failure.wrong, expected) {
        (Wrong::Breach(breach), Breach(expected)) => breach.contains(expected),
        (Wrong::NeverClean, Litter) => true,
        (Wrong::Breach(_) | Wrong::NeverClean | Wrong::TooManyStates, _) => false,
    };
    println!("{weakenings:?}: {failure}");
    assert!(is_expected, "{weakenings:?} goes wrong in another way: {failure}");
}

macro_rules! needed {
    ($($name:ident: $weakening:ident in $scenario:expr, $expected:expr;)*) => {$(
        #[test]
        fn $name() {
            goes_wrong($scenario, &[Weakening::$weakening], &$expected);
        }
    )*};
}

needed! {
    a_commit_waits_for_all_shards: CommitBeforeDurable in OVERWRITE, Breach("its commit is under way");
    a_commit_is_refused_after_its_session: CommitAfterSessionEnd in OVERWRITE, Breach("can be committed, and is gone");
    a_commit_is_refused_below_the_settled_mark: CommitBelowSettled in OVERWRITE, Breach("its commit is under way");
    a_commit_happens_once: CommitTwice in OVERWRITE, Breach("can be committed, and is gone");
    the_queue_waits_for_readers: ReleaseUnderReaders in OVERWRITE, Breach("released while it is read");
    a_heartbeat_counts_running_reads: HeartbeatWithoutReads in OVERWRITE, Breach("released while it is read");
    a_chunk_is_forgotten_after_its_last_shard: ForgetUnconfirmed in TWO_SHARDS, Breach("and its chunk forgotten");
    nothing_is_deleted_on_a_guess: OrphansByGuess in OVERWRITE, Breach("can be committed, and is gone");
    orphans_are_looked_for: OrphansKept in OVERWRITE, Litter;
    strays_are_looked_for: StraysKept in ONE_MOVE, Litter;
    old_shards_stay_while_a_slot_moves: OldShardsDeletedWhileMoving in ONE_MOVE, Breach("nowhere where readers look");
    a_move_ends_when_all_is_copied: DoneBeforeCopied in ONE_MOVE, Breach("nowhere where readers look");
    the_end_of_a_move_names_it: DoneOfAnotherMove in TWO_MOVES, Breach("nowhere where readers look");
    a_commit_by_an_older_row_is_marked: MisplacedNotMarked in ONE_MOVE, Breach("nowhere where readers look");
    sessions_end_with_a_restore: SessionsSurviveRestore in RESTORE, Breach("");
    undone_sessions_count_as_ended: UndoneSessionsUnknown in RESTORE, Litter;
    epochs_never_go_back: EpochsReusedAfterRestore in RESTORE_AND_MOVE, Litter;
    a_mover_copies_what_is_marked_too: MarksTrustedByMover in RESTORE_AND_MOVE, Breach("nowhere where readers look");
    a_stray_may_be_all_there_is: StraysDeletedUnseen in RESTORE_AND_MOVE, Breach("nowhere where readers look");
    undone_deletes_are_refused: DeletesSurviveRestore in RESTORE, Breach("nowhere where readers look");
    a_device_refuses_overtaken_deletes: StraysUnfenced in TWO_MOVES, Breach("nowhere where readers look");
    a_commit_asks_what_was_lost_since: LossesUnseenByCommit in LOSSES, Breach("the state says full redundancy");
    a_commit_asks_how_many_are_left: CommitWithTooFewShards in LOSSES, Breach("nowhere where readers look");
    a_repair_names_the_life_it_was_made_for: RepairOfAnotherLife in LOSSES, Breach("the state says full redundancy");
    shards_of_a_chunk_keep_apart: ShardsMeetOnDevices in LOSS_AND_MOVES, Breach("nowhere where readers look");
    redundancy_is_full_after_the_survey: FullBeforeSurveyed in LOSSES, Breach("the state says full redundancy");
    a_survey_names_the_life: SurveyedOfAnotherLife in LOSSES, Breach("the state says full redundancy");
    a_survey_ends_when_all_is_noted: SurveyedBeforeNoted in LOSSES, Breach("the state says full redundancy");
    a_survey_outlives_its_leader: SurveyKeptByLeader in LOSSES, Breach("the state says full redundancy");
}

/// Either keeps a late report of a repair from doing harm: that it names its row, or that movers copy what is marked.
#[test]
fn a_repair_names_the_row_it_was_made_for() {
    let rules = &[Weakening::RepairOfAnotherRow, Weakening::MarksTrustedByMover];
    let scenario = Scenario {
        deletes: 0,
        ..THREE_MOVES
    };
    goes_wrong(scenario, rules, &Breach("nowhere where readers look"));
}

fn is_harmless(scenario: Scenario, weakenings: &'static [Weakening]) {
    let checked = check(&ChunkLife::new(scenario.without(weakenings)), STATES_MAX);
    checked.unwrap_or_else(|failure| panic!("{weakenings:?} in {}: {failure}", scenario.name));
}

/// The barrier before a page is judged saves work, no data: what is an orphan stays one, and the fence holds the rest.
#[test]
fn a_page_judged_by_an_older_state_is_harmless() {
    for scenario in [TWO_MOVES, Scenario { reads: 0, ..OVERWRITE }] {
        is_harmless(scenario, &[Weakening::JudgedBeforeListed]);
    }
}

/// Nor does it matter to a survey, as long as the state that is asked knows of the loss: what is committed later was stored
/// since, or is marked by its commit.
#[test]
fn a_survey_by_an_older_state_is_harmless() {
    is_harmless(LOSSES, &[Weakening::MissingAskedBeforeListed]);
}

/// A late shard that a device in a new life takes is there, whatever is on record; a late delete was true for ever, or is held
/// by the fence, which rises again with the first copy.
#[test]
fn what_is_meant_for_another_life_is_harmless() {
    for scenario in [LOSSES, LOSS_AND_DELETE, LOSS_AND_RESTORE] {
        is_harmless(
            scenario,
            &[Weakening::PutsOfAnotherLife, Weakening::DeletesOfAnotherLife],
        );
    }
}
