//! `cairn key`, on the directory of a store or of a metadata server.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::place;
use crate::process::{run, run_any};
use crate::server::REGION;
use crate::sigv4::Credentials;

fn command(data: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(place::cairn_binary()?);
    command.arg("key").args(arguments).arg("--data").arg(data);
    command.stdin(Stdio::null());
    Ok(command)
}

/// What `cairn key …` prints.
///
/// # Errors
/// It fails.
pub fn key(data: &Path, arguments: &[&str]) -> Result<String> {
    Ok(run(&mut command(data, arguments)?)?.stdout)
}

/// What `cairn key …` says that is expected to fail.
///
/// # Errors
/// It succeeds.
pub fn refusal(data: &Path, arguments: &[&str]) -> Result<String> {
    let (success, printed) = run_any(&mut command(data, arguments)?)?;
    ensure!(!success, "`cairn key {arguments:?}` succeeded: {}", printed.stdout);
    Ok(printed.stderr)
}

/// Makes a key.
///
/// # Errors
/// It cannot be made.
pub fn create(data: &Path, name: &str, arguments: &[&str]) -> Result<Credentials> {
    let mut all = vec!["create", name, "--json"];
    all.extend(arguments);
    let made: Value = serde_json::from_str(&key(data, &all)?)?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).context("a text");
    Ok(Credentials {
        access_key: text("access_key")?,
        secret_key: text("secret_key")?,
        region: REGION.to_owned(),
    })
}
