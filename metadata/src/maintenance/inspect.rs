//! Shows what a store holds: record by record, or as a summary.
//!
//! Invariant: a damaged record is shown as such and counted, and what comes behind it is still shown.

use std::path::Path;

use cairn_common::checksum::Hash;

use super::{
    backup::{BackupInfo, read_info},
    describe::{describe, is_by_bucket},
    error::MaintenanceError,
    source::{Opened, Source},
};
use crate::{
    core::view::Family,
    record::{bucket, description::hex},
    store::{EntryKind, EntryRecord, OfflineState},
};

/// The name under which the entries of the log are shown.
pub const LOG: &str = "log";

/// Which records are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this family only: a family's name, or `log`.
    pub family: Option<String>,
    /// Of this bucket only, by name or number; families that know no buckets are left out then.
    pub bucket: Option<String>,
    /// Keys that begin with these bytes.
    pub key_prefix: Vec<u8>,
    /// Names that begin with these bytes: components, objects' keys, buckets' names.
    pub name_prefix: Vec<u8>,
    /// Records at most.
    pub limit: Option<u64>,
}

/// A record as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its family.
    pub family: &'static str,
    /// Its key's bytes as hexadecimal digits.
    pub key_hex: String,
    /// Its key, taken apart; empty where it is damaged.
    pub key: String,
    /// Its value, or why it cannot be read.
    pub value: Result<String, String>,
}

/// What a store holds, counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Each family: name, records, bytes of keys and values, damaged records.
    pub families: Vec<FamilySummary>,
    /// Term, leader and index of the newest entry in the state.
    pub applied: Option<(u64, u64, u64)>,
    /// The chained hash there.
    pub chain: Hash,
    /// Newest time stamp, in milliseconds since 1970.
    pub time_ms: u64,
    /// Sets of voters: one, or two while they change.
    pub voters: Vec<Vec<u64>>,
    /// All members.
    pub members: Vec<u64>,
    /// The log, of a store.
    pub log: Option<LogSummary>,
    /// What a backup says of itself.
    pub backup: Option<BackupInfo>,
}

/// A family, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilySummary {
    /// Its name.
    pub name: &'static str,
    /// Its records.
    pub records: u64,
    /// Bytes of their keys and values, before compression.
    pub bytes: u64,
    /// Records that cannot be read.
    pub damaged: u64,
}

/// A log, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// Whose it is.
    pub server: Option<u64>,
    /// Index of the newest entry that is gone.
    pub purged: Option<u64>,
    /// Index of the newest entry.
    pub last: Option<u64>,
    /// Term, candidate, and whether it was won, of the newest vote.
    pub vote: Option<(u64, u64, bool)>,
}

/// Shows the records that `filter` lets through, until `show` answers `false`; gives how many were damaged. A backup is
/// unpacked under `scratch`.
pub fn inspect(
    source: &Source,
    scratch: &Path,
    filter: &Filter,
    show: &mut dyn FnMut(Line) -> bool,
) -> Result<u64, MaintenanceError> {
    let opened = source.open(scratch)?;
    let mut showing = Showing {
        filter,
        show,
        left: filter.limit.unwrap_or(u64::MAX),
        damaged: 0,
    };
    let wanted = |name: &str| filter.family.as_ref().is_none_or(|family| family == name);
    let known = Family::ALL.iter().any(|family| wanted(family.name())) || wanted(LOG);
    if !known {
        let names: Vec<_> = Family::ALL.iter().map(|family| family.name()).chain([LOG]).collect();
        return Err(MaintenanceError::NoSource {
            path: opened.state.path().to_owned(),
            detail: format!("there is no such family of records; choose of {}", names.join(", ")),
        });
    }
    let bucket = filter.bucket.as_ref().map(|bucket| find_bucket(&opened.state, bucket));
    let bucket = bucket.transpose()?;
    for family in Family::ALL.into_iter().filter(|family| wanted(family.name())) {
        showing.family(&opened.state, family, bucket)?;
    }
    // The log is shown only where it is asked for: it repeats what the state holds.
    if filter.family.as_deref() == Some(LOG) {
        showing.log(&opened)?;
    }
    Ok(showing.damaged)
}

/// Counts what the source holds.
pub fn summarize(source: &Source, scratch: &Path) -> Result<Summary, MaintenanceError> {
    let opened = source.open(scratch)?;
    let applied = opened.state.applied()?;
    let membership = opened.state.membership()?;
    let families: Result<Vec<_>, _> = Family::ALL
        .into_iter()
        .map(|family| count(&opened.state, family))
        .collect();
    let log = match &opened.log {
        None => None,
        Some(log) => {
            let bounds = log.bounds()?;
            Some(LogSummary {
                server: log.server()?.map(cairn_common::ids::NodeId::value),
                purged: bounds.purged.map(|position| position.index),
                last: bounds.last.map(|position| position.index),
                vote: log.vote()?.map(|vote| (vote.term, vote.node, vote.committed)),
            })
        }
    };
    let backup = match source {
        Source::Backup(file) => Some(read_info(file)?),
        Source::Store(_) | Source::Checkpoint(_) => None,
    };
    Ok(Summary {
        families: families?,
        applied: applied
            .position
            .map(|position| (position.term, position.node, position.index)),
        chain: applied.chain_hash()?,
        time_ms: applied.time_ms,
        voters: membership.voter_sets.into_iter().map(|set| set.voters).collect(),
        members: membership.members.into_iter().map(|member| member.node).collect(),
        log,
        backup,
    })
}

fn count(state: &OfflineState, family: Family) -> Result<FamilySummary, MaintenanceError> {
    let mut summary = FamilySummary {
        name: family.name(),
        ..FamilySummary::default()
    };
    for record in state.records(family, &[])? {
        let Ok((key, value)) = record else {
            summary.damaged += 1;
            break;
        };
        summary.records += 1;
        summary.bytes += (key.len() + value.len()) as u64;
        summary.damaged += u64::from(describe(family, &key, &value).is_err());
    }
    Ok(summary)
}

/// The number of a bucket that is given by name or number.
fn find_bucket(state: &OfflineState, bucket: &str) -> Result<u64, MaintenanceError> {
    let named = state.value(Family::Bucket, &bucket::name_key(bucket))?;
    let named = named.and_then(|value| cairn_common::envelope::open::<bucket::BucketName>(&value).ok());
    let number = named.map(|name| name.bucket).or_else(|| bucket.parse().ok());
    number.ok_or_else(|| MaintenanceError::NoSource {
        path: state.path().to_owned(),
        detail: format!("it has no bucket {bucket:?}"),
    })
}

struct Showing<'a> {
    filter: &'a Filter,
    show: &'a mut dyn FnMut(Line) -> bool,
    left: u64,
    damaged: u64,
}

impl Showing<'_> {
    fn family(&mut self, state: &OfflineState, family: Family, bucket: Option<u64>) -> Result<(), MaintenanceError> {
        let prefix = match bucket {
            Some(bucket) if is_by_bucket(family) => bucket.to_be_bytes().to_vec(),
            Some(bucket) if family == Family::Bucket => bucket::key(cairn_common::ids::BucketId::new(bucket)),
            Some(_) => return Ok(()),
            None => Vec::new(),
        };
        let from = prefix.clone().max(self.filter.key_prefix.clone());
        for record in state.records(family, &from)? {
            if self.left == 0 {
                return Ok(());
            }
            let (key, value) = match record {
                Ok(record) => record,
                Err(error) => {
                    self.damaged += 1;
                    self.line(family.name(), String::new(), String::new(), Err(error.to_string()));
                    return Ok(());
                }
            };
            if !key.starts_with(&prefix) || !key.starts_with(&self.filter.key_prefix) {
                return Ok(());
            }
            match describe(family, &key, &value) {
                Ok(found) if found.name.starts_with(&self.filter.name_prefix) => {
                    self.line(family.name(), hex(&key), found.key, Ok(found.value));
                }
                Ok(_) => {}
                Err(error) => {
                    self.damaged += 1;
                    self.line(family.name(), hex(&key), String::new(), Err(error.to_string()));
                }
            }
        }
        Ok(())
    }

    fn log(&mut self, opened: &Opened) -> Result<(), MaintenanceError> {
        let Some(log) = &opened.log else { return Ok(()) };
        for entry in log.entries()? {
            if self.left == 0 {
                return Ok(());
            }
            match entry {
                Ok(entry) => {
                    let position = entry.position;
                    let key = format!(
                        "index={} term={} leader={}",
                        position.index, position.term, position.node
                    );
                    let key_hex = hex(&position.index.to_be_bytes());
                    self.line(LOG, key_hex, key, content_of(&entry));
                }
                Err(error) => {
                    self.damaged += 1;
                    self.line(LOG, String::new(), String::new(), Err(error.to_string()));
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, family: &'static str, key_hex: String, key: String, value: Result<String, String>) {
        let line = Line {
            family,
            key_hex,
            key,
            value,
        };
        self.left = if (self.show)(line) {
            self.left.saturating_sub(1)
        } else {
            0
        };
    }
}

fn content_of(entry: &EntryRecord) -> Result<String, String> {
    match &entry.kind {
        Some(EntryKind::Blank(_)) => Ok("nothing: a new leader's first entry".to_owned()),
        Some(EntryKind::Membership(members)) => Ok(format!("{members:?}")),
        Some(EntryKind::Batch(bytes)) => {
            let batch = cairn_common::envelope::open::<cairn_common::wire::command::EntryBatch>(bytes);
            batch
                .map(|batch| format!("{batch:?}"))
                .map_err(|error| error.to_string())
        }
        None => Err("it holds nothing that this program knows".to_owned()),
    }
}
