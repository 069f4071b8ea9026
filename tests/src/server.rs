//! `cairn server` as a real process on data of its own, with free ports, until its value is dropped.
//!
//! Invariant: no server outlives the test that started it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::daemon::{Daemon, Output, field};
use crate::http::{self, Response};
use crate::isolation::SmallDisk;
use crate::place;
use crate::s3::Client;
use crate::sigv4::Credentials;

pub const ACCESS_KEY: &str = "TESTACCESSKEY0000001";
pub const SECRET_KEY: &str = "test/secret+key/000000000000000000000001";
pub const REGION: &str = "us-east-1";

/// How a server is started, the first time and again.
#[derive(Debug)]
pub struct Options {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    small_disk: Option<SmallDisk>,
}

#[derive(Debug)]
pub struct Server {
    // Fields drop in this order: the process before its folder.
    process: Option<Process>,
    options: Options,
    folder: TempDir,
}

#[derive(Debug)]
struct Process {
    daemon: Daemon,
    /// `host:port` of S3 and of the admin address.
    address: String,
    admin: String,
}

impl Default for Options {
    fn default() -> Self {
        Self::new(6, "4+2")
    }
}

impl Options {
    #[must_use]
    pub fn new(devices: usize, redundancy: &str) -> Self {
        Self {
            arguments: ["--devices", &devices.to_string(), "--redundancy", redundancy]
                .map(str::to_owned)
                .into(),
            environment: vec![
                ("CAIRN_ROOT_ACCESS_KEY".to_owned(), ACCESS_KEY.to_owned()),
                ("CAIRN_ROOT_SECRET_KEY".to_owned(), SECRET_KEY.to_owned()),
            ],
            small_disk: None,
        }
    }

    /// No flags but the data folder and free ports, and no credentials: what the first user has.
    #[must_use]
    pub fn bare() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            small_disk: None,
        }
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Mounts a file system of this size under the whole data folder.
    #[must_use]
    pub fn small_disk(mut self, disk: SmallDisk) -> Self {
        self.small_disk = Some(disk);
        self
    }
}

impl Server {
    /// Six devices, 4+2.
    ///
    /// # Errors
    /// The server does not become ready.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_with(name, Options::default())
    }

    /// # Errors
    /// The server does not become ready.
    pub fn start_with(name: &str, options: Options) -> Result<Self> {
        let mut server = Self::prepare(name, options)?;
        server.start_again()?;
        Ok(server)
    }

    /// A server that is not started yet: its folder can be filled first.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn prepare(name: &str, options: Options) -> Result<Self> {
        let folder = place::scratch(name)?;
        let server = Self {
            process: None,
            options,
            folder,
        };
        fs::create_dir_all(server.data())?;
        if let Some(disk) = &server.options.small_disk {
            disk.mount(&server.data())?;
        }
        Ok(server)
    }

    /// Starts it on the data that is there, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the server runs already");
        let daemon = self.output().start(&mut self.command()?)?;
        let host = |name| field(&self.printed(), name).map(|url| host_of(&url).to_owned());
        let (address, admin) = (host("endpoint")?, host("admin")?);
        self.process = Some(Process { daemon, address, admin });
        Ok(())
    }

    /// Starts a server that is expected to refuse: its exit status and all that it printed.
    ///
    /// # Errors
    /// It runs instead of ending.
    pub fn start_refused(&self) -> Result<(ExitStatus, String)> {
        self.output().start_refused(&mut self.command()?)
    }

    fn command(&self) -> Result<Command> {
        let mut command = match &self.options.small_disk {
            Some(disk) => disk.command(&place::cairn_binary()?)?,
            None => Command::new(place::cairn_binary()?),
        };
        command
            .args(["server", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(self.data())
            .args(&self.options.arguments)
            .current_dir(self.folder.path())
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// `kill -9`, and nothing is flushed.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        drop(self.process.take().context("the server runs")?);
        Ok(())
    }

    /// Asks it to stop, and waits for it to end well.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the server runs")?.daemon.stop()
    }

    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the server runs")?.daemon.signal(signal)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not, or did not run.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let status = self.process.as_mut().context("the server runs")?.daemon.ended()?;
        self.process = None;
        Ok(status)
    }

    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the server runs")?.daemon.pid())
    }

    /// `host:port` of S3; another one after each start.
    ///
    /// # Errors
    /// It does not run.
    pub fn address(&self) -> Result<&str> {
        Ok(&self.process.as_ref().context("the server runs")?.address)
    }

    /// A raw client with the root credentials.
    ///
    /// # Errors
    /// It does not run.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.address()?, credentials()))
    }

    /// What the admin address answers to a GET.
    ///
    /// # Errors
    /// No answer.
    pub fn admin(&self, path: &str) -> Result<Response> {
        let address = &self.process.as_ref().context("the server runs")?.admin;
        http::get(address, path)
    }

    /// The sum of a metric over all its labels; 0 where it has not been counted yet.
    ///
    /// # Errors
    /// No answer, or the metric does not exist.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.admin("/metrics")?.success()?.text();
        ensure!(
            text.contains(name.trim_end_matches("_total")),
            "no metric {name} in:\n{text}"
        );
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_whole = rest.starts_with(['{', ' ']);
            is_whole.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        Ok(values.sum())
    }

    /// Runs another subcommand on this server's data.
    #[must_use = "it runs when asked"]
    pub fn subcommand(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(place::cairn_binary()?);
        command.arg(name).arg("--data").arg(self.data()).stdin(Stdio::null());
        Ok(command)
    }

    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    #[must_use]
    pub fn device(&self, index: usize) -> PathBuf {
        self.data().join("devices").join(index.to_string())
    }

    /// A folder beside the data, for what the test itself needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the last start printed.
    #[must_use]
    pub fn printed(&self) -> String {
        self.output().printed()
    }

    /// All that it has logged, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        self.output().log()
    }

    /// The end of it, for a message.
    #[must_use]
    pub fn log_end(&self) -> String {
        self.output().log_end()
    }

    fn output(&self) -> Output {
        Output::in_folder(self.folder.path(), "server")
    }
}

/// `host:port` of a URL without a path.
#[must_use]
pub fn host_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}

#[must_use]
pub fn credentials() -> Credentials {
    Credentials {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        region: REGION.to_owned(),
    }
}
