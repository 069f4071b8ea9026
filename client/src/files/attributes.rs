//! Attributes and extended attributes.

use bytes::Bytes;
use cairn_common::wire::{
    file::{
        AttributesQuery, CreateFile, FileAction, FileAttributes, FileId, FileQuestion, FileReply,
        ObjectAttributesQuery, RemoveXattr, SetAttributes, SetXattr, XattrNamesQuery, XattrQuery,
    },
    object::ObjectAttributes,
};

use super::{FileError, Files};
use crate::{error::unexpected, open_files::OpenFile};

impl Files {
    /// The attributes of an inode.
    pub async fn attributes(&self, inode: u64) -> Result<FileAttributes, FileError> {
        let leases = &self.client.shared.leases;
        if let Some(known) = leases.attributes(self.file(inode)) {
            return Ok(known);
        }
        let question = FileQuestion::Attributes(AttributesQuery { inode });
        let (reply, asked) = self.ask_under_lease(question).await?;
        let FileReply::Attributes(attributes) = reply? else {
            return Err(unexpected().into());
        };
        if let Some(asked) = asked {
            leases.keep(asked, self.file(inode), &attributes, None);
        }
        Ok(attributes)
    }

    /// Opens a file: while what is given lives, the file stays even without a name. One that has none already is gone, unless
    /// this mount has it open.
    pub async fn open(&self, inode: u64) -> Result<(OpenFile, FileAttributes), FileError> {
        let open = self.hold_open(inode);
        let attributes = self.attributes(inode).await?;
        if attributes.links == 0 && !open.is_shared() {
            return Err(FileError::Gone);
        }
        Ok((open, attributes))
    }

    /// Makes a regular file and opens it, or opens the one that is there; says whether it is new.
    pub async fn create_open(&self, create: CreateFile) -> Result<(OpenFile, FileAttributes, bool), FileError> {
        let seen = self.client.shared.orphans_seen();
        let (attributes, is_new) = self.create(create).await?;
        let open = self.hold_open(attributes.inode);
        // What lost its name since was not looked for yet, and is found here when it is.
        if is_new && self.client.shared.orphans_seen() == seen {
            return Ok((open, attributes, true));
        }
        let attributes = self.attributes(attributes.inode).await?;
        if attributes.links == 0 && !open.is_shared() {
            return Err(FileError::Gone);
        }
        Ok((open, attributes, is_new))
    }

    /// Holds a file open, be it one that the service does not know yet.
    pub fn hold_open(&self, inode: u64) -> OpenFile {
        let bucket = self.bucket;
        self.client.hold_open(FileId { bucket, inode })
    }

    /// Sets attributes, the size among them.
    pub async fn set_attributes(&self, set: SetAttributes) -> Result<FileAttributes, FileError> {
        Self::attributes_of(self.change(FileAction::SetAttributes(set)).await?)
    }

    /// What S3 tells of a file or directory beside its size and time.
    pub async fn object_attributes(&self, inode: u64) -> Result<ObjectAttributes, FileError> {
        let question = FileQuestion::ObjectAttributes(ObjectAttributesQuery { inode });
        match self.ask(question).await? {
            FileReply::ObjectAttributes(attributes) => Ok(attributes),
            _ => Err(unexpected().into()),
        }
    }

    /// The value of an extended attribute.
    pub async fn xattr(&self, inode: u64, name: Bytes) -> Result<Bytes, FileError> {
        match self.ask(FileQuestion::Xattr(XattrQuery { inode, name })).await? {
            FileReply::Xattr(value) => Ok(value),
            _ => Err(unexpected().into()),
        }
    }

    /// The names of all extended attributes.
    pub async fn xattr_names(&self, inode: u64) -> Result<Vec<Bytes>, FileError> {
        match self.ask(FileQuestion::XattrNames(XattrNamesQuery { inode })).await? {
            FileReply::XattrNames(names) => Ok(names.names),
            _ => Err(unexpected().into()),
        }
    }

    /// Sets an extended attribute.
    pub async fn set_xattr(&self, set: SetXattr) -> Result<(), FileError> {
        self.change(FileAction::SetXattr(set)).await.map(drop)
    }

    /// Removes an extended attribute.
    pub async fn remove_xattr(&self, inode: u64, name: Bytes) -> Result<(), FileError> {
        let remove = RemoveXattr { inode, name };
        self.change(FileAction::RemoveXattr(remove)).await.map(drop)
    }
}
