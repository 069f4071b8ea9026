//! `cairn completions` and `cairn man`: what a package installs beside the program, made of the command line itself.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs, ManArgs};

/// `cairn completions`
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cairn", &mut script);
    io::stdout()
        .lock()
        .write_all(&script)
        .context("writing to standard output")
}

/// `cairn man`
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<()> {
    let context = || format!("writing manual pages to {}", args.directory.display());
    std::fs::create_dir_all(&args.directory).with_context(context)?;
    clap_mangen::generate_to(Cli::command(), &args.directory).with_context(context)
}
