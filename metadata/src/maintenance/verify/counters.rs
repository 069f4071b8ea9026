//! Buckets and their names; and, at the end, every counter against what was counted.

use std::collections::BTreeMap;

use cairn_common::{envelope, ids::BucketId};

use super::{
    super::{describe::describe, error::MaintenanceError},
    check::{BucketFacts, Check, Gathered},
    rows,
};
use crate::{
    core::view::Family,
    record::{
        bucket::{self, BucketName, BucketRecord, DocumentRecord},
        key::u64_at,
        loss, row,
        system::{STORE_KEY, StoreRecord},
    },
};

/// Reads all buckets, and compares their records with their names.
pub(super) fn buckets(check: &mut Check<'_>, gathered: &mut Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(Family::Bucket)?;
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    while let Some((key, value)) = cursor.take(check) {
        if bucket::is_name_key(&key) {
            if let Some(name) = check.open::<BucketName>(Family::Bucket, &key, &value) {
                names.insert(String::from_utf8_lossy(&key[1..]).into_owned(), name.bucket);
            }
            continue;
        }
        if bucket::is_document_key(&key) {
            document(check, &key, &value)?;
            continue;
        }
        let Some(number) = u64_at(&key, 1) else {
            check.damaged(Family::Bucket, &key, "the key is too short for a bucket's number");
            continue;
        };
        if let Some(record) = check.open::<BucketRecord>(Family::Bucket, &key, &value) {
            let facts = BucketFacts {
                record,
                ..BucketFacts::default()
            };
            gathered.buckets.insert(number, facts);
        }
    }
    for (number, facts) in &gathered.buckets {
        if names.remove(&facts.record.name) != Some(*number) {
            let key = bucket::key(BucketId::new(*number));
            let what = format!("its name {:?} does not lead to it", facts.record.name);
            check.wrong(Family::Bucket, &key, what);
        }
    }
    for (name, number) in names {
        let what = format!("the name leads to bucket {number}, which is not there or has another name");
        check.wrong(Family::Bucket, &bucket::name_key(&name), what);
    }
    Ok(())
}

/// A settings document: of a bucket that is there.
fn document(check: &mut Check<'_>, key: &[u8], value: &[u8]) -> Result<(), MaintenanceError> {
    check.open::<DocumentRecord>(Family::Bucket, key, value);
    let of = bucket::key(BucketId::new(u64_at(key, 1).unwrap_or_default()));
    if check.state.value(Family::Bucket, &of)?.is_none() {
        check.wrong(Family::Bucket, key, "the bucket of the document is not there");
    }
    Ok(())
}

/// Compares the counters of the buckets and of the store with what was counted.
pub(super) fn totals(check: &mut Check<'_>, gathered: &Gathered) -> Result<(), MaintenanceError> {
    for (number, facts) in &gathered.buckets {
        let record = &facts.record;
        let counters = [
            ("objects", record.objects, facts.objects),
            ("bytes of objects", record.object_bytes, facts.object_bytes),
            ("uploads", record.uploads, facts.uploads),
            ("bytes of uploads", record.upload_bytes, facts.upload_bytes),
            ("inodes", record.inodes, facts.inodes),
        ];
        for (what, says, are) in counters.into_iter().filter(|(_, says, are)| says != are) {
            let key = bucket::key(BucketId::new(*number));
            check.wrong(
                Family::Bucket,
                &key,
                format!("it counts {says} {what}, there are {are}"),
            );
        }
    }
    let mut cursor = check.cursor(Family::System)?;
    let mut store = None;
    while let Some((key, value)) = cursor.take(check) {
        if let Err(error) = describe(Family::System, &key, &value) {
            check.damaged(Family::System, &key, &error.to_string());
        } else if key.starts_with(row::PREFIX) {
            rows::former(check, &key, &value)?;
        } else if key.starts_with(loss::PREFIX) {
            rows::loss(check, &key, &value)?;
        } else if key == STORE_KEY {
            store = envelope::open::<StoreRecord>(&value).ok();
        }
    }
    let Some(store) = store else {
        if !gathered.buckets.is_empty() {
            check.wrong(Family::System, STORE_KEY, "the store's own record is missing");
        }
        return Ok(());
    };
    rows::head(check, &store)?;
    let last_bucket = gathered.buckets.keys().next_back().copied().unwrap_or_default();
    let counters = [
        ("buckets", store.buckets, gathered.buckets.len() as u64),
        ("queued releases", store.release_pending, gathered.queued),
        ("chunks that wait for repair", store.repair_pending, gathered.to_repair),
    ];
    if let Some(first) = gathered.first_queued.filter(|first| *first < store.release_from) {
        let from = store.release_from;
        let what =
            format!("nothing is queued for release before log index {from}, it says, and something is at {first}");
        check.wrong(Family::System, STORE_KEY, what);
    }
    for (what, says, are) in counters.into_iter().filter(|(_, says, are)| says != are) {
        check.wrong(
            Family::System,
            STORE_KEY,
            format!("it counts {says} {what}, there are {are}"),
        );
    }
    if last_bucket > store.last_bucket {
        let what = format!(
            "the next bucket would get number {}, {last_bucket} is there",
            store.last_bucket + 1
        );
        check.wrong(Family::System, STORE_KEY, what);
    }
    Ok(())
}
