//! The store against crashes, damage and second openers.

mod log;
mod state;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// How often a tree is copied until it stands still.
const COPIES_MAX: usize = 1000;

/// Every file of a tree, with its length and when it was written.
type Files = BTreeMap<PathBuf, (u64, SystemTime)>;

/// Copies a directory tree as it is on the disk at one moment: what a kill would leave behind. Where the database's own threads
/// changed something meanwhile, it is copied anew.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for _ in 0..COPIES_MAX {
        let copied = files(from).and_then(|before| {
            copy_files(from, to)?;
            Ok(before == files(from)?)
        });
        match copied {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("a copy of {}: {error}", from.display()),
        }
        if to.exists() {
            fs::remove_dir_all(to).expect("the copy goes");
        }
    }
    panic!("{} does not stand still", from.display());
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn files(directory: &Path) -> io::Result<Files> {
    let mut found = Files::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.append(&mut files(&entry.path())?);
        } else {
            let told = entry.metadata()?;
            found.insert(entry.path(), (told.len(), told.modified()?));
        }
    }
    Ok(found)
}

/// The newest file under `directory` with this extension.
fn newest_file(directory: &Path, extension: &str) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("a listing")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files.pop().expect("such a file")
}
