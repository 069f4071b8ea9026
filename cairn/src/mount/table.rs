//! The mounts of this machine, as the kernel lists them.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use serde::Serialize;

/// What the kernel calls this kind of mount.
const KIND: &str = "fuse.cairn";

/// A line of the list.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    mounted: String,
    directory: String,
    options: String,
}

pub(super) fn show(is_json: bool) -> anyhow::Result<ExitCode> {
    let table = std::fs::read_to_string("/proc/self/mounts").context("reading the table of mounts")?;
    let lines = ours(&table);
    let mut out = io::stdout().lock();
    if is_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&lines).context("writing JSON")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in &lines {
        writeln!(out, "{} on {} ({})", line.mounted, line.directory, line.options)?;
    }
    if lines.is_empty() {
        writeln!(out, "nothing of a cairn store is mounted here")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn ours(table: &str) -> Vec<Line> {
    let line = |text: &str| {
        let mut fields = text.split(' ');
        let (mounted, directory, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (kind == KIND).then(|| Line {
            mounted: plain(mounted),
            directory: plain(directory),
            options: options.to_owned(),
        })
    };
    table.lines().filter_map(line).collect()
}

/// Blanks are written as octal numbers.
fn plain(field: &str) -> String {
    let blanks = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    blanks
        .iter()
        .fold(field.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_mounts_are_listed_with_their_names_as_they_are() {
        let table = "/dev/vda / ext4 rw 0 0\nphotos/a\\040b /mnt/a\\040b fuse.cairn rw,nosuid 0 0\n";
        let expected = Line {
            mounted: "photos/a b".to_owned(),
            directory: "/mnt/a b".to_owned(),
            options: "rw,nosuid".to_owned(),
        };
        assert_eq!(ours(table), [expected]);
    }
}
