//! Mount options, as `-o` and /etc/fstab give them.
//!
//! Invariant: an option that nobody knows is an error; one that means nothing to a mount of this kind is passed over only where
//! mount(8) itself gives it to every kind.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use cairn_common::limits;
use cairn_fuse_client::Owners;

/// How long an operation goes on where the store does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request has so long before it is given up.
const PATIENCE_MIN: Duration = Duration::from_millis(limits::METADATA_DEADLINE_MS);

/// Times that are longer are a mistake.
const SECONDS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What options come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountOptions {
    pub(crate) data: Option<PathBuf>,
    /// Where it tells of itself.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) read_only: bool,
    pub(crate) allow_other: bool,
    pub(crate) suid: bool,
    pub(crate) devices: bool,
    pub(crate) exec: bool,
    pub(crate) patience: Duration,
    pub(crate) kernel_cache: Duration,
    pub(crate) owners: Owners,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            data: None,
            admin: None,
            read_only: false,
            allow_other: false,
            suid: false,
            devices: false,
            exec: true,
            patience: PATIENCE,
            kernel_cache: Duration::ZERO,
            owners: Owners::default(),
        }
    }
}

impl MountOptions {
    pub(crate) fn parse(options: &[String]) -> anyhow::Result<Self> {
        let mut parsed = Self::default();
        for option in options.iter().filter(|option| !option.is_empty()) {
            parsed
                .take(option)
                .with_context(|| format!("mount option {option:?}"))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str) -> anyhow::Result<()> {
        if let Some((name, value)) = option.split_once('=') {
            match name {
                "data" => self.data = Some(value.into()),
                "admin" => self.admin = Some(value.parse().context("an address, HOST:PORT")?),
                "timeout" => {
                    self.patience = seconds(value)?;
                    ensure!(
                        self.patience >= PATIENCE_MIN,
                        "at least {} seconds",
                        PATIENCE_MIN.as_secs()
                    );
                }
                "cache" => self.kernel_cache = seconds(value)?,
                "map_uid" => self.owners.users.add(value.parse()?)?,
                "map_gid" => self.owners.groups.add(value.parse()?)?,
                _ if name.starts_with("x-") => {}
                _ => bail!("unknown"),
            }
            return Ok(());
        }
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "allow_other" => self.allow_other = true,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "dev" => self.devices = true,
            "nodev" => self.devices = false,
            "exec" => self.exec = true,
            "noexec" => self.exec = false,
            // What mount(8) and systemd say to each other, and times of access, which no option turns on.
            "defaults" | "auto" | "noauto" | "nofail" | "_netdev" | "async" | "atime" | "noatime" | "relatime" => {}
            _ if option.starts_with("x-") => {}
            _ => bail!("unknown"),
        }
        Ok(())
    }
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let seconds: f64 = text.parse().context("a number of seconds")?;
    let duration = Duration::try_from_secs_f64(seconds).context("a number of seconds, 0 or more")?;
    ensure!(duration <= SECONDS_MAX, "at most {} seconds", SECONDS_MAX.as_secs());
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<MountOptions> {
        let options: Vec<String> = text.split(',').map(str::to_owned).collect();
        MountOptions::parse(&options)
    }

    #[test]
    fn options_are_those_that_do_something() -> anyhow::Result<()> {
        assert_eq!(parse("")?, MountOptions::default());
        let options = parse("ro,allow_other,_netdev,x-systemd.automount,timeout=20,cache=0.5,data=/var/lib/cairn")?;
        assert!(options.read_only && options.allow_other && options.exec);
        assert_eq!(options.patience, Duration::from_secs(20));
        assert_eq!(options.kernel_cache, Duration::from_millis(500));
        assert_eq!(options.data, Some("/var/lib/cairn".into()));
        let mapped = parse("map_uid=0:1000,map_uid=1000:5000:100,map_gid=0:1000")?;
        assert_ne!(mapped.owners, Owners::default());
        for wrong in [
            "writeback",
            "timeout=-1",
            "timeout=2",
            "timeout=1e30",
            "cache=86401",
            "timeout=soon",
            "uid=5",
            "map_uid=5",
            "map_gid=1:2,map_gid=1:3",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
