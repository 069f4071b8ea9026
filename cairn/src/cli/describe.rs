//! The command line of `cairn completions` and `cairn man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ManArgs {
    /// The directory; made where it is not there. Pages of the same names are replaced.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
