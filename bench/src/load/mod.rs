//! What a load is made of: operations and their mix, sizes, the choice of keys, the pace. Pure: everything follows from the
//! seed and an operation's number, so that a run can be repeated whatever the threads do.

mod keys;
mod mix;
mod operation;
mod pace;
mod random;
mod sizes;

pub use keys::KeyOrder;
pub use mix::Mix;
pub use operation::Operation;
pub use sizes::{ByteSize, Sizes};

pub(crate) use keys::KeyPicker;
pub(crate) use operation::OpKind;
pub(crate) use pace::{Bound, Pace};
pub(crate) use random::Random;
