//! The cluster map in the state: what commits need of it, and the former rows of its groups, agree with it.

use cairn_common::{
    envelope,
    ids::DeviceId,
    wire::{inventory::DeviceLoss, map::MapMessage},
};

use super::{super::error::MaintenanceError, check::Check};
use crate::{
    core::view::Family,
    record::{
        loss,
        row::{self, FormerRow},
        system::{MAP_KEY, MapHead, STORE_KEY, StoreRecord},
    },
};

const FAMILY: Family = Family::System;

/// Compares the map with the head of it that the store's record holds.
pub(super) fn head(check: &mut Check<'_>, store: &StoreRecord) -> Result<(), MaintenanceError> {
    let map = map(check)?;
    let expected = map.map(|map| MapHead {
        epoch: map.epoch,
        group_bits: map.group_bits,
        widths: map.widths.iter().map(|rows| rows.width).collect(),
        first_epoch: store.map.as_ref().map_or(0, |head| head.first_epoch),
        last_loss_epoch: store.map.as_ref().map_or(0, |head| head.last_loss_epoch),
    });
    if store.map != expected {
        check.wrong(
            FAMILY,
            STORE_KEY,
            "what it says of the cluster map is not what the map says",
        );
    }
    Ok(())
}

/// Checks a former row beside the map.
pub(super) fn former(check: &mut Check<'_>, key: &[u8], value: &[u8]) -> Result<(), MaintenanceError> {
    let (Some((width, group, last_epoch)), Some(record)) =
        (row::parts_of(key), check.open::<FormerRow>(FAMILY, key, value))
    else {
        return Ok(());
    };
    let map = map(check)?.unwrap_or_default();
    let has_width = map.widths.iter().any(|rows| rows.width == width);
    let has_group = u64::from(group) < 1_u64.checked_shl(map.group_bits).unwrap_or(u64::MAX);
    if !has_width || !has_group || last_epoch >= map.epoch {
        check.wrong(
            FAMILY,
            key,
            "the cluster map has no such group, or is no newer than this row of it",
        );
    }
    if !record.devices.is_empty() && record.devices.len() as u64 != u64::from(width) {
        let what = format!("the former row names {} devices, not {width}", record.devices.len());
        check.wrong(FAMILY, key, what);
    }
    Ok(())
}

/// Checks a device's loss beside the map.
pub(super) fn loss(check: &mut Check<'_>, key: &[u8], value: &[u8]) -> Result<(), MaintenanceError> {
    let Some(loss) = check.open::<DeviceLoss>(FAMILY, key, value) else {
        return Ok(());
    };
    let map = map(check)?.unwrap_or_default();
    let mut devices = map.devices.iter();
    let is_known = devices.any(|device| (device.id, device.incarnation) == (loss.device, loss.incarnation));
    if key != loss::key(DeviceId::new(loss.device)) || loss.epoch > map.epoch || !is_known {
        check.wrong(FAMILY, key, "the cluster map knows of no such loss of a device");
    }
    Ok(())
}

fn map(check: &Check<'_>) -> Result<Option<MapMessage>, MaintenanceError> {
    let stored = check.state.value(FAMILY, MAP_KEY)?;
    Ok(stored.and_then(|value| envelope::open(&value).ok()))
}
