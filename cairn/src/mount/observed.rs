//! What the admin address of a mount tells.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cairn_fuse_client::{Mount, MountWatch};

use crate::{
    admin, gauges,
    metrics::Metrics,
    status::{Health, MountStatus, Told},
};

/// How long the readiness check waits.
const READY_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

/// What is looked at.
pub(super) struct Observed {
    metrics: Metrics,
    watch: MountWatch,
    source: String,
    directory: PathBuf,
}

impl Observed {
    pub(super) fn new(mut metrics: Metrics, mount: &Mount, source: &str, directory: &Path) -> Self {
        let watch = mount.watch();
        let registry = metrics.registry();
        let look = watch.clone();
        gauges::register(
            registry,
            "cairn_mount_open_files",
            "Files that programs have open",
            move || look.figures().open_files as f64,
        );
        let look = watch.clone();
        let help = "Bytes that programs wrote and that are not stored yet";
        gauges::register(registry, "cairn_mount_dirty_bytes", help, move || {
            look.figures().dirty_bytes as f64
        });
        let look = watch.clone();
        let help = "Most bytes that may wait to be stored";
        gauges::register(registry, "cairn_mount_dirty_limit_bytes", help, move || {
            look.figures().dirty_bytes_max as f64
        });
        Self {
            metrics,
            watch,
            source: source.to_owned(),
            directory: directory.to_owned(),
        }
    }
}

#[async_trait]
impl admin::Observed for Observed {
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text()
    }

    async fn ready(&self) -> Result<(), String> {
        match tokio::time::timeout(READY_DEADLINE, self.watch.answers()).await {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }

    async fn status(&self) -> anyhow::Result<Vec<u8>> {
        let figures = self.watch.figures();
        let trouble = self.ready().await.err();
        let status = MountStatus {
            health: if trouble.is_none() {
                Health::Good
            } else {
                Health::Failed
            },
            remarks: trouble.into_iter().collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mounted: self.source.clone(),
            directory: self.directory.clone(),
            open_files: figures.open_files,
            dirty_bytes: figures.dirty_bytes as u64,
            dirty_bytes_max: figures.dirty_bytes_max as u64,
        };
        Ok(serde_json::to_vec(&Told::Mount(status))?)
    }
}
