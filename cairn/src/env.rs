//! `cairn env`: shell exports that point S3 clients at a store.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};

use crate::{cli::DataArgs, credentials, data_dir, running::Running};

pub(crate) fn run(args: &DataArgs) -> anyhow::Result<ExitCode> {
    let credentials = credentials::load(&data_dir::credentials_file(&args.data))?;
    let running = Running::load(&args.data)?;
    let (Some(endpoint), Some(region)) = (running.endpoint, running.region) else {
        bail!(
            "{} has no S3 endpoint: only `cairn server` serves one",
            args.data.display()
        );
    };
    let mut exports = vec![
        ("AWS_ACCESS_KEY_ID", credentials.access_key),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_key),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ENDPOINT_URL_S3", endpoint),
    ];
    if let Some(bundle) = running.ca_bundle {
        exports.push(("AWS_CA_BUNDLE", bundle.to_string_lossy().into_owned()));
    }
    let mut out = io::stdout().lock();
    for (name, value) in exports {
        writeln!(out, "export {name}={}", quoted(&value)).context("writing")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A value as a POSIX shell reads it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell() {
        assert_eq!(quoted("a b$c"), "'a b$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
