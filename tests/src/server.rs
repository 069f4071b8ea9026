//! `cairn server` as a real process on data of its own, with free ports, until its value is dropped.
//!
//! Invariant: no server outlives the test that started it.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http::{Connection, Response};
use crate::isolation::SmallDisk;
use crate::s3::Client;
use crate::sigv4::Credentials;
use crate::{place, wait};

/// A start may replay a log and shares the machine with other tests. How fast one is, a benchmark says.
const START_BOUND: Duration = Duration::from_secs(60);
const STOP_BOUND: Duration = Duration::from_secs(60);

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
    child: Child,
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
        let mut child = self.spawn()?;
        let stdout = self.stdout_path();
        let ready = wait::until("the server is ready", START_BOUND, || {
            let printed = fs::read_to_string(&stdout)?;
            if printed.lines().any(|line| line.trim() == "ready") {
                return Ok(Some(printed));
            }
            match child.try_wait()? {
                Some(status) => bail!("the server ended while starting: {status}"),
                None => Ok(None),
            }
        });
        let addresses = ready.and_then(|printed| {
            let host = |name| field(&printed, name).map(|url| url.trim_start_matches("http://").to_owned());
            Ok((host("endpoint")?, host("admin")?))
        });
        match addresses {
            Ok((address, admin)) => {
                self.process = Some(Process { child, address, admin });
                Ok(())
            }
            Err(error) => {
                end(&mut child);
                Err(error.context(format!("log of the server:\n{}", self.log_end())))
            }
        }
    }

    /// Starts a server that is expected to refuse: its exit status and all that it printed.
    ///
    /// # Errors
    /// It runs instead of ending.
    pub fn start_refused(&self) -> Result<(ExitStatus, String)> {
        let before = self.log().len();
        let mut child = self.spawn()?;
        let status = wait::until("the server refuses to start", START_BOUND, || Ok(child.try_wait()?));
        end(&mut child);
        let printed = fs::read_to_string(self.stdout_path())?;
        Ok((status?, format!("{printed}{}", &self.log()[before..])))
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = match &self.options.small_disk {
            Some(disk) => disk.command(&place::cairn_binary()?)?,
            None => Command::new(place::cairn_binary()?),
        };
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        command
            .args(["server", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"])
            .arg(self.data())
            .args(&self.options.arguments)
            .current_dir(self.folder.path())
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(File::create(self.stdout_path())?)
            .stderr(log);
        command.spawn().with_context(|| format!("starting {command:?}"))
    }

    /// `kill -9`, and nothing is flushed.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server runs")?;
        process.child.kill()?;
        process.child.wait()?;
        Ok(())
    }

    /// Asks it to stop, and waits for it to end well.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended()?;
        ensure!(
            status.success(),
            "the server stopped with {status}:\n{}",
            self.log_end()
        );
        Ok(())
    }

    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?).context("a process id is positive")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// It does not, or did not run.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        let process = self.process.as_mut().context("the server runs")?;
        let status = wait::until("the server ends", STOP_BOUND, || Ok(process.child.try_wait()?))?;
        self.process = None;
        Ok(status)
    }

    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the server runs")?.child.id())
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
        let mut connection = Connection::open(address)?;
        let headers = [
            ("host".to_owned(), address.clone()),
            ("connection".to_owned(), "close".to_owned()),
        ];
        connection.send_head("GET", path, &headers)?;
        connection.response("GET")
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
        fs::read_to_string(self.stdout_path()).unwrap_or_default()
    }

    /// All that it has logged, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn stdout_path(&self) -> PathBuf {
        self.folder.path().join("stdout.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            end(&mut process.child);
        }
        if std::thread::panicking() {
            report(&self.log_end());
        }
    }
}

#[must_use]
pub fn credentials() -> Credentials {
    Credentials {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        region: REGION.to_owned(),
    }
}

/// The value of a line `name  value` that the server printed.
///
/// # Errors
/// There is no such line.
pub fn field(printed: &str, name: &str) -> Result<String> {
    let value = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    Ok(value
        .with_context(|| format!("no line {name:?} in:\n{printed}"))?
        .trim()
        .to_owned())
}

#[expect(clippy::print_stderr, reason = "the runner shows it with the failed test")]
fn report(log: &str) {
    eprintln!("--- end of the server's log\n{log}\n---");
}

/// Ends a process that may have ended already.
fn end(child: &mut Child) {
    // An error says that it is gone.
    let _ = child.kill();
    let _ = child.wait();
}
