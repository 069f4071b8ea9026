//! Settings of the server: flags, environment and file put together and checked, once.
//!
//! Invariant: a setting that nobody knows is an error, wherever it stands.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, bail, ensure};
use cairn_common::{limits, redundancy::Redundancy};
use clap::CommandFactory as _;
use serde::Deserialize;

use crate::{
    cli::{Cli, DEVICE_MEMORY_MIB_MIN, LabelArgs, ServerArgs, TlsArgs},
    logging::LogFormat,
};

/// Environment variables of the program that are no flags.
const CREDENTIAL_VARIABLES: [&str; 2] = ["CAIRN_ROOT_ACCESS_KEY", "CAIRN_ROOT_SECRET_KEY"];

/// Variables with this start belong to the program's tests.
const TEST_VARIABLES: &str = "CAIRN_TEST_";

/// Smallest memory budget: a few chunks of the widest scheme.
const MEMORY_BUDGET_MIB_MIN: usize = 64;

/// What openraft reports is for its developers unless it fails; s3s logs every refused request as an error.
pub(crate) const DEFAULT_LOG: &str = "info,openraft=error,s3s=off";

/// The region that buckets are said to be in where nothing else is said.
pub(crate) const DEFAULT_REGION: &str = "us-east-1";

/// Under which BUCKET.DOMAIN names a bucket where nothing else is said.
pub(crate) const DEFAULT_DOMAIN: &str = "localhost";

pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
pub(crate) const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
pub(crate) const DEFAULT_CLUSTER_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9002);

/// Most devices of one server.
const DEVICES_MAX: usize = 256;

/// What the server runs with.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    pub(crate) data: PathBuf,
    pub(crate) devices: DeviceChoice,
    pub(crate) redundancy: Option<Redundancy>,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) cluster_listen: SocketAddr,
    pub(crate) labels: LabelArgs,
    pub(crate) region: String,
    pub(crate) virtual_host_domains: Vec<String>,
    pub(crate) tls: TlsArgs,
    pub(crate) memory_budget_bytes: usize,
    /// Of each device.
    pub(crate) device_memory_bytes: Option<usize>,
    pub(crate) log_format: LogFormat,
    pub(crate) log: String,
}

/// Which directories are devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// Those that the store has; one at the first start.
    AsBefore,
    /// So many within the data directory.
    Count(u32),
    /// These.
    Paths(Vec<PathBuf>),
}

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    devices: Option<u32>,
    device: Vec<PathBuf>,
    redundancy: Option<String>,
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    cluster_listen: Option<SocketAddr>,
    host: Option<String>,
    rack: Option<String>,
    zone: Option<String>,
    region: Option<String>,
    virtual_host_domain: Vec<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_self_signed: bool,
    memory_budget_mib: Option<usize>,
    device_memory_mib: Option<usize>,
    log_format: Option<LogFormat>,
    log: Option<String>,
}

impl File {
    fn take_labels(&mut self) -> LabelArgs {
        LabelArgs {
            host: self.host.take(),
            rack: self.rack.take(),
            zone: self.zone.take(),
        }
    }

    fn take_tls(&mut self) -> TlsArgs {
        TlsArgs {
            tls_cert: self.tls_cert.take(),
            tls_key: self.tls_key.take(),
            tls_self_signed: self.tls_self_signed,
        }
    }
}

/// Puts flags (which clap filled up from the environment) and file together.
pub(crate) fn load(args: ServerArgs) -> anyhow::Result<ServerConfig> {
    check_environment(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let file = match &args.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("settings in {}", path.display()))?
        }
        None => File::default(),
    };
    merge(args, file)
}

fn merge(args: ServerArgs, mut file: File) -> anyhow::Result<ServerConfig> {
    let (tls, labels) = (file.take_tls(), file.take_labels());
    let device = if args.device.is_empty() && args.devices.is_none() {
        file.device
    } else {
        args.device
    };
    let devices = if device.is_empty() {
        args.devices.or(file.devices)
    } else {
        args.devices
    };
    let devices = match (devices, device) {
        (None, paths) if paths.is_empty() => DeviceChoice::AsBefore,
        (Some(count), paths) if paths.is_empty() => DeviceChoice::Count(count),
        (None, paths) => DeviceChoice::Paths(paths),
        (Some(_), _) => bail!("devices and device cannot both be set: give a number or the directories"),
    };
    let count = match &devices {
        DeviceChoice::AsBefore => 1,
        DeviceChoice::Count(count) => *count as usize,
        DeviceChoice::Paths(paths) => paths.len(),
    };
    ensure!(
        (1..=DEVICES_MAX).contains(&count),
        "a server has 1 to {DEVICES_MAX} devices, not {count}"
    );
    let redundancy = match (args.redundancy, file.redundancy) {
        (Some(redundancy), _) => Some(redundancy),
        (None, Some(text)) => Some(text.parse()?),
        (None, None) => None,
    };
    let memory_budget_bytes = memory_budget_bytes(args.memory_budget_mib.or(file.memory_budget_mib))?;
    let mut domains = if args.virtual_host_domain.is_empty() {
        file.virtual_host_domain
    } else {
        args.virtual_host_domain
    };
    if domains.is_empty() {
        domains.push(DEFAULT_DOMAIN.to_owned());
    }
    let data = args.data.or(file.data).context("no data directory: give --data DIR")?;
    Ok(ServerConfig {
        data: std::path::absolute(data).context("the data directory")?,
        devices,
        redundancy,
        listen: args.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN),
        admin: args.admin.or(file.admin).unwrap_or(DEFAULT_ADMIN),
        cluster_listen: args
            .cluster_listen
            .or(file.cluster_listen)
            .unwrap_or(DEFAULT_CLUSTER_LISTEN),
        labels: args.labels.or(labels),
        region: args.region.or(file.region).unwrap_or_else(|| DEFAULT_REGION.to_owned()),
        virtual_host_domains: domains,
        tls: args.tls.or(tls),
        memory_budget_bytes,
        device_memory_bytes: device_memory_bytes(args.device_memory_mib.or(file.device_memory_mib))?,
        log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        log: args.log.or(file.log).unwrap_or_else(|| DEFAULT_LOG.to_owned()),
    })
}

/// Bytes of a setting in MiB, which the file may give without the flag's check.
fn device_memory_bytes(mib: Option<usize>) -> anyhow::Result<Option<usize>> {
    ensure!(
        mib.is_none_or(|mib| mib >= DEVICE_MEMORY_MIB_MIN),
        "the memory of a device is at least {DEVICE_MEMORY_MIB_MIN} MiB"
    );
    Ok(mib.map(|mib| mib << 20))
}

/// What the unit of a mount hands over as an argument, and the process finds in its environment too.
const UNIT_VARIABLES: [&str; 1] = ["CAIRN_MOUNT_SOURCE"];

/// Refuses variables that start with `CAIRN_` and mean nothing: they are misspelt.
pub(crate) fn check_environment(names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut known: BTreeSet<String> = CREDENTIAL_VARIABLES
        .iter()
        .chain(&UNIT_VARIABLES)
        .map(|name| (*name).to_owned())
        .collect();
    for subcommand in Cli::command().get_subcommands() {
        let variables = subcommand.get_arguments().filter_map(|argument| argument.get_env());
        known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    }
    for name in names.filter(|name| name.starts_with("CAIRN_") && !name.starts_with(TEST_VARIABLES)) {
        ensure!(
            known.contains(&name),
            "the environment variable {name} is unknown; known are {known:?}"
        );
    }
    Ok(())
}

/// Memory for data on its way, where `mib` was given or not.
pub(crate) fn memory_budget_bytes(mib: Option<usize>) -> anyhow::Result<usize> {
    let mib = mib.unwrap_or(limits::CHUNK_BUDGET_BYTES >> 20);
    ensure!(
        mib >= MEMORY_BUDGET_MIB_MIN,
        "the memory budget is at least {MEMORY_BUDGET_MIB_MIN} MiB"
    );
    Ok(mib << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ServerArgs {
        ServerArgs {
            data: Some(PathBuf::from("/data")),
            ..ServerArgs::default()
        }
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file: File = toml::from_str("devices = 4\nredundancy = \"2+1\"\nregion = \"here\"").expect("a valid file");
        let flags = ServerArgs {
            devices: Some(6),
            ..args()
        };
        let config = merge(flags, file).expect("valid settings");
        assert_eq!(config.devices, DeviceChoice::Count(6));
        assert_eq!(
            config.redundancy.map(|redundancy| redundancy.to_string()),
            Some("2+1".to_owned())
        );
        assert_eq!(config.region, "here");
        assert_eq!(config.memory_budget_bytes, limits::CHUNK_BUDGET_BYTES);
    }

    #[test]
    fn flagged_devices_replace_those_of_the_file() {
        let file = || toml::from_str("devices = 4").expect("a valid file");
        let flags = ServerArgs {
            device: vec![PathBuf::from("/a")],
            ..args()
        };
        assert_eq!(
            merge(flags, file()).expect("valid").devices,
            DeviceChoice::Paths(vec![PathBuf::from("/a")])
        );
        let file = || toml::from_str("device = [\"/a\", \"/b\"]").expect("a valid file");
        let flags = ServerArgs {
            devices: Some(3),
            ..args()
        };
        assert_eq!(merge(flags, file()).expect("valid").devices, DeviceChoice::Count(3));
    }

    #[test]
    fn flagged_tls_replaces_that_of_the_file() {
        let file = || toml::from_str("tls_cert = \"/c\"\ntls_key = \"/k\"").expect("a valid file");
        assert_eq!(
            merge(args(), file()).expect("valid").tls.tls_key,
            Some(PathBuf::from("/k"))
        );
        let tls = TlsArgs {
            tls_self_signed: true,
            ..TlsArgs::default()
        };
        let flags = ServerArgs {
            tls: tls.clone(),
            ..args()
        };
        assert_eq!(merge(flags, file()).expect("valid").tls, tls);
    }

    #[test]
    fn unknown_settings_are_errors() {
        assert!(toml::from_str::<File>("devizes = 4").is_err());
        let environment = |name: &str| check_environment(std::iter::once(name.to_owned()));
        assert!(environment("CAIRN_DEVIZES").is_err());
        assert!(environment("CAIRN_DEVICES").is_ok());
        assert!(environment("CAIRN_ROOT_SECRET_KEY").is_ok());
        assert!(environment("CAIRN_TEST_LONG").is_ok());
        assert!(environment("PATH").is_ok());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(merge(ServerArgs::default(), File::default()).is_err());
        assert!(
            merge(
                ServerArgs {
                    devices: Some(0),
                    ..args()
                },
                File::default()
            )
            .is_err()
        );
        assert!(
            merge(
                ServerArgs {
                    memory_budget_mib: Some(1),
                    ..args()
                },
                File::default()
            )
            .is_err()
        );
        let file = toml::from_str("device_memory_mib = 7").expect("well-formed");
        assert!(merge(args(), file).is_err());
        let file = toml::from_str("device_memory_mib = 8").expect("well-formed");
        assert!(merge(args(), file).is_ok_and(|config| config.device_memory_bytes == Some(8 << 20)));
        let file = toml::from_str("devices = 2\ndevice = [\"/a\"]").expect("well-formed");
        assert!(
            merge(args(), file).is_ok_and(|config| config.devices == DeviceChoice::Paths(vec![PathBuf::from("/a")]))
        );
    }
}
