//! Directories of the store: numbered generations and snapshots, made whole under a temporary name and then renamed.
//!
//! It must never remove a directory that it cannot place. Invariant: a directory with a number as its name is complete and
//! durable; whatever is half done has another name and is cleared away at the next start.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::StoreError;

const TEMPORARY_PREFIX: &str = "incomplete-";

/// Makes `path` and the directories above it, durably.
pub(super) fn create_directory(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    let create = || {
        fs::create_dir_all(path)?;
        missing.iter().filter_map(|made| made.parent()).try_for_each(|parent| {
            // The parent of a relative path's first component is written as nothing, and means here.
            sync_directory(if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            })
        })
    };
    create().map_err(|error| StoreError::from_io("creating a directory of the metadata store", &error))
}

/// The numbered directories under `parent`, in ascending order.
pub(super) fn numbered(parent: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for name in names(parent)? {
        if let Ok(number) = name.parse() {
            found.push((number, parent.join(name)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes what a crash left half done under `parent`.
pub(super) fn clear_incomplete(parent: &Path) -> Result<(), StoreError> {
    for name in names(parent)?
        .into_iter()
        .filter(|name| name.starts_with(TEMPORARY_PREFIX))
    {
        remove(&parent.join(name))?;
    }
    Ok(())
}

/// Removes a directory with all it holds.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::from_io(
            "removing an old directory of the metadata store",
            &error,
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The state directory of a store: that of its highest generation.
pub(crate) fn newest_generation(directory: &Path) -> Result<PathBuf, StoreError> {
    let generations = directory.join("state");
    let newest = numbered(&generations)?.pop();
    newest.map(|(_, path)| path).ok_or_else(|| StoreError::Corrupt {
        what: "the metadata state",
        detail: format!("{} holds no generation of it", generations.display()),
    })
}

/// Where generation `number` of the state lies in a store's directory.
pub(crate) fn generation_path(directory: &Path, number: u64) -> PathBuf {
    path_of(&directory.join("state"), number)
}

/// Refuses a database's directory without its `CURRENT` file: RocksDB would take it for a new one and clear it.
pub(super) fn check_present(what: &'static str, path: &Path) -> Result<(), StoreError> {
    let holds_data = |name: &String| name.ends_with(".sst") || name.ends_with(".log");
    if path.join("CURRENT").exists() || !path.exists() || !names(path)?.iter().any(holds_data) {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        what,
        detail: format!("{} is missing", path.join("CURRENT").display()),
    })
}

/// The path of number `number` under `parent`.
pub(super) fn path_of(parent: &Path, number: u64) -> PathBuf {
    parent.join(format!("{number:020}"))
}

/// Makes directory `number` under `parent`: `fill` makes it under a temporary name, then it is synced and renamed.
pub(super) fn make_numbered(
    parent: &Path,
    number: u64,
    fill: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<PathBuf, StoreError> {
    let temporary = parent.join(format!("{TEMPORARY_PREFIX}{number}"));
    let target = path_of(parent, number);
    remove(&temporary)?;
    fill(&temporary)?;
    let place = || {
        sync_directory(&temporary)?;
        fs::rename(&temporary, &target)?;
        sync_directory(parent)
    };
    place().map_err(|error| StoreError::from_io("putting a new directory of the metadata store in place", &error))?;
    Ok(target)
}

/// Copies a checkpoint from `source` to `target`, which is not there yet. Table files never change and are linked where the
/// file system can; everything else is copied and synced.
pub(super) fn copy_checkpoint(source: &Path, target: &Path) -> Result<(), StoreError> {
    let copy = || {
        fs::create_dir_all(target)?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let to = target.join(entry.file_name());
            let is_table = entry.path().extension().is_some_and(|extension| extension == "sst");
            if !entry.file_type()?.is_file() || !is_part(&entry.file_name().to_string_lossy()) {
                continue;
            }
            if !(is_table && fs::hard_link(entry.path(), &to).is_ok()) {
                fs::copy(entry.path(), &to)?;
                fs::File::open(&to)?.sync_all()?;
            }
        }
        sync_directory(target)
    };
    copy().map_err(|error| StoreError::from_io("copying a snapshot of the metadata", &error))
}

/// Whether a file in a checkpoint's directory is a part of it.
pub(super) fn is_part(name: &str) -> bool {
    let is_numbered = |suffix: &str| {
        name.strip_suffix(suffix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_described = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name == "CURRENT"
        || [".sst", ".blob", ".log"].into_iter().any(is_numbered)
        || ["MANIFEST-", "OPTIONS-"].into_iter().any(is_described)
}

/// Makes changes of names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// The names in a directory, in no order.
pub(super) fn names(parent: &Path) -> Result<Vec<String>, StoreError> {
    let list = || {
        fs::read_dir(parent)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    };
    list().map_err(|error| StoreError::from_io("listing a directory of the metadata store", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_database_are_parts() {
        for name in [
            "CURRENT",
            "MANIFEST-000004",
            "OPTIONS-000007",
            "000012.sst",
            "000004.log",
        ] {
            assert!(is_part(name), "{name}");
        }
        for name in [
            "LOG",
            "LOCK",
            "IDENTITY",
            "LOG.old.12",
            "cairn-manifest",
            "",
            ".sst",
            "../1.sst",
            "MANIFEST-",
            "a.sst",
        ] {
            assert!(!is_part(name), "{name}");
        }
    }
}
