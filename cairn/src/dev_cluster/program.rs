//! This program as the processes of the cluster run it, and as its operator would.
//!
//! Invariant: a process sees none of the settings that the user's environment has for a server of its own, and ends when this one
//! does.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{io::AsyncWriteExt as _, time::timeout};

/// Settings that processes take over from the user's environment: what is logged.
const KEPT: [&str; 2] = ["CAIRN_LOG", "CAIRN_LOG_FORMAT"];

/// How to start `cairn`.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    parent: u32,
}

impl Program {
    /// The one that runs now, for children of this process.
    pub(super) fn this() -> anyhow::Result<Self> {
        Ok(Self {
            path: std::env::current_exe().context("the path of this program")?,
            parent: std::process::id(),
        })
    }

    /// `cairn …` as a child of this process, in a process group of its own: what a terminal sends to the foreground does not
    /// reach it. The kernel ends it with the *thread* that starts it, so that is to be the main one.
    pub(super) fn command(&self, namespace: Option<&str>, arguments: &[OsString]) -> Command {
        use std::os::unix::process::CommandExt as _;

        let mut command = Command::new(&self.path);
        command.args(["dev-cluster", "part", "--parent", &self.parent.to_string()]);
        if let Some(namespace) = namespace {
            command.args(["--namespace", namespace]);
        }
        command.arg("--").args(arguments);
        for (name, _) in std::env::vars_os() {
            let is_ours = name
                .to_str()
                .is_some_and(|name| name.starts_with("CAIRN_") && !KEPT.contains(&name));
            if is_ours {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Runs `cairn …` to its end. What it printed; an error where it fails or takes longer than `deadline`.
    pub(super) async fn run(&self, arguments: &[OsString], input: &str, deadline: Duration) -> anyhow::Result<String> {
        let mut command = self.command(None, arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting `{}`", shown(arguments)))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever does not read it closes the pipe.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let Ok(output) = timeout(deadline, child.wait_with_output()).await else {
            bail!("`{}` has not ended within {deadline:?}", shown(arguments));
        };
        let output = output.with_context(|| format!("waiting for `{}`", shown(arguments)))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}", shown(arguments), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Words of a command line.
pub(super) fn words<const N: usize>(words: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

fn shown(arguments: &[OsString]) -> String {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
    format!("cairn {}", words.join(" "))
}
