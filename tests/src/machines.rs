//! A cluster of real processes: a metadata group, chunkservers on machines of their own names, and gateways.
//!
//! Invariant: what is asked of it is asked as its users do: over S3, and by `cairn cluster` on a metadata server's directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::daemon::{Daemon, Output, field};
use crate::metadata_group::MetadataGroup;
use crate::place;
use crate::process::run;
use crate::s3::Client;
use crate::server::{credentials, host_of};
use crate::wait;

/// How long the cluster may take to find out about a change, or to repair what a test stored.
const PATIENCE: Duration = Duration::from_secs(90);

/// The cluster.
#[derive(Debug)]
pub struct Machines {
    // Fields drop in this order: the processes before their folder.
    gateways: Vec<Gateway>,
    chunkservers: Vec<Chunkserver>,
    pub metadata: MetadataGroup,
}

#[derive(Debug)]
struct Gateway {
    _process: Daemon,
    address: String,
}

/// A chunkserver with one device.
#[derive(Debug)]
struct Chunkserver {
    process: Option<Daemon>,
    output: Output,
    data: PathBuf,
    node: u64,
}

impl Machines {
    /// A cluster whose chunkservers are taken in with `redundancy`.
    ///
    /// # Errors
    /// It does not come about.
    pub fn start(name: &str, metadata: usize, chunkservers: usize, gateways: usize, redundancy: &str) -> Result<Self> {
        let metadata = MetadataGroup::start(name, metadata)?;
        let mut machines = Self {
            gateways: Vec::new(),
            chunkservers: Vec::new(),
            metadata,
        };
        for _ in 0..chunkservers {
            machines.add_chunkserver()?;
        }
        machines.await_status("all chunkservers have told of their devices", |status| {
            devices(status).filter(|device| device["up"] == true).count() == chunkservers
        })?;
        machines.command(&["apply", "--redundancy", redundancy])?;
        for _ in 0..gateways {
            machines.add_gateway(&[])?;
        }
        Ok(machines)
    }

    /// Starts a further chunkserver, on a machine of its own name.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn add_chunkserver(&mut self) -> Result<()> {
        let name = host_name(self.chunkservers.len());
        let data = self.metadata.folder().join(&name);
        let node = self.metadata.join(&data, "chunkserver")?;
        let mut chunkserver = Chunkserver {
            process: None,
            output: Output::in_folder(self.metadata.folder(), &name),
            data,
            node,
        };
        chunkserver.start(&name)?;
        self.chunkservers.push(chunkserver);
        Ok(())
    }

    /// Starts a further gateway with these arguments; what it printed.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn add_gateway(&mut self, arguments: &[&str]) -> Result<String> {
        let name = format!("gateway{}", self.gateways.len());
        let data = self.metadata.folder().join(&name);
        self.metadata.join(&data, "client")?;
        let mut command = Command::new(place::cairn_binary()?);
        command.arg("gateway").arg("--data").arg(&data);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(arguments);
        let credentials = credentials();
        command.env("CAIRN_ROOT_ACCESS_KEY", &credentials.access_key);
        command.env("CAIRN_ROOT_SECRET_KEY", &credentials.secret_key);
        let output = Output::in_folder(self.metadata.folder(), &name);
        let process = output.start(&mut command)?;
        let printed = output.printed();
        self.gateways.push(Gateway {
            _process: process,
            address: host_of(&field(&printed, "endpoint")?).to_owned(),
        });
        Ok(printed)
    }

    /// `host:port` of the gateway of that index.
    #[must_use]
    pub fn gateway(&self, index: usize) -> &str {
        &self.gateways[index].address
    }

    /// A client of the gateway of that index.
    #[must_use]
    pub fn client(&self, gateway: usize) -> Client {
        Client::new(&self.gateways[gateway].address, credentials())
    }

    /// `kill -9` for the chunkserver of that index.
    pub fn kill(&mut self, chunkserver: usize) {
        self.chunkservers[chunkserver].process = None;
    }

    /// Starts the chunkserver of that index again.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_again(&mut self, chunkserver: usize) -> Result<()> {
        self.chunkservers[chunkserver].start(&host_name(chunkserver))
    }

    /// What the chunkserver of that index has logged.
    #[must_use]
    pub fn log(&self, chunkserver: usize) -> String {
        self.chunkservers[chunkserver].output.log()
    }

    /// `cairn chunkserver replace-device` for the device of that chunkserver, which does not run.
    ///
    /// # Errors
    /// It is refused.
    pub fn replace_device(&self, chunkserver: usize) -> Result<String> {
        let mut command = Command::new(place::cairn_binary()?);
        command.args(["chunkserver", "replace-device", "--data"]);
        command.arg(&self.chunkservers[chunkserver].data);
        command.arg(self.device_folder(chunkserver));
        Ok(run(&mut command)?.stdout)
    }

    /// The only device of the chunkserver of that index.
    #[must_use]
    pub fn device(&self, chunkserver: usize) -> u64 {
        self.chunkservers[chunkserver].node * 256 + 1
    }

    /// The directory of that device.
    #[must_use]
    pub fn device_folder(&self, chunkserver: usize) -> PathBuf {
        device_folder(&self.chunkservers[chunkserver].data)
    }

    /// `cairn cluster …` on the directory of the first metadata server.
    ///
    /// # Errors
    /// It ends with a failure.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        self.operate("cluster", arguments)
    }

    /// `cairn bucket …` on the directory of the first metadata server.
    ///
    /// # Errors
    /// It ends with a failure.
    pub fn bucket(&self, arguments: &[&str]) -> Result<String> {
        self.operate("bucket", arguments)
    }

    fn operate(&self, what: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(place::cairn_binary()?);
        command.arg(what).args(arguments);
        command.arg("--data").arg(self.metadata.members()[0].data());
        Ok(run(&mut command)?.stdout)
    }

    /// What `cairn cluster status` tells.
    ///
    /// # Errors
    /// It tells nothing.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.command(&["status", "--json"])?)?)
    }

    /// Waits until the status is as it should be.
    ///
    /// # Errors
    /// It does not become so.
    pub fn await_status(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(what, PATIENCE, || Ok(Some(self.status()?).filter(&holds)))
    }

    /// Waits until nothing is to be moved or repaired.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn await_redundancy(&self) -> Result<()> {
        self.await_status("all shards are where they belong", nothing_waits)?;
        Ok(())
    }
}

impl Chunkserver {
    fn start(&mut self, host: &str) -> Result<()> {
        let mut command = Command::new(place::cairn_binary()?);
        command.arg("chunkserver").arg("--data").arg(&self.data);
        command.arg("--device").arg(device_folder(&self.data));
        command.args(["--cluster-listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--host", host, "--segment-mib", "16"]);
        self.process = Some(self.output.start(&mut command)?);
        Ok(())
    }
}

fn host_name(chunkserver: usize) -> String {
    format!("chunkserver{chunkserver}")
}

fn device_folder(data: &Path) -> PathBuf {
    data.join("device")
}

/// The device of that number in a status.
///
/// # Errors
/// There is none.
pub fn device(status: &Value, id: u64) -> Result<&Value> {
    let found = devices(status).find(|device| device["id"] == id);
    found.with_context(|| format!("no device {id} in {status:#}"))
}

/// Whether a status says that nothing is to be moved or repaired.
#[must_use]
pub fn nothing_waits(status: &Value) -> bool {
    let is_known = status["unsurveyed"].as_array().is_some_and(Vec::is_empty);
    is_known && status["moving_groups"] == 0 && status["repairs"].as_object().is_some_and(serde_json::Map::is_empty)
}

/// All devices in a status.
pub fn devices(status: &Value) -> impl Iterator<Item = &Value> {
    let servers = status["servers"].as_array().into_iter().flatten();
    servers.flat_map(|server| server["devices"].as_array().into_iter().flatten())
}
