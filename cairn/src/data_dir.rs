//! The store's directory: its lock, its identity, and where everything lies in it.
//!
//! ```text
//! DIR/lock               held while a server runs
//! DIR/store.toml         version, cluster id, redundancy, devices
//! DIR/credentials.toml   the root key, mode 0600
//! DIR/server.json        pid and addresses of the running server
//! DIR/metadata/          the metadata service
//! DIR/voters.toml        its servers on other disks (voters/)
//! DIR/control.sock       where the running server takes its operator's requests, mode 0600
//! DIR/devices/N/         devices, unless they were given by path
//! DIR/cluster/           what makes the process a node of a cluster: certificate, key, and the first node's authority
//! ```
//!
//! Invariant: a store that was made once is never made again in its place: what is missing later is reported.

use std::{
    fs::{File, TryLockError},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use cairn_chunkserver::{DeviceConfig, DeviceIdentity, format_device};
use cairn_common::{
    ids::{ClusterId, DeviceId, Incarnation},
    redundancy::Redundancy,
};
use serde::{Deserialize, Serialize};

use crate::config::{DeviceChoice, ServerConfig};

const STORE_VERSION: u32 = 1;

/// The locked directory of a store.
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// What a store is, as `store.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreIdentity {
    version: u32,
    cluster_id: String,
    /// Redundancy of new buckets.
    redundancy: String,
    /// Whether the first start was finished. Until then nothing can have been stored.
    initialised: bool,
    devices: Vec<StoreDevice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreDevice {
    id: u32,
    incarnation: u64,
    /// Relative to the store's directory, where it lies within it.
    path: PathBuf,
}

/// The paths of a store's files.
pub(crate) fn credentials_file(root: &Path) -> PathBuf {
    root.join("credentials.toml")
}

/// The file that tells about the running server.
pub(crate) fn running_file(root: &Path) -> PathBuf {
    root.join("server.json")
}

fn store_file(root: &Path) -> PathBuf {
    root.join("store.toml")
}

/// The text of `store.toml` and the store's id, where the store was made. Needs no lock: the file is replaced as a whole.
pub(crate) fn stored_settings(root: &Path) -> anyhow::Result<Option<(String, ClusterId)>> {
    let Some((text, identity)) = read_settings(root)? else {
        return Ok(None);
    };
    Ok(Some((text, identity.store()?)))
}

/// The store that a `store.toml` is of.
pub(crate) fn store_of(text: &str) -> anyhow::Result<ClusterId> {
    checked_settings(text, Path::new("store.toml"))?.store()
}

/// The devices of the store in `root`; none where there is no store.
pub(crate) fn device_paths(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let devices = read_settings(root)?.map_or_else(Vec::new, |(_, identity)| identity.devices);
    Ok(devices.into_iter().map(|device| root.join(device.path)).collect())
}

/// Writes the `store.toml` that came with a backup. The caller holds the directory's lock and has seen that there is none.
pub(crate) fn restore_settings(root: &Path, text: &str) -> anyhow::Result<()> {
    checked_settings(text, &store_file(root))?;
    replace_file(&store_file(root), text)
}

fn read_settings(root: &Path) -> anyhow::Result<Option<(String, StoreIdentity)>> {
    let path = store_file(root);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let found = checked_settings(&text, &path)?;
    Ok(Some((text, found)))
}

fn checked_settings(text: &str, path: &Path) -> anyhow::Result<StoreIdentity> {
    let found: StoreIdentity = toml::from_str(text).with_context(|| format!("{}", path.display()))?;
    check_version(path, found.version, STORE_VERSION)?;
    Ok(found)
}

/// Refuses a file of a version that this program does not read.
pub(crate) fn check_version(path: &Path, found: u32, known: u32) -> anyhow::Result<()> {
    ensure!(
        found == known,
        "{} has version {found}, this program reads version {known}: use a cairn that knows it",
        path.display()
    );
    Ok(())
}

impl DataDir {
    /// Makes the directory where it is missing and takes its lock.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        let path = root.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.with_context(|| format!("opening {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                root: root.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another cairn server: stop it first (`cairn status` shows it), or choose another directory",
                root.display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn metadata(&self) -> PathBuf {
        self.root.join("metadata")
    }

    /// The id of the store, where it was made.
    pub(crate) fn store_id(&self) -> anyhow::Result<Option<ClusterId>> {
        Ok(stored_settings(&self.root)?.map(|(_, id)| id))
    }

    /// The store's identity: as it was made, or made now by the given settings, as a part of `cluster` where it is given.
    /// `comes_from_elsewhere` says that metadata which is missing here will be made again.
    pub(crate) fn identity(
        &self,
        config: &ServerConfig,
        cluster: Option<ClusterId>,
        comes_from_elsewhere: bool,
    ) -> anyhow::Result<StoreIdentity> {
        let mut identity = if let Some(found) = self.load_identity()? {
            self.check_same_devices(&found, &config.devices)?;
            ensure!(
                cluster.is_none_or(|cluster| cluster.to_string() == found.cluster_id),
                "the store in {} and the certificate in its cluster directory belong to different clusters: restore the right one",
                self.root.display()
            );
            found
        } else {
            self.new_identity(config, cluster)?
        };
        if let Some(redundancy) = config.redundancy {
            check_redundancy(redundancy, identity.devices.len())?;
            identity.redundancy = redundancy.to_string();
        }
        self.save(&identity)?;
        if !identity.initialised {
            self.format_devices(&identity)?;
        } else if !self.metadata().exists() && !comes_from_elsewhere {
            bail!(
                "{} is missing though the store was made before: restore it; starting without it would lose every object",
                self.metadata().display()
            );
        }
        Ok(identity)
    }

    /// Gives a device a new life in its empty directory; tells its number and the life.
    pub(crate) fn replace_device(&self, named: &str) -> anyhow::Result<(DeviceId, Incarnation)> {
        let mut identity = self.load_identity()?.context("there is no store")?;
        let path = self.stored_path(Path::new(named)).ok();
        let is_named = |device: &StoreDevice| path.as_ref() == Some(&device.path) || device.id.to_string() == named;
        let at = identity.devices.iter().position(is_named);
        let at = at.with_context(|| format!("{named} is no device of this store: `cairn status` lists them"))?;
        identity.devices[at].incarnation += 1;
        let devices = self.devices(&identity)?;
        let device = &devices[at];
        // First the directory: where it is refused, as one that is not empty, the device stays what it was.
        format_device_at(device)?;
        self.save(&identity)?;
        Ok((device.id, device.incarnation))
    }

    /// Notes that the first start is finished.
    pub(crate) fn finish_first_start(&self, identity: &mut StoreIdentity) -> anyhow::Result<()> {
        if !identity.initialised {
            identity.initialised = true;
            self.save(identity)?;
        }
        Ok(())
    }

    fn load_identity(&self) -> anyhow::Result<Option<StoreIdentity>> {
        Ok(read_settings(&self.root)?.map(|(_, found)| found))
    }

    fn new_identity(&self, config: &ServerConfig, cluster: Option<ClusterId>) -> anyhow::Result<StoreIdentity> {
        ensure!(
            !self.metadata().exists(),
            "{} has metadata but no store.toml: restore it",
            self.root.display()
        );
        let paths = match &config.devices {
            DeviceChoice::AsBefore => inner_paths(1),
            DeviceChoice::Count(count) => inner_paths(*count),
            DeviceChoice::Paths(paths) => paths
                .iter()
                .map(|path| self.stored_path(path))
                .collect::<Result<_, _>>()?,
        };
        let distinct: std::collections::BTreeSet<&PathBuf> = paths.iter().collect();
        ensure!(distinct.len() == paths.len(), "a device directory is given twice");
        let redundancy = match config.redundancy {
            Some(redundancy) => redundancy,
            None => default_redundancy(paths.len()),
        };
        check_redundancy(redundancy, paths.len())?;
        let cluster = cluster.map_or_else(new_cluster_id, Ok)?;
        let device = |(path, id)| StoreDevice {
            id,
            incarnation: 1,
            path,
        };
        Ok(StoreIdentity {
            version: STORE_VERSION,
            cluster_id: cluster.to_string(),
            redundancy: redundancy.to_string(),
            initialised: false,
            devices: paths.into_iter().zip(1..).map(device).collect(),
        })
    }

    /// How a device's path stands in the list of devices: relative where it lies within the directory.
    pub(crate) fn stored_path(&self, path: &Path) -> anyhow::Result<PathBuf> {
        let absolute = std::path::absolute(path).with_context(|| format!("device {}", path.display()))?;
        Ok(absolute
            .strip_prefix(&self.root)
            .map(Path::to_owned)
            .unwrap_or(absolute))
    }

    fn check_same_devices(&self, found: &StoreIdentity, choice: &DeviceChoice) -> anyhow::Result<()> {
        let same = match choice {
            DeviceChoice::AsBefore => true,
            DeviceChoice::Count(count) => *count as usize == found.devices.len(),
            DeviceChoice::Paths(paths) => {
                let given = paths
                    .iter()
                    .map(|path| self.stored_path(path))
                    .collect::<Result<Vec<_>, _>>()?;
                given.iter().eq(found.devices.iter().map(|device| &device.path))
            }
        };
        let paths: Vec<_> = found
            .devices
            .iter()
            .map(|device| device.path.display().to_string())
            .collect();
        ensure!(
            same,
            "the store was made with {} devices ({}); its devices cannot be changed by a flag yet: leave the flag out, \
             or give the same ones",
            paths.len(),
            paths.join(", ")
        );
        Ok(())
    }

    /// All at once: each makes and syncs hundreds of directories, on disks that do not wait for each other.
    fn format_devices(&self, identity: &StoreIdentity) -> anyhow::Result<()> {
        let devices = self.devices(identity)?;
        std::thread::scope(|scope| {
            let formatting: Vec<_> = devices
                .iter()
                .map(|device| scope.spawn(|| format_device_at(device)))
                .collect();
            formatting.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("formatting a device panicked"))?
            })
        })
    }

    /// The store's devices, for its chunkserver.
    pub(crate) fn devices(&self, identity: &StoreIdentity) -> anyhow::Result<Vec<DeviceConfig>> {
        let mut cluster_id = [0; 16];
        hex::decode_to_slice(&identity.cluster_id, &mut cluster_id).context("the cluster id in store.toml")?;
        let device = |device: &StoreDevice| DeviceConfig {
            id: DeviceId::new(device.id),
            incarnation: Incarnation::new(device.incarnation),
            path: self.root.join(&device.path),
            cluster_id,
        };
        Ok(identity.devices.iter().map(device).collect())
    }

    fn save(&self, identity: &StoreIdentity) -> anyhow::Result<()> {
        let text = toml::to_string(identity).context("writing store.toml")?;
        replace_file(&store_file(&self.root), &text)
    }
}

impl StoreIdentity {
    fn store(&self) -> anyhow::Result<ClusterId> {
        let id = ClusterId::from_hex(&self.cluster_id);
        id.context("store.toml has no cluster id of 32 hexadecimal digits")
    }

    /// Redundancy of new buckets.
    pub(crate) fn redundancy(&self) -> anyhow::Result<Redundancy> {
        self.redundancy.parse().context("redundancy in store.toml")
    }
}

/// Makes the directory of `device` that device.
pub(crate) fn format_device_at(device: &DeviceConfig) -> anyhow::Result<()> {
    let path = &device.path;
    std::fs::create_dir_all(path).with_context(|| format!("making device {}", path.display()))?;
    let (cluster_id, incarnation) = (device.cluster_id, device.incarnation);
    let identity = DeviceIdentity {
        cluster_id,
        device: device.id,
        incarnation,
    };
    format_device(path, &identity).with_context(|| format!("device {}", path.display()))
}

fn inner_paths(count: u32) -> Vec<PathBuf> {
    (0..count)
        .map(|index| Path::new("devices").join(index.to_string()))
        .collect()
}

/// One device keeps one copy; more survive the loss of one, six or more the loss of two.
pub(crate) fn default_redundancy(devices: usize) -> Redundancy {
    let scheme = match devices {
        0 | 1 => Ok(Redundancy::ONE_COPY),
        2 => Redundancy::replicated(2),
        3..=5 => Redundancy::erasure_coded(2, 1),
        _ => Redundancy::erasure_coded(4, 2),
    };
    scheme.unwrap_or(Redundancy::ONE_COPY)
}

fn check_redundancy(redundancy: Redundancy, devices: usize) -> anyhow::Result<()> {
    ensure!(
        redundancy.width() <= devices,
        "redundancy {redundancy} needs {} devices; the store has {devices}",
        redundancy.width()
    );
    Ok(())
}

/// An id that no other cluster has.
pub(crate) fn new_cluster_id() -> anyhow::Result<ClusterId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(ClusterId::new(bytes))
}

/// Replaces a file as a whole, durably.
pub(crate) fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    replace_with_mode(path, text, 0o644)
}

/// The same for a file that only its owner may read; it is never readable by others for an instant.
pub(crate) fn replace_secret_file(path: &Path, text: &str) -> anyhow::Result<()> {
    replace_with_mode(path, text, 0o600)
}

fn replace_with_mode(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let context = || format!("writing {}", path.display());
    let new = path.with_extension("new");
    if new.exists() {
        std::fs::remove_file(&new).with_context(context)?;
    }
    let opened = File::options().write(true).create_new(true).mode(mode).open(&new);
    let mut file = opened.with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    file.sync_all().with_context(context)?;
    std::fs::rename(&new, path).with_context(context)?;
    sync_parent(path)
}

/// Makes a rename in the file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().context("a file has a directory")?;
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("syncing {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ServerArgs;

    fn config(root: &Path, devices: Option<u32>) -> ServerConfig {
        let args = ServerArgs {
            data: Some(root.to_owned()),
            devices,
            ..ServerArgs::default()
        };
        crate::config::load(args).expect("valid settings")
    }

    #[test]
    fn a_store_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(directory.path()).expect("an empty directory");
        let mut made = data
            .identity(&config(directory.path(), Some(6)), None, false)
            .expect("made");
        assert_eq!(made.redundancy().expect("valid").to_string(), "4+2");
        assert_eq!(data.devices(&made).expect("devices").len(), 6);
        let again = data
            .identity(&config(directory.path(), Some(6)), None, false)
            .expect("an unfinished first start goes on");
        assert_eq!(again, made);
        std::fs::create_dir(data.metadata()).expect("metadata");
        data.finish_first_start(&mut made).expect("finished");
        assert_eq!(
            data.identity(&config(directory.path(), None), None, false)
                .expect("found"),
            made
        );
        let other = data
            .identity(&config(directory.path(), Some(7)), None, false)
            .expect_err("other devices");
        assert!(other.to_string().contains("made with 6 devices"), "{other}");
    }

    #[test]
    fn missing_metadata_is_never_made_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(directory.path()).expect("an empty directory");
        let mut made = data
            .identity(&config(directory.path(), None), None, false)
            .expect("made");
        data.finish_first_start(&mut made).expect("finished");
        let error = data
            .identity(&config(directory.path(), None), None, false)
            .expect_err("metadata is missing");
        assert!(error.to_string().contains("restore it"), "{error}");
    }

    #[test]
    fn a_second_opener_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(directory.path()).expect("an empty directory");
        let second = DataDir::open(directory.path()).err().expect("a second opener");
        assert!(second.to_string().contains("in use"), "{second}");
        drop(first);
        assert!(DataDir::open(directory.path()).is_ok());
    }
}
