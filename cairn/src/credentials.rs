//! The store's first key: taken from the environment or made at random, kept in a file that only its owner may read.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::data_dir::replace_secret_file;

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootCredentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// Environment variable of the access key.
const ACCESS_KEY: &str = "CAIRN_ROOT_ACCESS_KEY";

/// Environment variable of the secret key.
const SECRET_KEY: &str = "CAIRN_ROOT_SECRET_KEY";

impl RootCredentials {
    /// The environment in which a process takes them over.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            (ACCESS_KEY, self.access_key.clone()),
            (SECRET_KEY, self.secret_key.clone()),
        ]
    }
}

/// The credentials given in the environment, if any; kept in `file`, or else those that `file` keeps, or new ones.
pub(crate) fn load_or_make(file: &Path) -> anyhow::Result<RootCredentials> {
    let given = match (std::env::var(ACCESS_KEY), std::env::var(SECRET_KEY)) {
        (Ok(access_key), Ok(secret_key)) => Some(RootCredentials { access_key, secret_key }),
        (Err(_), Err(_)) => None,
        _ => bail!("{ACCESS_KEY} and {SECRET_KEY} are set together or not at all"),
    };
    let kept = if file.exists() { Some(load(file)?) } else { None };
    let credentials = match (given, &kept) {
        (Some(given), _) => given,
        (None, Some(kept)) => return Ok(kept.clone()),
        (None, None) => make()?,
    };
    check(&credentials)?;
    if kept.as_ref() != Some(&credentials) {
        let text = toml::to_string(&credentials).context("writing credentials")?;
        replace_secret_file(file, &text)?;
    }
    Ok(credentials)
}

/// The credentials that `file` keeps.
pub(crate) fn load(file: &Path) -> anyhow::Result<RootCredentials> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("credentials in {}", file.display()))
}

fn make() -> anyhow::Result<RootCredentials> {
    let (access_key, secret_key) = random_pair()?;
    Ok(RootCredentials { access_key, secret_key })
}

/// An access key and a secret that nobody can guess.
pub(crate) fn random_pair() -> anyhow::Result<(String, String)> {
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"));
    let (mut access, mut secret) = ([0; 8], [0; 20]);
    random(&mut access)?;
    random(&mut secret)?;
    Ok((format!("CAIRN{}", hex::encode_upper(access)), hex::encode(secret)))
}

fn check(credentials: &RootCredentials) -> anyhow::Result<()> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let access_key = &credentials.access_key;
    let usable = (3..=128).contains(&access_key.len()) && plain(access_key) && !access_key.contains('/');
    ensure!(usable, "{ACCESS_KEY} has 3 to 128 printable characters without '/'");
    let secret_key = &credentials.secret_key;
    ensure!(
        (8..=128).contains(&secret_key.len()) && plain(secret_key),
        "{SECRET_KEY} has 8 to 128 printable characters"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_credentials_are_kept_privately() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("credentials.toml");
        let made = make().expect("random bytes");
        check(&made).expect("made credentials are usable");
        let text = toml::to_string(&made).expect("TOML");
        replace_secret_file(&file, &text).expect("stored");
        assert_eq!(
            std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777,
            0o600
        );
        assert!(load(&file).expect("loaded") == made);
        assert!(make().expect("random bytes") != made);
    }

    #[test]
    fn unusable_credentials_are_refused() {
        let credentials = |access: &str, secret: &str| RootCredentials {
            access_key: access.to_owned(),
            secret_key: secret.to_owned(),
        };
        assert!(check(&credentials("ab", "long-enough")).is_err());
        assert!(check(&credentials("a/b", "long-enough")).is_err());
        assert!(check(&credentials("abc", "short")).is_err());
        assert!(check(&credentials("abc", "long-enough")).is_ok());
    }
}
