//! Where things are: the target folder, the binary under test, scratch folders, the clients' scripts.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Set to keep the folders of tests, with the servers' logs in them.
const KEEP: &str = "CAIRN_TEST_KEEP";

/// Whether the long parts of the suites run (`make test-long`).
#[must_use]
pub fn is_long() -> bool {
    env::var("CAIRN_TEST_LONG").is_ok_and(|value| value == "1")
}

/// The binary under test: `CAIRN_TEST_BIN`, or `cairn` in the profile's folder that this test runs from.
///
/// # Errors
/// There is none. Cargo builds the binaries of other packages for no test, so `make build` comes first.
pub fn cairn_binary() -> Result<PathBuf> {
    let path = match env::var_os("CAIRN_TEST_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_folder()?.join("cairn"),
    };
    ensure!(path.is_file(), "{} is missing: run `make build` first", path.display());
    Ok(path)
}

/// A folder on the disk of the target folder, gone with its value. Not under the system's temporary folder: that may
/// be memory, and some suites write gigabytes.
///
/// # Errors
/// The folder cannot be made.
pub fn scratch(prefix: &str) -> Result<TempDir> {
    let parent = target_folder()?.join("cairn-tests");
    std::fs::create_dir_all(&parent)?;
    let mut folder = tempfile::Builder::new()
        .prefix(&format!("{prefix}-"))
        .tempdir_in(parent)?;
    folder.disable_cleanup(env::var_os(KEEP).is_some());
    Ok(folder)
}

/// The target folder that this test was built into.
///
/// # Errors
/// The test does not run from a target folder.
pub fn target_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    Ok(profile
        .parent()
        .context("the profile's folder has a parent")?
        .to_owned())
}

/// The sources of these tests, as the runner says: clones that share a target folder share test binaries too.
#[must_use]
pub fn sources() -> PathBuf {
    let built_from = || env!("CARGO_MANIFEST_DIR").into();
    env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(built_from).into()
}

/// The project's top folder.
#[must_use]
pub fn project() -> PathBuf {
    sources().join("..")
}

/// `tests/clients` in the sources.
#[must_use]
pub fn client_scripts() -> PathBuf {
    sources().join("clients")
}

/// `<target>/<profile>`: test binaries run from its `deps`.
fn profile_folder() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let folder = own
        .ancestors()
        .nth(2)
        .context("test binaries are in <target>/<profile>/deps")?;
    Ok(folder.to_owned())
}
