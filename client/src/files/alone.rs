//! New files in a directory that a mount uses alone: programs are told of one first, the service once something of it has to last.

use bytes::Bytes;
use cairn_common::wire::file::{CreateFile, CreateWritten, FileAction, FileAttributes, ReserveInodes, SetAttributes};

use super::{FileError, Files, data::Piece};

/// A file that the service was not told of.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFile {
    /// What it is made as.
    pub create: CreateFile,
    /// Its number, of those that were set aside.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970.
    pub made_ns: i64,
    /// What was set of it since, in this order.
    pub then: Vec<SetAttributes>,
}

impl Files {
    /// The attributes of a directory in which a file of this name can be made without telling the service yet: nobody else does
    /// anything in it, and nothing is there under the name.
    pub fn alone_in(&self, directory: u64, name: &Bytes) -> Option<FileAttributes> {
        let leases = &self.client.shared.leases;
        let file = self.file(directory);
        let is_free = leases.is_alone(file) && leases.name(file, name) == Some(None);
        leases.attributes(file).filter(|_| is_free)
    }

    /// Sets numbers of inodes aside; gives the first.
    pub async fn reserve_inodes(&self, count: u32) -> Result<u64, FileError> {
        let outcome = self.change(FileAction::ReserveInodes(ReserveInodes { count })).await?;
        Ok(outcome.first_reserved)
    }

    /// Makes a file that programs know of already, with all that was written to it.
    pub async fn make(&self, new: &NewFile, pieces: &[Piece]) -> Result<FileAttributes, FileError> {
        self.store_and_commit(pieces, |extents| {
            FileAction::CreateWritten(CreateWritten {
                create: Some(new.create.clone()),
                inode: new.inode,
                made_ns: new.made_ns,
                extents,
                then: new.then.clone(),
            })
        })
        .await
    }
}
