//! Whether a device serves, and what an error of the operating system means for it.
//!
//! Invariant: once down, a device stays down until it is opened anew, and says why; the reason is the first one, logged once.

use std::sync::OnceLock;

use cairn_common::ids::DeviceId;
use prometheus_client::metrics::gauge::Gauge;
use rustix::io::Errno;

use crate::store::StoreError;

/// The state of one device.
pub(crate) struct Health {
    device: DeviceId,
    path: String,
    up: Gauge,
    down: OnceLock<String>,
}

impl Health {
    /// A device that serves.
    pub(crate) fn new(device: DeviceId, path: String, up: Gauge) -> Self {
        up.set(1);
        Self {
            device,
            path,
            up,
            down: OnceLock::new(),
        }
    }

    /// Which device it is.
    pub(crate) fn device(&self) -> DeviceId {
        self.device
    }

    /// Why the device does not serve.
    pub(crate) fn down(&self) -> Option<&str> {
        self.down.get().map(String::as_str)
    }

    /// An error where the device does not serve.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.down()
            .map_or(Ok(()), |reason| Err(StoreError::Down(reason.to_owned())))
    }

    /// Takes the device out of service.
    pub(crate) fn poison(&self, reason: String) -> StoreError {
        if self.down.set(reason).is_ok() {
            self.up.set(0);
            let reason = self.down().unwrap_or_default();
            tracing::error!(device = %self.device, path = self.path, reason, "the device is down until restart");
        }
        StoreError::Down(self.down().unwrap_or_default().to_owned())
    }

    /// What `errno`, met while trying to `what`, means. What is neither want of room nor of the process's own resources is
    /// the disk's fault, and nothing it said before can be relied on.
    pub(crate) fn judge(&self, what: &str, errno: Errno) -> StoreError {
        match errno {
            Errno::NOSPC | Errno::DQUOT => StoreError::Full,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN => StoreError::Busy,
            _ => self.poison(format!("cannot {what}: {errno}")),
        }
    }
}
