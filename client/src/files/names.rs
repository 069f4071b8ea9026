//! Names: looked up, made, moved, removed, and read in pages.

use bytes::Bytes;
use cairn_common::wire::file::{
    CreateFile, DirectoryPage, DirectoryQuery, FileAction, FileAttributes, FileOutcome, FileQuestion, FileReply,
    LinkFile, LookupQuery, MakeDirectory, RemoveDirectory, Rename, UnlinkFile,
};

use super::{FileError, Files};
use crate::error::unexpected;

impl Files {
    /// What `name` stands for.
    pub async fn lookup(&self, parent: u64, name: Bytes) -> Result<FileAttributes, FileError> {
        let leases = &self.client.shared.leases;
        if let Some(known) = leases.name(self.file(parent), &name) {
            return known.ok_or(FileError::NoSuchEntry);
        }
        let question = FileQuestion::Lookup(LookupQuery {
            parent,
            name: name.clone(),
        });
        let (reply, asked) = self.ask_under_lease(question).await?;
        match reply {
            Ok(FileReply::Attributes(attributes)) => {
                if let Some(asked) = asked {
                    leases.keep(asked, self.file(attributes.inode), &attributes, Some((parent, &name)));
                }
                Ok(attributes)
            }
            Ok(_) => Err(unexpected().into()),
            Err(error) => {
                if let (FileError::NoSuchEntry, Some(asked)) = (&error, asked) {
                    leases.keep_absent(asked, self.file(parent), &name);
                }
                Err(error)
            }
        }
    }

    /// Makes a file of any kind but a directory, or opens the one that is there; says whether it is new.
    pub async fn create(&self, create: CreateFile) -> Result<(FileAttributes, bool), FileError> {
        let outcome = self.change(FileAction::Create(create)).await?;
        let created = outcome.created;
        Ok((Self::attributes_of(outcome)?, created))
    }

    /// Makes a directory.
    pub async fn make_directory(&self, make: MakeDirectory) -> Result<FileAttributes, FileError> {
        Self::attributes_of(self.change(FileAction::MakeDirectory(make)).await?)
    }

    /// Gives a file another name.
    pub async fn link(&self, inode: u64, parent: u64, name: Bytes) -> Result<FileAttributes, FileError> {
        let link = LinkFile { inode, parent, name };
        Self::attributes_of(self.change(FileAction::Link(link)).await?)
    }

    /// Takes a name from a file.
    pub async fn unlink(&self, parent: u64, name: Bytes) -> Result<FileOutcome, FileError> {
        self.change(FileAction::Unlink(UnlinkFile { parent, name })).await
    }

    /// Removes an empty directory.
    pub async fn remove_directory(&self, parent: u64, name: Bytes) -> Result<FileOutcome, FileError> {
        let remove = RemoveDirectory { parent, name };
        self.change(FileAction::RemoveDirectory(remove)).await
    }

    /// Moves a name.
    pub async fn rename(&self, rename: Rename) -> Result<FileOutcome, FileError> {
        self.change(FileAction::Rename(rename)).await
    }

    /// A page of a directory, behind the cookie `after`.
    pub async fn directory(
        &self,
        inode: u64,
        after: Bytes,
        limit: u32,
        with_attributes: bool,
    ) -> Result<DirectoryPage, FileError> {
        let query = DirectoryQuery {
            inode,
            after,
            limit,
            with_attributes,
        };
        let (reply, asked) = self.ask_under_lease(FileQuestion::Directory(query)).await?;
        let FileReply::Directory(page) = reply? else {
            return Err(unexpected().into());
        };
        for entry in &page.entries {
            if let (Some(asked), Some(attributes)) = (asked, &entry.attributes) {
                let found = Some((inode, &entry.name));
                self.client
                    .shared
                    .leases
                    .keep(asked, self.file(entry.inode), attributes, found);
            }
        }
        Ok(page)
    }
}
