//! Loads on files: blocks of large files (`blocks`, with what its files hold in `block_files`), a tree of small ones (`tree`), an
//! archive's content (`archive`). Plain calls of the standard library, as most programs make them.

mod archive;
mod block_choice;
mod block_files;
mod blocks;
mod each;
mod open_files;
mod place;
mod tree;

pub(crate) use archive::Archive;
pub(crate) use block_files::{BlockFiles, prepare};
pub(crate) use blocks::{BlockPlan, BlockWork};
pub(crate) use each::Each;
pub(crate) use place::{Place, delete_earlier};
pub(crate) use tree::{Tree, TreeStep};
