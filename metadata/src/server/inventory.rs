//! When devices are compared with what the metadata knows: all of them in turn, and at once those that lost what they held.
//!
//! Invariant: a device in a new life counts as looked through only after each of its pages was compared in that life.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::DeviceId,
    wire::{
        chunk::{ChunkChange, ChunkCommand},
        command::Command,
        inventory::{DeviceLoss, SurveyDone},
    },
};
use cairn_transport::Transport;
use futures::{
    StreamExt,
    future::join,
    stream::{self, FuturesUnordered},
};
use tokio::time::sleep;

use super::{
    compare::{Comparison, Counts, PageError, RECORDS_AT_ONCE, Walk},
    config::InventorySchedule,
    local::RoundError,
    service::Inner,
};

/// Devices asked at once.
const DEVICES_IN_PARALLEL: usize = 8;
/// Time between two looks for devices that lost what they held.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// Wait before a device is looked through again of which that failed: where it does not serve, all records were read for it.
const SURVEY_AGAIN: Duration = Duration::from_secs(5);

/// What the worker needs.
pub(super) struct InventoryWorker {
    pub(super) inner: Arc<Inner>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) schedule: InventorySchedule,
}

/// What comes behind a page.
enum Outlook {
    More(Walk),
    Done(Device),
    CutShort,
}

impl InventoryWorker {
    /// Makes passes, and surveys of devices that lost what they held, for as long as it is polled.
    pub(super) async fn run(self) {
        join(self.passes(), self.surveys()).await;
    }

    async fn passes(&self) {
        sleep(self.schedule.first_after).await;
        loop {
            match self.inner.local_map().await {
                Ok(Some(map)) => {
                    self.pass(&map, map.devices.values(), self.schedule.page_every).await;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the cluster map cannot be read; no inventory is taken"),
            }
            sleep(self.schedule.every).await;
        }
    }

    /// Nobody may lose anything else before it is known what is missing: each waits for no pass, and for no device but its own.
    async fn surveys(&self) {
        let (mut running, mut under_way) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            tokio::select! {
                Some(device) = running.next() => {
                    under_way.remove(&device);
                }
                () = sleep(SURVEY_EVERY) => match self.inner.losses().await {
                    Ok(losses) => running.extend(
                        (losses.into_iter())
                            .filter(|loss| under_way.insert(loss.device))
                            .map(|loss| self.survey_in_peace(loss)),
                    ),
                    Err(error) => tracing::error!(%error, "it cannot be read which devices have lost what they held"),
                },
            }
        }
    }

    /// Gives the device when its survey has ended, one way or the other.
    async fn survey_in_peace(&self, loss: DeviceLoss) -> u32 {
        match self.survey(loss).await {
            Ok(true) => return loss.device,
            Ok(false) => {}
            Err(RoundError::Submit(error)) => {
                tracing::debug!(loss.device, %error, "the device is looked through again");
            }
            Err(RoundError::View(error)) => {
                tracing::error!(loss.device, %error, "what the device has lost cannot be read");
            }
        }
        sleep(SURVEY_AGAIN).await;
        loss.device
    }

    /// Whether it is known now what the device has lost.
    async fn survey(&self, loss: DeviceLoss) -> Result<bool, RoundError> {
        let Some(map) = self.inner.local_map().await? else {
            return Ok(false);
        };
        let device = map.devices.get(&DeviceId::new(loss.device));
        let Some(device) = device.filter(|device| device.incarnation.value() == loss.incarnation) else {
            return Ok(false);
        };
        let was_looked_through = self.inner.servers.may_serve(device)
            && !self.pass(&map, [device].into_iter(), Duration::ZERO).await.is_empty();
        // It may never serve again; nor need its server ever have been heard of since the metadata was restored.
        if !was_looked_through && !self.should_hold_nothing(device.id).await? {
            return Ok(false);
        }
        let done = SurveyDone {
            device: loss.device,
            incarnation: loss.incarnation,
        };
        let change = Some(ChunkChange::Surveyed(done));
        let command = Command::Chunk(ChunkCommand { change });
        self.inner.proposer.submit_own(command).await?;
        tracing::info!(loss.device, "what the device lost is known");
        Ok(true)
    }

    /// Whether no record says any more that something lies on the device.
    async fn should_hold_nothing(&self, device: DeviceId) -> Result<bool, RoundError> {
        let mut after = None;
        loop {
            let read = (self.inner)
                .read_state(move |machine, view, _| machine.expected(view, device, after, None, RECORDS_AT_ONCE));
            let expected = read.await?;
            after = expected.next_after;
            if !expected.shards.is_empty() || after.is_none() {
                return Ok(expected.shards.is_empty());
            }
        }
    }

    /// Compares what these devices hold. Gives those that were looked through to their end.
    async fn pass<'d>(
        &self,
        map: &ClusterMap,
        devices: impl Iterator<Item = &'d Device>,
        page_every: Duration,
    ) -> Vec<Device> {
        let (mut walks, mut done): (Vec<Walk>, _) = (devices.map(Walk::begin).collect(), Vec::new());
        let mut total = Counts::default();
        while !walks.is_empty() {
            let pages = stream::iter(walks)
                .map(|walk| self.step(walk, map))
                .buffer_unordered(DEVICES_IN_PARALLEL);
            let outcomes: Vec<(Counts, Outlook)> = pages.collect().await;
            walks = Vec::new();
            for (counts, outlook) in outcomes {
                total.add(counts);
                match outlook {
                    Outlook::More(walk) => walks.push(walk),
                    Outlook::Done(device) => done.push(device),
                    Outlook::CutShort => {}
                }
            }
            if !walks.is_empty() {
                sleep(page_every).await;
            }
        }
        tracing::info!(
            shards = total.shards,
            orphans_deleted = total.orphans,
            strays_deleted = total.strays,
            missing = total.missed,
            "device inventories compared"
        );
        done
    }

    /// One page of one device.
    async fn step(&self, walk: Walk, map: &ClusterMap) -> (Counts, Outlook) {
        let comparison = Comparison {
            inner: &self.inner,
            transport: &self.transport,
            map,
        };
        match comparison.page(&walk).await {
            Ok((counts, Some(next))) => (counts, Outlook::More(next)),
            Ok((counts, None)) => (counts, Outlook::Done(walk.device)),
            Err(error) => {
                match error {
                    PageError::Round(RoundError::View(error)) => {
                        tracing::error!(%error, "the chunk records cannot be read; nothing is deleted");
                    }
                    error => tracing::debug!(device = %walk.device.id, %error, "the device is looked through later"),
                }
                (Counts::default(), Outlook::CutShort)
            }
        }
    }
}
