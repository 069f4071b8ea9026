//! The copy of the cluster's authority that a source holds.

use std::path::Path;

use cairn_common::{envelope, wire::authority::AuthorityCopy};

use super::{error::MaintenanceError, source::Source};
use crate::{core::view::Family, record::authority::KEY};

/// The copy; none where no authority was ever kept. A backup is unpacked under `scratch`.
pub fn authority_copy(source: &Source, scratch: &Path) -> Result<Option<AuthorityCopy>, MaintenanceError> {
    let opened = source.open(scratch)?;
    let stored = opened.state.value(Family::System, KEY)?;
    let read = stored.map(|value| envelope::open(&value)).transpose();
    read.map_err(|error| MaintenanceError::Damaged {
        path: opened.state.path().to_owned(),
        detail: format!("its copy of the authority is damaged: {error}"),
    })
}
