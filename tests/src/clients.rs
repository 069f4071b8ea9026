//! The real clients: aws, boto3 and s3cmd in a virtual environment made once per target folder, and the system's rclone.
//!
//! Invariant: a client sees this test's server and nothing of the machine's own configuration.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::server::{ACCESS_KEY, REGION, SECRET_KEY, Server};
use crate::{content, place, process};

/// Environment of the user that clients need, and no more: proxies and credentials of the machine stay out.
const KEPT: &[&str] = &["PATH", "TMPDIR", "LD_LIBRARY_PATH"];

#[derive(Debug)]
pub struct Clients {
    environment: PathBuf,
}

impl Clients {
    /// Makes the virtual environment if it is not there. One process makes it, others wait for it.
    ///
    /// # Errors
    /// Python or its packages cannot be had.
    pub fn ready() -> Result<Self> {
        let requirements = place::client_scripts().join("requirements.txt");
        let digest = content::sha256(&fs::read(&requirements)?);
        let parent = place::target_folder()?.join("cairn-test-clients");
        fs::create_dir_all(&parent)?;
        let lock = File::create(parent.join("lock"))?;
        lock.lock()?;

        let environment = parent.join(&digest[..12]);
        let complete = environment.join("complete");
        if !complete.exists() {
            if environment.exists() {
                fs::remove_dir_all(&environment)?;
            }
            install(&environment, &requirements).context("`make deps` installs what Debian needs for this")?;
            File::create(complete)?;
        }
        Ok(Self { environment })
    }

    /// `aws`, with one attempt per request: a retry would hide an error.
    ///
    /// # Errors
    /// The server does not run.
    pub fn aws(&self, server: &Server) -> Result<Command> {
        self.aws_at(server.address()?, server.folder())
    }

    /// The same for any endpoint (`host:port`) with the keys of the tests; `folder` is for the client's own files.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn aws_at(&self, address: &str, folder: &Path) -> Result<Command> {
        let mut command = Command::new(self.environment.join("bin/python"));
        surround(&mut command, address, folder)?;
        command.arg(self.environment.join("bin/aws"));
        Ok(command)
    }

    /// A script of `tests/clients`, which takes the names of the checks to run as arguments.
    ///
    /// # Errors
    /// The server does not run.
    pub fn script(&self, server: &Server, name: &str) -> Result<Command> {
        let mut command = self.command("python", server)?;
        command.arg("-B").arg(place::client_scripts().join(name));
        Ok(command)
    }

    /// # Errors
    /// The server does not run.
    pub fn s3cmd(&self, server: &Server) -> Result<Command> {
        let address = server.address()?;
        let mut command = self.command("python", server)?;
        command
            .arg(self.environment.join("bin/s3cmd"))
            .args(["--config", "/dev/null", "--no-ssl", "--no-progress", "--region", REGION])
            .args(["--access_key", ACCESS_KEY, "--secret_key", SECRET_KEY])
            .args(["--host", address, "--host-bucket", address]);
        Ok(command)
    }

    fn command(&self, program: &str, server: &Server) -> Result<Command> {
        let mut command = Command::new(self.environment.join("bin").join(program));
        surround(&mut command, server.address()?, server.folder())?;
        Ok(command)
    }
}

/// The system's rclone, with a remote named `cairn`.
///
/// # Errors
/// The server does not run.
pub fn rclone(server: &Server) -> Result<Command> {
    let mut command = Command::new("rclone");
    surround(&mut command, server.address()?, server.folder())?;
    command
        .env("RCLONE_CONFIG_CAIRN_TYPE", "s3")
        .env("RCLONE_CONFIG_CAIRN_PROVIDER", "Other")
        .env("RCLONE_CONFIG_CAIRN_ACCESS_KEY_ID", ACCESS_KEY)
        .env("RCLONE_CONFIG_CAIRN_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("RCLONE_CONFIG_CAIRN_ENDPOINT", format!("http://{}", server.address()?))
        .env("RCLONE_CONFIG_CAIRN_REGION", REGION)
        .args(["--low-level-retries", "1", "--retries", "1"]);
    Ok(command)
}

fn surround(command: &mut Command, address: &str, folder: &Path) -> Result<()> {
    let home = folder.join("home");
    fs::create_dir_all(&home)?;
    let kept = KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command
        .env_clear()
        .envs(kept)
        .env("HOME", &home)
        .env("LANG", "C.UTF-8")
        .env("PYTHONUNBUFFERED", "1")
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_REGION", REGION)
        .env("AWS_ENDPOINT_URL_S3", format!("http://{address}"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_PAGER", "")
        .env("NO_PROXY", "*")
        .stdin(Stdio::null());
    Ok(())
}

fn install(environment: &Path, requirements: &Path) -> Result<()> {
    process::run(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--requirement",
    ]);
    process::run(pip.arg(requirements).stdin(Stdio::null()))?;
    Ok(())
}
