//! The data path over real chunkservers on real files, through the in-process carrier and QUIC, with devices that are removed,
//! damaged, slow, full or lying. They live here because `datapath` must not depend on the chunkserver.

mod harness;
mod lies;
mod quic;
mod reads;
mod repairs;
mod writes;
