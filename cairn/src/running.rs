//! What a running server tells about itself in its directory, for `cairn status` and `cairn env`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::data_dir::{replace_file, running_file};

/// Pid and addresses of the running server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// URL of the S3 endpoint; none where there is none.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// URL of metrics, health and status.
    pub(crate) admin: String,
    /// What clients must be given to trust the endpoint, where that speaks TLS with a certificate of our own making.
    #[serde(default)]
    pub(crate) ca_bundle: Option<PathBuf>,
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Where other nodes reach it, UDP; none where it is no node of a cluster.
    #[serde(default)]
    pub(crate) cluster: Option<String>,
}

impl Running {
    pub(crate) fn save(&self, root: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string(self).context("writing server.json")?;
        replace_file(&running_file(root), &text)
    }

    /// What the server that runs, or ran last, told.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let path = running_file(root);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: no cairn server has run on {}", path.display(), root.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
    }
}
