//! The workloads that can be asked for, and the operations that they are made of.

use clap::ValueEnum as _;

use super::mix::Mix;
use super::sizes::ByteSize;

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
    /// Write files from beginning to end, in blocks (with --mount, as all that follow).
    SeqWrite,
    /// Read files from beginning to end, in blocks.
    SeqRead,
    /// Overwrite blocks at random places of files.
    RandWrite,
    /// Read blocks at random places of files.
    RandRead,
    /// Append small blocks to files, each synced.
    Fsync,
    /// Make, stat, open, rename, list and unlink the files of a tree of folders.
    Metadata,
    /// Make files as unpacking an archive does: folders, content, mode and time, nothing synced.
    Untar,
}

/// One kind of operation on objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// As the flag has it.
    pub(crate) fn label(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether operations of that kind are measured; `mix` is that of `mixed`.
    pub(crate) fn takes(self, kind: OpKind, mix: &Mix) -> bool {
        match self {
            Self::Mixed => mix.has(kind),
            Self::PutGet => matches!(kind, OpKind::Put | OpKind::Get),
            _ => self.label() == kind.label(),
        }
    }

    /// How many of its phases have figures.
    pub(crate) fn measured_phases(self) -> usize {
        match self {
            Self::PutGet => 2,
            Self::Metadata => 8,
            _ => 1,
        }
    }

    /// Whether its phases go once over what there is, whatever time that takes.
    pub(crate) fn is_counted(self) -> bool {
        self == Self::Metadata
    }

    /// Bytes of a block, where files are read and written in blocks.
    pub(crate) fn usual_block(self) -> Option<ByteSize> {
        match self {
            Self::SeqWrite | Self::SeqRead => Some(ByteSize(1 << 20)),
            Self::RandWrite | Self::RandRead | Self::Fsync => Some(ByteSize(4 << 10)),
            _ => None,
        }
    }

    /// Whether it takes blocks at random places of files.
    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::RandWrite | Self::RandRead)
    }

    /// Whether it needs a mount.
    pub(crate) fn is_on_files(self) -> bool {
        matches!(
            self,
            Self::SeqWrite
                | Self::SeqRead
                | Self::RandWrite
                | Self::RandRead
                | Self::Fsync
                | Self::Metadata
                | Self::Untar
        )
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
