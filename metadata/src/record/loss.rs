//! Lives that devices began, empty: what was on them before is lost.
//!
//! ```text
//! family system   key "loss" | device u32 → DeviceLoss
//! ```

use cairn_common::{ids::DeviceId, wire::inventory::DeviceLoss};

use super::{
    description::{Description, KeyReader, Unreadable},
    key::KeyWriter,
};

/// The first bytes of all keys.
pub(crate) const PREFIX: &[u8] = b"loss";

pub(crate) fn key(device: DeviceId) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.extend_from_slice(&KeyWriter::new().u32(device.value()).finish());
    key
}

/// A loss for a person.
pub(crate) fn describe(key: &[u8], value: &[u8]) -> Result<Description, Unreadable> {
    let rest = key
        .strip_prefix(PREFIX)
        .ok_or_else(|| Unreadable("no key of a loss".to_owned()))?;
    KeyReader::new(rest).u32("device")?.with::<DeviceLoss>(value)
}
