//! The mount: a bucket, or a directory of one, as a file system of the kernel.
//!
//! Owns what a mount keeps in memory (bytes not yet written, open files, directories being read) and the translation between
//! the kernel's requests and `cairn-client`. Invariants: a request never holds a thread of the kernel's queue while it waits;
//! what fsync or close says is durable is; a write reaches the store as just its own bytes.

mod acl;
mod budget;
mod convert;
mod copy;
mod deadlock;
mod directory;
mod dirty;
mod entries;
mod filesystem;
mod flush;
mod handles;
mod kept;
mod kernel;
mod known_acls;
mod layout;
mod leases;
mod listing;
mod lock_flags;
mod locking;
mod locks;
mod making;
mod metrics;
mod mount;
mod names;
mod new_files;
mod object;
mod opened;
mod owners;
mod read;
mod space;
mod trust;
mod volume;
mod waiting;
mod write;
mod xattr;

pub use metrics::Metrics;
pub use mount::{Mount, MountError, MountFigures, MountWatch};
pub use owners::{NumberMap, NumberRange, NumberRangeError, Owners};
pub use volume::MountSettings;
