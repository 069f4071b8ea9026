//! A node's credentials in its directory, and how files that hold secrets are written and read.
//!
//! ```text
//! DIR/ca.crt        the cluster's CA certificate, PEM
//! DIR/revoked.crl   the newest list of revoked certificates, PEM
//! DIR/node.pem      private key and certificate, PEM, mode 0600: one file, so that they are never of two pairs
//! ```
//!
//! Invariant: a file is replaced as a whole and durably: written aside, synced, renamed, its directory synced. A secret has
//! mode 0600 from the moment it exists, and is not read where others could have read it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};

use super::{IdentityError, NodeCredentials, NodeKey, pem::pem};

pub(super) const CA_FILE: &str = "ca.crt";
const REVOCATIONS_FILE: &str = "revoked.crl";
const NODE_FILE: &str = "node.pem";
const LOCK_FILE: &str = "credentials.lock";

/// How long another process is waited for. Each holds a lock for some milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Why a file of keys or certificates was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none: the node has not joined, or its directory is another one.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Others could have read the secret. A person decides whether it still is one.
    #[error(
        "{} has mode {mode:04o}, so others can read the key in it: run `chmod 600 {}`, and replace the key if others had access",
        .path.display(), .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It can be read and makes no sense: restore it.
    #[error("{} is damaged: {error}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: IdentityError,
    },
    /// Another process holds the lock and does not let go of it: find out which, and why.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The disk or its permissions.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Whether others may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    Secret,
    Public,
}

/// Writes credentials into an existing directory. `node.pem` comes last: where it is, the others are. Processes take turns,
/// such as a server that renews and its operator who does the same.
pub fn save_credentials(directory: &Path, credentials: &NodeCredentials) -> Result<(), FileError> {
    let path = directory.join(LOCK_FILE);
    let _turn = lock_file(&path)?.ok_or(FileError::Locked(path))?;
    let write = |name, text: &str, secrecy| replace_file(&directory.join(name), text.as_bytes(), secrecy);
    write(
        CA_FILE,
        &pem("CERTIFICATE", &credentials.ca_certificate),
        Secrecy::Public,
    )?;
    write(
        REVOCATIONS_FILE,
        &pem("X509 CRL", &credentials.revocations),
        Secrecy::Public,
    )?;
    let both = credentials.key.to_pem() + &pem("CERTIFICATE", &credentials.certificate);
    write(NODE_FILE, &both, Secrecy::Secret)
}

/// Reads credentials. Whether they fit together is found out by [`super::Identity::member`].
pub fn load_credentials(directory: &Path) -> Result<NodeCredentials, FileError> {
    let node = directory.join(NODE_FILE);
    let text = read_file(&node, Secrecy::Secret)?;
    let key = NodeKey::from_pem(&text).map_err(|error| FileError::Damaged {
        path: node.clone(),
        error,
    })?;
    let certificate = section(&node, &text)?;
    let path = directory.join(CA_FILE);
    let ca_certificate = section(&path, &read_file(&path, Secrecy::Public)?)?;
    let path = directory.join(REVOCATIONS_FILE);
    let list: CertificateRevocationListDer<'static> = section(&path, &read_file(&path, Secrecy::Public)?)?;
    Ok(NodeCredentials {
        certificate,
        key,
        ca_certificate,
        revocations: Bytes::copy_from_slice(&list),
    })
}

/// The first CA or node certificate, or list, in a PEM text.
fn section<Section: PemObject>(path: &Path, text: &str) -> Result<Section, FileError> {
    Section::from_pem_slice(text.as_bytes()).map_err(|error| FileError::Damaged {
        path: path.to_owned(),
        error: IdentityError::malformed("its PEM text", error),
    })
}

/// Reads a file as text. A secret must be closed to group and others.
pub(super) fn read_file(path: &Path, secrecy: Secrecy) -> Result<String, FileError> {
    let context = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => io_error(path)(error),
    };
    let file = File::open(path).map_err(context)?;
    let mode = file.metadata().map_err(context)?.mode() & 0o7777;
    if secrecy == Secrecy::Secret && mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    io::read_to_string(file).map_err(context)
}

/// Locks a file until it is dropped; none where another process holds it all the time that is waited.
#[expect(
    clippy::disallowed_methods,
    reason = "file locks have no wait with a bound; no runtime's thread calls this"
)]
pub(super) fn lock_file(path: &Path) -> Result<Option<File>, FileError> {
    let context = io_error(path);
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(path);
    let file = file.map_err(&context)?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(context(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
        }
    }
}

/// Replaces a file as a whole, durably. The caller holds the lock of whatever it is a part of.
pub(super) fn replace_file(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), FileError> {
    let context = io_error(path);
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    // What a crash left behind could have another mode, which opening it again would keep.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(context(error)),
        _ => {}
    }
    let mode = match secrecy {
        Secrecy::Secret => 0o600,
        Secrecy::Public => 0o644,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&aside)
        .map_err(&context)?;
    file.write_all(content).map_err(&context)?;
    file.sync_all().map_err(&context)?;
    fs::rename(&aside, path).map_err(&context)?;
    sync_directory(path.parent().unwrap_or_else(|| Path::new(".")))
}

/// Makes changes of names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), FileError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(io_error(path))
}

/// Puts the file's name to what the system says.
pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> FileError {
    |error| FileError::Io {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::identity::{Identity, tests::Cluster};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the own file");
    }

    #[test]
    fn credentials_survive_their_files() {
        let cluster = Cluster::new(1);
        let directory = tempfile::tempdir().expect("a directory");
        for node in [7, 8] {
            let credentials = cluster.member(node);
            save_credentials(directory.path(), &credentials).expect("saved");
            let loaded = load_credentials(directory.path()).expect("loaded");
            assert_eq!(loaded.certificate, credentials.certificate);
            assert_eq!(loaded.ca_certificate, credentials.ca_certificate);
            assert_eq!(loaded.revocations, credentials.revocations);
            let (before, after) = (
                Identity::member(credentials),
                Identity::member(loaded).expect("they fit"),
            );
            assert_eq!(after.peer().node.value(), node);
            assert_eq!(after.reset_key(), before.expect("they fit").reset_key());
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let node = directory.path().join(NODE_FILE);
        // A wide-open file left behind by a crash must not lend its mode.
        let aside = directory.path().join("node.pem.new");
        fs::write(&aside, "half a k").expect("written");
        set_mode(&aside, 0o666);
        save_credentials(directory.path(), &Cluster::new(1).member(7)).expect("saved");
        assert_eq!(fs::metadata(&node).expect("it is there").mode() & 0o7777, 0o600);
        for mode in [0o644, 0o640, 0o604, 0o601] {
            set_mode(&node, mode);
            let error = load_credentials(directory.path()).expect_err("it is open").to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        set_mode(&node, 0o400);
        load_credentials(directory.path()).expect("it is closed");
    }

    #[test]
    fn missing_and_damaged_files_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = load_credentials(directory.path());
        assert!(matches!(missing, Err(FileError::Missing(_))), "{missing:?}");
        save_credentials(directory.path(), &Cluster::new(1).member(7)).expect("saved");
        for name in [NODE_FILE, CA_FILE, REVOCATIONS_FILE] {
            let path = directory.path().join(name);
            let text = fs::read(&path).expect("it is there");
            fs::write(&path, &text[..text.len() / 4]).expect("written");
            let damaged = load_credentials(directory.path());
            assert!(matches!(damaged, Err(FileError::Damaged { .. })), "{name}: {damaged:?}");
            fs::write(&path, text).expect("written");
        }
    }
}
