//! The bare disk, by fio.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

/// What fio reached.
pub(crate) struct Bare {
    /// Operations a second.
    pub(crate) rate: f64,
    /// Processor time of one operation, in seconds.
    pub(crate) cpu_seconds: f64,
}

/// Has `jobs` jobs of fio work in a folder; none where there is no fio.
pub(crate) fn run(folder: &Path, arguments: &[&str], jobs: u32, seconds: u64) -> Result<Option<Bare>> {
    let mut command = Command::new("fio");
    command
        .args([
            "--name=bare",
            "--size=256m",
            "--time_based",
            "--group_reporting",
            "--output-format=terse",
        ])
        .arg(format!("--numjobs={jobs}"))
        .arg(format!("--runtime={seconds}"))
        .arg(format!("--directory={}", folder.display()))
        .args(arguments);
    let Ok(output) = command.output() else { return Ok(None) };
    let text = String::from_utf8(output.stdout)?;
    let line = text
        .lines()
        .find(|line| line.starts_with("3;"))
        .with_context(|| format!("fio said: {text}"))?;
    let fields: Vec<f64> = line
        .split(';')
        .map(|field| field.trim_end_matches('%').parse().unwrap_or(0.0))
        .collect();
    let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    // Terse version 3: fields 8 and 49 are reads and writes a second, 88 and 89 percents of a processor, of each job.
    let rate = field(8) + field(49);
    let cpu_seconds = (field(88) + field(89)) / 100.0 * f64::from(jobs) / rate.max(1.0);
    Ok(Some(Bare { rate, cpu_seconds }))
}
