//! What figures are to be read by: asked of the server where it tells, else taken from flags.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::admin::fetch;
use crate::args::TargetArgs;
use crate::target::{Fact, Facts};

/// What a Cairn server's admin address says.
#[derive(Debug, Default, Deserialize)]
struct Status {
    version: Option<String>,
    redundancy: Option<String>,
    sync_mode: Option<String>,
}

/// Adds to what the target has told of itself.
///
/// # Errors
/// An admin address that does not answer.
pub(super) fn complete_facts(told: Facts, target: &TargetArgs) -> Result<Facts> {
    let status = match &target.admin {
        Some(url) => {
            let status = fetch(url, "/status")?;
            serde_json::from_str(&status).with_context(|| format!("{url} is not a Cairn server's admin address"))?
        }
        None => Status::default(),
    };
    let version = status.version.map(|version| format!("cairn {version}"));
    // What the admin address says wins over what the way to the data has told.
    let or_told =
        |said: Option<String>, told: &Option<Fact>| said.or_else(|| told.as_ref().map(|fact| fact.value.clone()));
    let version = or_told(version, &told.version);
    let redundancy = or_told(status.redundancy, &told.redundancy);
    Ok(Facts {
        version: Fact::first(version, target.server_version.as_deref()),
        redundancy: Fact::first(redundancy, target.redundancy.as_deref()),
        sync_mode: Fact::first(
            status.sync_mode.filter(|mode| !mode.is_empty()),
            target.sync_mode.as_deref(),
        ),
        ..told
    })
}
