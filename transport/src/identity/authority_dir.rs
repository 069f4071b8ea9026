//! The directory of a cluster's authority, on the cluster's first server.
//!
//! ```text
//! DIR/ca.crt        CA certificate, PEM
//! DIR/ca.key        its private key, PEM, mode 0600
//! DIR/ca.key.sealed the same key, sealed by the recovery key (`recovery`), hexadecimal
//! DIR/ledger.toml   what was decided (`ledger`), mode 0600
//! DIR/ledger.lock   held while the ledger is read to be changed
//! ```
//!
//! It decides nothing: it reads the ledger, asks it, and writes it back; several processes may do so. Invariant: a decision
//! is on the disk before anybody is told; an authority that was made once is never made again in its place.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::{authority::AuthorityCopy, node, role::Roles},
};
use parking_lot::Mutex;

use super::{
    AdmitError, CertificateAuthority, FileError, IdentityError, JoinToken, Ledger, LedgerError, MemberEntry,
    RecoveryError, RecoveryKey, RevokeError, TokenKeys,
    authority::{CLOCK_SKEW, requested_key},
    certificate::CaCertificate,
    files::{CA_FILE, Secrecy, io_error, lock_file, read_file, replace_file, sync_directory},
    ledger::Grant,
    pem::pem,
    provider::random,
    token::unix_ms,
};
use crate::Peer;

const KEY_FILE: &str = "ca.key";
const SEALED_FILE: &str = "ca.key.sealed";
const LEDGER_FILE: &str = "ledger.toml";
const LOCK_FILE: &str = "ledger.lock";
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The authority of a cluster. Its calls do file I/O: not for the threads of a runtime.
#[derive(Debug)]
pub struct AuthorityDir {
    directory: PathBuf,
    authority: CertificateAuthority,
    certificate_lifetime: Duration,
    known: Mutex<KnownTokens>,
}

/// The tokens as they were when the ledger had this stamp.
#[derive(Debug, Default)]
struct KnownTokens {
    stamp: Option<Stamp>,
    keys: HashSet<[u8; 32]>,
}

/// Changes with every replacement of a file: modification time, size, inode.
type Stamp = (i64, i64, u64, u64);

/// Why the authority could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is one already, or something else: choose another directory, or open it.
    #[error("{} exists already: an authority is made once", .0.display())]
    Exists(PathBuf),
    /// Another process has held the ledger for too long: look what it does.
    #[error("{} is held by another process: stop it, or try again", .0.display())]
    Locked(PathBuf),
    /// A file is missing, exposed, damaged or out of reach.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger does not take it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The recovery key does not open the copy.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// There is nothing to revoke.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// Signing failed, or a request was malformed.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl AuthorityDir {
    /// Makes the authority of a new cluster. The directory must not exist, or be empty.
    pub fn create(directory: &Path, cluster: ClusterId) -> Result<Self, AuthorityError> {
        let authority = CertificateAuthority::create(cluster)?;
        Self::place(directory, authority, &Ledger::new(), None)
    }

    /// Makes the authority again from a copy and the key that opens it. The directory must not exist, or be empty.
    pub fn recover(directory: &Path, copy: &AuthorityCopy, key: &RecoveryKey) -> Result<Self, AuthorityError> {
        let private = key.open(&copy.sealed_key, &copy.ca_certificate)?;
        let authority = CertificateAuthority::from_pem(&pem("CERTIFICATE", &copy.ca_certificate), &private)?;
        let ledger = Ledger::parse(&copy.ledger)?.recovered(unix_ms(SystemTime::now()));
        Self::place(directory, authority, &ledger, Some(&copy.sealed_key))
    }

    fn place(
        directory: &Path,
        authority: CertificateAuthority,
        ledger: &Ledger,
        sealed: Option<&[u8]>,
    ) -> Result<Self, AuthorityError> {
        let mut aside = directory.as_os_str().to_owned();
        aside.push(".new");
        let aside = PathBuf::from(aside);
        // What a crash left half-made was never used by anybody.
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&aside)(error).into()),
            _ => {}
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&aside)
            .map_err(io_error(&aside))?;
        let write = |name, text: &str, secrecy| replace_file(&aside.join(name), text.as_bytes(), secrecy);
        write(KEY_FILE, &authority.key_pem(), Secrecy::Secret)?;
        write(CA_FILE, &pem("CERTIFICATE", authority.certificate()), Secrecy::Public)?;
        if let Some(sealed) = sealed {
            write(SEALED_FILE, &hex::encode(sealed), Secrecy::Secret)?;
        }
        write(LEDGER_FILE, &ledger.to_text()?, Secrecy::Secret)?;
        fs::rename(&aside, directory).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                AuthorityError::Exists(directory.to_owned())
            }
            _ => io_error(directory)(error).into(),
        })?;
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or_else(|| Path::new(".")))?;
        Ok(Self::new(directory, authority))
    }

    /// Opens the authority in `directory`.
    pub fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let certificate = read_file(&directory.join(CA_FILE), Secrecy::Public)?;
        let key_path = directory.join(KEY_FILE);
        let key = read_file(&key_path, Secrecy::Secret)?;
        let authority = CertificateAuthority::from_pem(&certificate, &key)
            .map_err(|error| FileError::Damaged { path: key_path, error })?;
        let opened = Self::new(directory, authority);
        opened.read()?;
        Ok(opened)
    }

    fn new(directory: &Path, authority: CertificateAuthority) -> Self {
        Self {
            directory: directory.to_owned(),
            authority,
            certificate_lifetime: CERTIFICATE_LIFETIME,
            known: Mutex::default(),
        }
    }

    /// How long certificates hold from now on, instead of 90 days.
    #[must_use]
    pub fn with_certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.certificate_lifetime = lifetime;
        self
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.authority.cluster()
    }

    /// Seals the private key by `key`, for copies from now on; a key before it opens those no more.
    pub fn seal(&self, key: &RecoveryKey) -> Result<(), AuthorityError> {
        let sealed = key.seal(&self.authority.key_pem(), self.authority.certificate())?;
        let path = self.directory.join(SEALED_FILE);
        Ok(replace_file(&path, hex::encode(sealed).as_bytes(), Secrecy::Secret)?)
    }

    /// A copy from which [`AuthorityDir::recover`] makes it again, as that of `holder`; none where no recovery key was ever made.
    pub fn copy(&self, holder: NodeId) -> Result<Option<AuthorityCopy>, AuthorityError> {
        let path = self.directory.join(SEALED_FILE);
        let sealed = match read_file(&path, Secrecy::Secret) {
            Err(FileError::Missing(_)) => return Ok(None),
            read => read?,
        };
        let sealed_key = hex::decode(sealed.trim()).map_err(|error| FileError::Damaged {
            path,
            error: IdentityError::malformed("the sealed key", error),
        })?;
        let ledger = self.read()?;
        Ok(Some(AuthorityCopy {
            version: 0,
            holder: holder.value(),
            ca_certificate: Bytes::copy_from_slice(self.authority.certificate()),
            sealed_key: sealed_key.into(),
            ledger: ledger.to_text()?,
            term: ledger.term(),
        }))
    }

    /// Makes a token: whoever comes with it first, within `lifetime`, becomes a node with these roles. `node` is the server
    /// that admits, `addresses` where it listens.
    pub fn make_token(
        &self,
        roles: Roles,
        lifetime: Duration,
        addresses: Vec<String>,
        node: NodeId,
    ) -> Result<JoinToken, AuthorityError> {
        let now = SystemTime::now();
        let token = JoinToken {
            cluster: self.cluster(),
            node,
            addresses,
            ca_fingerprint: CaCertificate::fingerprint(self.authority.certificate()),
            secret: random()?,
            expires_ms: unix_ms(now + lifetime),
        };
        let public_key = token.public_key();
        self.change(|ledger| {
            ledger.add_token(public_key, roles, token.expires_ms, unix_ms(now))?;
            Ok::<_, AuthorityError>(())
        })?;
        Ok(token)
    }

    /// Lets a node in that has shown that it holds the token of this public key.
    pub fn admit(&self, public_key: &[u8; 32], csr: &[u8], now: SystemTime) -> Result<node::Certificate, AdmitError> {
        let requested = requested_key(csr).map_err(AuthorityError::from)?;
        let key_hash = *blake3::hash(&requested).as_bytes();
        self.change(|ledger| {
            let grant = ledger.admit(public_key, key_hash, unix_ms(now))?;
            self.issue(ledger, grant, csr, now)
        })
    }

    /// Gives the authority's own server its id and certificate.
    pub fn enrol(&self, roles: Roles, csr: &[u8], now: SystemTime) -> Result<node::Certificate, AdmitError> {
        self.change(|ledger| {
            let grant = ledger.enrol(roles);
            self.issue(ledger, grant, csr, now)
        })
    }

    /// Gives a node a new certificate with the id and roles that it has.
    pub fn renew(&self, peer: Peer, csr: &[u8], now: SystemTime) -> Result<node::Certificate, AdmitError> {
        self.change(|ledger| {
            let grant = ledger.renew(peer.node, unix_ms(now))?;
            self.issue(ledger, grant, csr, now)
        })
    }

    /// Revokes all certificates of a node and says how many there were.
    pub fn revoke(&self, node: NodeId) -> Result<usize, AuthorityError> {
        let now_ms = unix_ms(SystemTime::now());
        self.change(|ledger| Ok(ledger.revoke(node, now_ms)?))
    }

    /// The newest list of revoked certificates, DER.
    pub fn revocations(&self) -> Result<Bytes, AuthorityError> {
        let ledger = self.read()?;
        Ok(self.list(&ledger, SystemTime::now())?)
    }

    /// The nodes that have, or lately had, certificates.
    pub fn members(&self) -> Result<Vec<MemberEntry>, AuthorityError> {
        Ok(self.read()?.members())
    }

    fn issue(
        &self,
        ledger: &mut Ledger,
        grant: Grant,
        csr: &[u8],
        now: SystemTime,
    ) -> Result<node::Certificate, AdmitError> {
        let validity = now - CLOCK_SKEW..now + self.certificate_lifetime;
        let expires_ms = unix_ms(validity.end);
        let issued = self.authority.issue(csr, grant.node, grant.roles, validity);
        let issued = issued.map_err(AuthorityError::from)?;
        ledger.record(grant, issued.serial, expires_ms, unix_ms(now));
        Ok(node::Certificate {
            certificate: Bytes::copy_from_slice(&issued.certificate),
            ca_certificate: Bytes::copy_from_slice(self.authority.certificate()),
            revocations: self.list(ledger, now).map_err(AuthorityError::from)?,
        })
    }

    fn list(&self, ledger: &Ledger, now: SystemTime) -> Result<Bytes, IdentityError> {
        self.authority
            .revocations(ledger.revoked_serials(), ledger.crl_number(), now)
    }

    /// Has `decide` change the ledger, alone, and writes it before the answer is returned. After an error nothing is changed.
    fn change<T, E: From<AuthorityError>>(&self, decide: impl FnOnce(&mut Ledger) -> Result<T, E>) -> Result<T, E> {
        let _lock = self.lock()?;
        let before = self.read()?;
        let mut ledger = before.clone();
        let answer = decide(&mut ledger)?;
        if ledger != before {
            ledger.touch(unix_ms(SystemTime::now()));
            let text = ledger.to_text().map_err(AuthorityError::from)?;
            let path = self.directory.join(LEDGER_FILE);
            replace_file(&path, text.as_bytes(), Secrecy::Secret).map_err(AuthorityError::from)?;
        }
        Ok(answer)
    }

    fn read(&self) -> Result<Ledger, AuthorityError> {
        let text = read_file(&self.directory.join(LEDGER_FILE), Secrecy::Public)?;
        Ok(Ledger::parse(&text)?)
    }

    fn lock(&self) -> Result<File, AuthorityError> {
        let path = self.directory.join(LOCK_FILE);
        lock_file(&path)?.ok_or(AuthorityError::Locked(path))
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let found = fs::metadata(self.directory.join(LEDGER_FILE))?;
        Ok((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
    }
}

impl TokenKeys for AuthorityDir {
    /// One `stat`, and a read where another process has made a token since. Where the ledger cannot be read, what was known
    /// last holds: the join itself tells what is wrong.
    fn knows(&self, public_key: &[u8; 32]) -> bool {
        let mut known = self.known.lock();
        if let Ok(stamp) = self.stamp()
            && known.stamp != Some(stamp)
            && let Ok(ledger) = self.read()
        {
            known.keys = ledger.token_keys().collect();
            known.stamp = Some(stamp);
        }
        known.keys.contains(public_key)
    }
}

impl From<AuthorityError> for AdmitError {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Identity(error @ (IdentityError::Malformed { .. } | IdentityError::Names(_))) => {
                Self::BadRequest(error.to_string())
            }
            error => Self::Storage(error.to_string()),
        }
    }
}
