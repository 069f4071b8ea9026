//! When devices are compared with what the metadata knows: all of them in turn, and at once those that lost what they held.
//!
//! Invariant: a device in a new life counts as looked through only after each of its pages was compared in that life.

use std::{sync::Arc, time::Duration};

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
use futures::{StreamExt, future::join, stream};
use tokio::time::sleep;

use super::{
    compare::{Comparison, Counts, PageError, Walk},
    config::InventorySchedule,
    local::RoundError,
    service::Inner,
};

/// Devices asked at once.
const DEVICES_IN_PARALLEL: usize = 8;
/// Time between two looks for devices that lost what they held.
const SURVEY_EVERY: Duration = Duration::from_secs(1);

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
                    self.pass(&map, map.devices.values()).await;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the cluster map cannot be read; no inventory is taken"),
            }
            sleep(self.schedule.every).await;
        }
    }

    /// Nobody may lose anything else before it is known what is missing: these wait for no pass, and for no device but their own.
    async fn surveys(&self) {
        loop {
            sleep(SURVEY_EVERY).await;
            match self.survey().await {
                Ok(()) => {}
                Err(RoundError::Submit(error)) => tracing::debug!(%error, "lost devices wait to be looked through"),
                Err(RoundError::View(error)) => tracing::error!(%error, "it cannot be read what devices have lost"),
            }
        }
    }

    async fn survey(&self) -> Result<(), RoundError> {
        let losses = self.inner.losses().await?;
        if losses.is_empty() {
            return Ok(());
        }
        let Some(map) = self.inner.local_map().await? else {
            return Ok(());
        };
        let of_life = |loss: &DeviceLoss| {
            let device = map.devices.get(&DeviceId::new(loss.device));
            device
                .filter(|device| device.incarnation.value() == loss.incarnation && self.inner.servers.may_serve(device))
        };
        for device in self.pass(&map, losses.iter().filter_map(of_life)).await {
            let done = SurveyDone {
                device: device.id.value(),
                incarnation: device.incarnation.value(),
            };
            let change = Some(ChunkChange::Surveyed(done));
            let command = Command::Chunk(ChunkCommand { change });
            self.inner.proposer.submit_own(command).await?;
            tracing::info!(device = %device.id, "what the device lost is known");
        }
        Ok(())
    }

    /// Compares what these devices hold. Gives those that were looked through to their end.
    async fn pass<'d>(&self, map: &ClusterMap, devices: impl Iterator<Item = &'d Device>) -> Vec<Device> {
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
                sleep(self.schedule.page_every).await;
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
