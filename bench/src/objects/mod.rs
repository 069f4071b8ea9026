//! Loads on object stores: which object each operation takes, what it must find there, and what is to be deleted afterwards.
//! Knows no protocol; a [`crate::target::ObjectStore`] does.

mod cleanup;
mod pool;
mod work;
mod worker;

pub(crate) use cleanup::{Cleanup, delete_earlier};
pub(crate) use pool::Pool;
pub(crate) use work::{Manner, ObjectWork, Space, Working, Written};
