//! TLS of the S3 endpoint: which certificate is shown, and how a new one is taken up.
//!
//! Must never stop serving for the sake of a certificate: a new pair that does not serve is told of, and the one before stays.
//! Invariant: what changes in the files is in use within [`LOOK_INTERVAL`], and at once on SIGHUP.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use cairn_gateway::ServerCertificate;
use cairn_transport::identity::{SelfSigned, provider};
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use crate::{
    cli::TlsArgs,
    data_dir::{replace_file, replace_secret_file},
    gauges::{self, unix_seconds},
};

/// From how long before its end on a certificate is warned of, and how often.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);
const WARN_INTERVAL: Duration = Duration::from_secs(86_400);

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What an endpoint shows to its clients.
pub(crate) struct Tls {
    /// None where plain HTTP is spoken.
    pub(crate) certificate: Option<ServerCertificate>,
    /// What clients must be given to trust it; none where others have signed it.
    pub(crate) ca_bundle: Option<PathBuf>,
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Which content a file has, as far as its metadata tells; none where there is no file.
type Print = Option<(u64, u64, i64, i64)>;

impl Tls {
    /// Tells when the certificate ends, where there is one.
    pub(crate) fn register(&self, registry: &mut Registry) {
        if let Some(certificate) = self.certificate.clone() {
            gauges::register(
                registry,
                "cairn_gateway_certificate_expiry_timestamp_seconds",
                "When clients stop to accept the certificate of the S3 endpoint",
                move || unix_seconds(certificate.expires()),
            );
        }
    }

    /// What `args` ask for, kept fresh from now on. A certificate of our own making lies in the data directory `data` and is for
    /// `names`.
    pub(crate) fn open(args: &TlsArgs, data: &Path, names: &[String]) -> anyhow::Result<Self> {
        let files = match (&args.tls_cert, &args.tls_key, args.tls_self_signed) {
            (None, None, false) => {
                return Ok(Self {
                    certificate: None,
                    ca_bundle: None,
                });
            }
            (Some(certificate), Some(key), false) => Files {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            (None, None, true) => self_signed(data, names)?,
            _ => bail!("TLS needs tls_cert and tls_key together, or tls_self_signed alone"),
        };
        files.warn_if_exposed();
        // Before they are read: what is written meanwhile is looked at again.
        let seen = files.prints();
        let (certificate, key) = files.read()?;
        let certificate = ServerCertificate::from_pem(&certificate, &key, provider());
        let certificate = certificate.with_context(|| format!("TLS with {files}"))?;
        let ca_bundle = args.tls_self_signed.then(|| files.certificate.clone());
        let watch = Watch {
            files,
            certificate: certificate.clone(),
            seen,
            warned: None,
        };
        let hang_up = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        tokio::spawn(watch.run(hang_up));
        Ok(Self {
            certificate: Some(certificate),
            ca_bundle,
        })
    }
}

/// Looks at the files again and again.
struct Watch {
    files: Files,
    certificate: ServerCertificate,
    seen: (Print, Print),
    /// When its end was last warned of.
    warned: Option<Instant>,
}

impl Watch {
    async fn run(mut self, mut hang_up: Signal) {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                _ = hang_up.recv() => true,
                _ = ticks.tick() => false,
            };
            self.look(is_asked);
            self.warn_of_the_end();
        }
    }

    /// Two small files, seldom: not worth another thread.
    fn look(&mut self, is_asked: bool) {
        let prints = self.files.prints();
        if prints == self.seen && !is_asked {
            return;
        }
        self.seen = prints;
        self.warned = None;
        let taken = self.files.read().and_then(|(certificate, key)| {
            let replaced = self.certificate.replace(&certificate, &key);
            replaced.with_context(|| self.files.to_string())
        });
        match taken {
            Ok(()) => tracing::info!(files = %self.files, "the TLS certificate was read anew and is in use"),
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the new TLS certificate is not used, the one before still is: put a certificate chain and the key that \
                 belongs to it, both PEM, into the two files; they are looked at again when they change, or on SIGHUP"
            ),
        }
    }

    fn warn_of_the_end(&mut self) {
        let left = self.certificate.expires().duration_since(SystemTime::now());
        let left = left.unwrap_or_default();
        if left > WARN_BEFORE || self.warned.is_some_and(|warned| warned.elapsed() < WARN_INTERVAL) {
            return;
        }
        self.warned = Some(Instant::now());
        tracing::warn!(
            files = %self.files,
            "the TLS certificate ends in {} days, and clients refuse it then: put a new one into its place",
            left.as_secs() / 86_400
        );
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    fn prints(&self) -> (Print, Print) {
        (print(&self.certificate).ok(), print(&self.key).ok())
    }

    /// Keys of other programs have owners and modes of their own: it is told, and not refused.
    fn warn_if_exposed(&self) {
        let mode = fs::metadata(&self.key).map(|found| found.mode()).unwrap_or_default();
        if mode & 0o007 != 0 {
            tracing::warn!(
                "{} has mode {:04o}, so every user of this machine can read the key in it: run `chmod 600 {}`",
                self.key.display(),
                mode & 0o7777,
                self.key.display()
            );
        }
    }
}

impl std::fmt::Display for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} and {}", self.certificate.display(), self.key.display())
    }
}

fn print(path: &Path) -> io::Result<(u64, u64, i64, i64)> {
    let found = fs::metadata(path)?;
    Ok((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// The certificate in the data directory, made where there is none.
fn self_signed(data: &Path, names: &[String]) -> anyhow::Result<Files> {
    let directory = data.join("tls");
    let files = Files {
        certificate: directory.join("certificate.pem"),
        key: directory.join("key.pem"),
    };
    if files.certificate.exists() {
        return Ok(files);
    }
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let made = SelfSigned::make(names)?;
    // Where the certificate is, its key is.
    replace_secret_file(&files.key, &made.key_pem)?;
    replace_file(&files.certificate, &made.certificate_pem)?;
    Ok(files)
}

/// The names that an endpoint on `listen` may be called by.
pub(crate) fn names(listen: IpAddr, domains: &[String]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    let host = rustix::system::uname();
    names.extend(host.nodename().to_str().ok().map(str::to_owned));
    for domain in domains {
        names.push(domain.clone());
        names.push(format!("*.{domain}"));
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_endpoint_is_called_by_its_names() {
        let found = names(Ipv4Addr::new(10, 0, 0, 4).into(), &["s3.example.com".to_owned()]);
        for name in [
            "localhost",
            "127.0.0.1",
            "10.0.0.4",
            "s3.example.com",
            "*.s3.example.com",
        ] {
            assert!(found.contains(&name.to_owned()), "{name} in {found:?}");
        }
        assert!(!names(Ipv6Addr::UNSPECIFIED.into(), &[]).contains(&"::".to_owned()));
    }

    #[tokio::test]
    async fn a_certificate_is_made_once() {
        let data = tempfile::tempdir().expect("a directory");
        let args = TlsArgs {
            tls_self_signed: true,
            ..TlsArgs::default()
        };
        let open = || Tls::open(&args, data.path(), &["localhost".to_owned()]);
        let bundle = |tls: Tls| fs::read(tls.ca_bundle.expect("its own")).expect("a file");
        let first = bundle(open().expect("made"));
        assert_eq!(bundle(open().expect("found")), first);
        let mode = fs::metadata(data.path().join("tls/key.pem")).expect("a key").mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_bad_pair_is_told_of_and_the_one_before_stays() {
        let data = tempfile::tempdir().expect("a directory");
        let files = self_signed(data.path(), &["localhost".to_owned()]).expect("made");
        let (certificate, key) = files.read().expect("there");
        let shown = ServerCertificate::from_pem(&certificate, &key, provider()).expect("a pair");
        let years = |count: u64| SystemTime::now() + Duration::from_secs(count * 365 * 86_400);
        assert!(shown.expires() > years(9) && shown.expires() < years(11));
        let other = SelfSigned::make(&["localhost".to_owned()]).expect("made");
        for (certificate, key) in [
            (other.certificate_pem.as_bytes(), &key[..]),
            (b"", &key),
            (b"no PEM", &key),
            (&certificate, b"no PEM"),
        ] {
            assert!(shown.replace(certificate, key).is_err());
        }
        shown
            .replace(other.certificate_pem.as_bytes(), other.key_pem.as_bytes())
            .expect("a pair");
    }

    #[tokio::test]
    async fn half_of_the_settings_are_refused() {
        let half = TlsArgs {
            tls_cert: Some("/certificate.pem".into()),
            ..TlsArgs::default()
        };
        assert!(Tls::open(&half, Path::new("/"), &[]).is_err());
        assert!(Tls::open(&TlsArgs::default(), Path::new("/"), &[]).is_ok_and(|tls| tls.certificate.is_none()));
    }
}
