//! Loads on files: blocks of large files (`blocks`), a tree of small ones (`tree`), an archive's content (`archive`). Plain
//! calls of the standard library, as most programs make them.

mod archive;
mod blocks;
mod place;
mod tree;
mod whole;

pub(crate) use archive::ArchiveWork;
pub(crate) use blocks::{BlockPlan, BlockWork, WholeFiles};
pub(crate) use place::{Place, delete_earlier};
pub(crate) use tree::{Tree, TreeStep, TreeWork};
pub(crate) use whole::{BlockCheck, Preparation};
