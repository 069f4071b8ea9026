//! The load against a store in memory: a right one is found right, and each way to be wrong is found out.

mod reading;
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::store::{Flaw, Store};
use super::{Length, Load, Outage, Plan, Summary, outages};
use crate::history::{Bounds, ObjectKeys, Verdict, check};

const PLAN: Plan = Plan {
    groups: 4,
    keys_per_group: 4,
    ledger_clients: 2,
    pace: Duration::ZERO,
    length: Length::Operations(600),
    seed: 1,
};

/// Runs a load against a store with a flaw.
async fn loaded(flaw: Flaw, plan: Plan) -> (Arc<Load>, Arc<Store>) {
    let load = Load::new(plan);
    let store = Arc::new(Store::new(flaw));
    let clients = vec![Arc::clone(&store); 8];
    load.run(&clients).await.expect("nothing strange is listed");
    (load, store)
}

fn verdict(load: &Load) -> Verdict {
    check(&ObjectKeys, &load.history.history(), Bounds::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_store_is_found_right() {
    for flaw in [Flaw::None, Flaw::LosesAnswers, Flaw::Refuses] {
        let (load, store) = loaded(flaw, PLAN).await;
        store.heal();
        let values = load.finish(store.as_ref()).await.expect("the ledger is right");
        assert!(values > 50, "{flaw:?}: only {values} values in the ledger");
        assert_eq!(verdict(&load), Verdict::Linearizable, "{flaw:?}");
        let summary = Summary::of(&load.history.history(), Duration::from_secs(1));
        assert!(
            summary.acknowledged > 2_000 && summary.refused > 50,
            "{flaw:?}: {summary:?}"
        );
        assert_eq!(summary.unknown > 0, flaw == Flaw::LosesAnswers, "{summary:?}");
        assert_eq!(summary.failed > 0, flaw == Flaw::Refuses, "{summary:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_store_is_found_out() {
    for flaw in [
        Flaw::ReadsStale,
        Flaw::LosesWrites,
        Flaw::AppliesTwice,
        Flaw::IgnoresConditions,
        Flaw::ListsStale,
        Flaw::FailsAndDoes,
    ] {
        let (load, _) = loaded(flaw, PLAN).await;
        let verdict = verdict(&load);
        assert!(matches!(verdict, Verdict::Violated(_)), "{flaw:?}: {verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_lost_a_value_is_found_out() {
    let only_ledger = Plan {
        ledger_clients: 8,
        ..PLAN
    };
    let (load, store) = loaded(Flaw::LosesWrites, only_ledger).await;
    store.heal();
    let error = load
        .finish(store.as_ref())
        .await
        .expect_err("acknowledged values are missing");
    assert!(
        error.to_string().contains("was acknowledged and is not in the list"),
        "{error:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_ends_in_time_and_keeps_its_pace() {
    let length = Duration::from_millis(200);
    let paced = Plan {
        pace: Duration::from_millis(10),
        length: Length::Duration(length),
        ..PLAN
    };
    let began = Instant::now();
    let (load, _) = loaded(Flaw::None, paced).await;
    assert!(began.elapsed() >= length);
    let history = load.history.history();
    let most = history.iter().filter(|operation| operation.process == 7);
    // A listing is one operation of the load and one read per key of its group.
    let begun: std::collections::BTreeSet<u64> = most.map(|operation| operation.invoked_ns / 1_000_000).collect();
    assert!(!begun.is_empty() && begun.len() <= 22, "{begun:?}");
    let none: Vec<Outage> = outages(&history, &[], load.history.now_ns(), |_| true);
    assert!(none.is_empty());
}
