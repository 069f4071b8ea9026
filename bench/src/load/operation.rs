//! The workloads that can be asked for, and the operations that they are made of.

use serde::Serialize;

/// What a run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Write distinct objects.
    Put,
    /// Read objects that were written beforehand.
    Get,
    /// Write, then read what was written.
    PutGet,
    /// Ask for the size of objects (HEAD).
    Stat,
    /// Delete objects that were written beforehand, each once.
    Delete,
    /// List pages of objects that were written beforehand.
    List,
    /// Write objects in parts.
    Multipart,
    /// Several operations by weight: see --mix.
    Mixed,
    /// Read a part of an object: see --range-size.
    RangeGet,
    /// Write objects that exist anew.
    Overwrite,
    /// Copy objects on the server.
    Copy,
}

/// One kind of operation, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OpKind {
    Put,
    Get,
    Stat,
    Delete,
    List,
    Multipart,
    RangeGet,
    Overwrite,
    Copy,
}

impl Operation {
    /// How many of its phases have figures.
    pub(crate) fn measured_phases(self) -> usize {
        match self {
            Self::PutGet => 2,
            _ => 1,
        }
    }
}

impl OpKind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Stat => "stat",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Multipart => "multipart",
            Self::RangeGet => "range-get",
            Self::Overwrite => "overwrite",
            Self::Copy => "copy",
        }
    }
}
