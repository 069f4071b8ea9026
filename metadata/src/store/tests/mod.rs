//! The store against crashes, damage and second openers.

mod log;
mod state;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Copies a directory tree as it is on the disk at this moment: what a kill would leave behind.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a listing") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
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
