//! The metadata servers of a store in one process: one in its directory and, where its devices lie on three or more real disks,
//! further ones on those disks. So the loss of a disk, the directory's own included, loses no metadata.
//!
//! ```text
//! DIR/metadata/                        the first one, node 1
//! DIR/voters.toml                      the others (list.rs)
//! DEVICE/voter-N/metadata/             one of them
//! DEVICE/voter-N/*.toml                copies of DIR's files, for `cairn metadata recover` (copies.rs)
//! ```
//!
//! To everybody else they are one server (service.rs): whichever leads answers. Where the process becomes a node of a cluster,
//! whose other members could not reach them, they are taken out of the group again (members.rs).
//!
//! Invariants: a voter whose files are gone never comes back under its number, since it does not know what it promised; at every
//! moment a majority of those that the group counts on is on disks that are there, or nothing is changed.

mod before;
mod copies;
mod disks;
mod list;
mod members;
mod recover;
mod service;
mod start;

pub(crate) use before::comes_from_elsewhere;
pub(crate) use list::forget;
pub(crate) use recover::run as recover;
pub(crate) use service::Voters;
pub(crate) use start::Setup;
