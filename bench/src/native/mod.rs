//! The native client of a Cairn cluster as the target of a load. The only part that knows the crates of the store; who runs the
//! tool hands it a connected client, because how a node is opened is the program's.

mod session;
mod store;

pub(crate) use store::NativeStore;
pub use store::{NativeConnector, NativeTarget};
