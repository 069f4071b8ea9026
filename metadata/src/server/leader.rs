//! What runs only where this member leads: leases, garbage, inventory, probes; and what every member attends to.
//!
//! Invariant: each begins anew with each time of leadership, and none outlives it: what another leader did meanwhile is not
//! guessed at.

use std::{sync::Arc, time::Duration};

use cairn_transport::Transport;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    config::MetadataConfig, file_leases, garbage::GarbageWorker, inventory::InventoryWorker, keeper::KeeperWorker,
    probe, recodes::RecodeWorker, repairs::RepairWorker, service::Inner, uploads::UploadsWorker,
};

/// Time between looks at whether this member may answer, while it may, and while it may not.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));
/// How long a look may take before the member counts as one that may not answer.
const LOOK_DEADLINE: Duration = Duration::from_secs(3);
/// Looks after which the carrier is told again where members are: a name may lead elsewhere now.
const ANNOUNCE_EVERY: u32 = 10;

/// Runs the leader's work whenever this member leads, for as long as it is polled.
pub(super) async fn run(inner: Arc<Inner>, config: MetadataConfig, transport: Arc<dyn Transport>) {
    while let Some(term) = inner.node.until_leading().await {
        tracing::info!(term, "this metadata server leads");
        inner.metrics.elections_won.inc();
        let mut work = JoinSet::new();
        work.spawn(file_leases::run(Arc::clone(&inner), term));
        start(&mut work, &inner, &config, &transport);
        work.spawn(tell_own_address(Arc::clone(&inner), config.address.clone()));
        inner.node.until_deposed(term).await;
        tracing::info!(term, "this metadata server leads no more");
        work.shutdown().await;
    }
}

/// Keeps told whether this member may answer, and the carrier where the others are, for as long as it is polled.
pub(super) async fn attend(inner: Arc<Inner>) {
    for look in 0_u32.. {
        if look.is_multiple_of(ANNOUNCE_EVERY) {
            inner.node.announce_addresses();
            inner.announce_servers().await;
        }
        let passed = timeout(LOOK_DEADLINE, inner.barrier.pass()).await;
        let is_ready = matches!(passed, Ok(Ok(()))) && inner.health.check().is_ok();
        inner
            .ready
            .send_if_modified(|ready| std::mem::replace(ready, is_ready) != is_ready);
        let applied = inner.node.state().applied().index();
        inner
            .metrics
            .applied_index
            .set(i64::try_from(applied).unwrap_or(i64::MAX));
        sleep(if is_ready { LOOK.0 } else { LOOK.1 }).await;
    }
}

/// Has the group note where this member is called, where that is not what it knows: a server that was alone may have had no
/// address, and one may be given another.
async fn tell_own_address(inner: Arc<Inner>, address: String) {
    let own = inner.own();
    let is_known = || {
        let members = inner.node.members();
        members.iter().any(|view| view.node == own && view.address == address)
    };
    while !address.is_empty() && !is_known() {
        if let Err(error) = inner.node.set_address(own, &address).await {
            tracing::debug!(%error, "the group does not know this member's address yet");
            sleep(LOOK.0).await;
        }
    }
}

fn start(work: &mut JoinSet<()>, inner: &Arc<Inner>, config: &MetadataConfig, transport: &Arc<dyn Transport>) {
    let (node, machine) = (&inner.node, &inner.machine);
    let sessions = inner.sessions.clone();
    work.spawn(sessions.run(
        node.clone(),
        Arc::clone(machine),
        inner.proposer.clone(),
        inner.metrics.clone(),
    ));
    let garbage = GarbageWorker {
        inner: Arc::clone(inner),
        transport: Arc::clone(transport),
        interval: config.garbage_interval,
    };
    work.spawn(garbage.run());
    let inventory = InventoryWorker {
        inner: Arc::clone(inner),
        transport: Arc::clone(transport),
        schedule: config.inventory,
    };
    work.spawn(inventory.run());
    let uploads = UploadsWorker {
        inner: Arc::clone(inner),
    };
    work.spawn(uploads.run());
    let repairs = RepairWorker {
        inner: Arc::clone(inner),
        transport: Arc::clone(transport),
    };
    work.spawn(repairs.run());
    let recodes = RecodeWorker {
        inner: Arc::clone(inner),
        transport: Arc::clone(transport),
    };
    work.spawn(recodes.run());
    let keeper = KeeperWorker {
        inner: Arc::clone(inner),
    };
    work.spawn(keeper.run());
    work.spawn(probe::run(Arc::clone(inner), config.probe_every));
}
