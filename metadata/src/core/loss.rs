//! Devices that lost all they held: what was on them is missing, whoever learns of it and when.
//!
//! A shard may have been stored in a device's former life and be committed when that has ended, and the leader that was to look for
//! what is lost may lead no more. Invariant: from the map that knows of a loss until a survey has noted all of it, the state says that
//! the device is to be looked through; a commit under an earlier map notes what it lost by itself.

use cairn_common::{
    cluster_map::{ClusterMap, Device},
    ids::{ChunkId, DeviceId},
    wire::{
        chunk::ChunkOutcome,
        command::ErrorCode,
        inventory::{DeviceLoss, Losses, SurveyDone},
    },
};

use super::{
    chunk, map, session,
    tx::{ApplyError, Tx, open_record, read_record, refuse, scan_prefix},
    view::{Family, View, ViewError},
};
use crate::record::{
    chunk::ChunkRecord,
    loss::{PREFIX, key},
    system::MapHead,
};

/// Notes the devices that are new, or in a new life, by a map that is to come into force. Whether there are any.
pub(crate) fn note(tx: &mut Tx<'_>, before: &ClusterMap, after: &ClusterMap) -> Result<bool, ApplyError> {
    let mut is_news = false;
    for device in after.devices.values() {
        let Some(known) = before.devices.get(&device.id) else {
            // What was written to it when an earlier map knew it may be lost; nothing of it is referred to.
            put(tx, device, after, true);
            is_news = true;
            continue;
        };
        if device.incarnation < known.incarnation {
            let detail = format!(
                "device {} was in life {} already, and the map says {}",
                device.id, known.incarnation, device.incarnation
            );
            return Err(refuse(ErrorCode::Malformed, detail));
        }
        if device.incarnation > known.incarnation {
            put(tx, device, after, false);
            is_news = true;
        }
    }
    for gone in before.devices.keys().filter(|id| !after.devices.contains_key(id)) {
        tx.delete(Family::System, key(*gone));
    }
    Ok(is_news)
}

fn put(tx: &mut Tx<'_>, device: &Device, map: &ClusterMap, surveyed: bool) {
    let loss = DeviceLoss {
        device: device.id.value(),
        incarnation: device.incarnation.value(),
        epoch: map.epoch.value(),
        surveyed,
    };
    tx.put(Family::System, key(device.id), &loss);
}

/// Bit i: shard i of a chunk that is being committed lay on a device that has lost it since it was written under `epoch`.
pub(crate) fn lost_shards(
    view: &dyn View,
    head: &MapHead,
    id: ChunkId,
    record: &ChunkRecord,
    epoch: u64,
) -> Result<u32, ApplyError> {
    if epoch >= head.last_loss_epoch {
        return Ok(0);
    }
    let (store, map) = (session::store(view)?, map::checked(view)?);
    let mut lost = 0;
    for (index, device) in chunk::location(view, &store, &map, id, record)?.into_iter().enumerate() {
        let loss: Option<DeviceLoss> = read_record(view, Family::System, &key(device))?;
        lost |= u32::from(loss.is_some_and(|loss| loss.epoch > epoch)) << index;
    }
    Ok(lost)
}

/// Notes that a device was looked through.
pub(crate) fn surveyed(tx: &mut Tx<'_>, done: SurveyDone) -> Result<ChunkOutcome, ApplyError> {
    let key = key(DeviceId::new(done.device));
    let loss: Option<DeviceLoss> = read_record(tx, Family::System, &key)?;
    let Some(loss) = loss.filter(|loss| loss.incarnation == done.incarnation && !loss.surveyed) else {
        return Ok(ChunkOutcome::default());
    };
    tx.put(Family::System, key, &DeviceLoss { surveyed: true, ..loss });
    Ok(ChunkOutcome {
        changed: 1,
        settled: false,
    })
}

/// Whether a device lost everything, and it was not looked through since.
pub(crate) fn is_unsurveyed(view: &dyn View, device: DeviceId) -> Result<bool, ViewError> {
    let loss: Option<DeviceLoss> = read_record(view, Family::System, &key(device))?;
    Ok(loss.is_some_and(|loss| !loss.surveyed))
}

/// The devices that are to be looked through.
pub(crate) fn unsurveyed(view: &dyn View) -> Result<Losses, ViewError> {
    let mut losses = Vec::new();
    scan_prefix(view, Family::System, PREFIX, &[], &mut |_, value| {
        let loss: DeviceLoss = open_record(Family::System, value)?;
        losses.extend((!loss.surveyed).then_some(loss));
        Ok(true)
    })?;
    Ok(Losses { losses })
}
