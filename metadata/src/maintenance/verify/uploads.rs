//! Uploads under way, and parts beside those whose they are.

use cairn_common::{
    envelope,
    ids::{BucketId, InodeId, UploadId},
};

use super::{
    super::error::MaintenanceError,
    bodies::Order,
    check::{Check, Claim, Cursor, Gathered, LINK_LEN, link_parts, pair_of},
    sort::Sorted,
};
use crate::{
    core::view::Family,
    record::{
        extent::{self, ManifestRecord},
        inode::InodeRecord,
        key::u64_at,
        part::{self, PartRecord},
        upload::{self, UploadActivity, UploadRecord},
    },
};

/// Whose the parts of one upload are.
#[derive(Default)]
struct Owners {
    /// Bytes that the upload counts, where it is under way.
    under_way: Option<u64>,
    queued: bool,
    unselected: bool,
    released: bool,
    object: Option<u64>,
}

/// Checks each upload under way, and gathers that its parts are its own.
pub(super) fn pass(check: &mut Check<'_>, gathered: &mut Gathered) -> Result<(), MaintenanceError> {
    let mut cursor = check.cursor(Family::Upload)?;
    while let Some((key, value)) = cursor.take(check) {
        if upload::is_activity(&key) {
            activity(check, &key, &value)?;
            continue;
        }
        let Some(record) = check.open::<UploadRecord>(Family::Upload, &key, &value) else {
            continue;
        };
        let bucket = u64_at(&key, 0).unwrap_or_default();
        if key != upload::key(BucketId::new(bucket), &record.key, UploadId::new(record.upload)) {
            check.wrong(Family::Upload, &key, "its key names another upload than its record");
        }
        match gathered.buckets.get_mut(&bucket) {
            Some(facts) => {
                facts.uploads += 1;
                facts.upload_bytes += record.bytes;
            }
            None => check.wrong(Family::Upload, &key, "its bucket is not there"),
        }
        let id = UploadId::new(record.upload);
        let place = upload::activity_key(BucketId::new(bucket), record.active_ms(), id);
        if check.state.value(Family::Upload, &place)?.is_none() {
            check.wrong(Family::Upload, &key, "the order of activity does not hold it");
        }
        gathered.claim(bucket, record.upload, Claim::UnderWay, record.bytes)?;
    }
    Ok(())
}

/// A place in the order in which uploads were gone on with: that of an upload which is under way.
fn activity(check: &mut Check<'_>, key: &[u8], value: &[u8]) -> Result<(), MaintenanceError> {
    let bucket = BucketId::new(u64_at(key, 8).unwrap_or_default());
    let (Some((active_ms, id)), Some(record)) = (
        upload::activity_of(key),
        check.open::<UploadActivity>(Family::Upload, key, value),
    ) else {
        check.damaged(Family::Upload, key, "the key is too short for an upload's activity");
        return Ok(());
    };
    let stored = check
        .state
        .value(Family::Upload, &upload::key(bucket, &record.key, id))?;
    let upload = stored.and_then(|value| envelope::open::<UploadRecord>(&value).ok());
    if upload.is_none_or(|upload| upload.active_ms() != active_ms) {
        check.wrong(
            Family::Upload,
            key,
            "no upload is under way that someone went on with at this time",
        );
    }
    Ok(())
}

/// Checks that every part is someone's, and that every object has its parts.
pub(super) fn parts(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    mut claims: Sorted<LINK_LEN>,
) -> Result<(), MaintenanceError> {
    let mut parts = check.cursor(Family::Part)?;
    loop {
        let claimed = claims.peek().map(|claim| link_parts(claim).0);
        let there = parts.key().and_then(pair_of);
        let at = match (claimed, there) {
            (None, None) => match parts.take(check) {
                None => return Ok(()),
                Some((key, _)) => {
                    check.damaged(Family::Part, &key, "the key is too short for a bucket and an upload");
                    continue;
                }
            },
            (Some(claimed), Some(there)) => claimed.min(there),
            (Some(at), None) | (None, Some(at)) => at,
        };
        let owners = owners_of(gathered, &mut claims, at)?;
        of_upload(check, gathered, &mut parts, at, &owners)?;
    }
}

fn owners_of(gathered: &Gathered, claims: &mut Sorted<LINK_LEN>, at: (u64, u64)) -> Result<Owners, MaintenanceError> {
    let mut owners = Owners::default();
    while let Some((_, how, inode)) = claims.peek().map(link_parts).filter(|(of, ..)| *of == at) {
        claims.next().map_err(|error| gathered.failed(error))?;
        if how == Claim::UnderWay as u8 {
            owners.under_way = Some(inode);
        }
        owners.queued |= how == Claim::Queued as u8;
        owners.unselected |= how == Claim::Unselected as u8;
        owners.released |= how == Claim::Released as u8;
        if how == Claim::Object as u8 {
            owners.object = Some(inode);
        }
    }
    Ok(owners)
}

fn of_upload(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    parts: &mut Cursor<'_>,
    at: (u64, u64),
    owners: &Owners,
) -> Result<(), MaintenanceError> {
    let (bucket, upload) = (BucketId::new(at.0), UploadId::new(at.1));
    let mut manifest = manifest_of(check, at.0, owners.object);
    let is_owned = owners.under_way.is_some() || owners.queued || owners.released || owners.object.is_some();
    let mut bytes = 0_u64;
    while parts.key().and_then(pair_of) == Some(at) {
        let Some((key, value)) = parts.take(check) else { break };
        if !is_owned {
            check.wrong(
                Family::Part,
                &key,
                "neither an upload, nor an object, nor the queue knows it",
            );
        }
        let Some(record) = check.open::<PartRecord>(Family::Part, &key, &value) else {
            continue;
        };
        part(check, gathered, &key, &record)?;
        bytes = bytes.saturating_add(record.size);
        let number = part::number_of(&key).unwrap_or_default();
        let named = manifest.iter().position(|(named, _)| *named == number);
        match named.map(|place| manifest.remove(place)) {
            Some((_, size)) if size != record.size => {
                let what = format!("it has {} bytes, its object's list says {size}", record.size);
                check.wrong(Family::Part, &key, what);
            }
            Some(_) => {}
            None if owners.object.is_some() && !owners.unselected => {
                check.wrong(
                    Family::Part,
                    &key,
                    "its object does not name it, and it is not queued for release",
                );
            }
            None => {}
        }
    }
    if let Some(says) = owners.under_way.filter(|says| *says != bytes) {
        let what = format!("upload {upload} counts {says} bytes of parts, there are {bytes}");
        check.wrong(Family::Part, &part::key(bucket, upload, 0), what);
    }
    for (number, _) in manifest {
        let what = format!("an object is made of part {number} of upload {upload}, which is not there");
        check.wrong(Family::Part, &part::key(bucket, upload, number), what);
    }
    Ok(())
}

/// Numbers and sizes of the parts of an object. Where the list is missing or damaged, that was reported with the object.
fn manifest_of(check: &Check<'_>, bucket: u64, inode: Option<u64>) -> Vec<(u32, u64)> {
    let key = inode.map(|inode| extent::manifest_key(BucketId::new(bucket), InodeId::new(inode)));
    let stored = key.and_then(|key| check.state.value(Family::Extent, &key).ok().flatten());
    let manifest: Option<ManifestRecord> = stored.and_then(|value| envelope::open(&value).ok());
    manifest.map_or_else(Vec::new, |manifest| {
        manifest.numbers.into_iter().zip(manifest.sizes).collect()
    })
}

fn part(
    check: &mut Check<'_>,
    gathered: &mut Gathered,
    key: &[u8],
    record: &PartRecord,
) -> Result<(), MaintenanceError> {
    let mut order = Order::new(record.size);
    let mut bytes = record.inline.len() as u64;
    for extent in &record.extents {
        if let Some(what) = order.next(extent, &InodeRecord::default()) {
            check.wrong(Family::Part, key, what);
        }
        if !gathered.refer_extent(extent)? {
            check.wrong(Family::Part, key, "an extent names a chunk whose id has not 16 bytes");
        }
        bytes = bytes.saturating_add(extent.length);
    }
    if bytes != record.size {
        let what = format!("its bytes are {bytes}, and it says to have {}", record.size);
        check.wrong(Family::Part, key, what);
    }
    Ok(())
}
