//! Random executions: the right ones are always accepted, and of falsified ones the checker says what trying all orders says.

use proptest::prelude::*;

use super::super::{AppendList, DirectoryTree, ObjectKeys};
use super::machine::{Machine, Shape, execution, falsify};
use super::{brute, is_linearizable};
use crate::content::Sequence;

fn shapes(operations: std::ops::Range<u64>) -> impl Strategy<Value = Shape> {
    (
        operations,
        1..8_u64,
        1..3_u64,
        prop_oneof![Just(0), Just(10), Just(40), Just(70)],
    )
        .prop_map(|(operations, clients, partitions, unknown_percent)| Shape {
            operations,
            clients,
            partitions,
            unknown_percent,
        })
}

fn accepted<M: Machine>(seed: u64, shape: Shape) -> Result<(), TestCaseError> {
    let history = execution::<M>(&mut Sequence::new(seed), shape);
    prop_assert!(is_linearizable(&M::default(), &history), "{history:?}");
    Ok(())
}

/// Falsifies up to three replies and compares the two checks.
fn agreed<M: Machine>(seed: u64, shape: Shape) -> Result<(), TestCaseError> {
    let mut sequence = Sequence::new(seed);
    let mut history = execution::<M>(&mut sequence, shape);
    for _ in 0..=sequence.below(3) {
        falsify::<M>(&mut sequence, &mut history);
    }
    let (specification, expected) = (M::default(), brute::is_linearizable(&M::default(), &history));
    prop_assert_eq!(is_linearizable(&specification, &history), expected, "{:?}", history);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn executions_of_keys_are_accepted(seed: u64, shape in shapes(1..120)) {
        accepted::<ObjectKeys>(seed, shape)?;
    }

    #[test]
    fn executions_of_lists_are_accepted(seed: u64, shape in shapes(1..120)) {
        accepted::<AppendList>(seed, shape)?;
    }

    #[test]
    fn executions_of_trees_are_accepted(seed: u64, shape in shapes(1..12)) {
        accepted::<DirectoryTree>(seed, shape)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn falsified_keys_are_judged_as_by_trying_all_orders(seed: u64, shape in shapes(2..8)) {
        agreed::<ObjectKeys>(seed, shape)?;
    }

    #[test]
    fn falsified_lists_are_judged_as_by_trying_all_orders(seed: u64, shape in shapes(2..7)) {
        agreed::<AppendList>(seed, shape)?;
    }

    #[test]
    fn falsified_trees_are_judged_as_by_trying_all_orders(seed: u64, shape in shapes(2..7)) {
        agreed::<DirectoryTree>(seed, shape)?;
    }
}

/// Of the histories with one false reply nearly all are refused: the checker is no rubber stamp.
#[test]
fn one_false_reply_is_nearly_always_found() {
    let shape = Shape {
        operations: 60,
        clients: 4,
        partitions: 2,
        unknown_percent: 3,
    };
    let runs = 400;
    let refused = (0..runs).filter(|seed| {
        let mut sequence = Sequence::new(*seed);
        let mut history = execution::<ObjectKeys>(&mut sequence, shape);
        falsify::<ObjectKeys>(&mut sequence, &mut history) && !is_linearizable(&ObjectKeys, &history)
    });
    let refused = refused.count();
    assert!(
        refused * 100 >= 90 * 400,
        "only {refused} of {runs} falsified histories were refused"
    );
}
