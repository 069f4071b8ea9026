//! The command line of `cairn metadata`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DataArgs;

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct MetadataArgs {
    #[command(subcommand)]
    pub(crate) command: Option<MetadataCommand>,
}

/// What can be done with a metadata store.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MetadataCommand {
    /// Prints records, one a line, of a stopped or running store, a checkpoint or a backup.
    Inspect(Box<InspectArgs>),
    /// Verifies every record and how all of them agree; ends with 1 where something is wrong.
    Verify(VerifyArgs),
    /// Backs the metadata of the running store up into a new file.
    Backup(BackupArgs),
    /// Makes the metadata of a store out of a backup, with all deletion of data held.
    Restore(RestoreArgs),
    /// Lets data be deleted again after a restore.
    ReleaseDeletion(DataArgs),
}

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub(crate) struct SourceArgs {
    /// A backup file, a checkpoint's directory or a metadata directory, in place of --data.
    #[arg(value_name = "PATH", conflicts_with = "live")]
    pub(crate) path: Option<PathBuf>,
    /// Directory of the store.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", required_unless_present = "path")]
    pub(crate) data: Option<PathBuf>,
    /// Looks at the state of the running server on --data, as it is now.
    #[arg(long)]
    pub(crate) live: bool,
    /// Where files are put that are needed meanwhile [default: the system's place for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Prints counts and positions in place of records.
    #[arg(long)]
    pub(crate) summary: bool,
    /// Records of this family only, or `log` for the entries of the Raft log.
    #[arg(long, value_name = "FAMILY")]
    pub(crate) family: Option<String>,
    /// Records of this bucket only, by name or number.
    #[arg(long, value_name = "BUCKET")]
    pub(crate) bucket: Option<String>,
    /// Records whose key begins so, in hexadecimal digits behind `0x`, or whose name (component, object key, bucket) does.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) key_prefix: Option<String>,
    /// Records at most.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Prints JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Findings printed at most; all are counted.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) show: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The backup; nothing may be there yet.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The backup.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The number of the metadata server that is to run on it.
    #[arg(long, value_name = "NODE", default_value_t = 1)]
    pub(crate) server: u64,
}
