//! `cairn dev-cluster` as a real process, asked by its subcommands as its users ask it.
//!
//! Invariant: it ends with its value, and what it started with it; network namespaces too, unless a test kills it and never starts it
//! again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Output};
use crate::place;
use crate::process::{run, run_any};
use crate::s3::Client;
use crate::server::{ACCESS_KEY, SECRET_KEY, credentials};

/// A dozen processes start one after the other, on a machine that other tests load.
const START_BOUND: Duration = Duration::from_secs(240);

/// A cluster, whether it runs or not.
#[derive(Debug)]
pub struct DevCluster {
    // Fields drop in this order: the process before its folder.
    process: Option<Daemon>,
    output: Output,
    folder: TempDir,
}

impl DevCluster {
    /// A directory for a cluster that is not started yet.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn prepare(name: &str) -> Result<Self> {
        let folder = place::scratch(name)?;
        Ok(Self {
            process: None,
            output: Output::in_folder(folder.path(), "dev-cluster"),
            folder,
        })
    }

    /// Starts it, the first time or again, with these flags.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&mut self, flags: &[&str]) -> Result<()> {
        let mut command = self.command(flags)?;
        command.env("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY);
        command.env("CAIRN_ROOT_SECRET_KEY", SECRET_KEY);
        self.process = Some(self.output.start_within(&mut command, START_BOUND)?);
        Ok(())
    }

    /// Asks it to stop, and waits until all its processes have.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the cluster runs")?.stop()
    }

    /// `kill -9` for the process in the foreground.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// `cairn dev-cluster …`
    ///
    /// # Errors
    /// It ends with a failure.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        Ok(run(&mut self.command(arguments)?)?.stdout)
    }

    /// What `cairn dev-cluster …` says that must fail.
    ///
    /// # Errors
    /// It succeeds.
    pub fn refusal(&self, arguments: &[&str]) -> Result<String> {
        let (succeeded, printed) = run_any(&mut self.command(arguments)?)?;
        anyhow::ensure!(!succeeded, "{arguments:?} succeeded:\n{}", printed.stdout);
        Ok(printed.stderr)
    }

    /// What `cairn dev-cluster status` tells.
    ///
    /// # Errors
    /// It tells nothing.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.tell(&["status", "--json"])?)?)
    }

    /// What it tells of one process.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn part(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let parts = status["parts"].as_array().context("a status lists processes")?;
        let part = parts.iter().find(|part| part["name"] == name);
        part.cloned().with_context(|| format!("no {name} in {status:#}"))
    }

    /// The numbers of all its processes that run.
    ///
    /// # Errors
    /// It tells nothing.
    pub fn processes(&self) -> Result<Vec<u64>> {
        let status = self.status()?;
        let parts = status["parts"].as_array().context("a status lists processes")?;
        let pids = parts.iter().filter_map(|part| part["pid"].as_u64());
        Ok(pids.filter(|pid| *pid != 0).collect())
    }

    /// What `cairn cluster status` tells on the directory of a metadata server.
    ///
    /// # Errors
    /// It tells nothing.
    pub fn cluster_status(&self, metadata: &str) -> Result<Value> {
        let mut command = Command::new(place::cairn_binary()?);
        command
            .args(["cluster", "status", "--json", "--data"])
            .arg(self.data().join(metadata));
        Ok(serde_json::from_str(&run(&mut command)?.stdout)?)
    }

    /// A client of the gateway of that number, counted from one.
    ///
    /// # Errors
    /// There is none.
    pub fn client(&self, gateway: usize) -> Result<Client> {
        Ok(Client::new(&self.gateway(gateway)?, credentials()))
    }

    /// `host:port` of the gateway of that number, counted from one.
    ///
    /// # Errors
    /// There is none.
    pub fn gateway(&self, gateway: usize) -> Result<String> {
        let part = self.part(&format!("gateway-{gateway}"))?;
        let endpoint = part["endpoint"].as_str().and_then(|url| url.strip_prefix("http://"));
        Ok(endpoint.context("an endpoint over HTTP")?.to_owned())
    }

    /// All that it has said on standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.output.log()
    }

    /// The cluster's directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// Leaves the cluster's directory where it is; where that is.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.data()
    }

    /// A folder for what the test itself needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(place::cairn_binary()?);
        command
            .arg("dev-cluster")
            .args(arguments)
            .arg("--data")
            .arg(self.data());
        Ok(command)
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        // Asked first: a killed one leaves its namespaces to the next start, and there is none. Where it does not stop it is killed.
        if let Some(process) = self.process.take() {
            let _ = process.stop();
        }
    }
}
